//! One member's history over a disk, and a client that watches it.

use std::sync::Arc;

use kvorum_core::backend::Record;
use kvorum_core::mvcc::{CompactCursor, Store};
use kvorum_core::reply::Reply;
use kvorum_core::watch::{EventBatch, Header, Hub, StreamId};
use kvorum_core::{Context, Error, Index, Machine, Term};
use kvorum_proto::etcdserverpb as pb;
use kvorum_proto::kvorumpb::command::Op;
use kvorum_storage::{MemDisk, StateStore};
use pb::watch_request::RequestUnion;
use prost::Message as _;

use super::{command, flush, machine, open, put};

/// What a member has applied.
pub(crate) struct Past {
    machine: Machine,
    pub(crate) store: Store,
    state: Arc<StateStore>,
    applied: Index,
    flushed: Index,
}

impl Past {
    /// An empty one that keeps nothing in memory beyond what is not flushed.
    pub(crate) fn new() -> Self {
        let (state, _) = open(&MemDisk::new());
        Self {
            machine: machine(),
            store: Store::new(state.clone(), 0),
            state,
            applied: Index(0),
            flushed: Index(0),
        }
    }

    /// Applies an entry; gives its answer, and what watchers are told of it.
    pub(crate) fn apply(&mut self, op: Op) -> (Result<Reply, Error>, EventBatch) {
        let first = self.store.current() + 1;
        self.applied.0 += 1;
        let context = Context {
            index: self.applied.0,
            term: 1,
            now_ms: 0,
        };
        let applied = self
            .machine
            .apply(&mut self.store, context, &command(0, op))
            .expect("a whole disk");
        self.store.set_applied(self.applied, Term(1));
        let batch = EventBatch {
            first,
            last: applied.revision,
            term: Term(1),
            events: applied.events,
        };
        (applied.result, batch)
    }

    /// Compacts, and removes what that leaves unreadable.
    pub(crate) fn compact(&mut self, revision: i64) {
        let request = pb::CompactionRequest {
            revision,
            ..Default::default()
        };
        let (answer, _) = self.apply(Op::Compaction(request));
        answer.expect("within the history");
        self.flush();
        let mut removed = Vec::new();
        let mut cursor = CompactCursor::new(revision);
        while self.store.compact_slice(&mut cursor, 1, &mut removed) {}
        self.state.remove(&removed).expect("a whole disk");
        self.store.finish_compaction(revision);
    }

    fn flush(&mut self) {
        self.flushed = flush(&mut self.store, &self.state, self.flushed);
    }

    /// The records that are left on the disk.
    pub(crate) fn records(&self) -> Vec<Record> {
        use kvorum_core::Revision;
        let all = (Revision::first_of(0), Revision::last_of(i64::MAX - 1));
        let records = self.store.records().scan(all.0, all.1, 10_000);
        records.expect("a whole disk")
    }
}

/// A member with one watching client.
pub(crate) struct Watched {
    pub(crate) past: Past,
    hub: Hub,
    stream: StreamId,
}

impl Watched {
    pub(crate) fn new() -> Self {
        let mut hub = Hub::new(Header::default());
        let stream = hub.open(1 << 20);
        Self {
            past: Past::new(),
            hub,
            stream,
        }
    }

    pub(crate) fn put(&mut self, key: &str, value: &str) {
        let (_, batch) = self.past.apply(put(key, value));
        self.publish(&batch);
    }

    pub(crate) fn delete(&mut self, key: &str) {
        let request = pb::DeleteRangeRequest {
            key: key.to_owned().into(),
            ..Default::default()
        };
        let (_, batch) = self.past.apply(Op::DeleteRange(request));
        self.publish(&batch);
    }

    fn publish(&mut self, batch: &EventBatch) {
        self.hub
            .publish(batch, &self.past.store)
            .expect("a whole disk");
    }

    /// The state of another member takes the place of its own.
    pub(crate) fn install(&mut self, past: Past) {
        self.past = past;
    }

    pub(crate) fn watch(&mut self, key: &str, start_revision: i64) {
        self.ask(RequestUnion::CreateRequest(pb::WatchCreateRequest {
            key: key.to_owned().into(),
            start_revision,
            ..Default::default()
        }));
    }

    pub(crate) fn ask_progress(&mut self) {
        self.ask(RequestUnion::ProgressRequest(
            pb::WatchProgressRequest::default(),
        ));
    }

    fn ask(&mut self, union: RequestUnion) {
        let request = pb::WatchRequest {
            request_union: Some(union),
        };
        let current = self.past.store.current();
        self.hub.request(self.stream, request, current);
    }

    /// Lets watchers go on through history until nobody can.
    pub(crate) fn catch_up(&mut self) {
        while self.hub.catch_up(&self.past.store).expect("a whole disk") {}
    }

    /// What the client reads.
    pub(crate) fn told(&mut self) -> Vec<pb::WatchResponse> {
        let frames = std::iter::from_fn(|| self.hub.take(self.stream));
        let whole = frames.map(|f| [f.head.as_ref(), f.body.as_ref()].concat());
        whole
            .map(|m| pb::WatchResponse::decode(m.as_slice()).expect("a response"))
            .collect()
    }
}

/// The revisions of all events, in the order in which they came.
pub(crate) fn revisions(told: &[pb::WatchResponse]) -> Vec<i64> {
    let events = told.iter().flat_map(|r| &r.events);
    events
        .filter_map(|e| e.kv.as_ref())
        .map(|kv| kv.mod_revision)
        .collect()
}
