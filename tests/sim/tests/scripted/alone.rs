//! A member alone, over a log and a state store, whose store thread flushes at a moment that a script chooses, and
//! whose power goes.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use kvorum_core::backend::FlushMark;
use kvorum_core::machine::{restored_compact_revision, restored_digest};
use kvorum_core::mvcc::encoding::numbers_of;
use kvorum_core::mvcc::{Restore, Store};
use kvorum_core::node::Start;
use kvorum_core::replica::{Answer, Ask, META_CONF_STATE, Output, Replica, StoreAccess};
use kvorum_core::{Index, Term};
use kvorum_proto::kvorumpb::command::Op;
use kvorum_storage::{Log, LogOptions, MemDisk, StateStore};

use super::{command, flush, founded, machine, open, replica_options, rows};

/// The store, and the store thread: it flushes after the store was held so many times more.
struct Flushed {
    store: RefCell<Store>,
    state: Arc<StateStore>,
    flushed: Cell<Index>,
    holds: Cell<Option<u32>>,
}

impl StoreAccess for Flushed {
    fn with<R>(&self, f: impl FnOnce(&mut Store) -> R) -> R {
        let mut store = self.store.borrow_mut();
        let result = f(&mut store);
        match self.holds.get() {
            Some(0) => {
                let done = flush(&mut store, &self.state, self.flushed.get());
                self.flushed.set(done);
                self.holds.set(None);
            }
            Some(left) => self.holds.set(Some(left - 1)),
            None => {}
        }
        result
    }
}

/// The member, running.
pub(crate) struct Alone {
    disks: (MemDisk, MemDisk),
    replica: Replica,
    store: Flushed,
    log: Log,
    out: Output,
    now_ms: u64,
    asked: u64,
    answered: u64,
}

impl Alone {
    /// The first and only member of a new cluster.
    pub(crate) fn found() -> Result<Self, String> {
        let disks = (MemDisk::new(), MemDisk::new());
        let (state, _) = open(&disks.1);
        let mark = FlushMark {
            applied: Index(1),
            term: Term(1),
            side: rows(founded(&[1])),
        };
        state
            .flush_base(std::iter::empty(), &mark)
            .map_err(|e| e.to_string())?;
        drop(state);
        Self::start(disks, 1)
    }

    fn start(disks: (MemDisk, MemDisk), boot: u64) -> Result<Self, String> {
        let (state, restored) = open(&disks.1);
        let base = state.base().map_err(|e| e.to_string())?;
        let options = LogOptions {
            segment_bytes: 1 << 20,
            seed: boot,
            must_reach: Some(restored.applied.0),
            base: base.map(|(index, term)| (index.0, term.0)),
        };
        let (log, recovered) =
            Log::open(Arc::new(disks.0.clone()), options).map_err(|e| e.to_string())?;
        let mut restore = Restore::default();
        state
            .scan_all(|revision, tombstone, kv| {
                let numbers = numbers_of(kv).expect("a pair");
                restore.record(revision, tombstone, &numbers, kv.len());
            })
            .map_err(|e| e.to_string())?;
        let compact = restored_compact_revision(&restored);
        let applied = (restored.applied, restored.term);
        let mut store = restore.finish(state.clone(), 1 << 20, compact, applied);
        store.set_digest(restored_digest(&restored));
        let mut machine = machine();
        machine.restore(&store, &restored);
        let conf_state = restored.meta.iter().find(|(k, _)| k == META_CONF_STATE);
        let start = Start {
            conf_state: conf_state.map(|(_, v)| v.clone()).unwrap_or_default(),
            hard_state: recovered.hard_state,
            entries: recovered.entries,
            applied: restored.applied,
            applied_term: restored.term,
        };
        let mut alone = Self {
            disks,
            replica: Replica::new(replica_options(1, boot), start, machine)?,
            store: Flushed {
                store: RefCell::new(store),
                state,
                flushed: Cell::new(restored.applied),
                holds: Cell::new(None),
            },
            log,
            out: Output::default(),
            now_ms: 0,
            asked: 0,
            answered: 0,
        };
        alone.lead()?;
        Ok(alone)
    }

    fn lead(&mut self) -> Result<(), String> {
        for _ in 0..60 {
            self.now_ms += 100;
            self.replica.tick(self.now_ms);
            self.work()?;
            if self.replica.is_settled() {
                return Ok(());
            }
        }
        Err("it does not lead".into())
    }

    /// Turns until nothing is left to do; the log is written at once.
    fn work(&mut self) -> Result<(), String> {
        loop {
            let more = self
                .replica
                .turn(&self.store, &mut (), self.now_ms, &mut self.out)?;
            let done = |(_, answer): &(_, Answer)| matches!(answer, Answer::Applied(Ok(_)));
            let answers = std::mem::take(&mut self.out.answers);
            self.answered += answers.iter().filter(|a| done(a)).count() as u64;
            let groups = std::mem::take(&mut self.out.appends);
            if let Some(last) = groups.last() {
                self.log.append(&groups).map_err(|e| e.to_string())?;
                self.replica.persisted(last.number);
            } else if !more {
                return Ok(());
            }
        }
    }

    /// Proposes all of them at once. The store is flushed once, after it was held `holds` times more.
    pub(crate) fn propose(&mut self, ops: Vec<Op>, holds: u32) -> Result<(), String> {
        self.store.holds.set(Some(holds));
        for op in ops {
            self.asked += 1;
            let ask = Ask::Propose(command(1 << 40 | self.asked, op));
            self.replica.ask(ask, self.now_ms, &mut self.out);
        }
        self.work()
    }

    /// True if the flush came before everything was applied.
    pub(crate) fn flushed_on_the_way(&self) -> bool {
        self.store.holds.get().is_none()
    }

    /// Requests that were answered.
    pub(crate) fn answered(&self) -> u64 {
        self.answered
    }

    /// The power goes, and it starts again.
    pub(crate) fn lose_power(self, seed: u64) -> Result<Self, String> {
        let disks = (self.disks.0.crash(seed), self.disks.1.crash(seed + 1));
        drop(self);
        Self::start(disks, 2)
    }

    /// Its revision, and how many keys it has.
    pub(crate) fn state(&self) -> (i64, u64) {
        let store = self.store.store.borrow();
        (store.current(), store.keys())
    }
}
