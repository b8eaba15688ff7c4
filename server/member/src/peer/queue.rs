//! What waits to be sent on one lane to one peer: bounded in bytes, and empty while nobody is connected.

use parking_lot::Mutex;
use prost::Message;
use tokio::sync::Notify;

use super::PeerMessage;

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// It waits for the connection's next write.
    Queued,
    /// It is gone.
    Dropped {
        /// The first one since the last that was queued: raft should hear of it.
        first: bool,
    },
}

#[derive(Debug, Default)]
struct Waiting {
    messages: Vec<PeerMessage>,
    bytes: usize,
    open: bool,
    /// Something was dropped and nothing queued since.
    dropping: bool,
}

/// One lane's queue.
#[derive(Debug)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    arrived: Notify,
    bytes_max: usize,
}

impl Queue {
    /// Closed: everything is dropped until a connection opens it.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            waiting: Mutex::default(),
            arrived: Notify::new(),
            bytes_max,
        }
    }

    /// Takes a message, unless nobody is connected or too much waits already. A message that alone is larger than the
    /// bound is taken by an empty queue.
    pub(crate) fn push(&self, message: PeerMessage) -> Pushed {
        let len = message.encoded_len();
        let mut waiting = self.waiting.lock();
        let full = waiting.bytes > 0 && waiting.bytes + len > self.bytes_max;
        if !waiting.open || full || len >= super::frame::FRAME_BYTES_MAX {
            let first = !std::mem::replace(&mut waiting.dropping, true);
            return Pushed::Dropped { first };
        }
        waiting.dropping = false;
        waiting.bytes += len.max(1);
        let wake = waiting.messages.is_empty();
        waiting.messages.push(message);
        drop(waiting);
        if wake {
            self.arrived.notify_one();
        }
        Pushed::Queued
    }

    /// Takes all that waits.
    pub(crate) fn take(&self, into: &mut Vec<PeerMessage>) {
        let mut waiting = self.waiting.lock();
        std::mem::swap(&mut waiting.messages, into);
        waiting.bytes = 0;
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.waiting.lock().bytes
    }

    /// Ends once something may have come.
    pub(crate) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// A connection takes over.
    pub(crate) fn open(&self) {
        let mut waiting = self.waiting.lock();
        waiting.open = true;
        waiting.dropping = false;
    }

    /// The connection is gone, and so is what waited for it: how many messages.
    pub(crate) fn close(&self) -> usize {
        let mut waiting = self.waiting.lock();
        waiting.open = false;
        waiting.bytes = 0;
        std::mem::take(&mut waiting.messages).len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{message, number_of};
    use super::*;

    #[test]
    fn nothing_waits_for_a_connection_that_is_not_there() {
        let queue = Queue::new(1000);
        assert_eq!(
            queue.push(message(1, 0)),
            Pushed::Dropped { first: true },
            "closed"
        );
        assert_eq!(
            queue.push(message(2, 0)),
            Pushed::Dropped { first: false },
            "told once"
        );
        queue.open();
        assert_eq!(queue.push(message(3, 0)), Pushed::Queued);
        assert_eq!(queue.close(), 1, "what waited is lost with the connection");
        queue.open();
        let mut taken = Vec::new();
        queue.take(&mut taken);
        assert!(taken.is_empty());
    }

    #[test]
    fn a_full_queue_drops_the_newest_and_says_so_once() {
        let queue = Queue::new(250);
        queue.open();
        assert_eq!(queue.push(message(1, 100)), Pushed::Queued);
        assert_eq!(queue.push(message(2, 100)), Pushed::Queued);
        assert_eq!(queue.push(message(3, 100)), Pushed::Dropped { first: true });
        assert_eq!(
            queue.push(message(4, 100)),
            Pushed::Dropped { first: false }
        );
        let mut taken = Vec::new();
        queue.take(&mut taken);
        let numbers: Vec<u64> = taken.iter().map(number_of).collect();
        assert_eq!(numbers, [1, 2], "in order");
        assert_eq!(
            queue.push(message(5, 1000)),
            Pushed::Queued,
            "an empty queue takes one of any size"
        );
        assert_eq!(
            queue.push(message(6, 1)),
            Pushed::Dropped { first: true },
            "and is full then"
        );
    }
}
