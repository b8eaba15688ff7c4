//! Scripted tests of the hub.

use std::sync::Arc;

use kvorum_proto::etcdserverpb as pb;
use pb::watch_request::RequestUnion;
use prost::Message;

use super::body::Body;
use super::{EventBatch, Header, Hub, StreamId};
use crate::backend::{BackendError, Record, Records};
use crate::mvcc::Store;
use crate::types::{Revision, Term};

struct Empty;

impl Records for Empty {
    fn get(&self, _: Revision) -> Result<Option<Record>, BackendError> {
        Ok(None)
    }

    fn scan(&self, _: Revision, _: Revision, _: usize) -> Result<Vec<Record>, BackendError> {
        Ok(Vec::new())
    }
}

struct World {
    store: Store,
    hub: Hub,
    stream: StreamId,
}

impl World {
    fn new() -> Self {
        let mut hub = Hub::new(Header::default());
        let stream = hub.open(1 << 20);
        Self {
            store: Store::new(Arc::new(Empty), 1 << 30),
            hub,
            stream,
        }
    }

    /// Puts without telling the hub, and gives what it would be told.
    fn put(&mut self, key: &str, value: &[u8]) -> EventBatch {
        let first = self.store.current() + 1;
        let mut write = self.store.begin();
        self.store.put(&mut write, key.as_bytes(), value, 0);
        self.store.commit(&write);
        EventBatch {
            first,
            last: self.store.current(),
            term: Term(1),
            events: write.events,
        }
    }

    fn publish(&mut self, batch: &EventBatch) {
        self.hub
            .publish(batch, &self.store)
            .expect("memory does not fail");
    }

    fn watch(&mut self, key: &str, start_revision: i64) {
        let create = pb::WatchCreateRequest {
            key: key.as_bytes().to_vec().into(),
            start_revision,
            ..Default::default()
        };
        self.ask(RequestUnion::CreateRequest(create));
    }

    fn ask(&mut self, union: RequestUnion) {
        let request = pb::WatchRequest {
            request_union: Some(union),
        };
        self.hub.request(self.stream, request, self.store.current());
    }

    fn catch_up(&mut self) {
        while self
            .hub
            .catch_up(&self.store)
            .expect("memory does not fail")
        {}
    }

    fn told(&mut self) -> Vec<pb::WatchResponse> {
        let frames = std::iter::from_fn(|| self.hub.take(self.stream));
        let whole = frames.map(|f| [f.head.as_ref(), f.body.as_ref()].concat());
        whole
            .map(|m| pb::WatchResponse::decode(m.as_slice()).expect("a response"))
            .collect()
    }

    fn revisions(&mut self) -> Vec<i64> {
        let events = self.told().into_iter().flat_map(|r| r.events);
        events
            .filter_map(|e| e.kv)
            .map(|kv| kv.mod_revision)
            .collect()
    }
}

#[test]
fn a_watcher_gets_what_happens_after_its_creation() {
    let mut w = World::new();
    let before = w.put("a", b"1");
    w.watch("a", 0);
    w.publish(&before);
    let after = w.put("a", b"2");
    w.publish(&after);
    assert_eq!(w.revisions(), [3]);
}

#[test]
fn a_lost_batch_is_read_from_history() {
    let mut w = World::new();
    w.watch("a", 0);
    let lost = w.put("a", b"1");
    let heard = w.put("a", b"2");
    w.publish(&heard);
    w.catch_up();
    w.publish(&lost);
    assert_eq!(w.revisions(), [2, 3]);
}

#[test]
fn a_client_that_does_not_read_loses_nothing() {
    let mut w = World::new();
    w.watch("a", 0);
    let value = vec![7; 64 << 10];
    for _ in 0..200 {
        let batch = w.put("a", &value);
        w.publish(&batch);
    }
    let mut seen = Vec::new();
    while seen.len() < 200 {
        let more = w.revisions();
        assert!(!more.is_empty(), "it stands still after {}", seen.len());
        seen.extend(more);
        w.catch_up();
    }
    assert_eq!(seen, (2..202).collect::<Vec<_>>());
}

#[test]
fn progress_waits_for_what_the_store_has_and_the_hub_has_not() {
    let mut w = World::new();
    w.watch("a", 0);
    let batch = w.put("b", b"1");
    w.ask(RequestUnion::ProgressRequest(pb::WatchProgressRequest {}));
    assert_eq!(w.told().len(), 1, "only the creation");
    w.publish(&batch);
    let told = w.told();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].watch_id, -1);
    assert_eq!(told[0].header.as_ref().map(|h| h.revision), Some(2));
}

#[test]
fn a_long_revision_is_split_only_where_that_is_allowed() {
    let body = || {
        let mut body = Body::default();
        for _ in 0..4 {
            body.push(2, false, &[0; 100], None);
        }
        body.push(3, false, &[0; 100], None);
        body
    };
    assert_eq!(body().cut(None).len(), 1);
    let pieces = body().cut(Some(250));
    let flags: Vec<_> = pieces.iter().map(|p| (p.main, p.fragment)).collect();
    assert_eq!(flags, [(2, true), (2, false), (3, false)]);
    let joined: Vec<u8> = pieces.iter().flat_map(|p| p.bytes.to_vec()).collect();
    assert_eq!(joined, body().cut(None)[0].bytes);
}
