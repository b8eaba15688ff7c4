//! A request body on its way in, as JSON values, within limits of size and time.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::Body;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Sleep, sleep},
};

use super::transcode::{Json, Malformed, Values};
use crate::{
    context::IoContext,
    error::{Code, Status},
    shares::{self, Share},
};

/// Why a body cannot be read to its end.
pub(crate) type Broken = Box<dyn std::error::Error + Send + Sync>;

/// A request body of HTTP/1 or HTTP/2.
pub(crate) type RequestBody = Pin<Box<dyn Body<Data = Bytes, Error = Broken>>>;

/// Why there is no next value.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It is not JSON.
    Malformed(Malformed),
    /// A limit was reached.
    Limit(Status),
    /// The caller is gone before the end of the body, or breaks the rules of HTTP.
    Broken,
}

impl From<Malformed> for Refusal {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Malformed(malformed) => {
                Self::new(Code::InvalidArgument, malformed.to_string())
            }
            Refusal::Limit(status) => status,
            Refusal::Broken => Self::new(Code::InvalidArgument, "unexpected EOF"),
        }
    }
}

/// The values of a body.
pub(super) struct Incoming {
    body: RequestBody,
    values: Values,
    ended: bool,
    value_bytes_max: usize,
    /// Shared by all bodies.
    waiting: Arc<Semaphore>,
    /// The part of it that this body has taken.
    taken: Option<OwnedSemaphorePermit>,
    /// What its client has in all such bodies.
    counted: shares::Body,
    body_timeout: Duration,
    /// Runs while a value is not complete.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Incoming {
    pub(super) fn new(body: RequestBody, cx: &IoContext, share: &Arc<Share>) -> Self {
        Self::within(
            body,
            share.body(),
            value_bytes_max(cx.options.message_bytes_max()),
            Arc::clone(&cx.gateway.shared.waiting),
            cx.options.body_timeout,
        )
    }

    fn within(
        body: RequestBody,
        counted: shares::Body,
        value_bytes_max: usize,
        waiting: Arc<Semaphore>,
        body_timeout: Duration,
    ) -> Self {
        Self {
            body,
            values: Values::default(),
            ended: false,
            value_bytes_max,
            waiting,
            taken: None,
            counted,
            body_timeout,
            timer: None,
        }
    }

    /// The only value of the body; one that is empty counts as a message without fields. What follows is not read.
    pub(super) async fn only(&mut self) -> Result<Json, Status> {
        self.start_timer();
        let value = poll_fn(|task| self.poll_next(task)).await?;
        Ok(value.unwrap_or_else(Json::empty_object))
    }

    /// The next value, or nothing at the end of the body.
    pub(super) fn poll_next(
        &mut self,
        task: &mut Context<'_>,
    ) -> Poll<Result<Option<Json>, Refusal>> {
        loop {
            if let Some(json) = self.values.next()? {
                self.settle();
                return Poll::Ready(Ok(Some(json)));
            }
            if self.ended {
                let last = self.values.finish()?;
                self.settle();
                return Poll::Ready(Ok(last));
            }
            if self.values.waiting() > self.value_bytes_max {
                return Poll::Ready(Err(Refusal::Limit(too_large(self.value_bytes_max))));
            }
            match self.body.as_mut().poll_frame(task) {
                Poll::Ready(None) => self.ended = true,
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Err(Refusal::Broken)),
                Poll::Ready(Some(Ok(frame))) => {
                    if let Ok(piece) = frame.into_data() {
                        self.take(&piece)?;
                    }
                }
                Poll::Pending => return self.poll_timer(task),
            }
        }
    }

    fn take(&mut self, piece: &[u8]) -> Result<(), Refusal> {
        let counted = self.counted.grow(piece.len());
        counted.map_err(|crowded| Refusal::Limit(crowded.into()))?;
        let wanted = u32::try_from(piece.len()).unwrap_or(u32::MAX);
        let more = Arc::clone(&self.waiting)
            .try_acquire_many_owned(wanted)
            .map_err(|_| Refusal::Limit(busy()))?;
        match &mut self.taken {
            Some(taken) => taken.merge(more),
            taken => *taken = Some(more),
        }
        self.values.push(piece);
        Ok(())
    }

    /// A value is complete; time runs again when the next one has begun.
    fn settle(&mut self) {
        self.timer = None;
        if self.values.waiting() == 0 {
            self.taken = None;
            self.counted.clear();
        }
    }

    fn start_timer(&mut self) {
        self.timer = Some(Box::pin(sleep(self.body_timeout)));
    }

    fn poll_timer<T>(&mut self, task: &mut Context<'_>) -> Poll<Result<T, Refusal>> {
        if self.timer.is_none() && self.values.waiting() > 0 {
            self.start_timer();
        }
        match &mut self.timer {
            Some(timer) => timer
                .as_mut()
                .poll(task)
                .map(|()| Err(Refusal::Limit(too_slow(self.body_timeout)))),
            None => Poll::Pending,
        }
    }
}

/// Base64 takes a third more than what it stands for; the rest is names and blanks.
pub(crate) const fn value_bytes_max(message_bytes_max: usize) -> usize {
    message_bytes_max.saturating_mul(2)
}

fn too_large(max: usize) -> Status {
    Status::new(
        Code::ResourceExhausted,
        format!("kvorum: a JSON message is larger than max ({max} bytes)"),
    )
}

fn too_slow(timeout: Duration) -> Status {
    Status::new(
        Code::DeadlineExceeded,
        format!(
            "kvorum: the rest of the JSON message did not arrive within {} s",
            timeout.as_secs()
        ),
    )
}

fn busy() -> Status {
    Status::new(
        Code::Unavailable,
        "kvorum: too many unfinished JSON messages wait here, try again",
    )
}

#[cfg(test)]
mod tests {
    use futures_util::stream::{self, StreamExt as _};
    use http_body_util::StreamBody;
    use hyper::body::Frame;

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    /// A body of these pieces, after which nothing comes, not even its end.
    fn pieces(pieces: &[&'static str]) -> RequestBody {
        let frames: Vec<_> = pieces
            .iter()
            .map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes()))))
            .collect();
        Box::pin(StreamBody::new(
            stream::iter(frames).chain(stream::pending()),
        ))
    }

    fn incoming(body: &[&'static str], waiting: &Arc<Semaphore>, timeout: Duration) -> Incoming {
        Incoming::within(
            pieces(body),
            Share::endless().body(),
            10,
            Arc::clone(waiting),
            timeout,
        )
    }

    async fn next(incoming: &mut Incoming) -> Result<Option<Json>, Status> {
        poll_fn(|task| incoming.poll_next(task))
            .await
            .map_err(Status::from)
    }

    #[tokio::test]
    async fn a_message_is_there_before_the_body_ends() {
        let waiting = Arc::new(Semaphore::new(100));
        let mut incoming = incoming(&["{\"a\"", ":1}{", "}"], &waiting, LONG);
        for expected in ["{\"a\":1}", "{}"] {
            let json = next(&mut incoming).await.expect("valid").expect("complete");
            assert_eq!(json.bytes(), expected.as_bytes());
        }
        assert_eq!(waiting.available_permits(), 100, "all is given back");
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_no_empty_message() {
        let waiting = Arc::new(Semaphore::new(100));
        for begun in ["", "{", "{} "] {
            let frames = [
                Ok(Frame::data(Bytes::from_static(begun.as_bytes()))),
                Err(Broken::from("the caller is gone")),
            ];
            let body: RequestBody = Box::pin(StreamBody::new(stream::iter(frames)));
            let mut incoming = Incoming::within(
                body,
                Share::endless().body(),
                10,
                Arc::clone(&waiting),
                LONG,
            );
            if begun.starts_with("{}") {
                next(&mut incoming).await.expect("valid").expect("complete");
            }
            let status = incoming.only().await.expect_err("broken");
            assert_eq!(
                (status.code, &*status.message),
                (Code::InvalidArgument, "unexpected EOF"),
                "{begun:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_message_that_grows_too_large_is_refused() {
        let waiting = Arc::new(Semaphore::new(100));
        let mut incoming = incoming(&["{\"a\":\"", "01234567"], &waiting, LONG);
        let status = next(&mut incoming).await.expect_err("too large");
        assert_eq!(status.code, Code::ResourceExhausted);
        assert_eq!(
            status.message,
            "kvorum: a JSON message is larger than max (10 bytes)"
        );
    }

    #[tokio::test]
    async fn a_message_that_stops_arriving_is_refused() {
        let waiting = Arc::new(Semaphore::new(100));
        let mut slow = incoming(&["{"], &waiting, Duration::ZERO);
        let status = next(&mut slow).await.expect_err("too slow");
        assert_eq!(status.code, Code::DeadlineExceeded);
        // Who awaits the only message of a body does not wait for its first byte for ever either.
        let mut silent = incoming(&[], &waiting, Duration::ZERO);
        let status = silent.only().await.expect_err("too slow");
        assert_eq!(status.code, Code::DeadlineExceeded);
    }

    #[tokio::test]
    async fn messages_that_wait_share_their_room() {
        let waiting = Arc::new(Semaphore::new(8));
        let mut first = incoming(&["[1234"], &waiting, Duration::ZERO);
        assert!(next(&mut first).await.is_err(), "it is not complete");
        let mut second = incoming(&["[1234"], &waiting, LONG);
        let status = next(&mut second).await.expect_err("there is no room");
        assert_eq!(status.code, Code::Unavailable);
        drop(first);
        assert_eq!(waiting.available_permits(), 8);
    }
}
