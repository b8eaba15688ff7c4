//! The raft node: proposals in, log groups and committed entries out.
//!
//! The only place that knows the raft library's types. A group is handed out to be written while the node goes on
//! (asynchronous ready); what promises that it is durable waits for `persisted`.

mod convert;
mod guard;
mod mem_log;
mod membership;
mod snapshot;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use kvorum_proto::kvorumpb::{self, RaftMessage};
use prost::Message as _;
use raft::eraftpb::{Message, MessageType};
use raft::{Config, RawNode, ReadOnlyOption, StateRole};

use crate::error::Error;
use crate::log::{Append, Entry, HardState};
use crate::mutants::{self, Mutant};
use crate::types::{Index, MemberId, Term};
use mem_log::MemLog;
use membership::Left;

pub use convert::{decode_conf_state, encode_conf_state, sole_voter};
pub use guard::Refused;
pub use mem_log::Start;
pub use membership::{PeerProgress, change_of};
pub use snapshot::SnapshotMark;

/// An entry is closed at this size, so that one never holds up the others; a larger request gets one of its own.
const ENTRY_BYTES: usize = 256 << 10;

/// How a node runs.
#[derive(Clone, Copy, Debug)]
pub struct NodeOptions {
    /// This member.
    pub id: u64,
    /// Ticks without a leader before an election, at least.
    pub election_ticks: usize,
    /// Ticks between heartbeats.
    pub heartbeat_ticks: usize,
    /// Where the election timeouts come from: the same seed and the same history give the same ones.
    pub seed: u64,
}

/// Who leads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    /// The leader, 0 for none.
    pub leader: u64,
    /// The term.
    pub term: Term,
    /// True if it is this member.
    pub is_leader: bool,
}

/// What has to happen after a step.
#[derive(Debug, Default)]
pub struct Ready {
    /// To be written, in order; report each with `persisted`.
    pub appends: Vec<Append>,
    /// To be applied, in order; report with `applied`.
    pub committed: Vec<Entry>,
    /// To be sent now.
    pub messages: Vec<RaftMessage>,
    /// Snapshots that peers need: the message to send once the state itself has arrived there.
    pub snapshots: Vec<RaftMessage>,
    /// A snapshot takes the place of log and state; report it with `installed`.
    pub install: Option<SnapshotMark>,
    /// Reads whose leader is confirmed: the context, and the index to wait for.
    pub reads: Vec<(Vec<u8>, Index)>,
    /// Set if the leadership changed.
    pub leadership: Option<Leadership>,
}

/// A raft node over an in-memory tail of the log.
pub struct Node {
    raw: RawNode<MemLog>,
    waiting: BTreeMap<u64, Vec<Message>>,
    hard_state: Option<HardState>,
    told: Leadership,
    alone: bool,
    /// Last group handed out to be written, and last one that is durable.
    handed_out: u64,
    durable: u64,
    /// The number of the group that a snapshot stands for, while it takes its place.
    installing: Option<(u64, SnapshotMark)>,
    seed: u64,
    left: Option<Left>,
    /// The newest change of the configuration that was applied and is not known to the log to be committed.
    changed_at: Option<u64>,
    /// The commit index that was handed out last.
    saved_commit: u64,
    /// Term and role for which the election timeout was drawn.
    drawn: Option<(u64, StateRole)>,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node")
            .field("leadership", &self.told)
            .field("voters", &self.voters())
            .field("committed", &self.committed())
            .field("last", &self.raw.raft.raft_log.last_index())
            .field("left", &self.left)
            .field("progress", &self.progress())
            .finish_non_exhaustive()
    }
}

impl Node {
    /// A node that goes on from what was recovered.
    ///
    /// # Errors
    /// The recovered state contradicts itself.
    pub fn new(options: NodeOptions, start: Start) -> Result<Self, String> {
        let config = Config {
            id: options.id,
            election_tick: options.election_ticks,
            heartbeat_tick: options.heartbeat_ticks,
            applied: start.applied.0,
            max_size_per_msg: 1 << 20,
            max_inflight_msgs: 256,
            check_quorum: true,
            pre_vote: true,
            read_only_option: ReadOnlyOption::Safe,
            max_committed_size_per_ready: 4 << 20,
            ..Config::default()
        };
        config.validate().map_err(|e| e.to_string())?;
        let alone = sole_voter(&start.conf_state) == Some(options.id);
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let raw = RawNode::new(&config, MemLog::new(start)?, &logger).map_err(|e| e.to_string())?;
        let mut node = Self {
            raw,
            waiting: BTreeMap::new(),
            hard_state: None,
            told: Leadership::default(),
            alone,
            handed_out: 0,
            durable: 0,
            installing: None,
            seed: options.seed,
            left: None,
            changed_at: None,
            saved_commit: 0,
            drawn: None,
        };
        node.draw_election_timeout();
        Ok(node)
    }

    /// The raft library draws from the thread's random numbers; this one can be repeated.
    fn draw_election_timeout(&mut self) {
        let raft = &mut self.raw.raft;
        let now = (raft.term, raft.state);
        if self.drawn == Some(now) {
            return;
        }
        self.drawn = Some(now);
        let least = raft.election_timeout();
        let mixed = mix(self.seed ^ mix(raft.id ^ mix(raft.term << 2 | raft.state as u64)));
        let extra = usize::try_from(mixed % least as u64).unwrap_or(0);
        raft.set_randomized_election_timeout(least + extra);
    }

    /// True if this member is the only voter: its own disk is the quorum.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.alone
    }

    /// Time passes. A sole voter does not wait for anybody before it campaigns; who is getting a snapshot does not
    /// campaign at all, and neither does one that is told so.
    pub fn tick(&mut self, may_campaign: bool) {
        let raft = &self.raw.raft;
        let leads = raft.state == StateRole::Leader;
        // A sole voter elects itself on the spot, and raft insists that its log is durable then.
        let durable = raft.raft_log.persisted == raft.raft_log.last_index();
        if self.alone && !leads && durable {
            // The only error is that there is a campaign already.
            let _campaigning = self.raw.campaign();
        }
        let may_campaign = may_campaign && !self.is_installing() && (durable || !self.alone);
        if leads || may_campaign {
            self.raw.tick();
        }
        self.draw_election_timeout();
    }

    /// Takes a message of a peer, once it was checked.
    ///
    /// # Errors
    /// The message is none that a correct peer sends; nothing happened.
    pub fn receive(&mut self, message: RaftMessage) -> Result<(), Refused> {
        guard::check(&self.raw, self.is_installing(), &message)?;
        if self.is_past(&message) {
            return Ok(());
        }
        self.told(&message);
        let message = convert::raft_message(message)?;
        // What raft refuses here it may ignore: a message of an older term, or of a member that is gone.
        let _ignored = self.raw.step(message);
        self.draw_election_timeout();
        Ok(())
    }

    /// The transport could not deliver: raft probes before it sends more.
    pub fn unreachable(&mut self, peer: MemberId) {
        self.raw.report_unreachable(peer.0);
    }

    /// Who leads now.
    #[must_use]
    pub fn leadership(&self) -> Leadership {
        let raft = &self.raw.raft;
        Leadership {
            leader: raft.leader_id,
            term: Term(raft.term),
            is_leader: raft.state == StateRole::Leader,
        }
    }

    /// Highest committed index.
    #[must_use]
    pub fn committed(&self) -> Index {
        Index(self.raw.raft.raft_log.committed)
    }

    /// Puts the commands that wait into as few entries as fit.
    ///
    /// # Errors
    /// This member does not lead: none of them was proposed.
    pub fn propose(&mut self, commands: Vec<kvorumpb::Command>) -> Result<(), Error> {
        if self.raw.raft.state != StateRole::Leader {
            return Err(if self.raw.raft.leader_id == 0 {
                Error::NoLeader
            } else {
                Error::NotLeader
            });
        }
        let mut batch = kvorumpb::EntryBatch::default();
        let mut bytes = 0;
        for command in commands {
            let len = command.encoded_len();
            if bytes > 0 && bytes + len > ENTRY_BYTES {
                self.propose_batch(&std::mem::take(&mut batch))?;
                bytes = 0;
            }
            bytes += len;
            batch.commands.push(command);
        }
        if batch.commands.is_empty() {
            Ok(())
        } else {
            self.propose_batch(&batch)
        }
    }

    fn propose_batch(&mut self, batch: &kvorumpb::EntryBatch) -> Result<(), Error> {
        let proposed = self.raw.propose(Vec::new(), batch.encode_to_vec());
        proposed.map_err(|_| Error::NoLeader)
    }

    /// Asks for the index up to which a linearizable read must wait. `context` must never be used twice: raft 0.7
    /// can confirm a read by answers to an older one with the same context (etcd #20418).
    pub fn read_index(&mut self, context: Vec<u8>) {
        if !self.only_says_farewell() {
            self.raw.read_index(context);
        }
    }

    /// True if this leader has committed an entry of its own term; before, its commit index may be behind.
    #[must_use]
    pub fn leads_surely(&self) -> bool {
        self.raw.raft.state == StateRole::Leader && self.raw.raft.commit_to_current_term()
    }

    /// True while the leadership is being handed over: raft takes no proposals then.
    #[must_use]
    pub fn is_handing_over(&self) -> bool {
        self.raw.raft.lead_transferee.is_some()
    }

    /// Messages that waited for a group up to `number` may leave.
    fn release(&mut self, number: u64, out: &mut Ready) {
        while let Some(entry) = self.waiting.first_entry() {
            if *entry.key() > number {
                break;
            }
            let messages = entry.remove();
            route(messages, out);
        }
    }

    /// Everything up to group `number` is durable; collects what that sets free.
    pub fn persisted(&mut self, number: u64, ready: &mut Ready) {
        self.durable = self.durable.max(number);
        self.raw_persisted(number);
        self.release(number, ready);
        self.draw_election_timeout();
    }

    fn raw_persisted(&mut self, number: u64) {
        if !self.only_says_farewell() {
            self.raw.on_persist_ready(number);
        }
    }

    /// Collects what has to happen. False if there is nothing.
    pub fn ready(&mut self, out: &mut Ready) -> bool {
        let saved = self.save_change(out);
        if !self.raw.has_ready() {
            return saved;
        }
        let mut rd = self.raw.ready();
        let number = rd.number();
        let leadership = self.leadership();
        if self.told != leadership {
            self.told = leadership;
            out.leadership = Some(leadership);
        }
        if let Some(hs) = rd.hs()
            && !mutants::on(Mutant::LostHardState)
        {
            self.hard_state = Some(convert::hard_state(hs));
        }
        // A sole voter's term is its own word only until it is durable: after a crash it may give the same term to other
        // entries, and a learner would keep those that it got. Nothing is lost by the wait, since nobody else decides.
        let waits = |m: &Message| self.alone && m.msg_type == MessageType::MsgAppend;
        let (news, now): (Vec<_>, Vec<_>) = rd.take_messages().into_iter().partition(waits);
        route(now, out);
        for read in rd.take_read_states() {
            out.reads.push((read.request_ctx, Index(read.index)));
        }
        out.committed
            .extend(rd.take_committed_entries().into_iter().map(convert::entry));
        let held = rd.take_persisted_messages();
        let (mut held, free): (Vec<_>, Vec<_>) = held.into_iter().partition(promises_durability);
        route(free, out);
        held.extend(news);
        self.take_snapshot(number, rd.snapshot(), out);
        let entries = rd.take_entries();
        self.raw.mut_store().append(&entries);
        let entries: Vec<Entry> = entries.into_iter().map(convert::entry).collect();
        // A commit index alone is not worth a write: it travels with the next entries.
        let must_write = rd.must_sync() && out.install.is_none();
        if must_write {
            let hard_state = self.hard_state.take();
            self.saved_commit = hard_state.map_or(self.saved_commit, |hs| hs.commit);
            out.appends.push(Append {
                number,
                entries,
                hard_state,
            });
            self.handed_out = number;
        }
        if !held.is_empty() {
            self.waiting
                .entry(self.handed_out)
                .or_default()
                .extend(held);
        }
        self.raw.advance_append_async(rd);
        if mutants::on(Mutant::ReplyBeforeSync) {
            self.durable = self.handed_out;
            self.raw_persisted(number);
        }
        // Nothing is being written: what was only waiting for the order is as durable as it will get.
        if self.durable >= self.handed_out && self.installing.is_none() {
            self.release(self.handed_out, out);
            if !must_write {
                self.raw_persisted(number);
            }
        }
        true
    }

    /// The entries up to `index` are applied.
    pub fn applied(&mut self, index: Index) {
        self.raw.advance_apply_to(index.0);
    }

    /// Forgets entries up to `index`, but for a tail of about `tail_bytes` that slow peers may still ask for. What a
    /// peer lacks that is being caught up stays too, up to `lag_bytes`: else it would need one snapshot after another.
    pub fn trim(&mut self, index: Index, tail_bytes: usize, lag_bytes: usize) {
        let needed = self.needed_from();
        let log = self.raw.mut_store();
        log.trim(index.0.min(needed), tail_bytes);
        log.trim(index.0, lag_bytes);
    }

    /// The entry up to which every active peer has everything, or will have it with the snapshot under way.
    fn needed_from(&self) -> u64 {
        let raft = &self.raw.raft;
        if raft.state != StateRole::Leader {
            return u64::MAX;
        }
        let has = |(_, p): (&u64, &raft::Progress)| match p.state {
            raft::ProgressState::Snapshot => Some(p.pending_snapshot),
            _ if p.recent_active => Some(p.matched),
            _ => None,
        };
        raft.prs().iter().filter_map(has).min().unwrap_or(u64::MAX)
    }
}

/// True for messages that tell others what this member will still know after a crash: they wait for the log. The
/// answer to a heartbeat and everything before an election promise nothing. (Raft paper 5.2, 5.3)
fn promises_durability(message: &Message) -> bool {
    !matches!(
        message.msg_type,
        MessageType::MsgHeartbeat
            | MessageType::MsgHeartbeatResponse
            | MessageType::MsgRequestPreVote
            | MessageType::MsgRequestPreVoteResponse
            | MessageType::MsgReadIndex
            | MessageType::MsgReadIndexResp
            | MessageType::MsgTransferLeader
    )
}

fn route(messages: Vec<Message>, out: &mut Ready) {
    for message in messages {
        if message.msg_type == MessageType::MsgSnapshot {
            out.snapshots.push(convert::message(message));
        } else {
            out.messages.push(convert::message(message));
        }
    }
}

/// Scrambles a number. (SplitMix64's last step, Steele et al. 2014)
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}
