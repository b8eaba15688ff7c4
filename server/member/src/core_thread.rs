//! The core thread: owns the replica, and never waits for a disk.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use kvorum_core::log::Append;
use kvorum_core::node::{Leadership, Refused};
use kvorum_core::replica::{Divergence, Output, Replica};
use kvorum_core::{Index, Machine, MemberId};
use kvorum_proto::kvorumpb::PeerMessage;
use kvorum_storage::Staged;

use crate::driver::{Counter, Driver, SharedStore};
use crate::ended::Ended;
use crate::refused;
use crate::shared::{Arrived, CoreInput, LogInput, Shared, StoreInput};

/// Log entries kept in memory for peers that are a little behind, bytes.
pub(crate) const TAIL_BYTES: usize = 4 << 20;
/// A removed leader waits for so many election timeouts at most, until the others know that its removal is committed.
const FAREWELL: u32 = 10;
/// From here on a flush does not wait for its interval, bytes.
const FLUSH_BYTES: usize = 8 << 20;
/// What clients are told to speak; etcd's newest line without calls we lack.
pub(crate) const CLUSTER_VERSION: &str = "3.6.0";

pub(crate) struct CoreThread {
    shared: Arc<Shared>,
    replica: Replica,
    out: Output,
    driver: Driver,
    counter: Counter,
    /// The last group that the log thread has and has not written, 0 for none.
    in_flight: u64,
    /// The store thread was woken before its time and has not flushed since.
    flush_called: bool,
    stopping: bool,
    /// The newest snapshot that came in.
    staged: Option<Box<Staged>>,
    /// When this member learned that it is none any more.
    removed_at: Option<Instant>,
}

impl CoreThread {
    pub(crate) fn new(shared: Arc<Shared>, replica: Replica) -> Self {
        let out = Output {
            view_changed: true,
            ..Output::default()
        };
        Self {
            driver: Driver::new(shared.clone()),
            counter: Counter::new(shared.clone()),
            shared,
            replica,
            out,
            in_flight: 0,
            flush_called: false,
            stopping: false,
            staged: None,
            removed_at: None,
        }
    }

    /// Runs until the member stops or its storage fails.
    pub(crate) fn run(mut self) {
        let tick = self.shared.options.heartbeat_interval;
        // A sole voter leads from its first tick on.
        let mut next_tick = Instant::now();
        let mut inputs = Vec::new();
        while !self.stopping && !self.shared.is_stopping() {
            let now = Instant::now();
            if now >= next_tick {
                next_tick = now + tick;
                self.replica.tick(self.shared.clock.now_ms());
            }
            for input in inputs.drain(..) {
                self.take(input);
            }
            if let Err(reason) = self.turns() {
                return self.shared.fail(reason);
            }
            let pause = next_tick.saturating_duration_since(Instant::now());
            let pause = if self.replica.is_holding() {
                pause.min(Duration::from_millis(5))
            } else {
                pause
            };
            self.shared.core.wait(&mut inputs, pause);
        }
        self.shared.log.push(LogInput::Stop);
        self.shared.close_ports();
    }

    fn take(&mut self, input: CoreInput) {
        let now_ms = self.shared.clock.now_ms();
        match input {
            CoreInput::Asks(asks) => {
                for ask in asks {
                    self.replica.ask(ask, now_ms, &mut self.out);
                }
            }
            CoreInput::Persisted(number) => {
                if number == self.in_flight {
                    self.in_flight = 0;
                }
                self.replica.persisted(number);
            }
            CoreInput::Flushed(index) => {
                self.flush_called = false;
                self.replica.flushed(index);
            }
            CoreInput::Arrived(arrived) => self.arrived(*arrived),
            CoreInput::Installed(machine, index) => self.installed(*machine, index),
            CoreInput::Peer(from, message) => self.hear(from, *message, now_ms),
            CoreInput::Unreachable(peer) => self.replica.unreachable(peer),
            CoreInput::Connected(peer, version) => {
                self.replica.connected(peer, &version, now_ms);
            }
            CoreInput::Disconnected(peer) => self.replica.disconnected(peer),
            CoreInput::SnapshotSent(to, complete) => self.replica.snapshot_sent(to, complete),
            // Whoever asked for it, maybe here, gets the answer first.
            CoreInput::Removed => self.out.removed = true,
            CoreInput::Stop => self.stopping = true,
        }
    }

    /// Does all that follows from the inputs, until nothing is left to do.
    fn turns(&mut self) -> Result<(), String> {
        let holding =
            self.shared.store.read().unflushed_bytes() > self.shared.options.unflushed_bytes_max;
        self.replica.hold(holding);
        let shared = self.shared.clone();
        let store = SharedStore(&shared.store);
        loop {
            let (begin, now_ms) = (Instant::now(), shared.clock.now_ms());
            let before = self.replica.applied();
            let more = self
                .replica
                .turn(&store, &mut self.counter, now_ms, &mut self.out)?;
            if self.replica.applied() != before {
                self.counter.pass(begin.elapsed());
            }
            self.drain()?;
            if !more {
                break;
            }
        }
        self.publish();
        Ok(())
    }

    fn drain(&mut self) -> Result<(), String> {
        if self.out.install.take().is_some()
            && let Some(staged) = self.staged.take()
        {
            self.shared.store_thread.push(StoreInput::Install(staged));
        }
        self.write_log()?;
        for send in self.out.sends.drain(..) {
            self.shared.cluster.send(send);
        }
        for wanted in self.out.snapshots.drain(..) {
            let wanted = StoreInput::SendSnapshot(Box::new(wanted));
            self.shared.store_thread.push(wanted);
        }
        let applied = self.replica.applied().0;
        let p = &self.shared.published;
        // In this order, and read in the other: nobody sees more applied than committed.
        p.committed
            .store(self.replica.node().committed().0, Ordering::SeqCst);
        p.applied.store(applied, Ordering::SeqCst);
        // The store thread flushes whole entries, and begins with one that holds this decision.
        if let Some(at) = self.out.compacted.take() {
            p.compaction.store(at, Ordering::SeqCst);
        }
        if let Some(leadership) = self.out.leadership.take() {
            self.tell_leader(leadership);
        }
        if std::mem::take(&mut self.out.view_changed) {
            self.driver.publish_view(self.replica.machine());
            self.shared.cluster.set_members(&self.shared);
        }
        self.driver.deliver(&mut self.out);
        self.look_at_membership();
        if !self.flush_called && self.shared.store.read().fresh_bytes() > FLUSH_BYTES {
            self.flush_called = true;
            self.shared.store_thread.push(StoreInput::Wake);
        }
        Ok(())
    }

    /// A message that no correct peer sends is dropped; one that shows that this member has lost what it had ends it.
    fn hear(&mut self, from: MemberId, message: PeerMessage, now_ms: u64) {
        match self.replica.receive(from, message, now_ms, &mut self.out) {
            Ok(()) | Err(Refused::Installing) => {}
            Err(refused @ Refused::Malformed(_)) => {
                tracing::warn!(from = format!("{:x}", from.0), %refused, "a peer's message was refused");
            }
            Err(refused @ (Refused::LostEntries { .. } | Refused::Conflict { .. })) => {
                let o = &self.shared.options;
                let reason = refused.to_string();
                let reason = refused::advice(self.replica.id().0, o, &reason);
                refused::note(&o.data_dir, &reason);
                self.shared.end(Ended::Foreign(reason));
            }
        }
    }

    /// Whether this member still is one, and whether its state is the others'.
    fn look_at_membership(&mut self) {
        if std::mem::take(&mut self.out.removed) && self.removed_at.is_none() {
            tracing::warn!("this member was removed from the cluster");
            self.removed_at = Some(Instant::now());
        }
        // The others must hear that their change is committed before this member is gone.
        if let Some(at) = self.removed_at {
            let patience = self.shared.options.election_timeout;
            let heard = self.replica.node().may_leave() && at.elapsed() >= patience;
            if heard || at.elapsed() >= patience * FAREWELL {
                self.shared.end(Ended::Removed);
            }
        }
        match self.out.divergence.take() {
            Some(Divergence::Dissents { index }) => self.shared.end(Ended::Rebuild(format!(
                "at entry {index} most members have another state than this one"
            ))),
            Some(Divergence::Split { index }) => tracing::error!(
                index,
                "the members have different states, and no majority agrees: compare their HashKV and replace the wrong ones"
            ),
            None => {}
        }
    }

    /// A snapshot is complete on this member's disk; raft decides whether it is of use.
    fn arrived(&mut self, arrived: Arrived) {
        let Arrived {
            from,
            mut raft,
            staged,
        } = arrived;
        raft.snapshot = staged.head().and_then(crate::install::mark_of);
        match self.replica.snapshot_arrived(from, raft) {
            Ok(()) => self.staged = Some(Box::new(staged)),
            Err(refused) => tracing::warn!(from = from.0, %refused, "a snapshot was not taken"),
        }
    }

    /// The log begins after the snapshot before anything else is written to it.
    fn installed(&mut self, machine: Machine, index: Index) {
        let mut hard_state = self.replica.node().hard_state();
        hard_state.commit = hard_state.commit.min(index.0);
        let term = self.shared.store.read().applied().1;
        self.shared
            .log
            .push(LogInput::Reset(index, term, hard_state));
        self.replica.installed(machine, index, &mut self.out);
        // What the watchers have not seen is history now.
        let revision = self.shared.store.read().current();
        self.out.events.first = revision + 1;
        self.out.events.last = revision;
        self.out.events.term = self.replica.leadership().term;
    }

    /// Hands groups to the log thread. A leader without peers writes a small one itself: there is nobody whose votes or
    /// heartbeats a slow disk could hold up, and the switch to another thread and back costs as much as the write.
    fn write_log(&mut self) -> Result<(), String> {
        let mut groups: Vec<Append> = std::mem::take(&mut self.out.appends);
        if let [group] = groups.as_slice()
            && self.replica.node().is_alone()
            && self.in_flight == 0
            && crate::log_thread::write_now(&self.shared, group).map_err(|e| e.to_string())?
        {
            self.replica.persisted(group.number);
            return Ok(());
        }
        for group in groups.drain(..) {
            self.in_flight = group.number;
            self.shared.log.push(LogInput::Append(group));
        }
        Ok(())
    }

    fn tell_leader(&self, leadership: Leadership) {
        let p = &self.shared.published;
        let before = p.leader.swap(leadership.leader, Ordering::SeqCst);
        p.term.store(leadership.term.0, Ordering::SeqCst);
        if before != leadership.leader && leadership.leader != 0 {
            p.leader_changes.fetch_add(1, Ordering::Relaxed);
            self.shared.meters.leader_changes.inc();
            tracing::info!(
                leader = format!("{:x}", leadership.leader),
                term = leadership.term.0,
                "leader elected"
            );
        }
    }

    fn publish(&self) {
        let p = &self.shared.published;
        let replica = &self.replica;
        let machine = replica.machine();
        p.committed
            .store(replica.node().committed().0, Ordering::Relaxed);
        p.leases
            .store(machine.lessor().len() as u64, Ordering::Relaxed);
        p.pending.store(replica.pending() as u64, Ordering::Relaxed);
        let waiting_ms = replica.disk_waiting_ms(self.shared.clock.now_ms());
        p.disk_waiting_ms.store(waiting_ms, Ordering::Relaxed);
        let free = replica.is_settled() && replica.node().is_alone();
        p.reads_freely.store(free, Ordering::SeqCst);
        let leads = replica.leadership().leader != 0;
        let ready = leads && machine.cluster_version().is_some();
        self.shared
            .capable
            .send_if_modified(|told| std::mem::replace(told, ready) != ready);
    }
}
