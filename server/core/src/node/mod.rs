//! The raft node: proposals in, log groups and committed entries out.
//!
//! The only place that knows the raft library's types. A group is handed out to be written while the node goes on
//! (asynchronous ready); what promises that it is durable waits for `persisted`.

mod convert;
mod mem_log;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use kvorum_proto::kvorumpb;
use prost::Message as _;
use raft::eraftpb::{self, Message};
use raft::{Config, RawNode, ReadOnlyOption, StateRole};

use crate::error::Error;
use crate::log::{Append, Entry, EntryKind, HardState};
use crate::types::{Index, Term};
use mem_log::MemLog;

pub use convert::{decode_conf_state, encode_conf_state, sole_voter};
pub use mem_log::Start;

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
    /// Fixes the election timeout, so that a simulation replays; `None` lets raft draw it.
    pub election_ticks_fixed: Option<usize>,
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
    pub messages: Vec<Message>,
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
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node")
            .field("leadership", &self.told)
            .finish_non_exhaustive()
    }
}

impl Node {
    /// A node that goes on from what was recovered.
    ///
    /// # Errors
    /// The recovered state contradicts itself.
    pub fn new(options: NodeOptions, start: Start) -> Result<Self, String> {
        let fixed = options.election_ticks_fixed;
        let config = Config {
            id: options.id,
            election_tick: options.election_ticks,
            heartbeat_tick: options.heartbeat_ticks,
            min_election_tick: fixed.unwrap_or(0),
            max_election_tick: fixed.map_or(0, |t| t + 1),
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
        let told = Leadership::default();
        Ok(Self {
            raw,
            waiting: BTreeMap::new(),
            hard_state: None,
            told,
            alone,
            handed_out: 0,
            durable: 0,
        })
    }

    /// True if this member is the only voter: its own disk is the quorum.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.alone
    }

    /// Time passes. A sole voter does not wait for anybody before it campaigns.
    pub fn tick(&mut self) {
        if self.alone && self.raw.raft.state != StateRole::Leader {
            // The only error is that there is a campaign already.
            let _campaigning = self.raw.campaign();
        }
        self.raw.tick();
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
            return Err(if self.told.leader == 0 {
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
        self.raw.read_index(context);
    }

    /// True if this leader has committed an entry of its own term; before, its commit index may be behind.
    #[must_use]
    pub fn leads_surely(&self) -> bool {
        self.raw.raft.state == StateRole::Leader && self.raw.raft.commit_to_current_term()
    }

    /// Messages that waited for a group up to `number` may leave.
    fn release(&mut self, number: u64, out: &mut Vec<Message>) {
        while let Some(entry) = self.waiting.first_entry() {
            if *entry.key() > number {
                break;
            }
            out.extend(entry.remove());
        }
    }

    /// Everything up to group `number` is durable; collects what that sets free.
    pub fn persisted(&mut self, number: u64, ready: &mut Ready) {
        self.durable = number;
        self.raw.on_persist_ready(number);
        self.release(number, &mut ready.messages);
    }

    /// Collects what has to happen. False if there is nothing.
    pub fn ready(&mut self, out: &mut Ready) -> bool {
        if !self.raw.has_ready() {
            return false;
        }
        let mut rd = self.raw.ready();
        let number = rd.number();
        if rd.ss().is_some() || self.told.term != Term(self.raw.raft.term) {
            self.told = self.leadership();
            out.leadership = Some(self.told);
        }
        if let Some(hs) = rd.hs() {
            self.hard_state = Some(convert::hard_state(hs));
        }
        out.messages.append(&mut rd.take_messages());
        for read in rd.take_read_states() {
            out.reads.push((read.request_ctx, Index(read.index)));
        }
        out.committed
            .extend(rd.take_committed_entries().into_iter().map(convert::entry));
        let held = rd.take_persisted_messages();
        let entries = rd.take_entries();
        self.raw.mut_store().append(&entries);
        let entries: Vec<Entry> = entries.into_iter().map(convert::entry).collect();
        // A commit index alone is not worth a write: it travels with the next entries.
        let must_write = rd.must_sync() || !held.is_empty();
        if !held.is_empty() {
            self.waiting.insert(number, held);
        }
        if must_write {
            let hard_state = self.hard_state.take();
            out.appends.push(Append {
                number,
                entries,
                hard_state,
            });
            self.handed_out = number;
        }
        self.raw.advance_append_async(rd);
        // Nothing to write and nothing being written: the group is as durable as it will get.
        if !must_write && self.durable >= self.handed_out {
            self.raw.on_persist_ready(number);
        }
        true
    }

    /// The entries up to `index` are applied.
    pub fn applied(&mut self, index: Index) {
        self.raw.advance_apply_to(index.0);
    }

    /// Applies a committed change of the configuration and gives its new state back, encoded, to be kept.
    ///
    /// # Errors
    /// The entry is not a valid change.
    pub fn apply_conf_change(&mut self, entry: &Entry) -> Result<bytes::Bytes, String> {
        let state = match entry.kind {
            EntryKind::ConfChangeV2 => {
                let change = convert::conf_change_v2(&entry.data)?;
                self.raw.apply_conf_change(&change)
            }
            _ => {
                let change = convert::conf_change(&entry.data)?;
                self.raw.apply_conf_change(&change)
            }
        };
        let state: eraftpb::ConfState = state.map_err(|e| e.to_string())?;
        self.raw.mut_store().set_conf_state(state.clone());
        self.alone = convert::is_alone(&state, self.raw.raft.id);
        Ok(convert::encode(&state))
    }

    /// Forgets entries up to `index`, but for a tail of about `tail_bytes` that slow peers may still ask for.
    pub fn trim(&mut self, index: Index, tail_bytes: usize) {
        self.raw.mut_store().trim(index.0, tail_bytes);
    }
}
