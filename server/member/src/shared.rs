//! What the threads of a member share.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use kvorum_core::console::Console;
use kvorum_core::log::HardState;
use kvorum_core::mvcc::Store;
use kvorum_core::replica::SnapshotWanted;
use kvorum_core::trust::Trust;
use kvorum_core::{Index, Machine, MachineOptions, MemberId, Term};
use kvorum_proto::etcdserverpb as pb;
use kvorum_proto::kvorumpb::{PeerMessage, RaftMessage};
use kvorum_storage::{KnownMember, Staged, StateStore, StorageError};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Semaphore, watch};

use crate::auth::PublishedAuth;
use crate::authenticate::Authentication;
use crate::budget::Budget;
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::ended::Ended;
use crate::gauges::Gauges;
use crate::identity::MemberIdentity;
use crate::inbox::Inbox;
use crate::log_thread::LogWriter;
use crate::meters::Meters;
use crate::options::MemberOptions;
use crate::port::{Ask, Port};
use crate::stats::Sampler;
use crate::trust::Clerk;
use crate::watch::Watching;

/// What wakes the core thread.
#[derive(Debug)]
pub(crate) enum CoreInput {
    /// Requests of one I/O thread's pass.
    Asks(Vec<Ask>),
    /// The log group with this number, and all before it, are durable.
    Persisted(u64),
    /// Everything up to here is in the state store.
    Flushed(Index),
    /// A snapshot is staged on this member's disk.
    Arrived(Box<Arrived>),
    /// A peer says something.
    Peer(MemberId, Box<PeerMessage>),
    /// Something for this peer was lost.
    Unreachable(MemberId),
    /// There is a connection to a peer of this version.
    Connected(MemberId, String),
    /// There is none any more.
    Disconnected(MemberId),
    /// A snapshot has arrived there, or never will.
    SnapshotSent(MemberId, bool),
    /// The staged snapshot took the place of the state.
    Installed(Box<Machine>, Index),
    /// A peer says that this member is none any more.
    Removed,
    /// Finish what is under way and end.
    Stop,
}

/// A snapshot that came from a peer as a whole.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) from: MemberId,
    /// What raft said with it.
    pub(crate) raft: RaftMessage,
    pub(crate) staged: Staged,
}

/// What wakes the log thread.
#[derive(Debug)]
pub(crate) enum LogInput {
    Append(kvorum_core::log::Append),
    Release(Index),
    /// The log begins anew after a snapshot.
    Reset(Index, Term, HardState),
    Stop,
}

/// What wakes the store thread.
#[derive(Debug)]
pub(crate) enum StoreInput {
    /// There is something to flush, or to look at.
    Wake,
    /// A staged snapshot takes the place of the state.
    Install(Box<Staged>),
    /// The members are these now.
    Remember(Vec<KnownMember>),
    /// A peer needs the whole state.
    SendSnapshot(Box<SnapshotWanted>),
    /// The log begins after the snapshot that was installed.
    LogBegins(Index),
}

/// What the core thread tells the world after each pass.
#[derive(Debug, Default)]
pub(crate) struct Published {
    pub(crate) leader: AtomicU64,
    pub(crate) term: AtomicU64,
    pub(crate) committed: AtomicU64,
    pub(crate) applied: AtomicU64,
    pub(crate) leases: AtomicU64,
    pub(crate) pending: AtomicU64,
    /// This member leads a cluster of its own, so what it has applied is all there is to read.
    pub(crate) reads_freely: AtomicBool,
    pub(crate) nospace: AtomicBool,
    /// The disk has no room for what writes would add.
    pub(crate) disk_full: AtomicBool,
    /// When the write to the log began that is under way, milliseconds; 0 for none.
    pub(crate) log_write_since_ms: AtomicU64,
    /// This member does not vote.
    pub(crate) is_learner: AtomicBool,
    pub(crate) leader_changes: AtomicU64,
    /// Compact revision that waits for the store thread, 0 for none.
    pub(crate) compaction: AtomicI64,
    /// When a snapshot took the place of the state last, milliseconds; 0 for never.
    pub(crate) installed_ms: AtomicU64,
    /// How long the oldest group has been on its way to the disk, milliseconds.
    pub(crate) disk_waiting_ms: AtomicU64,
}

/// The parts of the replicated state that are read rarely and as a whole.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    pub(crate) members: Vec<pb::Member>,
    /// Those that were, and never will be again.
    pub(crate) removed: BTreeSet<MemberId>,
    pub(crate) alarms: Vec<pb::AlarmMember>,
    pub(crate) cluster_version: Option<String>,
    pub(crate) console: Arc<Console>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: MemberOptions,
    pub(crate) identity: MemberIdentity,
    pub(crate) boot: u64,
    pub(crate) cluster: Cluster,
    pub(crate) clock: Clock,
    pub(crate) store: RwLock<Store>,
    pub(crate) state: Arc<StateStore>,
    pub(crate) core: Inbox<CoreInput>,
    pub(crate) log: Inbox<LogInput>,
    pub(crate) log_writer: Mutex<LogWriter>,
    pub(crate) published: Published,
    pub(crate) view: RwLock<Arc<View>>,
    /// Users and roles.
    pub(crate) auth: PublishedAuth,
    /// Whom the cluster trusts; sent anew when that changes.
    pub(crate) trust: watch::Sender<Arc<Trust>>,
    /// Signs for others, where the cluster has an authority of its own.
    pub(crate) clerk: OnceLock<Arc<Clerk>>,
    /// How callers are known.
    pub(crate) authentication: Authentication,
    /// For large replies of all I/O threads.
    pub(crate) budget: Arc<Budget>,
    /// For requests of which a part has come: of its own, so that slow readers cannot keep writers out.
    pub(crate) receive_budget: Arc<Budget>,
    pub(crate) ports: RwLock<Vec<Arc<Port>>>,
    /// The watchers of each I/O thread.
    pub(crate) hubs: RwLock<Vec<Arc<Watching>>>,
    pub(crate) meters: Meters,
    pub(crate) gauges: Mutex<Gauges>,
    pub(crate) sampler: Mutex<Sampler>,
    pub(crate) store_thread: Inbox<StoreInput>,
    pub(crate) stopping: AtomicBool,
    pub(crate) ended: watch::Sender<Option<Ended>>,
    /// True once the cluster version is decided.
    pub(crate) capable: watch::Sender<bool>,
    /// Compact revision whose removals are done on this member.
    pub(crate) compacted: watch::Sender<i64>,
    /// Entry up to which everything is in the state store.
    pub(crate) flushed: watch::Sender<u64>,
    /// Places for snapshots on their way to clients.
    pub(crate) snapshots: Arc<Semaphore>,
}

impl Shared {
    pub(crate) fn machine_options(options: &MemberOptions) -> MachineOptions {
        MachineOptions {
            quota_bytes: options.quota_bytes(),
            // Raised before it is proposed: members with other election timeouts must apply the same.
            lease_ttl_min_s: 1,
        }
    }

    /// The disk failed: nothing more is acknowledged, and the process is told to end with this line.
    pub(crate) fn fail(&self, reason: String) {
        let healed = crate::heal::can_heal() && crate::heal::tells_damage(&reason);
        self.end(match healed {
            true => Ended::Rebuild(reason),
            false => Ended::DiskFailed(reason),
        });
    }

    /// As `fail`. Damage is no reason to end for good where other members have what was damaged.
    pub(crate) fn fail_of(&self, error: &StorageError) {
        if error.is_damage() && crate::heal::can_heal() {
            return self.end(Ended::Rebuild(error.to_string()));
        }
        self.fail(error.to_string());
    }

    /// The member ends by itself; only the first reason is told.
    pub(crate) fn end(&self, why: Ended) {
        self.stopping.store(true, Ordering::SeqCst);
        self.ended.send_if_modified(|told| {
            let first = told.is_none();
            if first {
                tracing::error!(?why, "this member ends");
                *told = Some(why);
            }
            first
        });
        self.close_ports();
    }

    pub(crate) fn close_ports(&self) {
        for port in self.ports.read().iter() {
            port.close();
            port.carrier.notify_one();
        }
    }

    /// True if a read that is under way may have begun in a state that a snapshot has replaced since.
    pub(crate) fn was_replaced_lately(&self) -> bool {
        /// Longer than any read takes.
        const WINDOW_MS: u64 = 60_000;
        let at = self.published.installed_ms.load(Ordering::SeqCst);
        at != 0 && self.clock.now_ms().saturating_sub(at) < WINDOW_MS
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// A response header; a `revision` of 0 becomes the current one.
    pub(crate) fn header(&self, revision: i64) -> pb::ResponseHeader {
        pb::ResponseHeader {
            cluster_id: self.identity.cluster_id.0,
            member_id: self.identity.member_id.0,
            revision: if revision == 0 {
                self.store.read().current()
            } else {
                revision
            },
            raft_term: self.published.term.load(Ordering::Relaxed),
        }
    }
}
