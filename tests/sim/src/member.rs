//! One member: its disks, its clock, and while it runs the real machine over the real storage.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use kvorum_core::backend::{FlushMark, Restored, SideChange};
use kvorum_core::log::{Append, HardState};
use kvorum_core::machine::{
    restored_compact_revision, restored_digest, restored_finished_compaction,
};
use kvorum_core::mvcc::encoding::numbers_of;
use kvorum_core::mvcc::{CompactCursor, Restore, Store};
use kvorum_core::node::{NodeOptions, Start, encode_conf_state};
use kvorum_core::replica::{
    META_CONF_STATE, MembershipOptions, Output, Replica, ReplicaOptions, StoreAccess,
};
use kvorum_core::watch::{EventBatch, Header, Hub};
use kvorum_core::{Index, Machine, MachineOptions, Term};
use kvorum_proto::etcdserverpb as pb;
use kvorum_storage::{
    Log, LogOptions, MemDisk, RecoveredLog, Staged, StateStore, StorageError, StoreOptions,
};
use kvorum_tests::harness::generate::Dice;
use prost::Message as _;

use crate::plan::Plan;
use crate::world::CallId;

/// A heartbeat interval, and heartbeats without an answer before an election.
pub(crate) const TICK_MS: u64 = 100;
pub(crate) const ELECTION_TICKS: u64 = 10;
/// The shortest lease, seconds.
pub(crate) const LEASE_TTL_MIN_S: i64 = 2;
/// What a member says it can do.
pub(crate) const VERSION: &str = "3.6.0";

/// A clock that runs at its own speed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// Local microseconds per thousand of world time.
    pub(crate) permille: u64,
    /// Local and world time of its last change of speed, µs.
    local_us: u64,
    world_us: u64,
}

impl Clock {
    pub(crate) fn new(permille: u64, local_us: u64) -> Self {
        Self {
            permille,
            local_us,
            world_us: 0,
        }
    }

    pub(crate) fn now_ms(&self, world_us: u64) -> u64 {
        self.now_us(world_us) / 1000
    }

    fn now_us(&self, world_us: u64) -> u64 {
        self.local_us + (world_us - self.world_us) * self.permille / 1000
    }

    pub(crate) fn set_speed(&mut self, permille: u64, world_us: u64) {
        self.local_us = self.now_us(world_us);
        self.world_us = world_us;
        self.permille = permille;
    }

    /// World time that passes in `us` of local time.
    pub(crate) fn world_span(&self, us: u64) -> u64 {
        us * 1000 / self.permille
    }
}

/// The store, shared between the machine and those who read.
#[derive(Clone, Debug)]
pub(crate) struct Shared(pub(crate) Rc<RefCell<Store>>);

impl StoreAccess for Shared {
    fn with<R>(&self, f: impl FnOnce(&mut Store) -> R) -> R {
        f(&mut self.0.borrow_mut())
    }
}

/// The two directories of a member.
#[derive(Clone, Debug)]
pub(crate) struct Disks {
    pub(crate) log: MemDisk,
    pub(crate) state: MemDisk,
}

impl Disks {
    pub(crate) fn new(plan: &Plan) -> Self {
        let log = MemDisk::new();
        Self {
            log: if plan.durable_log {
                log.with_durable_log()
            } else {
                log
            },
            state: MemDisk::new(),
        }
    }

    /// What is left after a power failure, or after the death of the process alone.
    pub(crate) fn after(&self, power: bool, dice: &mut Dice) -> Self {
        if power {
            Self {
                log: self.log.crash(dice.any()),
                state: self.state.crash(dice.any()),
            }
        } else {
            Self {
                log: self.log.killed(),
                state: self.state.killed(),
            }
        }
    }

    pub(crate) fn fill(&self) {
        self.log.fill_at_write(0);
        self.state.fill_at_write(0);
    }

    pub(crate) fn clear_faults(&self) {
        self.log.clear_faults();
        self.state.clear_faults();
    }
}

/// A member, running or not.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) id: u64,
    /// Counts its starts.
    pub(crate) life: u64,
    pub(crate) disks: Disks,
    pub(crate) clock: Clock,
    pub(crate) running: Option<Box<Running>>,
    /// Stands still: what happens to it waits.
    pub(crate) paused: bool,
    pub(crate) hung: bool,
    pub(crate) full: bool,
    /// A slow disk's extra time for each sync, µs.
    pub(crate) slow_us: u64,
    /// The highest commit index in its log's hard state.
    pub(crate) wrote_commit: u64,
    /// Bits were flipped: its files may be refused.
    pub(crate) rotten: bool,
    /// Not a member any more, or given up: never started again.
    pub(crate) gone: bool,
}

/// What runs.
pub(crate) struct Running {
    pub(crate) replica: Replica,
    pub(crate) out: Output,
    pub(crate) store: Shared,
    pub(crate) state: Arc<StateStore>,
    pub(crate) log: Log,
    pub(crate) log_queue: Vec<LogItem>,
    pub(crate) writing: Vec<LogItem>,
    pub(crate) flushed: Index,
    pub(crate) compacting: Option<CompactCursor>,
    pub(crate) decided: Option<i64>,
    pub(crate) hub: Hub,
    /// Events that a busy thread has not taken.
    pub(crate) unpublished: Option<EventBatch>,
    pub(crate) waiters: BTreeMap<u64, CallId>,
    pub(crate) boot: u64,
    pub(crate) requests: u64,
    pub(crate) turn_due: bool,
    /// Members that it has heard of since its start.
    pub(crate) connected: BTreeSet<u64>,
    /// A snapshot that is complete on the disk.
    pub(crate) staged: Option<Box<Staged>>,
    pub(crate) told_applied: u64,
}

/// What the log's thread has to do.
#[derive(Clone, Debug)]
pub(crate) enum LogItem {
    /// Write a group.
    Append(Append),
    /// Begin anew after this entry, of this term.
    Reset(Index, Term, HardState),
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Running")
    }
}

/// Why a member does not start.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Its disk failed on the way.
    Disk(String),
    /// Its files are not to be trusted.
    Damaged(String),
}

impl From<StorageError> for Refusal {
    fn from(e: StorageError) -> Self {
        match e {
            StorageError::Io { .. } | StorageError::Failed(_) => Self::Disk(e.to_string()),
            _ => Self::Damaged(e.to_string()),
        }
    }
}

/// What a start found, beside the machine itself.
pub(crate) struct Started {
    pub(crate) running: Box<Running>,
    pub(crate) recovered: RecoveredLog,
}

impl Member {
    pub(crate) fn new(id: u64, plan: &Plan, dice: &mut Dice) -> Self {
        let spread = plan.clock_permille;
        let permille = 1000 - spread + dice.below(2 * spread + 1);
        Self {
            id,
            life: 0,
            disks: Disks::new(plan),
            clock: Clock::new(permille, dice.below(1 << 40)),
            running: None,
            paused: false,
            hung: false,
            full: false,
            slow_us: 0,
            wrote_commit: 0,
            rotten: false,
            gone: false,
        }
    }

    /// Writes the first state of a new cluster, as a member does that is started as one of its first.
    pub(crate) fn found(&self, voters: &[u64]) -> Result<(), Refusal> {
        let (state, restored) = StateStore::open(Arc::new(self.disks.state.clone()), options())?;
        if restored.applied != Index(0) {
            return Ok(());
        }
        let conf_state = SideChange::MetaPut(META_CONF_STATE.into(), encode_conf_state(voters));
        let rows = voters.iter().map(|id| {
            let member = pb::Member {
                id: *id,
                peer_ur_ls: vec![url(*id)],
                ..Default::default()
            };
            SideChange::MetaPut(format!("member/{id:016x}"), member.encode_to_vec().into())
        });
        let mark = FlushMark {
            applied: Index(1),
            term: Term(1),
            side: std::iter::once(conf_state).chain(rows).collect(),
        };
        state.flush_base(std::iter::empty(), &mark)?;
        Ok(())
    }

    /// Opens the files and goes on from what is in them.
    pub(crate) fn start(&mut self, plan: &Plan, boot: u64, seed: u64) -> Result<Started, Refusal> {
        let (state, restored) = StateStore::open(Arc::new(self.disks.state.clone()), options())?;
        let base = state.base()?.map(|(index, term)| (index.0, term.0));
        let log_options = LogOptions {
            segment_bytes: plan.segment_bytes,
            seed,
            must_reach: Some(restored.applied.0),
            base,
        };
        let (log, recovered) = Log::open(Arc::new(self.disks.log.clone()), log_options)?;
        state.settle_base(restored.applied)?;
        let state = Arc::new(state);
        let (store, machine) = rebuild(&state, &restored, plan)?;
        let start = Start {
            conf_state: conf_state(&restored),
            hard_state: recovered.hard_state,
            entries: recovered.entries.clone(),
            applied: restored.applied,
            applied_term: restored.term,
        };
        let options = replica_options(self.id, plan, boot, seed);
        let replica = Replica::new(options, start, machine).map_err(Refusal::Damaged)?;
        let running = Running {
            replica,
            out: Output::default(),
            store: Shared(Rc::new(RefCell::new(store))),
            state,
            log,
            log_queue: Vec::new(),
            writing: Vec::new(),
            flushed: restored.applied,
            compacting: None,
            decided: interrupted(&restored),
            hub: Hub::new(Header::default()),
            unpublished: None,
            waiters: BTreeMap::new(),
            boot,
            requests: 0,
            turn_due: false,
            connected: BTreeSet::new(),
            staged: None,
            told_applied: restored.applied.0,
        };
        Ok(Started {
            running: Box::new(running),
            recovered,
        })
    }

    /// Its clock, ms.
    pub(crate) fn now_ms(&self, world_us: u64) -> u64 {
        self.clock.now_ms(world_us)
    }
}

fn options() -> StoreOptions {
    StoreOptions {
        cache_bytes: 1 << 20,
    }
}

/// A member's peer URL; nothing listens there.
pub(crate) fn url(id: u64) -> String {
    format!("http://sim/{id}")
}

fn conf_state(restored: &Restored) -> bytes::Bytes {
    let found = restored.meta.iter().find(|(key, _)| key == META_CONF_STATE);
    found.map_or_else(|| encode_conf_state(&[]), |(_, value)| value.clone())
}

/// The store and the machine over a state.
pub(crate) fn rebuild(
    state: &Arc<StateStore>,
    restored: &Restored,
    plan: &Plan,
) -> Result<(Store, Machine), Refusal> {
    let mut restore = Restore::default();
    let mut broken = None;
    state.scan_all(|revision, tombstone, kv| match numbers_of(kv) {
        Some(numbers) => restore.record(revision, tombstone, &numbers, kv.len()),
        None => broken = Some(revision),
    })?;
    if let Some(at) = broken {
        return Err(Refusal::Damaged(format!("no pair at {at:?}")));
    }
    let compact = restored_compact_revision(restored);
    let applied = (restored.applied, restored.term);
    let mut store = restore.finish(state.clone(), plan.recent_bytes, compact, applied);
    store.set_digest(restored_digest(restored));
    let mut machine = Machine::new(MachineOptions {
        quota_bytes: i64::MAX,
        lease_ttl_min_s: LEASE_TTL_MIN_S,
    });
    machine.restore(&store, restored);
    Ok((store, machine))
}

/// A compaction that was decided and not carried out to the end.
pub(crate) fn interrupted(restored: &Restored) -> Option<i64> {
    let scheduled = restored_compact_revision(restored)?;
    let finished = restored_finished_compaction(restored).unwrap_or(0);
    (scheduled > finished).then_some(scheduled)
}

fn replica_options(id: u64, plan: &Plan, boot: u64, seed: u64) -> ReplicaOptions {
    ReplicaOptions {
        node: NodeOptions {
            id,
            election_ticks: usize::try_from(ELECTION_TICKS).unwrap_or(10),
            heartbeat_ticks: 1,
            seed,
        },
        session: boot,
        own_ids: request_id(boot, 255, 0),
        election_timeout_ms: ELECTION_TICKS * TICK_MS,
        request_timeout_ms: 7_000,
        digest_interval_ms: plan.digest_interval_ms,
        tail_bytes: plan.tail_bytes,
        lag_bytes: plan.lag_bytes,
        membership: MembershipOptions {
            name: format!("m{id}"),
            client_urls: Vec::new(),
            peer_urls: vec![url(id)],
            version: VERSION.into(),
            strict: plan.strict,
            learners_max: 2,
            auto_promote: plan.auto_promote,
        },
    }
}

/// A request's id: start, port, number.
pub(crate) fn request_id(boot: u64, port: u64, number: u64) -> u64 {
    boot << 44 | port << 36 | number
}
