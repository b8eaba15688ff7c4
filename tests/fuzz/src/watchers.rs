//! One watch stream on the core's hub: told of what is applied, read to its end, its promises checked.

use kvorum_core::Applied;
use kvorum_core::Term;
use kvorum_core::mvcc::Store;
use kvorum_core::watch::{EventBatch, Header, Hub, StreamId};
use kvorum_proto::etcdserverpb::{WatchRequest, WatchResponse};
use prost::Message as _;

/// Small, so that fragments occur.
const FRAGMENT_BYTES: usize = 60;

pub(crate) struct Watchers {
    hub: Hub,
    stream: StreamId,
}

impl Watchers {
    pub(crate) fn new() -> Self {
        let mut hub = Hub::new(Header::default());
        let stream = hub.open(FRAGMENT_BYTES);
        Self { hub, stream }
    }

    pub(crate) fn request(&mut self, request: WatchRequest, store: &Store) {
        self.hub.request(self.stream, request, store.current());
    }

    pub(crate) fn publish(&mut self, applied: &Applied, store: &Store) {
        if applied.events.is_empty() {
            return;
        }
        let batch = EventBatch {
            first: applied.revision,
            last: applied.revision,
            term: Term(0),
            events: applied.events.clone(),
        };
        self.hub
            .publish(&batch, store)
            .expect("memory does not fail");
    }

    /// Reads all there is: every response decodes, and none is about the future.
    pub(crate) fn read(&mut self, store: &Store) {
        while self.hub.catch_up(store).expect("memory does not fail") {}
        while let Some(frame) = self.hub.take(self.stream) {
            let whole = [frame.head.as_ref(), frame.body.as_ref()].concat();
            let response = WatchResponse::decode(whole.as_slice()).expect("the core wrote it");
            let last = response.events.iter().filter_map(|event| event.kv.as_ref());
            let last = last.map(|kv| kv.mod_revision).max().unwrap_or(0);
            assert!(last <= store.current(), "an event of revision {last}");
        }
    }
}
