//! One member's machine: the raft node, the state machine over it, and everything in between that must be decided the
//! same way in production and in the simulator. No clock, no thread, no file, no socket: time and messages come in,
//! what has to happen goes out.
//!
//! The shell calls an input method, then `turn` until it returns false, draining the `Output` after each call.

mod apply;
mod ask;
mod digest;
mod disk;
mod forward;
mod leader;
mod leases;
mod membership;
mod output;
mod peers;
mod reads;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use kvorum_proto::kvorumpb::{Command, ForwardedAnswer};

pub use apply::META_CONF_STATE;
pub use ask::{Answer, Ask};
pub use membership::MembershipOptions;
pub use output::{Divergence, Lane, Observer, Output, Send, SnapshotWanted, StoreAccess};

use crate::error::Error;
use crate::log::{Append, Entry};
use crate::machine::Machine;
use crate::mutants::{self, Mutant};
use crate::node::{Leadership, Node, NodeOptions, Ready, Refused, Start};
use crate::types::{Index, MemberId, RequestId, Term};
use digest::Digests;
use disk::DiskWatch;
use forward::{Outbox, Pending};
use leases::LeaseCalls;
use membership::Membership;
use reads::Reads;

/// Entries that may be committed and not applied before proposals are refused. (etcd: maxGapBetweenApplyAndCommitIndex)
const APPLY_GAP_MAX: u64 = 5000;

/// How a replica runs.
#[derive(Clone, Debug)]
pub struct ReplicaOptions {
    /// The raft node.
    pub node: NodeOptions,
    /// Random per start: the session of forwarded requests and the contexts of reads.
    pub session: u64,
    /// First of the request ids that the replica may use for requests of its own; 2^36 follow. No port has them.
    pub own_ids: u64,
    /// A follower's silence after which the leader counts it as gone, and a hung disk as hung; milliseconds.
    pub election_timeout_ms: u64,
    /// After this long nobody waits for an answer any more, milliseconds.
    pub request_timeout_ms: u64,
    /// Between two comparisons of the members' states, milliseconds.
    pub digest_interval_ms: u64,
    /// Entries kept in memory for peers that are a little behind, bytes.
    pub tail_bytes: usize,
    /// Entries kept in memory for peers that are being caught up, bytes.
    pub lag_bytes: usize,
    /// Rules and wishes about members.
    pub membership: MembershipOptions,
}

/// A request of another member that this leader answers itself.
#[derive(Debug)]
struct Remote {
    from: MemberId,
    session: u64,
    sequence: u64,
    ask: Ask,
}

/// One member's machine.
#[derive(Debug)]
pub struct Replica {
    options: ReplicaOptions,
    node: Node,
    ready: Ready,
    machine: Machine,
    leases: LeaseCalls,
    reads: Reads,
    outbox: Outbox,
    disk: DiskWatch,
    digests: Digests,
    membership: Membership,
    /// Commands that wait to be proposed here.
    commands: Vec<Command>,
    /// Committed, not applied yet.
    committed: VecDeque<Entry>,
    applied: Index,
    /// Groups that wait until a snapshot is installed.
    held: Vec<Append>,
    /// This leader has applied an entry of its own term.
    settled: Option<Term>,
    leadership: Leadership,
    remotes: BTreeMap<RequestId, Remote>,
    remote_answers: BTreeMap<(MemberId, u64), Vec<ForwardedAnswer>>,
    next_own_id: u64,
    transfers: Vec<(RequestId, MemberId, u64)>,
    next_digest_ms: u64,
    /// Proposals, and entries of the leader, wait for the state store.
    holding: bool,
}

impl Replica {
    /// A replica that goes on from what was recovered.
    ///
    /// # Errors
    /// The recovered state contradicts itself.
    pub fn new(options: ReplicaOptions, start: Start, machine: Machine) -> Result<Self, String> {
        let applied = start.applied;
        let node = Node::new(options.node, start)?;
        Ok(Self {
            leadership: node.leadership(),
            node,
            ready: Ready::default(),
            machine,
            leases: LeaseCalls::default(),
            reads: Reads::new(options.node.id, options.session),
            outbox: Outbox::new(options.session),
            disk: DiskWatch::default(),
            digests: Digests::default(),
            membership: Membership::new(options.membership.clone(), options.election_timeout_ms),
            commands: Vec::new(),
            committed: VecDeque::new(),
            applied,
            held: Vec::new(),
            settled: None,
            remotes: BTreeMap::new(),
            remote_answers: BTreeMap::new(),
            next_own_id: 0,
            transfers: Vec::new(),
            next_digest_ms: 0,
            holding: false,
            options,
        })
    }

    /// The state machine.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The raft node.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// This member.
    #[must_use]
    pub fn id(&self) -> MemberId {
        MemberId(self.options.node.id)
    }

    /// Who leads.
    #[must_use]
    pub fn leadership(&self) -> Leadership {
        self.leadership
    }

    /// Last applied entry.
    #[must_use]
    pub fn applied(&self) -> Index {
        self.applied
    }

    /// True if this member leads and knows everything that was committed before it did.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.settled.is_some()
    }

    /// Requests of this member that wait for the log, and commands that wait to be proposed.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.outbox.len().max(self.commands.len())
    }

    /// How long the oldest group has been on its way to the disk, milliseconds.
    #[must_use]
    pub fn disk_waiting_ms(&self, now_ms: u64) -> u64 {
        self.disk.waiting_ms(now_ms)
    }

    /// Proposals, and entries that the leader sends, wait while the state store is too far behind.
    pub fn hold(&mut self, holding: bool) {
        self.holding = holding;
    }

    /// True if proposals wait for the state store.
    #[must_use]
    pub fn is_holding(&self) -> bool {
        self.holding && !self.commands.is_empty()
    }

    /// A heartbeat interval has passed.
    pub fn tick(&mut self, now_ms: u64) {
        let stalled = self.relieve_disk(now_ms);
        self.node.tick(!stalled);
        self.reads.tick(now_ms, self.options.request_timeout_ms);
        self.outbox.tick(
            now_ms,
            self.options.request_timeout_ms,
            2 * self.options.election_timeout_ms,
        );
        self.tick_transfers(now_ms);
        if self.settled.is_some() {
            self.tick_leader(now_ms);
            self.outbox.send_again_waiting();
        }
        self.tick_membership(now_ms);
    }

    /// Takes a request of this member.
    pub fn ask(&mut self, ask: Ask, now_ms: u64, out: &mut Output) {
        match ask {
            Ask::Propose(command) => self.ask_command(command, now_ms, out),
            Ask::KeepAlive(id, lease, caller) if self.may_not_know(lease) => {
                self.outbox
                    .add(Pending::KeepAlive(id, lease, caller), now_ms);
            }
            Ask::TimeLeft(id, lease, keys, caller) if self.may_not_know(lease) => {
                self.outbox
                    .add(Pending::TimeLeft(id, lease, keys, caller), now_ms);
            }
            Ask::KeepAlive(..) | Ask::TimeLeft(..) => self.answer_as_leader(ask, now_ms, out),
            Ask::Leases(id, caller) => {
                let answer = self.leases(&caller);
                self.answer(id, answer, now_ms, out);
            }
            Ask::ReadIndex(id) => self.reads.add(id, now_ms),
            Ask::Change(change) => self.ask_own_change(change, now_ms, out),
            Ask::Transfer(id, to) => self.ask_transfer(id, to, now_ms, out),
            Ask::HandOver(id) => {
                self.give_up_leadership();
                self.answer(id, Answer::Transferred, now_ms, out);
            }
        }
    }

    fn ask_command(&mut self, command: Command, now_ms: u64, out: &mut Output) {
        let gap = self.node.committed().0.saturating_sub(self.applied.0);
        if gap > APPLY_GAP_MAX {
            let refused = Answer::Refused(Error::TooManyRequests);
            self.answer(RequestId(command.request_id), refused, now_ms, out);
        } else if self.node.is_alone() {
            self.commands.push(command);
        } else {
            self.outbox.add(Pending::Command(command), now_ms);
        }
    }

    /// A log group, and all before it, are durable.
    pub fn persisted(&mut self, number: u64) {
        self.disk.durable(number);
        self.node.persisted(number, &mut self.ready);
    }

    /// The state store holds everything up to `index`.
    pub fn flushed(&mut self, index: Index) {
        self.node.flushed(index);
        let (tail, lag) = (self.options.tail_bytes, self.options.lag_bytes);
        self.node.trim(index, tail, lag);
    }

    /// The transport could not deliver something.
    pub fn unreachable(&mut self, peer: MemberId) {
        self.node.unreachable(peer);
    }

    /// The stream of a snapshot ended; `complete` if the peer has all of it.
    pub fn snapshot_sent(&mut self, to: MemberId, complete: bool) {
        self.node.snapshot_sent(to, complete);
    }

    /// The staged snapshot is in place: the store was replaced and the log begins after it.
    pub fn installed(&mut self, machine: Machine, applied: Index, out: &mut Output) {
        self.machine = machine;
        self.applied = applied;
        self.node.installed(&mut self.ready);
        out.appends.append(&mut self.held);
        out.view_changed = true;
        if self.settled.is_some() {
            self.machine.lessor_mut().demote();
        }
    }

    /// Answers a request of this member, or passes the answer on to the member that asked.
    fn answer(&mut self, id: RequestId, answer: Answer, now_ms: u64, out: &mut Output) {
        if let Some(remote) = self.remotes.remove(&id) {
            self.answer_remote(remote, answer, now_ms, out);
        } else {
            out.answers.push((id, answer));
        }
    }

    fn own_id(&mut self) -> RequestId {
        self.next_own_id = (self.next_own_id + 1) & ((1 << 36) - 1);
        RequestId(self.options.own_ids + self.next_own_id)
    }

    /// Does what follows from the inputs. True if there is more to do once `out` is drained.
    ///
    /// # Errors
    /// The state store could not be read, or an entry makes no sense: the process must end.
    pub fn turn(
        &mut self,
        store: &impl StoreAccess,
        observer: &mut impl Observer,
        now_ms: u64,
        out: &mut Output,
    ) -> Result<bool, String> {
        self.begin_reads(now_ms);
        self.send_requests(now_ms, out);
        let busy = self.committed.is_empty() && self.node.ready(&mut self.ready);
        self.take_ready(now_ms, out);
        self.apply(store, observer, now_ms, out)?;
        self.settle(now_ms, out);
        self.answer_reads(now_ms, out);
        self.end_transfers(now_ms, out);
        for (id, answer) in self.leases.take_answers() {
            self.answer(id, answer, now_ms, out);
        }
        self.send_answers(out);
        Ok(busy || !self.committed.is_empty())
    }

    fn take_ready(&mut self, now_ms: u64, out: &mut Output) {
        if let Some(leadership) = self.ready.leadership.take() {
            self.lead(leadership, out);
        }
        if let Some(mark) = self.ready.install.take() {
            out.install = Some(mark);
        }
        for group in self.ready.appends.drain(..) {
            self.disk.handed_out(group.number, now_ms);
            if self.node.is_installing() {
                self.held.push(group);
            } else {
                out.appends.push(group);
            }
        }
        let (messages, snapshots) = (
            std::mem::take(&mut self.ready.messages),
            std::mem::take(&mut self.ready.snapshots),
        );
        self.send_raft(messages, snapshots, out);
        for (context, index) in std::mem::take(&mut self.ready.reads) {
            self.reads.confirm(&context, index);
        }
        self.committed.extend(self.ready.committed.drain(..));
    }

    fn begin_reads(&mut self, now_ms: u64) {
        if self.node.is_alone() || self.leadership.leader == 0 {
            return;
        }
        if let Some(context) = self.reads.begin(now_ms) {
            self.node.read_index(context);
        }
    }

    /// The only voter acknowledges a write after it has applied it, so what is here is all there is.
    fn answer_reads(&mut self, now_ms: u64, out: &mut Output) {
        let mut readable = self.reads.readable(self.applied);
        let alone = self.settled.is_some() && self.node.is_alone();
        if alone || mutants::on(Mutant::LocalRead) {
            readable.extend(self.reads.take_all());
        }
        for id in readable {
            self.answer(id, Answer::Readable, now_ms, out);
        }
    }

    /// Hands what waits to the leader, be it this member or another.
    fn send_requests(&mut self, now_ms: u64, out: &mut Output) {
        if self.leadership.is_leader {
            self.collect_own(now_ms, out);
            self.propose_changes(now_ms, out);
            self.propose(now_ms, out);
        } else if self.leadership.leader != 0 && self.outbox.has_unsent() {
            let to = MemberId(self.leadership.leader);
            let requests = self.outbox.take_unsent(now_ms);
            for forward in self.outbox.messages(requests) {
                out.sends.push(peers::forward(to, forward));
            }
        }
    }

    /// Takes a message of a peer.
    ///
    /// # Errors
    /// No correct peer sends it, or it shows that this member has lost what it had.
    pub fn receive(
        &mut self,
        from: MemberId,
        message: kvorum_proto::kvorumpb::PeerMessage,
        now_ms: u64,
        out: &mut Output,
    ) -> Result<(), Refused> {
        self.heard(from, now_ms);
        self.receive_body(from, message, now_ms, out)
    }
}
