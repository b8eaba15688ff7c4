//! Requests that come over HTTP/2 and are not gRPC, and the answers to them.

use std::{
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use h2::{RecvStream, SendStream, server::SendResponse};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame};

use super::{ReplyBody, incoming::Broken};
use crate::{connection::Entry, context::IoContext, frame::Payload, stream::wait_for_window};

/// Answers one request.
pub(crate) async fn respond_http2(
    cx: &Rc<IoContext>,
    entry: &Entry,
    request: Request<RecvStream>,
    mut respond: SendResponse<Payload>,
) {
    let (head, body) = request.into_parts();
    let request = Request::from_parts(head, ());
    let body = Box::pin(Http2Body(body));
    let answered = tokio::select! {
        answer = super::respond(cx, entry, request, body) => Some(answer),
        // To drop a call is to cancel it.
        _ = poll_fn(|task| respond.poll_reset(task)) => None,
    };
    if let Some(answer) = answered {
        // The caller may be gone; then nobody misses the answer.
        let _ = send(answer, &mut respond).await;
    }
}

async fn send(
    answer: Response<ReplyBody>,
    respond: &mut SendResponse<Payload>,
) -> Result<(), h2::Error> {
    let (head, mut body) = answer.into_parts();
    let ended = body.is_end_stream();
    let mut stream = respond.send_response(Response::from_parts(head, ()), ended)?;
    if ended {
        return Ok(());
    }
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            _ = poll_fn(|task| stream.poll_reset(task)) => return Ok(()),
        };
        match frame {
            Some(Ok(frame)) => {
                if let Ok(piece) = frame.into_data() {
                    send_piece(&mut stream, piece).await?;
                }
            }
            Some(Err(_)) | None => return stream.send_data(Payload::One(Bytes::new()), true),
        }
    }
}

async fn send_piece(stream: &mut SendStream<Payload>, mut piece: Bytes) -> Result<(), h2::Error> {
    while !piece.is_empty() {
        let window = wait_for_window(stream, piece.len()).await?;
        let part = piece.split_to(window.min(piece.len()));
        stream.send_data(Payload::One(part), false)?;
    }
    Ok(())
}

/// A body that arrives on an HTTP/2 stream.
struct Http2Body(RecvStream);

impl Body for Http2Body {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let body = &mut self.get_mut().0;
        body.poll_data(task).map(|polled| {
            Some(polled?.map_err(Broken::from).map(|piece| {
                // Fails only if the stream is gone, which the next poll reports.
                let _ = body.flow_control().release_capacity(piece.len());
                Frame::data(piece)
            }))
        })
    }
}
