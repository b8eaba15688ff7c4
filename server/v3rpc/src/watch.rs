//! The Watch service: one stream of requests and responses per caller.
//!
//! Responses come encoded from the member, in two pieces of which the second is shared by all watchers that get the
//! same events. Small ones that are ready together leave as one piece.

use std::{
    future::poll_fn,
    pin::pin,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use kvorum_member::{WatchFrame, WatchStream};

use crate::{
    context::IoContext,
    error::Status,
    frame::{PREFIX_BYTES, Payload, decode_streamed, put_prefix},
    identity::Credentials,
    incoming::Messages,
    stream::{Ending, Outgoing},
};

/// Events up to this size are copied next to their neighbours; larger ones are shared.
const COPY_BYTES_MAX: usize = 4 * 1024;
/// Requests of one stream that are looked at before others of the thread have their turn.
const REQUESTS_PER_TURN: u32 = 64;
/// So much is gathered before it is sent.
const BATCH_BYTES: usize = 64 * 1024;

/// What a stream waits for.
enum Event {
    Request(Bytes),
    /// The caller sends no more; its watchers stay.
    HalfClosed,
    Response(WatchFrame),
    MemberStopped,
    Failed(Ending),
}

/// Serves one watch stream until the caller or the member ends it.
pub(crate) async fn watch(
    cx: &IoContext,
    credentials: &Credentials,
    messages: &mut Messages,
    out: &mut Outgoing<'_>,
) -> Result<(), Ending> {
    let mut stream = cx.handle.watch(cx.options.message_bytes_max());
    let mut half_closed = false;
    let mut requests = 0_u32;
    loop {
        match next_event(&mut stream, messages, half_closed, out).await {
            Event::Request(message) => {
                out.count_received(message.len());
                let request = decode_streamed(message)?;
                // A stream may live longer than a token: as in etcd, each request is looked at for itself, and the
                // stream goes on without a watch that is refused.
                match credentials.caller(&cx.handle).await {
                    Ok(caller) => stream.request(&caller, request),
                    Err(refused) => stream.request_refused(refused, request),
                }
                requests = requests.wrapping_add(1);
                if requests.is_multiple_of(REQUESTS_PER_TURN) {
                    tokio::task::yield_now().await;
                }
            }
            Event::HalfClosed => half_closed = true,
            Event::Response(first) => respond(&mut stream, first, out).await?,
            Event::MemberStopped => return Err(Status::watch_canceled().into()),
            Event::Failed(ending) => return Err(ending),
        }
    }
}

/// Requests go first, so that a cancel is not late behind a flood of events.
async fn next_event(
    stream: &mut WatchStream,
    messages: &mut Messages,
    half_closed: bool,
    out: &mut Outgoing<'_>,
) -> Event {
    let mut response = pin!(stream.next());
    poll_fn(|task| {
        if !half_closed && let Poll::Ready(event) = poll_request(messages, task) {
            return Poll::Ready(event);
        }
        if let Poll::Ready(response) = response.as_mut().poll(task) {
            return Poll::Ready(response.map_or(Event::MemberStopped, Event::Response));
        }
        out.poll_gone(task).map(|()| Event::Failed(Ending::Gone))
    })
    .await
}

fn poll_request(messages: &mut Messages, task: &mut Context<'_>) -> Poll<Event> {
    messages.poll_next(task).map(|request| match request {
        Ok(Some(message)) => Event::Request(message),
        Ok(None) => Event::HalfClosed,
        Err(status) => Event::Failed(status.into()),
    })
}

/// Sends `first` and what is ready behind it.
async fn respond(
    stream: &mut WatchStream,
    first: WatchFrame,
    out: &mut Outgoing<'_>,
) -> Result<(), Ending> {
    let mut batch = Batch::default();
    batch.add(first)?;
    while batch.bytes < BATCH_BYTES
        && let Some(frame) = stream.try_next()
    {
        batch.add(frame)?;
    }
    for (payload, messages) in batch.finish() {
        out.send(payload, messages).await?;
    }
    Ok(())
}

/// Responses on their way into as few pieces as possible.
#[derive(Default)]
struct Batch {
    done: Vec<(Payload, usize)>,
    copied: BytesMut,
    copied_messages: usize,
    bytes: usize,
}

impl Batch {
    fn add(&mut self, frame: WatchFrame) -> Result<(), Status> {
        let message_bytes = frame.head.len() + frame.body.len();
        let copies = frame.body.len() <= COPY_BYTES_MAX;
        self.copied.reserve(
            PREFIX_BYTES
                + if copies {
                    message_bytes
                } else {
                    frame.head.len()
                },
        );
        put_prefix(&mut self.copied, message_bytes)?;
        self.copied.extend_from_slice(&frame.head);
        self.copied_messages += 1;
        self.bytes += PREFIX_BYTES + message_bytes;
        if copies {
            self.copied.extend_from_slice(&frame.body);
        } else {
            let head = self.copied.split().freeze();
            self.done
                .push((Payload::Two(head, frame.body), self.copied_messages));
            self.copied_messages = 0;
        }
        Ok(())
    }

    /// The pieces, each with the number of messages in it.
    fn finish(mut self) -> Vec<(Payload, usize)> {
        if self.copied_messages > 0 {
            self.done
                .push((Payload::One(self.copied.freeze()), self.copied_messages));
        }
        self.done
    }
}

#[cfg(test)]
mod tests {
    use bytes::Buf;

    use super::*;

    fn frame(head: &'static [u8], body: Bytes) -> WatchFrame {
        WatchFrame {
            head: Bytes::from_static(head),
            body,
            events: 1,
        }
    }

    #[test]
    fn small_responses_leave_together_and_large_ones_are_shared() {
        let large = Bytes::from(vec![9; COPY_BYTES_MAX + 1]);
        let mut batch = Batch::default();
        batch
            .add(frame(b"a", Bytes::from_static(b"bc")))
            .expect("small");
        batch.add(frame(b"d", Bytes::new())).expect("small");
        batch.add(frame(b"e", large.clone())).expect("small");
        batch.add(frame(b"f", Bytes::new())).expect("small");
        let mut pieces = batch.finish();
        assert_eq!(
            pieces.iter().map(|piece| piece.1).collect::<Vec<_>>(),
            [3, 1]
        );
        let Payload::Two(head, body) = &pieces[0].0 else {
            panic!("not shared")
        };
        assert_eq!(body.as_ptr(), large.as_ptr());
        assert_eq!(&head[..], b"\0\0\0\0\x03abc\0\0\0\0\x01d\0\0\0\x10\x02e");
        let last = pieces[1].0.copy_to_bytes(6);
        assert_eq!(&last[..], b"\0\0\0\0\x01f");
    }
}
