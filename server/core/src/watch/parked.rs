//! Unsynced watchers whose client does not read: they are out of the way until there is room in their stream again, so
//! that however many there are, the others' way through history is not longer.

use std::collections::{BTreeMap, BTreeSet};

use super::hub::WatcherKey;
use super::stream::StreamId;

/// A watcher and where it goes on.
type Place = (i64, WatcherKey);

#[derive(Debug, Default)]
pub(super) struct Parked {
    streams: BTreeMap<StreamId, BTreeSet<Place>>,
    /// Those that have room now.
    ready: BTreeSet<StreamId>,
    count: usize,
}

impl Parked {
    /// Watchers that are parked.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn park(&mut self, stream: StreamId, place: Place) {
        let places = self.streams.entry(stream).or_default();
        self.count += usize::from(places.insert(place));
    }

    /// A watcher ends.
    pub(super) fn remove(&mut self, stream: StreamId, place: Place) {
        let Some(places) = self.streams.get_mut(&stream) else {
            return;
        };
        self.count -= usize::from(places.remove(&place));
        if places.is_empty() {
            self.streams.remove(&stream);
            self.ready.remove(&stream);
        }
    }

    /// A stream has room again.
    pub(super) fn has_room(&mut self, stream: StreamId) {
        if self.streams.contains_key(&stream) {
            self.ready.insert(stream);
        }
    }

    /// True if someone can go on.
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Takes up to `count` watchers of streams that have room.
    pub(super) fn take_ready(&mut self, count: usize) -> Vec<Place> {
        let mut taken = Vec::new();
        while taken.len() < count
            && let Some(stream) = self.ready.first().copied()
        {
            match self.streams.get_mut(&stream).and_then(BTreeSet::pop_first) {
                Some(place) => taken.push(place),
                None => {
                    self.ready.remove(&stream);
                    self.streams.remove(&stream);
                }
            }
        }
        self.count -= taken.len();
        taken
    }

    /// A stream that was ready has no room any more; what it has parked stays.
    pub(super) fn is_full(&mut self, stream: StreamId) {
        self.ready.remove(&stream);
    }
}
