//! The hub: all watchers of one I/O thread.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use kvorum_proto::etcdserverpb as pb;
use prost::Message;

use super::body::{Body, Piece, has_before, live_body};
use super::group::{Groups, Wanted};
use super::history::History;
use super::parked::Parked;
use super::stream::{Frame, Pressure, Stream, StreamId};
use crate::auth::Caller;
use crate::backend::{BackendError, Record};
use crate::mutants::{self, Mutant};
use crate::mvcc::Event;
use crate::mvcc::encoding::key_of;
use crate::types::{ClusterId, MemberId, Term, WatchId};

/// What every response header says beside the revision.
#[derive(Clone, Copy, Debug, Default)]
pub struct Header {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// The member that answers.
    pub member_id: MemberId,
    /// The current term.
    pub term: Term,
}

/// The events of one apply pass: whole revisions, in order, none missing between `first` and `last`.
#[derive(Clone, Debug, Default)]
pub struct EventBatch {
    /// First main revision in the batch.
    pub first: i64,
    /// Last main revision in the batch.
    pub last: i64,
    /// The term in which they were applied.
    pub term: Term,
    /// The changes.
    pub events: Vec<Event>,
}

/// Names a watcher inside its hub; never used again after it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WatcherKey(u64);

#[derive(Debug)]
pub(super) struct Watcher {
    pub(super) stream: StreamId,
    pub(super) id: WatchId,
    /// Who asked for it.
    pub(super) owner: Caller,
    pub(super) wanted: Wanted,
    /// It has everything before this main revision.
    pub(super) next: i64,
    /// It was asked to begin here; 0 for "now".
    pub(super) first: i64,
    pub(super) fragment: bool,
    pub(super) progress_notify: bool,
    /// Nothing was sent since the last progress tick.
    pub(super) quiet: bool,
    pub(super) synced: bool,
}

/// A response without events.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) revision: i64,
    pub(super) id: WatchId,
    pub(super) created: bool,
    pub(super) canceled: bool,
    pub(super) compacted: i64,
    pub(super) reason: String,
}

/// Records per page of history, and watchers that share one.
const PAGE_RECORDS: usize = 1000;
const PAGE_WATCHERS: usize = 512;
/// A page that holds more than this is followed by a shorter one.
const PAGE_BYTES: usize = 1 << 20;
/// Events that are encoded in one go, bytes; then others of this thread have their turn.
const TURN_BYTES: usize = 1 << 20;
/// What may wait on all streams of a hub together, unless it is told otherwise.
const WAITING_BYTES_MAX: usize = 32 << 20;

/// All watchers of one I/O thread.
#[derive(Debug, Default)]
pub struct Hub {
    header: Header,
    /// Synced watchers have everything up to here.
    revision: i64,
    streams: BTreeMap<StreamId, Stream>,
    watchers: BTreeMap<WatcherKey, Watcher>,
    groups: Groups,
    unsynced: BTreeSet<(i64, WatcherKey)>,
    /// Unsynced too, but their streams have no room.
    parked: Parked,
    pressure: Pressure,
    page_records: usize,
    last_stream: u64,
    last_watcher: u64,
    /// Streams that got something to send since they were last asked for.
    woken: BTreeSet<StreamId>,
}

impl Hub {
    /// A hub without watchers.
    #[must_use]
    pub fn new(header: Header) -> Self {
        Self {
            header,
            pressure: Pressure::new(WAITING_BYTES_MAX),
            page_records: PAGE_RECORDS / 64,
            ..Self::default()
        }
    }

    /// Bounds what waits on all streams together. Beyond it a stream keeps only a little for a client that is slow.
    pub fn set_waiting_bytes_max(&mut self, bytes: usize) {
        self.pressure = Pressure::new(bytes);
    }

    /// The term that headers carry from now on.
    pub fn set_term(&mut self, term: Term) {
        self.header.term = term;
    }

    /// Number of watchers.
    #[must_use]
    pub fn watchers(&self) -> usize {
        self.watchers.len()
    }

    /// Number of streams.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Number of watchers that are on their way through history, or wait for their client to read.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        self.unsynced.len() + self.parked.len()
    }

    /// Number of events that wait to be taken.
    #[must_use]
    pub fn waiting_events(&self) -> usize {
        self.streams.values().map(Stream::waiting_events).sum()
    }

    /// Synced watchers have everything up to this main revision.
    #[must_use]
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// Opens a stream. Responses are split from `fragment_bytes` on for watchers that allow it.
    pub fn open(&mut self, fragment_bytes: usize) -> StreamId {
        self.last_stream += 1;
        let id = StreamId(self.last_stream);
        self.streams.insert(id, Stream::new(fragment_bytes));
        id
    }

    /// Closes a stream with all its watchers.
    pub fn close(&mut self, stream: StreamId) {
        if let Some(s) = self.streams.get(&stream) {
            for key in s.watchers.values().copied().collect::<Vec<_>>() {
                self.remove(key);
            }
        }
        if let Some(mut gone) = self.streams.remove(&stream) {
            while let Some(frame) = gone.pop() {
                self.pressure.taken(&frame);
            }
        }
        self.woken.remove(&stream);
    }

    /// The next response of a stream.
    pub fn take(&mut self, stream: StreamId) -> Option<Frame> {
        let waiting = self.streams.get_mut(&stream)?;
        let frame = waiting.pop()?;
        self.pressure.taken(&frame);
        if waiting.has_room(&self.pressure) {
            self.parked.has_room(stream);
        }
        Some(frame)
    }

    /// Streams that got something to send since the last call.
    pub fn take_woken(&mut self) -> BTreeSet<StreamId> {
        std::mem::take(&mut self.woken)
    }

    /// True if some watcher is on its way through history.
    #[must_use]
    pub fn has_unsynced(&self) -> bool {
        !self.unsynced.is_empty() || self.parked.has_ready()
    }

    fn push(&mut self, stream: StreamId, frame: Frame) {
        if let Some(s) = self.streams.get_mut(&stream) {
            if !s.is_waiting() {
                self.woken.insert(stream);
            }
            self.pressure.waits(&frame);
            s.push(frame);
        }
    }

    pub(super) fn watchers_mut(&mut self) -> &mut BTreeMap<WatcherKey, Watcher> {
        &mut self.watchers
    }

    pub(super) fn stream_mut(&mut self, stream: StreamId) -> Option<&mut Stream> {
        self.streams.get_mut(&stream)
    }

    /// True if the watcher has everything there is, and was not asked to begin later than that.
    pub(super) fn stands_at_end(&self, key: WatcherKey) -> bool {
        let watcher = self.watchers.get(&key);
        watcher.is_some_and(|w| w.synced && w.first <= self.revision)
    }

    pub(super) fn tell(&mut self, stream: StreamId, told: &Told) {
        let head = self.head(told, false);
        let frame = Frame {
            head,
            ..Frame::default()
        };
        self.push(stream, frame);
    }

    fn head(&self, told: &Told, fragment: bool) -> bytes::Bytes {
        let response = pb::WatchResponse {
            header: Some(pb::ResponseHeader {
                cluster_id: self.header.cluster_id.0,
                member_id: self.header.member_id.0,
                revision: told.revision,
                raft_term: self.header.term.0,
            }),
            watch_id: told.id.0,
            created: told.created,
            canceled: told.canceled,
            compact_revision: told.compacted,
            cancel_reason: told.reason.clone(),
            fragment,
            events: Vec::new(),
        };
        response.encode_to_vec().into()
    }

    /// Adds a watcher. `current` is the store's revision.
    pub(super) fn add(&mut self, watcher: Watcher, current: i64) {
        if self.watchers.is_empty() {
            // Nobody listened until now: what the store has is history.
            self.revision = self.revision.max(current);
        }
        self.last_watcher += 1;
        let key = WatcherKey(self.last_watcher);
        if let Some(s) = self.streams.get_mut(&watcher.stream) {
            s.watchers.insert(watcher.id, key);
            let next = watcher.next;
            self.watchers.insert(key, watcher);
            self.place(key, next);
        }
    }

    /// Puts a watcher where it belongs: at the end of history, or on the way there.
    fn place(&mut self, key: WatcherKey, next: i64) {
        let Some(w) = self.watchers.get_mut(&key) else {
            return;
        };
        w.next = next;
        w.synced = next > self.revision;
        if w.synced {
            self.groups.join(&w.wanted, key);
        } else {
            self.unsynced.insert((next, key));
        }
    }

    pub(super) fn remove(&mut self, key: WatcherKey) {
        let Some(w) = self.watchers.remove(&key) else {
            return;
        };
        if w.synced {
            self.groups.leave(&w.wanted, key);
        } else if !self.unsynced.remove(&(w.next, key)) {
            self.parked.remove(w.stream, (w.next, key));
        }
        if let Some(s) = self.streams.get_mut(&w.stream) {
            s.watchers.remove(&w.id);
        }
    }

    /// Takes the events of an apply pass. `history` is asked for previous pairs.
    ///
    /// # Errors
    /// The state store failed.
    pub fn publish(
        &mut self,
        batch: &EventBatch,
        history: &dyn History,
    ) -> Result<(), BackendError> {
        if batch.last <= self.revision {
            return Ok(());
        }
        self.header.term = batch.term;
        if batch.first > self.revision + 1 {
            self.fall_back(self.revision + 1);
            self.revision = batch.first - 1;
        }
        let seen = self.revision;
        let fresh = batch
            .events
            .iter()
            .filter(|e| e.record.revision.main > seen);
        let mut matched: BTreeMap<Wanted, Vec<&Event>> = BTreeMap::new();
        for event in fresh {
            let key = key_of(&event.record.kv);
            for wanted in self.groups.matching(key, event.record.tombstone) {
                match matched.get_mut(wanted) {
                    Some(events) => events.push(event),
                    None => drop(matched.insert(wanted.clone(), vec![event])),
                }
            }
        }
        for (wanted, events) in matched {
            self.publish_group(&wanted, &events, history)?;
        }
        self.revision = batch.last;
        let waiting = self.streams.iter().filter(|(_, s)| s.progress_at.is_some());
        for stream in waiting.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.answer_progress(stream);
        }
        Ok(())
    }

    fn publish_group(
        &mut self,
        wanted: &Wanted,
        events: &[&Event],
        history: &dyn History,
    ) -> Result<(), BackendError> {
        let first = events.first().map_or(0, |e| e.record.revision.main);
        let mut shared: BTreeMap<Option<usize>, Vec<Piece>> = BTreeMap::new();
        for key in self.groups.members(wanted).collect::<Vec<_>>() {
            let Some(w) = self.watchers.get(&key) else {
                continue;
            };
            let Some(stream) = self.streams.get(&w.stream) else {
                continue;
            };
            if stream.is_full(&self.pressure) {
                let next = w.next.max(self.revision + 1);
                self.unsync(key, next);
                continue;
            }
            let fragment = w.fragment.then_some(stream.fragment_bytes);
            if w.next <= first {
                let pieces = match shared.entry(fragment) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(new) => {
                        new.insert(live_body(wanted, events, history)?.cut(fragment))
                    }
                };
                self.send(key, pieces, None);
            } else {
                let rest = events.iter().position(|e| e.record.revision.main >= w.next);
                let rest = rest.and_then(|i| events.get(i..)).unwrap_or_default();
                let pieces = live_body(wanted, rest, history)?.cut(fragment);
                self.send(key, &pieces, None);
            }
        }
        Ok(())
    }

    /// Queues responses; their header carries the newest revision in each, or `revision`.
    fn send(&mut self, key: WatcherKey, pieces: &[Piece], revision: Option<i64>) {
        let Some(w) = self.watchers.get_mut(&key) else {
            return;
        };
        w.quiet = false;
        let (stream, id) = (w.stream, w.id);
        for piece in pieces {
            let told = Told {
                revision: revision.unwrap_or(piece.main),
                id,
                ..Told::default()
            };
            let head = self.head(&told, piece.fragment);
            let frame = Frame {
                head,
                body: piece.bytes.clone(),
                events: piece.events,
            };
            self.push(stream, frame);
        }
    }

    fn unsync(&mut self, key: WatcherKey, next: i64) {
        if let Some(w) = self.watchers.get_mut(&key)
            && w.synced
        {
            self.groups.leave(&w.wanted, key);
            w.synced = false;
            w.next = next;
            self.unsynced.insert((next, key));
        }
    }

    /// A batch is missing: every synced watcher gets the gap from history.
    fn fall_back(&mut self, from: i64) {
        let from = if mutants::on(Mutant::OldMinimum) {
            0
        } else {
            from
        };
        let synced = self.watchers.iter().filter(|(_, w)| w.synced);
        let list: Vec<_> = synced.map(|(k, w)| (*k, w.next.max(from))).collect();
        for (key, next) in list {
            self.unsync(key, next);
        }
    }

    /// Brings unsynced watchers one page further. True if another call has more to do now.
    ///
    /// # Errors
    /// The state store failed.
    pub fn catch_up(&mut self, history: &dyn History) -> Result<bool, BackendError> {
        self.unsynced.extend(self.parked.take_ready(PAGE_WATCHERS));
        if !mutants::on(Mutant::SilentCompaction) {
            self.end_compacted(history.compacted());
        }
        let movable = self.movable();
        let Some((from, _)) = movable.first().copied() else {
            return Ok(self.has_unsynced());
        };
        let to = self.revision;
        if from > to {
            movable
                .into_iter()
                .for_each(|(next, key)| self.advance(key, next));
            return Ok(self.has_unsynced());
        }
        let page = history.page(from, to, self.page_records.max(1))?;
        self.size_pages(&page.records);
        let current = history.current();
        let mut encoded = 0;
        for (next, key) in movable {
            if next <= page.complete_to && encoded < TURN_BYTES {
                encoded += self.replay(key, next, &page.records, current, history)?;
                self.advance(key, page.complete_to + 1);
            }
        }
        Ok(self.has_unsynced())
    }

    /// The next watchers that go on, those furthest behind first. Those that cannot go on are out of the way then.
    fn movable(&mut self) -> Vec<(i64, WatcherKey)> {
        let mut movable = Vec::new();
        let mut stuck = Vec::new();
        for place in &self.unsynced {
            if movable.len() == PAGE_WATCHERS {
                break;
            }
            let Some(id) = self.watchers.get(&place.1).map(|w| w.stream) else {
                continue;
            };
            match self.streams.get(&id) {
                Some(stream) if stream.has_room(&self.pressure) => movable.push(*place),
                _ => stuck.push((id, *place)),
            }
        }
        for (stream, place) in stuck {
            self.unsynced.remove(&place);
            self.parked.park(stream, place);
            self.parked.is_full(stream);
        }
        movable
    }

    /// Pages follow the size of the records: a thousand of the largest would be gigabytes.
    fn size_pages(&mut self, records: &[Record]) {
        let bytes: usize = records.iter().map(|r| r.kv.len()).sum();
        if bytes > PAGE_BYTES {
            self.page_records = (self.page_records / 4).max(1);
        } else if bytes < PAGE_BYTES / 4 {
            self.page_records = (self.page_records * 2).clamp(1, PAGE_RECORDS);
        }
    }

    fn advance(&mut self, key: WatcherKey, next: i64) {
        if let Some(w) = self.watchers.get(&key) {
            self.unsynced.remove(&(w.next, key));
            self.place(key, next);
        }
    }

    /// Queues what a watcher wants of a page; gives how many bytes that is.
    fn replay(
        &mut self,
        key: WatcherKey,
        next: i64,
        records: &[Record],
        current: i64,
        history: &dyn History,
    ) -> Result<usize, BackendError> {
        let Some(w) = self.watchers.get(&key) else {
            return Ok(0);
        };
        let interval = w.wanted.interval();
        let mut body = Body::default();
        for r in records.iter().filter(|r| r.revision.main >= next) {
            let k = key_of(&r.kv);
            if !interval.contains(k) || !w.wanted.accepts(r.tombstone) {
                continue;
            }
            let main = r.revision.main;
            let prev = match w.wanted.prev_kv && has_before(r) {
                true => history.pair_at(k, main - 1)?,
                false => None,
            };
            body.push(main, r.tombstone, &r.kv, prev.as_deref());
        }
        let mut encoded = 0;
        if !body.is_empty() {
            let size = self
                .streams
                .get(&w.stream)
                .map_or(usize::MAX, |s| s.fragment_bytes);
            let pieces = body.cut(w.fragment.then_some(size));
            encoded = pieces.iter().map(|piece| piece.bytes.len()).sum();
            self.send(key, &pieces, Some(current));
        }
        Ok(encoded)
    }

    /// Ends the watchers whose next revision is gone. etcd keeps them registered until the client cancels, which
    /// blocks the stream's progress for nothing; ours are gone at once.
    fn end_compacted(&mut self, compacted: i64) {
        let gone: Vec<_> = self
            .unsynced
            .iter()
            .take_while(|(n, _)| *n < compacted)
            .copied()
            .collect();
        for (_, key) in gone {
            let Some(w) = self.watchers.get(&key) else {
                continue;
            };
            let (stream, id) = (w.stream, w.id);
            self.remove(key);
            self.tell(
                stream,
                &Told {
                    id,
                    canceled: true,
                    compacted,
                    ..Told::default()
                },
            );
        }
    }

    /// The progress interval has passed: watchers that asked for it, stand at the end of history and got nothing
    /// since the last tick are told how far they are.
    pub fn tick_progress(&mut self) {
        let revision = self.revision;
        let mut told = Vec::new();
        for w in self.watchers.values_mut().filter(|w| w.progress_notify) {
            if w.quiet && w.synced && revision >= w.first {
                told.push((w.stream, w.id));
            }
            w.quiet = true;
        }
        for (stream, id) in told {
            self.tell(
                stream,
                &Told {
                    revision,
                    id,
                    ..Told::default()
                },
            );
        }
    }
}
