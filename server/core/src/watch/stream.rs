//! One client's watch stream: its watchers and the responses that wait to be sent.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::hub::WatcherKey;
use crate::types::WatchId;

/// Names a stream inside its hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// One `WatchResponse`, as two pieces of its encoding; `body` is shared by all watchers that get the same events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// Header, watch id and flags, encoded.
    pub head: Bytes,
    /// The events, encoded; may be empty.
    pub body: Bytes,
    /// How many events these are.
    pub events: usize,
}

impl Frame {
    /// Length of the whole message, bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }

    /// True for the empty message.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A stream whose client has this much to read gets nothing new: its watchers fall back to history.
const WAITING_BYTES_MAX: usize = 1 << 20;
const WAITING_FRAMES_MAX: usize = 1024;
/// The same, once too much waits on all streams together.
const PRESSED_BYTES_MAX: usize = 64 << 10;
/// What a response costs beside its bytes.
const FRAME_BYTES: usize = 2 * size_of::<Frame>();

/// What waits on all streams of a hub.
#[derive(Debug, Default)]
pub(super) struct Pressure {
    bytes: usize,
    bytes_max: usize,
}

impl Pressure {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes: 0,
            bytes_max,
        }
    }

    pub(super) fn waits(&mut self, frame: &Frame) {
        self.bytes += frame.len() + FRAME_BYTES;
    }

    pub(super) fn taken(&mut self, frame: &Frame) {
        self.bytes = self.bytes.saturating_sub(frame.len() + FRAME_BYTES);
    }

    fn stream_bytes_max(&self) -> usize {
        match self.bytes > self.bytes_max {
            true => PRESSED_BYTES_MAX,
            false => WAITING_BYTES_MAX,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Stream {
    pub(super) watchers: BTreeMap<WatchId, WatcherKey>,
    pub(super) next_id: i64,
    pub(super) fragment_bytes: usize,
    /// A progress request waits until the hub has come this far.
    pub(super) progress_at: Option<i64>,
    waiting: VecDeque<Frame>,
    waiting_bytes: usize,
}

impl Stream {
    pub(super) fn new(fragment_bytes: usize) -> Self {
        Self {
            fragment_bytes,
            ..Self::default()
        }
    }

    pub(super) fn push(&mut self, frame: Frame) {
        self.waiting_bytes += frame.len();
        self.waiting.push_back(frame);
    }

    pub(super) fn pop(&mut self) -> Option<Frame> {
        let frame = self.waiting.pop_front()?;
        self.waiting_bytes -= frame.len();
        Some(frame)
    }

    /// Events in the responses that wait.
    pub(super) fn waiting_events(&self) -> usize {
        self.waiting.iter().map(|frame| frame.events).sum()
    }

    pub(super) fn is_full(&self, pressure: &Pressure) -> bool {
        self.waiting_bytes > pressure.stream_bytes_max() || self.waiting.len() > WAITING_FRAMES_MAX
    }

    /// Room enough to go on with history: not at the very edge, so that a page is worth its cost.
    pub(super) fn has_room(&self, pressure: &Pressure) -> bool {
        self.waiting_bytes <= pressure.stream_bytes_max() / 2
            && self.waiting.len() <= WAITING_FRAMES_MAX / 2
    }

    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }
}
