//! Calls that answer with a stream: one line of JSON per message, and one for the error at the end.

use std::{
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use http::{Response, StatusCode};

use super::{
    incoming::{Incoming, Refusal},
    inner::{self, Event, Exchange, framed},
    metadata::Call,
    reply::{self, ReplyBody},
    routes::Route,
    transcode, unary,
};
use crate::{
    context::IoContext,
    error::{Code, Status},
};

/// A call under way, with both directions driven by whoever asks for the next line.
struct Conversation {
    exchange: Exchange,
    route: &'static Route,
    /// Nothing once the caller has said all.
    incoming: Option<Incoming>,
    /// A message that waits for room in the window.
    outgoing: Bytes,
    ended: bool,
}

/// What comes back.
enum Line {
    Result(Bytes),
    Error(Status),
}

/// Serves a call for which the body holds one message.
pub(super) async fn serve_one_request(
    cx: &Rc<IoContext>,
    route: &'static Route,
    call: Call,
    mut incoming: Incoming,
) -> Response<ReplyBody> {
    let started = async {
        let request = unary::read_only(route, &call, &mut incoming).await?;
        let mut exchange = inner::start(cx, route, &call).await?;
        exchange.send_only(&request)?;
        Ok(exchange)
    };
    match started.await {
        Ok(exchange) => Conversation::new(exchange, route, None).respond().await,
        Err(status) => reply::error(&status),
    }
}

/// Serves a call for which the body may go on as long as the caller likes.
pub(super) async fn serve(
    cx: &Rc<IoContext>,
    route: &'static Route,
    call: Call,
    incoming: Incoming,
) -> Response<ReplyBody> {
    match inner::start(cx, route, &call).await {
        Ok(exchange) => {
            let conversation = Conversation::new(exchange, route, Some(incoming));
            conversation.respond().await
        }
        Err(status) => reply::error(&status),
    }
}

impl Conversation {
    fn new(exchange: Exchange, route: &'static Route, incoming: Option<Incoming>) -> Self {
        Self {
            exchange,
            route,
            incoming,
            outgoing: Bytes::new(),
            ended: false,
        }
    }

    /// Waits for the first line: it decides on the status, and etcd says nothing before it.
    async fn respond(mut self) -> Response<ReplyBody> {
        match self.next().await {
            None => reply::silence(),
            Some(Line::Error(status)) => {
                let line = reply::line("error", &reply::error_json(&status));
                let only = stream::iter([line]).boxed_local();
                reply::pieces(reply::http_status(status.code), only)
            }
            Some(Line::Result(first)) => {
                let rest = stream::unfold(self, |mut conversation| async {
                    let line = match conversation.next().await? {
                        Line::Result(line) => line,
                        Line::Error(status) => reply::line("error", &reply::error_json(&status)),
                    };
                    Some((line, conversation))
                });
                let lines = stream::iter([first]).chain(rest).boxed_local();
                let mut response = reply::pieces(StatusCode::OK, lines);
                reply::mark_answered(&mut response);
                response
            }
        }
    }

    async fn next(&mut self) -> Option<Line> {
        if self.ended {
            return None;
        }
        let event = poll_fn(|task| {
            if let Poll::Ready(status) = self.poll_send(task) {
                return Poll::Ready(Event::End(status));
            }
            self.exchange.poll_next(task)
        });
        let mut event = event.await;
        // A stream's messages are taken one by one, as the caller takes their lines.
        while let Event::Large(_) = event {
            event = self.exchange.next().await;
        }
        let status = match event {
            Event::Large(_) => Status::internal("kvorum: a message has no end"),
            Event::Message(message) => {
                let mut json = Vec::new();
                match transcode::to_json(&message, self.route.response, &mut json) {
                    Ok(()) => return Some(Line::Result(reply::line("result", &json))),
                    Err(malformed) => Status::internal(malformed.to_string()),
                }
            }
            Event::End(status) => status,
        };
        self.ended = true;
        (status.code != Code::Ok).then_some(Line::Error(status))
    }

    /// Passes on what the caller says. Ready only if that breaks a limit, which ends the call.
    fn poll_send(&mut self, task: &mut Context<'_>) -> Poll<Status> {
        loop {
            if !self.poll_flush(task) {
                return Poll::Pending;
            }
            let Some(incoming) = &mut self.incoming else {
                return Poll::Pending;
            };
            let said = match incoming.poll_next(task) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(said) => said,
            };
            let message = match said {
                Ok(Some(json)) => transcode::to_wire(&json, self.route.request)
                    .map(Some)
                    .map_err(Refusal::Malformed),
                Ok(None) => Ok(None),
                Err(refusal) => Err(refusal),
            };
            match message {
                Ok(Some(message)) => match framed(&message) {
                    Ok(framed) => self.outgoing = framed,
                    Err(status) => return Poll::Ready(status),
                },
                Err(Refusal::Limit(status)) => return Poll::Ready(status),
                // Nobody is there any more who could take an answer.
                Err(Refusal::Broken) => return Poll::Ready(Status::canceled()),
                // What cannot be read ends the requests as their end does; what was asked before is still answered.
                Ok(None) | Err(Refusal::Malformed(_)) => {
                    self.incoming = None;
                    // Fails if the call has ended, which its answer tells.
                    let _ = self.exchange.request.send_data(Bytes::new(), true);
                }
            }
        }
    }

    /// Sends what waits, as the window allows; true once nothing waits.
    fn poll_flush(&mut self, task: &mut Context<'_>) -> bool {
        while !self.outgoing.is_empty() {
            let request = &mut self.exchange.request;
            request.reserve_capacity(self.outgoing.len());
            if request.capacity() == 0 {
                match request.poll_capacity(task) {
                    Poll::Ready(Some(Ok(_))) => continue,
                    Poll::Pending => return false,
                    // The call has ended, which its answer tells.
                    Poll::Ready(_) => {
                        self.outgoing = Bytes::new();
                        self.incoming = None;
                        return true;
                    }
                }
            }
            let room = request.capacity().min(self.outgoing.len());
            // As above.
            let _ = request.send_data(self.outgoing.split_to(room), false);
        }
        true
    }
}
