//! Who votes: changes of the configuration, and how far the others are.

use kvorum_proto::kvorumpb::{self, MemberChange, RaftMessage, member_op};
use prost::Message as _;
use raft::eraftpb::{
    self, ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2, MessageType,
};
use raft::{INVALID_ID, StateRole};

use super::{Node, Ready, convert};
use crate::error::Error;
use crate::log::{Append, Entry, EntryKind, HardState};
use crate::types::{Index, MemberId};

/// How far a member is, as its leader knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerProgress {
    /// The member.
    pub id: MemberId,
    /// Last entry that it is known to have.
    pub matched: Index,
    /// It has answered within the last election timeout.
    pub active: bool,
    /// It does not vote.
    pub is_learner: bool,
}

/// This member is none any more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Left {
    /// The entry that removed it.
    at: u64,
    /// A leader among the others knows that it is committed.
    known: bool,
}

impl Node {
    /// Voters of the present configuration, both halves of a joint one.
    #[must_use]
    pub fn voters(&self) -> Vec<MemberId> {
        let state = self.raw.raft.prs().conf().to_conf_state();
        let mut voters: Vec<u64> = state.voters.clone();
        voters.extend(&state.voters_outgoing);
        voters.sort_unstable();
        voters.dedup();
        voters.into_iter().map(MemberId).collect()
    }

    /// True if those for whom `is_there` holds can decide, in both halves of a joint configuration.
    #[must_use]
    pub fn has_quorum(&self, is_there: impl Fn(MemberId) -> bool) -> bool {
        let state = self.raw.raft.prs().conf().to_conf_state();
        let decides = |half: &[u64]| {
            let there = half.iter().filter(|id| is_there(MemberId(**id))).count();
            half.is_empty() || there * 2 > half.len()
        };
        decides(&state.voters) && decides(&state.voters_outgoing)
    }

    /// True if somebody is a voter or a learner of the present configuration, of either half of a joint one.
    #[must_use]
    pub fn knows(&self, id: MemberId) -> bool {
        self.raw.raft.prs().iter().any(|(known, _)| *known == id.0)
    }

    /// True if this member is a voter or a learner.
    #[must_use]
    pub fn is_listed(&self) -> bool {
        let raft = &self.raw.raft;
        raft.prs().iter().any(|(id, _)| *id == raft.id)
    }

    /// All members that raft sends to, but for this one; on the leader with how far they are.
    #[must_use]
    pub fn progress(&self) -> Vec<PeerProgress> {
        let raft = &self.raw.raft;
        let conf = raft.prs().conf();
        let mut all: Vec<PeerProgress> = raft
            .prs()
            .iter()
            .filter(|(id, _)| **id != raft.id)
            .map(|(id, progress)| PeerProgress {
                id: MemberId(*id),
                matched: Index(progress.matched),
                active: progress.recent_active,
                is_learner: conf.learners().contains(id),
            })
            .collect();
        all.sort_by_key(|p| p.id);
        all
    }

    /// Proposes a change of the voters and learners, which travels inside the configuration change.
    ///
    /// # Errors
    /// This member does not lead, or another change is not finished yet.
    pub fn propose_change(&mut self, change: &MemberChange) -> Result<(), Error> {
        let raft = &self.raw.raft;
        if raft.state != StateRole::Leader {
            return Err(Error::NotLeader);
        }
        if self.has_pending_change() {
            return Err(Error::TooManyRequests);
        }
        let mut conf_change = ConfChangeV2::default();
        conf_change.set_transition(ConfChangeTransition::Auto);
        for op in &change.ops {
            conf_change.mut_changes().push(single(op));
        }
        conf_change.set_context(change.encode_to_vec().into());
        let proposed = self.raw.propose_conf_change(Vec::new(), conf_change);
        proposed.map_err(|_| Error::NoLeader)
    }

    /// True while a change is in the log and not applied, or only half done: raft would turn another one into nothing.
    #[must_use]
    pub fn has_pending_change(&self) -> bool {
        let raft = &self.raw.raft;
        let conf = raft.prs().conf().to_conf_state();
        raft.has_pending_conf() || !conf.voters_outgoing.is_empty()
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
        self.raw
            .mut_store()
            .set_conf_state(entry.index, state.clone());
        self.alone = convert::is_alone(&state, self.raw.raft.id);
        self.changed_at = Some(entry.index);
        if self.is_listed() {
            self.left = None;
        } else if self.left.is_none() {
            let told = self.raw.raft.leader_id;
            self.left = Some(Left {
                at: entry.index,
                known: told != INVALID_ID && told != self.raw.raft.id,
            });
        }
        Ok(convert::encode(&state))
    }

    /// That a change of the configuration is committed is worth a write: after a crash of all, those who are members
    /// now may have to ask one who is none any more, and is gone.
    pub(super) fn save_change(&mut self, out: &mut Ready) -> bool {
        let Some(at) = self.changed_at.take().filter(|at| *at > self.saved_commit) else {
            return false;
        };
        self.saved_commit = at;
        let hard_state = HardState {
            commit: at,
            ..self.hard_state()
        };
        // It goes with the last group: whatever waits for that one may wait for this one too.
        out.appends.push(Append {
            number: self.handed_out,
            entries: Vec::new(),
            hard_state: Some(hard_state),
        });
        true
    }

    /// True for a leader that is no member any more. It goes on to tell the others that its removal is committed, and
    /// does nothing else: raft 0.7 panics where such a leader's log grows, and lets it answer reads by itself once one
    /// voter is left. (Raft thesis 4.2.2)
    pub(super) fn only_says_farewell(&self) -> bool {
        self.left.is_some() && self.raw.raft.state == StateRole::Leader
    }

    /// True if a removed leader must not take this message: a read, or an acknowledgement by which more would be
    /// committed. Others it takes: who lacks entries up to the removal gets them, or could not elect another leader.
    pub(super) fn is_past(&mut self, message: &RaftMessage) -> bool {
        if !self.only_says_farewell() {
            return false;
        }
        if message.kind != MessageType::MsgAppendResponse as i32 {
            return message.kind == MessageType::MsgReadIndex as i32;
        }
        let committed = self.raw.raft.raft_log.committed;
        let everywhere = self.raw.raft.mut_prs().maximal_committed_index().0;
        !message.reject && message.index.max(everywhere) > committed
    }

    /// Another leader tells how far the log is committed.
    pub(super) fn told(&mut self, message: &RaftMessage) {
        let kind = message.kind;
        let from_leader =
            kind == MessageType::MsgAppend as i32 || kind == MessageType::MsgHeartbeat as i32;
        if let Some(left) = &mut self.left
            && from_leader
            && message.commit >= left.at
        {
            left.known = true;
        }
    }

    /// The entry that made this member none, if it is none.
    #[must_use]
    pub fn left_at(&self) -> Option<Index> {
        self.left.as_ref().map(|left| Index(left.at))
    }

    /// False for a removed member while the others may not know that its removal is committed: without its vote they
    /// might never find out.
    #[must_use]
    pub fn may_leave(&self) -> bool {
        let Some(left) = self.left.as_ref().filter(|left| !left.known) else {
            return true;
        };
        let prs = self.raw.raft.prs();
        let knows = |id: &MemberId| prs.get(id.0).is_some_and(|p| p.committed_index >= left.at);
        let voters = self.voters();
        self.only_says_farewell() && voters.iter().filter(|id| knows(id)).count() * 2 > voters.len()
    }

    /// Begins to hand the leadership over.
    ///
    /// # Errors
    /// This member does not lead, or the other one does not vote.
    pub fn transfer(&mut self, to: MemberId) -> Result<(), Error> {
        let raft = &self.raw.raft;
        if raft.state != StateRole::Leader {
            return Err(Error::NotLeader);
        }
        if to.0 == raft.id {
            return Ok(());
        }
        if !self.voters().contains(&to) {
            return Err(Error::BadLeaderTransferee);
        }
        self.raw.transfer_leader(to.0);
        Ok(())
    }

    /// The voter that lacks least, among those that answer.
    #[must_use]
    pub fn best_successor(&self) -> Option<MemberId> {
        let fit = |p: &PeerProgress| p.active && !p.is_learner;
        let all = self.progress();
        let best = all.iter().filter(|p| fit(p)).max_by_key(|p| p.matched)?;
        Some(best.id)
    }

    /// Gives the leadership up without a successor: whoever is fit will campaign.
    pub fn step_down(&mut self) {
        let raft = &mut self.raw.raft;
        if raft.state == StateRole::Leader {
            raft.become_follower(raft.term, INVALID_ID);
        }
        self.draw_election_timeout();
    }
}

fn single(op: &kvorumpb::MemberOp) -> ConfChangeSingle {
    let (kind, id) = match &op.op {
        Some(member_op::Op::Add(m)) => (ConfChangeType::AddNode, m.id),
        Some(member_op::Op::AddLearner(m)) => (ConfChangeType::AddLearnerNode, m.id),
        Some(member_op::Op::Promote(id)) => (ConfChangeType::AddNode, *id),
        Some(member_op::Op::Remove(id)) => (ConfChangeType::RemoveNode, *id),
        // Raft reads a change of member 0 as none.
        None => (ConfChangeType::RemoveNode, INVALID_ID),
    };
    let mut change = ConfChangeSingle::default();
    change.set_change_type(kind);
    change.set_node_id(id);
    change
}

/// The members' change inside a configuration change; `None` in the second half of a joint one.
///
/// # Errors
/// It cannot be read.
pub fn change_of(entry: &Entry) -> Result<Option<MemberChange>, String> {
    if entry.kind != EntryKind::ConfChangeV2 || entry.data.is_empty() {
        return Ok(None);
    }
    let change = kvorumpb::ConfChangeV2::decode(entry.data.clone()).map_err(|e| e.to_string())?;
    if change.changes.is_empty() {
        return Ok(None);
    }
    let change = MemberChange::decode(change.context).map_err(|e| e.to_string())?;
    Ok(Some(change))
}
