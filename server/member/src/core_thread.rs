//! The core thread: owns the replica, and never waits for a disk.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use kvorum_core::log::Append;
use kvorum_core::node::Leadership;
use kvorum_core::replica::{Output, Replica};

use crate::driver::{Counter, Driver, SharedStore};
use crate::shared::{CoreInput, LogInput, Shared};

/// Log entries kept in memory for peers that are a little behind, bytes.
pub(crate) const TAIL_BYTES: usize = 4 << 20;
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
        }
    }

    /// Runs until the member stops or its storage fails.
    pub(crate) fn run(mut self) {
        let tick = self.shared.options.heartbeat_interval;
        // A sole voter leads from its first tick on.
        let mut next_tick = Instant::now();
        let mut inputs = Vec::new();
        while !self.stopping {
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
        self.write_log()?;
        self.out.sends.clear();
        let applied = self.replica.applied().0;
        let p = &self.shared.published;
        p.applied.store(applied, Ordering::Relaxed);
        // The store thread flushes whole entries, and begins with one that holds this decision.
        if let Some(at) = self.out.compacted.take() {
            p.compaction.store(at, Ordering::SeqCst);
        }
        if let Some(leadership) = self.out.leadership.take() {
            self.tell_leader(leadership);
        }
        if std::mem::take(&mut self.out.view_changed) {
            self.driver.publish_view(self.replica.machine());
        }
        self.driver.deliver(&mut self.out);
        if !self.flush_called && self.shared.store.read().fresh_bytes() > FLUSH_BYTES {
            self.flush_called = true;
            self.shared.store_thread.push(());
        }
        Ok(())
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
        let free = replica.is_settled() && replica.node().is_alone();
        p.reads_freely.store(free, Ordering::SeqCst);
        let leads = replica.leadership().leader != 0;
        let ready = leads && machine.cluster_version().is_some();
        self.shared
            .capable
            .send_if_modified(|told| std::mem::replace(told, ready) != ready);
    }
}
