//! Watch streams: one hub per I/O thread, fed by the carrier task of its handle.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use kvorum_core::auth::Caller;
use kvorum_core::backend::BackendError;
use kvorum_core::watch::{EventBatch, Frame, Header, History, Hub, StreamId};
use kvorum_core::{Error, Term};
use kvorum_proto::etcdserverpb as pb;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::handle::Handle;
use crate::shared::Shared;

#[derive(Debug)]
struct Streams {
    hub: Hub,
    wakes: BTreeMap<StreamId, Arc<Notify>>,
}

impl Streams {
    fn wake(&mut self) {
        for id in self.hub.take_woken() {
            if let Some(wake) = self.wakes.get(&id) {
                wake.notify_one();
            }
        }
    }
}

/// The hub of one I/O thread and whom to wake for which stream.
#[derive(Debug)]
pub(crate) struct Watching {
    streams: Mutex<Streams>,
    closed: AtomicBool,
    /// Number of the users and roles that the watchers were looked at by.
    auth_number: AtomicU64,
}

impl Watching {
    pub(crate) fn new(shared: &Shared) -> Self {
        let header = Header {
            cluster_id: shared.identity.cluster_id,
            member_id: shared.identity.member_id,
            term: Term(shared.published.term.load(Ordering::SeqCst)),
        };
        let mut hub = Hub::new(header);
        // Two hubs at full pressure take as much as large reads do.
        hub.set_waiting_bytes_max((shared.options.large_request_bytes / 2).min(32 << 20));
        let streams = Mutex::new(Streams {
            hub,
            wakes: BTreeMap::new(),
        });
        Self {
            streams,
            closed: AtomicBool::new(false),
            auth_number: AtomicU64::new(shared.auth.number()),
        }
    }

    pub(crate) fn open(&self, fragment_bytes: usize, wake: Arc<Notify>) -> StreamId {
        let mut streams = self.streams.lock();
        let id = streams.hub.open(fragment_bytes);
        streams.wakes.insert(id, wake);
        id
    }

    pub(crate) fn publish(
        &self,
        batches: &[Arc<EventBatch>],
        history: &dyn History,
    ) -> Result<(), BackendError> {
        if batches.is_empty() {
            return Ok(());
        }
        let mut streams = self.streams.lock();
        for batch in batches {
            streams.hub.publish(batch, history)?;
        }
        streams.wake();
        Ok(())
    }

    /// Ends the watchers that users and roles do not allow any more; how many are left, if anybody had to look. Called
    /// before `publish`: what comes with a batch was written under rights as new as these, or older ones.
    pub(crate) fn look_at_rights(&self, shared: &Shared) -> Option<usize> {
        let number = shared.auth.number();
        if self.auth_number.load(Ordering::Relaxed) == number {
            return None;
        }
        // Only the carrier of this thread comes here.
        self.auth_number.store(number, Ordering::Relaxed);
        let current = shared.store.read().current();
        let mut streams = self.streams.lock();
        streams.hub.end_unauthorised(&shared.auth.tables(), current);
        streams.wake();
        Some(streams.hub.watchers())
    }

    /// One page for the watchers that are behind. True if there is more to do now.
    pub(crate) fn catch_up(&self, history: &dyn History) -> Result<bool, BackendError> {
        let mut streams = self.streams.lock();
        if !streams.hub.has_unsynced() {
            return Ok(false);
        }
        let more = streams.hub.catch_up(history)?;
        streams.wake();
        Ok(more)
    }

    /// Shows the hub to whoever wants to count something.
    pub(crate) fn look(&self, look: impl FnOnce(&Hub)) {
        look(&self.streams.lock().hub);
    }

    pub(crate) fn tick_progress(&self) {
        let mut streams = self.streams.lock();
        streams.hub.tick_progress();
        streams.wake();
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.streams
            .lock()
            .wakes
            .values()
            .for_each(|w| w.notify_one());
    }
}

/// One watch stream of one client: requests in, encoded responses out.
#[derive(Debug)]
pub struct WatchStream {
    handle: Handle,
    id: StreamId,
    wake: Arc<Notify>,
}

impl WatchStream {
    pub(crate) fn new(handle: Handle, id: StreamId, wake: Arc<Notify>) -> Self {
        Self { handle, id, wake }
    }

    /// Takes one request of the client. Never blocks; the answer comes out of `next`, also where the caller may not
    /// watch that. A watcher ends by itself when its caller may not any more.
    pub fn request(&mut self, caller: &Caller, request: pb::WatchRequest) {
        self.take(Ok(caller), request);
    }

    /// As `request`, of a client that could not be identified: it creates no watcher, and the stream goes on.
    pub fn request_refused(&mut self, refused: Error, request: pb::WatchRequest) {
        self.take(Err(refused), request);
    }

    fn take(&mut self, caller: Result<&Caller, Error>, request: pb::WatchRequest) {
        let watching = &self.handle.watching;
        let mut streams = watching.streams.lock();
        // The core thread sends events to threads with watchers only. This one counts as such before the revision is
        // read, so that no event falls between.
        self.handle.port.watchers.fetch_add(1, Ordering::SeqCst);
        let (current, term) = {
            let store = self.handle.shared.store.read();
            (
                store.current(),
                self.handle.shared.published.term.load(Ordering::SeqCst),
            )
        };
        streams.hub.set_term(Term(term));
        // Read after the revision, so that no watcher begins with what was written under rights that are news here.
        let auth = self.handle.shared.auth.tables();
        match caller {
            Ok(caller) => {
                streams
                    .hub
                    .request_of(caller, self.id, request, current, &auth);
            }
            Err(refused) => {
                streams
                    .hub
                    .request_refused(refused, self.id, request, current);
            }
        }
        self.handle
            .port
            .watchers
            .store(streams.hub.watchers(), Ordering::SeqCst);
        streams.wake();
        if streams.hub.has_unsynced() {
            self.handle.port.carrier.notify_one();
        }
    }

    /// The next response; `None` once the member stops.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.try_next() {
                return Some(frame);
            }
            if self.handle.watching.closed.load(Ordering::SeqCst)
                || self.handle.shared.is_stopping()
            {
                return None;
            }
            self.wake.notified().await;
        }
    }

    /// The next response if there is one now; lets an edge send all that waits in one write.
    pub fn try_next(&mut self) -> Option<Frame> {
        let mut streams = self.handle.watching.streams.lock();
        let frame = streams.hub.take(self.id);
        if let Some(frame) = &frame {
            self.handle.shared.meters.events.inc_by(frame.events as u64);
        }
        if streams.hub.has_unsynced() {
            // There is room again for those who wait for it.
            self.handle.port.carrier.notify_one();
        }
        frame
    }
}

impl Drop for WatchStream {
    fn drop(&mut self) {
        let mut streams = self.handle.watching.streams.lock();
        streams.hub.close(self.id);
        streams.wakes.remove(&self.id);
        self.handle
            .port
            .watchers
            .store(streams.hub.watchers(), Ordering::SeqCst);
    }
}
