//! The core thread: owns the raft node and the machine, and never waits for a disk.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use kvorum_core::node::{Leadership, Node, Ready};
use kvorum_core::{Machine, RequestId, Term};
use kvorum_proto::kvorumpb::{Command, PublishMember, SetClusterVersion, command::Op};

use crate::driver::Driver;
use crate::lease_calls::LeaseCalls;
use crate::port::{Answer, Ask};
use crate::shared::{CoreInput, LogInput, Shared};

/// Log entries kept in memory for peers that are a little behind, bytes.
const TAIL_BYTES: usize = 4 << 20;
/// From here on a flush does not wait for its interval, bytes.
const FLUSH_BYTES: usize = 8 << 20;
/// What clients are told to speak; etcd's newest line without calls we lack.
pub(crate) const CLUSTER_VERSION: &str = "3.6.0";

pub(crate) struct CoreThread {
    shared: Arc<Shared>,
    node: Node,
    ready: Ready,
    machine: Machine,
    driver: Driver,
    leases: LeaseCalls,
    commands: Vec<Command>,
    /// Proposals wait for the state store.
    holding: bool,
    /// This leader has applied an entry of its own term.
    settled: Option<Term>,
    /// Linearizable reads that came before that.
    waiting_reads: Vec<RequestId>,
    /// The last group that the log thread has and has not written, 0 for none.
    in_flight: u64,
    /// The store thread was woken before its time and has not flushed since.
    flush_called: bool,
    stopping: bool,
}

impl CoreThread {
    pub(crate) fn new(shared: Arc<Shared>, node: Node, machine: Machine) -> Self {
        let driver = Driver::new(shared.clone());
        Self {
            shared,
            node,
            ready: Ready::default(),
            machine,
            driver,
            leases: LeaseCalls::default(),
            commands: Vec::new(),
            holding: false,
            settled: None,
            waiting_reads: Vec::new(),
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
                self.tick();
            }
            for input in inputs.drain(..) {
                self.take(input);
            }
            if let Err(reason) = self.turn() {
                return self.shared.fail(reason);
            }
            let pause = next_tick.saturating_duration_since(Instant::now());
            let pause = if self.holding {
                pause.min(Duration::from_millis(5))
            } else {
                pause
            };
            self.shared.core.wait(&mut inputs, pause);
        }
        self.shared.log.push(LogInput::Stop);
        self.shared.close_ports();
    }

    fn tick(&mut self) {
        self.node.tick();
        if self.settled.is_some() {
            let now_ms = self.shared.clock.now_ms();
            let term = self.node.leadership().term;
            let due = self.leases.due(self.machine.lessor_mut(), term, now_ms);
            self.commands.extend(due);
        }
    }

    fn take(&mut self, input: CoreInput) {
        match input {
            CoreInput::Asks(asks) => asks.into_iter().for_each(|a| self.take_ask(a)),
            CoreInput::Persisted(number) => {
                if number == self.in_flight {
                    self.in_flight = 0;
                }
                self.node.persisted(number, &mut self.ready);
            }
            CoreInput::Flushed(index) => {
                self.flush_called = false;
                self.node.trim(index, TAIL_BYTES);
            }
            CoreInput::Stop => self.stopping = true,
        }
    }

    fn take_ask(&mut self, ask: Ask) {
        let now_ms = self.shared.clock.now_ms();
        match ask {
            Ask::Propose(command) => self.commands.push(command),
            Ask::KeepAlive(id, lease) => {
                let lessor = self.machine.lessor_mut();
                match self.leases.keep_alive(lessor, id, lease, now_ms) {
                    Some(Ok(answer)) => {
                        if matches!(answer, Answer::Renewed(1..)) {
                            self.shared.meters.leases.renewed.inc();
                        }
                        self.driver.answer(id, answer);
                    }
                    Some(Err(command)) => self.commands.push(command),
                    None => {}
                }
            }
            Ask::TimeLeft(id, lease, keys) => {
                let left = self.machine.lessor().time_left(lease, keys, now_ms);
                self.driver.answer(id, Answer::TimeLeft(left));
            }
            Ask::Leases(id) => {
                self.driver
                    .answer(id, Answer::Leases(self.machine.lessor().ids()));
            }
            Ask::ReadIndex(id) => self.read_index(id),
        }
    }

    /// A leader of its own cluster has nobody to ask. Before it has applied an entry of its own term, or without a
    /// leader, a read waits, as etcd's do; the sweep of its thread ends the wait. Reads of a real quorum come with the
    /// peers.
    fn read_index(&mut self, id: RequestId) {
        self.waiting_reads.push(id);
        self.answer_reads();
    }

    fn answer_reads(&mut self) {
        if self.settled.is_some() && self.node.is_alone() {
            for id in std::mem::take(&mut self.waiting_reads) {
                self.driver.answer(id, Answer::Readable);
            }
        }
    }

    /// Proposes what waits, and does all that follows until nothing is left to do.
    fn turn(&mut self) -> Result<(), String> {
        self.propose();
        while self.node.ready(&mut self.ready) {
            self.write_log()?;
            // A cluster of one has nobody to send to.
            self.ready.messages.clear();
            if let Some(leadership) = self.ready.leadership.take() {
                self.lead(leadership);
            }
            let entries = std::mem::take(&mut self.ready.committed);
            let leases = &mut self.leases;
            self.driver
                .apply(&mut self.node, &mut self.machine, entries, |c, a| {
                    leases.applied(c, a);
                })?;
            self.settle();
            self.propose();
            if !self.flush_called && self.shared.store.read().fresh_bytes() > FLUSH_BYTES {
                self.flush_called = true;
                self.shared.store_thread.push(());
            }
        }
        for (id, answer) in self.leases.take_answers() {
            self.driver.answer(id, answer);
        }
        self.driver.publish_view(&self.machine);
        self.publish();
        self.driver.deliver();
        Ok(())
    }

    /// Hands groups to the log thread. A leader without peers writes a small one itself: there is nobody whose votes or
    /// heartbeats a slow disk could hold up, and the switch to another thread and back costs as much as the write.
    fn write_log(&mut self) -> Result<(), String> {
        let mut groups = std::mem::take(&mut self.ready.appends);
        if let [group] = groups.as_slice()
            && self.node.is_alone()
            && self.in_flight == 0
            && crate::log_thread::write_now(&self.shared, group).map_err(|e| e.to_string())?
        {
            self.node.persisted(group.number, &mut self.ready);
            return Ok(());
        }
        for group in groups.drain(..) {
            self.in_flight = group.number;
            self.shared.log.push(LogInput::Append(group));
        }
        Ok(())
    }

    fn propose(&mut self) {
        self.holding = !self.commands.is_empty()
            && self.shared.store.read().unflushed_bytes() > self.shared.options.unflushed_bytes_max;
        if self.commands.is_empty() || self.holding {
            return;
        }
        let commands = std::mem::take(&mut self.commands);
        let ids: Vec<RequestId> = commands.iter().map(|c| RequestId(c.request_id)).collect();
        if let Err(refused) = self.node.propose(commands) {
            self.shared.meters.proposals_failed.inc_by(ids.len() as u64);
            for id in ids {
                self.driver.answer(id, Answer::Refused(refused));
            }
        }
    }

    fn lead(&mut self, leadership: Leadership) {
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
        if !leadership.is_leader && self.settled.take().is_some() {
            self.machine.lessor_mut().demote();
            self.leases.demoted();
        }
    }

    /// The first applied entry of its own term tells a leader that it has seen everything committed before.
    fn settle(&mut self) {
        let leadership = self.node.leadership();
        if !leadership.is_leader || !self.node.leads_surely() || self.settled.is_some() {
            return;
        }
        if self.node.committed().0 > self.shared.published.applied.load(Ordering::Relaxed) {
            return;
        }
        self.settled = Some(leadership.term);
        let extend = self.shared.options.election_timeout.as_millis();
        let extend_ms = u64::try_from(extend).unwrap_or(1000);
        self.machine
            .lessor_mut()
            .promote(self.shared.clock.now_ms(), extend_ms);
        self.introduce();
        self.answer_reads();
    }

    /// Tells the cluster this member's name and addresses, and what version to speak, where that is news.
    fn introduce(&mut self) {
        let (o, id) = (&self.shared.options, self.shared.identity.member_id.0);
        let known = self.machine.members().find(|m| m.id == id);
        let same = known.is_some_and(|m| {
            m.name == o.name && m.client_ur_ls == o.client_urls && m.peer_ur_ls == o.peer_urls
        });
        if !same {
            let publish = PublishMember {
                member_id: id,
                name: o.name.clone(),
                peer_urls: o.peer_urls.clone(),
                client_urls: o.client_urls.clone(),
                is_learner: false,
            };
            self.commands.push(Command {
                request_id: 0,
                op: Some(Op::Publish(publish)),
            });
        }
        if self.machine.cluster_version() != Some(CLUSTER_VERSION) {
            let version = SetClusterVersion {
                version: CLUSTER_VERSION.into(),
            };
            self.commands.push(Command {
                request_id: 0,
                op: Some(Op::ClusterVersion(version)),
            });
        }
    }

    fn publish(&self) {
        let p = &self.shared.published;
        let committed = self.node.committed().0;
        p.committed.store(committed, Ordering::Relaxed);
        p.leases
            .store(self.machine.lessor().len() as u64, Ordering::Relaxed);
        p.pending
            .store(self.commands.len() as u64, Ordering::Relaxed);
        let free = self.settled.is_some() && self.node.is_alone();
        p.reads_freely.store(free, Ordering::SeqCst);
        let ready = self.settled.is_some() && self.machine.cluster_version().is_some();
        self.shared
            .capable
            .send_if_modified(|told| std::mem::replace(told, ready) != ready);
    }
}
