//! The messages of a request, received within a deadline and, where they are large, within a budget.
//!
//! A message says its length first. One that has not come whole takes that length of a budget before the caller may
//! send the rest, so half-received messages of all callers together are bounded; and it must come within a time that
//! depends on its length, so that nobody holds that memory for ever.

use std::{
    future::poll_fn,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use h2::RecvStream;
use kvorum_member::{Budget, Hold};
use tokio::time::{Sleep, sleep};

use crate::{
    arrivals::{self, Arriving, Wait},
    compression::Encoding,
    crowded::Crowded,
    error::{Code, Status},
    frame::{Frames, PREFIX_BYTES},
    shares::Share,
};

/// What a caller must manage at least, beside the time every message has.
const BYTES_PER_SECOND_MIN: u64 = 16 * 1024;

/// Limits of what is received, the same for all calls.
#[derive(Clone, Debug)]
pub(crate) struct Receiving {
    pub(crate) message_bytes_max: usize,
    pub(crate) body_timeout: Duration,
    pub(crate) budget: Arc<Budget>,
}

/// Memory for a message under way.
enum Room {
    /// Nobody knows how large it is, or it needs none.
    Unasked,
    /// Other messages of the same client have it.
    BehindOwn(Wait),
    /// Those of others have it.
    BehindOthers(Wait),
    Held(Arriving),
}

/// The messages of a request body, in order.
pub(crate) struct Messages {
    body: RecvStream,
    frames: Frames,
    limits: Receiving,
    share: Arc<Share>,
    room: Room,
    /// What the last message had taken, until the next one is asked for.
    taken: Option<Hold>,
    /// Received, and the caller was not yet told that it may send as much again.
    unreleased: usize,
    /// Runs while a message is owed.
    timer: Option<Pin<Box<Sleep>>>,
    /// The caller owes a message although nothing of it has come.
    owed: bool,
    /// What half a message is refused with: another code in a stream than in a unary call, as in grpc-go.
    half: Code,
}

impl Messages {
    /// The messages of a stream.
    pub(crate) fn new(
        body: RecvStream,
        limits: &Receiving,
        share: &Arc<Share>,
        encoding: Encoding,
    ) -> Self {
        Self {
            body,
            frames: Frames::new(limits.message_bytes_max, encoding),
            limits: limits.clone(),
            share: Arc::clone(share),
            room: Room::Unasked,
            taken: None,
            unreleased: 0,
            timer: None,
            owed: false,
            half: Code::Internal,
        }
    }

    /// The message of a unary call, and what it has taken of the budget.
    pub(crate) async fn of_unary(
        body: RecvStream,
        limits: &Receiving,
        share: &Arc<Share>,
        encoding: Encoding,
    ) -> Result<(Bytes, Option<Hold>), Status> {
        let mut messages = Self {
            owed: true,
            half: Code::Unknown,
            ..Self::new(body, limits, share, encoding)
        };
        let message = messages.next().await?;
        let message = message.ok_or_else(|| Status::new(Code::Unknown, "EOF"))?;
        Ok((message, messages.taken()))
    }

    /// What the last message has taken of the budget. Given back with the next one if nobody asks for it.
    pub(crate) fn taken(&mut self) -> Option<Hold> {
        self.taken.take()
    }

    /// The next message, or `None` when the caller has sent its last one.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        poll_fn(|task| self.poll_next(task)).await
    }

    /// The message of a caller who sends one and gets a stream, and what it has taken of the budget.
    pub(crate) async fn only(&mut self) -> Result<(Bytes, Option<Hold>), Status> {
        self.owed = true;
        let message = self.next().await?;
        let message = message.ok_or_else(|| {
            Status::internal(
                "cardinality violation: received no request message from non-client-streaming RPC",
            )
        })?;
        Ok((message, self.taken()))
    }

    /// Polls for what `next` waits for.
    pub(crate) fn poll_next(
        &mut self,
        task: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, Status>> {
        self.taken = None;
        loop {
            if let Some(message) = self.frames.take()? {
                self.release();
                self.taken = match mem::replace(&mut self.room, Room::Unasked) {
                    Room::Held(room) => Some(room.into_hold()),
                    _ => None,
                };
                self.timer = None;
                self.owed = false;
                return Poll::Ready(Ok(Some(message)));
            }
            match self.poll_room(task) {
                Poll::Ready(room) => room?,
                Poll::Pending => return self.poll_late(task),
            }
            self.release();
            match self.body.poll_data(task) {
                Poll::Pending => return self.poll_late(task),
                Poll::Ready(None) if self.frames.is_over() => return Poll::Ready(Ok(None)),
                Poll::Ready(None) => {
                    return Poll::Ready(Err(Status::new(self.half, "unexpected EOF")));
                }
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Err(Status::canceled())),
                Poll::Ready(Some(Ok(chunk))) => {
                    self.unreleased += chunk.len();
                    self.frames.push(chunk);
                }
            }
        }
    }

    /// Lets the caller send as much again as has come.
    fn release(&mut self) {
        let bytes = mem::take(&mut self.unreleased);
        if bytes > 0 {
            // Fails only if the stream is gone, which the next poll reports.
            let _ = self.body.flow_control().release_capacity(bytes);
        }
    }

    /// Ready once the message under way has room, or needs none.
    fn poll_room(&mut self, task: &mut Context<'_>) -> Poll<Result<(), Status>> {
        if matches!(self.room, Room::Unasked)
            && let Some(message_bytes) = self.frames.incomplete()
        {
            let arriving = self.share.arriving();
            self.room = match arriving.room(&self.limits.budget, message_bytes) {
                arrivals::Room::Now(room) => Room::Held(room),
                arrivals::Room::BehindOwn(wait) => Room::BehindOwn(wait),
                arrivals::Room::BehindOthers(wait) => Room::BehindOthers(wait),
            };
        }
        if let Room::BehindOwn(wait) | Room::BehindOthers(wait) = &mut self.room {
            self.room = match ready!(wait.as_mut().poll(task)) {
                Ok(room) => Room::Held(room),
                Err(error) => return Poll::Ready(Err(error.into())),
            };
        }
        Poll::Ready(Ok(()))
    }

    /// Ready, with a refusal, if a message is owed for too long.
    fn poll_late(&mut self, task: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Status>> {
        if !self.owed && self.frames.is_empty() {
            return Poll::Pending;
        }
        let message_bytes = self.frames.incomplete();
        let timer = self.timer.get_or_insert_with(|| {
            let bytes = message_bytes.unwrap_or_default() as u64;
            let carry = Duration::from_secs(bytes / BYTES_PER_SECOND_MIN);
            Box::pin(sleep(self.limits.body_timeout + carry))
        });
        ready!(timer.as_mut().poll(task));
        if let Room::BehindOwn(_) = self.room {
            let max = self.share.arriving().bytes();
            return Poll::Ready(Err(Crowded::Arriving(max).into()));
        }
        let came = self.frames.len().saturating_sub(PREFIX_BYTES);
        let of = message_bytes.map_or(String::new(), |bytes| format!(" of {bytes}"));
        Poll::Ready(Err(Status::new(
            Code::DeadlineExceeded,
            format!("kvorum: the request's message did not come in time: {came}{of} bytes came"),
        )))
    }
}
