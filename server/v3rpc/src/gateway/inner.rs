//! The gateway's connection to our own gRPC service, and calls over it.

use std::{
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use h2::{RecvStream, SendStream, client::ResponseFuture, client::SendRequest};
use http::{HeaderMap, HeaderValue, Method, Request, Version, header};
use kvorum_member::REPLY_FREE_BYTES;
use tokio::{
    io::DuplexStream,
    sync::OwnedSemaphorePermit,
    time::{Instant, timeout_at},
};

use super::{
    callers::{CALLER, Introduced},
    metadata::Call,
    routes::Route,
};
use crate::{
    accept::Stop,
    compression::Encoding,
    connection::{self, Entry},
    context::IoContext,
    error::{Code, Status},
    frame::{self, Frames},
    http2::{self, WINDOW_BYTES_MAX},
    identity,
    options::Scope,
    peer::Peer,
    shares::Share,
    unread::Unread,
};

/// Between the two ends of the connection.
const PIPE_BYTES: usize = 256 * 1024;
/// What an answer may be ahead of its reader.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// As many answers as fit into 32 bits: what is read here was made here.
const ANSWER_BYTES_MAX: usize = u32::MAX as usize;

/// A call that was sent.
pub(super) struct Exchange {
    pub(super) request: SendStream<Bytes>,
    answer: Answer,
    _place: OwnedSemaphorePermit,
    _caller: Introduced,
}

/// How far the answer has come.
enum Answer {
    Awaited(ResponseFuture),
    Started(Answered),
    Ended,
}

/// The messages of an answer that has begun. What is read here was made here, so it is on no budget a second time.
struct Answered {
    body: RecvStream,
    frames: Frames,
    /// The size of the message that is under way was told.
    told: bool,
}

impl Answered {
    fn new(body: RecvStream) -> Self {
        Self {
            body,
            frames: Frames::new(ANSWER_BYTES_MAX, Encoding::Identity),
            told: false,
        }
    }

    /// The next message, the size of a large one before most of it is read, or `None` when there are no more.
    fn poll_next(&mut self, task: &mut Context<'_>) -> Poll<Result<Option<Event>, Status>> {
        loop {
            if let Some(message) = self.frames.take()? {
                self.told = false;
                return Poll::Ready(Ok(Some(Event::Message(message))));
            }
            let large = self
                .frames
                .incomplete()
                .filter(|bytes| *bytes > REPLY_FREE_BYTES);
            if let (Some(bytes), false) = (large, self.told) {
                self.told = true;
                return Poll::Ready(Ok(Some(Event::Large(bytes))));
            }
            match ready!(self.body.poll_data(task)) {
                None if self.frames.is_empty() => return Poll::Ready(Ok(None)),
                None | Some(Err(_)) => return Poll::Ready(Err(gone())),
                Some(Ok(chunk)) => {
                    // Fails only if the stream is gone, which the next poll reports.
                    let _ = self.body.flow_control().release_capacity(chunk.len());
                    self.frames.push(chunk);
                }
            }
        }
    }
}

/// What an answer consists of.
#[derive(Debug)]
pub(super) enum Event {
    /// A message of that many bytes is under way.
    Large(usize),
    /// A message.
    Message(Bytes),
    /// The end of it all.
    End(Status),
}

/// Waits for a place among the open calls and sends the head of the request.
pub(super) async fn start(
    cx: &Rc<IoContext>,
    route: &Route,
    call: &Call,
) -> Result<Exchange, Status> {
    let starting = async {
        let places = Arc::clone(call.share.through_gateway());
        let place = places.acquire_owned().await.map_err(|_| gone())?;
        if call
            .deadline
            .is_some_and(|deadline| deadline <= Instant::now())
        {
            return Err(Status::deadline_exceeded());
        }
        let sender = ready_sender(cx).await?;
        Ok((place, sender))
    };
    let (place, mut sender) = within(call.deadline, starting).await?;
    let caller = Introduced::new(cx, &call.share);
    let request = request(route, call, &caller);
    let request = request.map_err(|error| Status::internal(error.to_string()))?;
    let (answer, request) = sender.send_request(request, false).map_err(|_| gone())?;
    Ok(Exchange {
        request,
        answer: Answer::Awaited(answer),
        _place: place,
        _caller: caller,
    })
}

/// Gives up at the deadline, if there is one.
pub(super) async fn within<T>(
    deadline: Option<Instant>,
    future: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    match deadline {
        None => future.await,
        Some(deadline) => timeout_at(deadline, future)
            .await
            .unwrap_or_else(|_| Err(Status::deadline_exceeded())),
    }
}

/// A call's way to the service. The connection is made anew if it has ended.
async fn ready_sender(cx: &Rc<IoContext>) -> Result<SendRequest<Bytes>, Status> {
    let known = cx.gateway.connection.borrow().clone();
    if let Some(known) = known
        && let Ok(ready) = known.ready().await
    {
        return Ok(ready);
    }
    let fresh = connect(cx).await?;
    cx.gateway.connection.replace(Some(fresh.clone()));
    fresh.ready().await.map_err(|_| gone())
}

async fn connect(cx: &Rc<IoContext>) -> Result<SendRequest<Bytes>, Status> {
    let (near, far) = tokio::io::duplex(PIPE_BYTES);
    tokio::task::spawn_local(serve(Rc::clone(cx), far, cx.stop.clone()));
    let (sender, connection) = h2::client::Builder::new()
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES_MAX)
        .enable_push(false)
        .handshake(near)
        .await
        .map_err(|_| gone())?;
    tokio::task::spawn_local(async {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "the gateway's connection ended");
        }
    });
    Ok(sender)
}

/// The far end, served as any client's connection.
async fn serve(cx: Rc<IoContext>, mut far: DuplexStream, stop: Stop) {
    let entry = Entry {
        scope: Scope::Client,
        is_loopback: false,
        secure: true,
        peer: Peer::Gateway,
        // Each call says it itself.
        from: None,
        // Each call is counted for its own caller.
        share: Share::endless(),
        unread: Unread::of_connection(),
    };
    let served = async {
        let preface = connection::read_preface(&mut far).await?;
        http2::serve(cx, entry, far, preface, stop).await
    };
    if let Err(error) = served.await {
        tracing::debug!(%error, "the gateway's connection ended");
    }
}

fn request(route: &Route, call: &Call, caller: &Introduced) -> Result<Request<()>, http::Error> {
    let mut request = Request::builder()
        .method(Method::POST)
        .version(Version::HTTP_2)
        .uri(format!("http://localhost{}", route.rpc))
        .body(())?;
    let headers = request.headers_mut();
    headers.extend(call.metadata.clone());
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    headers.insert(CALLER, HeaderValue::from(caller.number()));
    if let Some(from) = call.from {
        headers.insert(identity::SOURCE, HeaderValue::try_from(from.to_string())?);
    }
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    if let Some(deadline) = call.deadline {
        let left = deadline.saturating_duration_since(Instant::now());
        headers.insert("grpc-timeout", grpc_timeout(left)?);
    }
    Ok(request)
}

/// What is left until a deadline, in at most eight digits.
fn grpc_timeout(left: Duration) -> Result<HeaderValue, http::Error> {
    let text = match left.as_millis() {
        0 => format!("{}u", left.as_micros()),
        short @ ..100_000_000 => format!("{short}m"),
        _ => format!("{}S", left.as_secs().min(99_999_999)),
    };
    Ok(HeaderValue::try_from(text)?)
}

impl Exchange {
    /// The next part of the answer. After the end there is nothing.
    pub(super) async fn next(&mut self) -> Event {
        poll_fn(|task| self.poll_next(task)).await
    }

    pub(super) fn poll_next(&mut self, task: &mut Context<'_>) -> Poll<Event> {
        loop {
            match &mut self.answer {
                Answer::Ended => return Poll::Pending,
                Answer::Awaited(response) => match ready!(Pin::new(response).poll(task)) {
                    Err(error) => return self.end(broken(&error)),
                    Ok(response) => {
                        let (head, body) = response.into_parts();
                        if let Some(status) = status(&head.headers) {
                            return self.end(status);
                        }
                        self.answer = Answer::Started(Answered::new(body));
                    }
                },
                Answer::Started(messages) => match ready!(messages.poll_next(task)) {
                    Ok(Some(event)) => return Poll::Ready(event),
                    Err(_) => return self.end(gone()),
                    Ok(None) => {
                        let trailers = ready!(messages.body.poll_trailers(task));
                        let ended = match trailers {
                            Ok(Some(trailers)) => status(&trailers).unwrap_or_else(gone),
                            Ok(None) => gone(),
                            Err(error) => broken(&error),
                        };
                        return self.end(ended);
                    }
                },
            }
        }
    }

    fn end(&mut self, status: Status) -> Poll<Event> {
        self.answer = Answer::Ended;
        Poll::Ready(Event::End(status))
    }

    /// Sends the only message of a call.
    pub(super) fn send_only(&mut self, message: &[u8]) -> Result<(), Status> {
        let framed = framed(message)?;
        self.request.send_data(framed, true).map_err(|_| gone())
    }
}

/// A message with its prefix.
pub(super) fn framed(message: &[u8]) -> Result<Bytes, Status> {
    let mut framed = frame::open(message.len())?;
    framed.extend_from_slice(message);
    Ok(framed.freeze())
}

/// The end of a call, if these headers tell it.
fn status(headers: &HeaderMap) -> Option<Status> {
    let number: usize = headers.get("grpc-status")?.to_str().ok()?.parse().ok()?;
    let code = Code::ALL.get(number).copied().unwrap_or(Code::Unknown);
    let message = headers
        .get("grpc-message")
        .map(|text| decode(text.as_bytes()));
    Some(Status::new(code, message.unwrap_or_default()))
}

/// Undoes the escaping of `grpc-message`.
fn decode(text: &[u8]) -> String {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let escaped = after.get(..2).filter(|_| *first == b'%');
        let byte = escaped
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        plain.push(byte.unwrap_or(*first));
        rest = match byte {
            Some(_) => after.get(2..).unwrap_or_default(),
            None => after,
        };
    }
    String::from_utf8_lossy(&plain).into_owned()
}

fn broken(error: &h2::Error) -> Status {
    tracing::debug!(%error, "a call of the gateway broke off");
    gone()
}

/// The service ends while the call is under way.
fn gone() -> Status {
    kvorum_core::Error::Stopped.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_survive_their_escaping() {
        assert_eq!(decode(b"50%25%0A%C3%A9 %zz %4"), "50%\n\u{e9} %zz %4");
    }

    #[test]
    fn an_answer_that_is_only_a_failure_has_its_status_in_the_head() {
        let mut headers = HeaderMap::new();
        assert_eq!(status(&headers), None);
        headers.insert("grpc-status", HeaderValue::from_static("5"));
        headers.insert("grpc-message", HeaderValue::from_static("no%20key"));
        assert_eq!(
            status(&headers),
            Some(Status::new(Code::NotFound, "no key"))
        );
    }

    #[test]
    fn deadlines_fit_into_eight_digits() {
        let text = |left| grpc_timeout(left).expect("a header");
        assert_eq!(text(Duration::from_secs(5)), "5000m");
        assert_eq!(text(Duration::from_micros(7)), "7u");
        assert_eq!(text(Duration::from_secs(1_000_000)), "1000000S");
    }
}
