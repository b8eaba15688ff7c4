//! The door to a running member: every request of every edge goes through a `Handle`.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kvorum_core::Error;
use kvorum_core::auth::{Caller, Need};
use kvorum_core::watch::StreamId;
use kvorum_proto::etcdserverpb as pb;
use tokio::sync::Notify;

use crate::budget::Budget;
use crate::history::{KeyVersion, SharedHistory};
use crate::identity::MemberIdentity;
use crate::port::Port;
use crate::shared::{CoreInput, Shared};
use crate::stats::Stats;
use crate::watch::{WatchStream, Watching};

/// What the member says of itself; local, no quorum needed.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Current leader, 0 for none.
    pub leader: u64,
    /// Current term.
    pub term: u64,
    /// Committed index.
    pub committed: u64,
    /// Applied index.
    pub applied: u64,
    /// Current revision.
    pub revision: i64,
    /// −1 if never compacted.
    pub compact_revision: i64,
    /// Keys that exist now.
    pub keys: u64,
    /// Logical size, bytes.
    pub db_size: i64,
    /// Logical size without what compaction has freed, bytes.
    pub db_size_in_use: i64,
    /// Effective quota, bytes; `i64::MAX` if there is none.
    pub quota: i64,
    /// Raised alarms.
    pub alarms: Vec<pb::AlarmMember>,
    /// True once the cluster version is decided.
    pub capable: bool,
    /// The decided cluster version.
    pub cluster_version: Option<String>,
    /// Watchers open on all streams of this member.
    pub watchers: u64,
    /// Leases that exist.
    pub leases: u64,
    /// Leader changes seen since the member started.
    pub leader_changes: u64,
    /// Seconds since the member started.
    pub uptime_s: u64,
}

/// The door. Cheap to clone; each I/O thread has one of its own, made by `Member::handle`, whose `run` future must be
/// spawned on that thread's runtime.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(crate) shared: Arc<Shared>,
    pub(crate) port: Arc<Port>,
    pub(crate) watching: Arc<Watching>,
}

/// Waiters are looked through this often for those who have waited too long.
const SWEEP_INTERVAL: Duration = Duration::from_millis(500);

impl Handle {
    pub(crate) fn new(shared: Arc<Shared>, port: Arc<Port>) -> Self {
        let watching = Arc::new(Watching::new(&shared));
        shared.hubs.write().push(watching.clone());
        Self {
            shared,
            port,
            watching,
        }
    }

    /// Carries requests, replies and watch events between this thread and the member; spawn it once per handle that
    /// `Member::handle` returns. Ends when the member stops.
    pub fn run(&self) -> impl Future<Output = ()> + Send + 'static {
        let handle = self.clone();
        async move { handle.carry().await }
    }

    async fn carry(self) {
        let timeout = self.shared.options.request_timeout().as_millis();
        let sweeps = u64::try_from(timeout / SWEEP_INTERVAL.as_millis()).unwrap_or(14);
        let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
        let mut progress = tokio::time::interval(self.shared.options.watch_progress_interval);
        progress.reset();
        while !self.shared.is_stopping() {
            tokio::select! {
                biased;
                () = self.port.carrier.notified() => {}
                _ = sweep.tick() => self.port.sweep(sweeps),
                _ = progress.tick() => self.watching.tick_progress(),
            }
            self.carry_once().await;
        }
        self.port.close();
        self.watching.close();
    }

    async fn carry_once(&self) {
        let asks = self.port.take_outgoing();
        if !asks.is_empty() {
            self.shared.core.push(CoreInput::Asks(asks));
        }
        let batches = self.port.take_incoming();
        if let Some(watchers) = self.watching.look_at_rights(&self.shared) {
            self.port.watchers.store(watchers, Ordering::SeqCst);
        }
        let history = SharedHistory(&self.shared);
        if let Err(e) = self.watching.publish(&batches, &history) {
            self.shared.fail(e.to_string());
        }
        match self.watching.catch_up(&history) {
            Ok(true) => {
                // History is long: other tasks of this thread go first, then the next page.
                self.port.carrier.notify_one();
                tokio::task::yield_now().await;
            }
            Ok(false) => {}
            Err(e) => self.shared.fail(e.to_string()),
        }
    }

    /// Who answers.
    #[must_use]
    pub fn identity(&self) -> &MemberIdentity {
        &self.shared.identity
    }

    /// A response header; a `revision` of 0 becomes the current one.
    #[must_use]
    pub fn header(&self, revision: i64) -> pb::ResponseHeader {
        self.shared.header(revision)
    }

    /// Leader that this member knows, 0 for none.
    #[must_use]
    pub fn leader(&self) -> u64 {
        self.shared.published.leader.load(Ordering::SeqCst)
    }

    /// True once the cluster version is decided: before, no request is served.
    #[must_use]
    pub fn is_capable(&self) -> bool {
        self.shared.view.read().cluster_version.is_some()
    }

    /// Local status.
    #[must_use]
    pub fn status(&self) -> Status {
        let p = &self.shared.published;
        let view = self.shared.view.read().clone();
        let watchers: usize = self
            .shared
            .ports
            .read()
            .iter()
            .map(|p| p.watchers.load(Ordering::Relaxed))
            .sum();
        let applied = p.applied.load(Ordering::SeqCst);
        let store = self.shared.store.read();
        Status {
            leader: p.leader.load(Ordering::SeqCst),
            term: p.term.load(Ordering::SeqCst),
            committed: p.committed.load(Ordering::SeqCst),
            applied,
            revision: store.current(),
            compact_revision: store.compacted(),
            keys: store.keys(),
            db_size: store.size().total(),
            db_size_in_use: store.size().in_use(),
            quota: self.shared.options.quota_bytes(),
            alarms: view.alarms.clone(),
            capable: view.cluster_version.is_some(),
            cluster_version: view.cluster_version.clone(),
            watchers: watchers as u64,
            leases: p.leases.load(Ordering::Relaxed),
            leader_changes: p.leader_changes.load(Ordering::Relaxed),
            uptime_s: self.shared.clock.now_ms() / 1000,
        }
    }

    /// The memory that large replies share.
    #[must_use]
    pub fn reply_budget(&self) -> &Arc<Budget> {
        &self.shared.budget
    }

    /// The memory that requests share of which a part has come.
    #[must_use]
    pub fn receive_budget(&self) -> &Arc<Budget> {
        &self.shared.receive_budget
    }

    /// Local status, for a client who is somebody.
    ///
    /// # Errors
    /// The caller may not have it.
    pub fn client_status(&self, caller: &Caller) -> Result<Status, Error> {
        self.permit(caller, &[Need::Authenticated])?;
        Ok(self.status())
    }

    /// All members, for a client who is somebody.
    ///
    /// # Errors
    /// The caller may not have them, or nobody can tell that they are current where that is asked for.
    pub async fn member_list(
        &self,
        caller: &Caller,
        linearizable: bool,
    ) -> Result<Vec<pb::Member>, Error> {
        if linearizable {
            self.read_barrier().await?;
        }
        self.permit(caller, &[Need::Authenticated])?;
        Ok(self.members())
    }

    /// All members, as this member knows them.
    #[must_use]
    pub fn members(&self) -> Vec<pb::Member> {
        self.shared.view.read().members.clone()
    }

    /// Figures of the last full second.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.sampler.lock().last()
    }

    /// Figures of up to ten minutes, a second each, oldest first.
    #[must_use]
    pub fn recent_stats(&self) -> Vec<Stats> {
        self.shared.sampler.lock().recent()
    }

    /// All retained changes of a key, deletions included, oldest first.
    ///
    /// # Errors
    /// The caller may not read it, or the state store failed and the member is ending.
    pub fn key_history(&self, caller: &Caller, key: &[u8]) -> Result<Vec<KeyVersion>, Error> {
        let needs = || vec![Need::read(key, &[])];
        let pass = self.enter(caller, needs)?;
        let versions = SharedHistory(&self.shared).versions(key);
        let versions = versions.map_err(|e| self.broken(e.to_string()))?;
        self.leave(caller, pass, needs)?;
        Ok(versions)
    }

    /// The state store failed under a request: the member ends, the request is told so.
    pub(crate) fn broken(&self, reason: String) -> Error {
        self.shared.fail(reason);
        Error::Stopped
    }

    /// A new watch stream. `fragment_bytes` is the size from which responses are split if the client allows it.
    #[must_use]
    pub fn watch(&self, fragment_bytes: usize) -> WatchStream {
        let wake = Arc::new(Notify::new());
        let id: StreamId = self.watching.open(fragment_bytes, wake.clone());
        WatchStream::new(self.clone(), id, wake)
    }
}
