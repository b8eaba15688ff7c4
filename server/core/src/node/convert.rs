//! Between the raft library's messages and our plain types.

use bytes::Bytes;
use kvorum_proto::kvorumpb;
use prost::Message;
use raft::eraftpb::{self, ConfChangeTransition, ConfChangeType};

use super::guard::{self, Refused};
use super::snapshot::SnapshotMark;
use crate::log::{Entry, EntryKind, HardState};
use crate::types::{Index, Term};

pub(super) fn entry(e: eraftpb::Entry) -> Entry {
    let kind = match e.entry_type {
        eraftpb::EntryType::EntryNormal => EntryKind::Normal,
        eraftpb::EntryType::EntryConfChange => EntryKind::ConfChange,
        eraftpb::EntryType::EntryConfChangeV2 => EntryKind::ConfChangeV2,
    };
    Entry {
        term: e.term,
        index: e.index,
        kind,
        data: e.data,
    }
}

pub(super) fn raft_entry(e: Entry) -> eraftpb::Entry {
    let entry_type = match e.kind {
        EntryKind::Normal => eraftpb::EntryType::EntryNormal,
        EntryKind::ConfChange => eraftpb::EntryType::EntryConfChange,
        EntryKind::ConfChangeV2 => eraftpb::EntryType::EntryConfChangeV2,
    };
    eraftpb::Entry {
        entry_type,
        term: e.term,
        index: e.index,
        data: e.data,
        ..Default::default()
    }
}

pub(super) fn hard_state(hs: &eraftpb::HardState) -> HardState {
    HardState {
        term: hs.term,
        vote: hs.vote,
        commit: hs.commit,
    }
}

pub(super) fn raft_hard_state(hs: HardState) -> eraftpb::HardState {
    eraftpb::HardState {
        term: hs.term,
        vote: hs.vote,
        commit: hs.commit,
        ..Default::default()
    }
}

fn unreadable(e: &prost::DecodeError) -> String {
    format!("a raft configuration cannot be read: {e}")
}

fn change_type(value: i32) -> Result<ConfChangeType, String> {
    match value {
        0 => Ok(ConfChangeType::AddNode),
        1 => Ok(ConfChangeType::RemoveNode),
        2 => Ok(ConfChangeType::AddLearnerNode),
        other => Err(format!(
            "a raft configuration change has the unknown type {other}"
        )),
    }
}

/// Reads a change of one member.
pub(super) fn conf_change(data: &[u8]) -> Result<eraftpb::ConfChange, String> {
    let c = kvorumpb::ConfChange::decode(data).map_err(|e| unreadable(&e))?;
    let mut change = eraftpb::ConfChange::default();
    change.set_id(c.id);
    change.set_change_type(change_type(c.change_type)?);
    change.set_node_id(c.node_id);
    Ok(change)
}

/// Reads a joint change.
pub(super) fn conf_change_v2(data: &[u8]) -> Result<eraftpb::ConfChangeV2, String> {
    let c = kvorumpb::ConfChangeV2::decode(data).map_err(|e| unreadable(&e))?;
    let mut change = eraftpb::ConfChangeV2::default();
    change.set_transition(match c.transition {
        0 => ConfChangeTransition::Auto,
        1 => ConfChangeTransition::Implicit,
        2 => ConfChangeTransition::Explicit,
        other => {
            return Err(format!(
                "a raft configuration change has the unknown transition {other}"
            ));
        }
    });
    for s in &c.changes {
        let mut single = eraftpb::ConfChangeSingle::default();
        single.set_change_type(change_type(s.change_type)?);
        single.set_node_id(s.node_id);
        change.mut_changes().push(single);
    }
    Ok(change)
}

/// In one order on all members: raft's sets have none.
pub(super) fn encode(state: &eraftpb::ConfState) -> Bytes {
    let mut state = conf_state_message(state.clone());
    for ids in [
        &mut state.voters,
        &mut state.learners,
        &mut state.voters_outgoing,
        &mut state.learners_next,
    ] {
        ids.sort_unstable();
    }
    state.encode_to_vec().into()
}

pub(super) fn is_alone(state: &eraftpb::ConfState, id: u64) -> bool {
    state.voters == [id] && state.voters_outgoing.is_empty()
}

/// A configuration with these voters, encoded as it is kept in the meta table.
#[must_use]
pub fn encode_conf_state(voters: &[u64]) -> Bytes {
    let state = kvorumpb::ConfState {
        voters: voters.to_vec(),
        ..Default::default()
    };
    state.encode_to_vec().into()
}

/// Reads a configuration from the meta table.
///
/// # Errors
/// The bytes are not one.
pub fn decode_conf_state(bytes: &[u8]) -> Result<eraftpb::ConfState, String> {
    let s = kvorumpb::ConfState::decode(bytes).map_err(|e| unreadable(&e))?;
    Ok(eraftpb::ConfState {
        voters: s.voters,
        learners: s.learners,
        voters_outgoing: s.voters_outgoing,
        learners_next: s.learners_next,
        auto_leave: s.auto_leave,
        ..Default::default()
    })
}

/// The only voter of an encoded configuration, if there is just one.
#[must_use]
pub fn sole_voter(state: &[u8]) -> Option<u64> {
    let state = decode_conf_state(state).ok()?;
    match state.voters.as_slice() {
        [id] if state.voters_outgoing.is_empty() => Some(*id),
        _ => None,
    }
}

fn conf_state_message(s: eraftpb::ConfState) -> kvorumpb::ConfState {
    kvorumpb::ConfState {
        voters: s.voters,
        learners: s.learners,
        voters_outgoing: s.voters_outgoing,
        learners_next: s.learners_next,
        auto_leave: s.auto_leave,
    }
}

fn raft_conf_state(s: kvorumpb::ConfState) -> eraftpb::ConfState {
    eraftpb::ConfState {
        voters: s.voters,
        learners: s.learners,
        voters_outgoing: s.voters_outgoing,
        learners_next: s.learners_next,
        auto_leave: s.auto_leave,
        ..Default::default()
    }
}

/// What a snapshot stands for.
pub(super) fn snapshot_mark(snapshot: &eraftpb::Snapshot) -> SnapshotMark {
    let metadata = snapshot.get_metadata();
    SnapshotMark {
        index: Index(metadata.index),
        term: Term(metadata.term),
        conf_state: encode(metadata.get_conf_state()),
    }
}

/// A message of raft as it travels.
pub(super) fn message(mut m: eraftpb::Message) -> kvorumpb::RaftMessage {
    let entries = m.take_entries().into_iter().map(|e| kvorumpb::RaftEntry {
        kind: e.entry_type as i32,
        term: e.term,
        index: e.index,
        data: e.data,
    });
    let entries = entries.collect();
    let snapshot = m.has_snapshot().then(|| {
        let mut metadata = m.take_snapshot().take_metadata();
        kvorumpb::SnapshotMark {
            index: metadata.index,
            term: metadata.term,
            conf_state: Some(conf_state_message(metadata.take_conf_state())),
        }
    });
    kvorumpb::RaftMessage {
        kind: m.msg_type as i32,
        to: m.to,
        from: m.from,
        term: m.term,
        log_term: m.log_term,
        index: m.index,
        entries,
        commit: m.commit,
        snapshot,
        reject: m.reject,
        reject_hint: m.reject_hint,
        context: m.context,
        request_snapshot: m.request_snapshot,
        commit_term: m.commit_term,
        priority: m.priority,
    }
}

fn travelled_entry(e: kvorumpb::RaftEntry) -> eraftpb::Entry {
    let entry_type = match e.kind {
        1 => eraftpb::EntryType::EntryConfChange,
        2 => eraftpb::EntryType::EntryConfChangeV2,
        _ => eraftpb::EntryType::EntryNormal,
    };
    eraftpb::Entry {
        entry_type,
        term: e.term,
        index: e.index,
        data: e.data,
        ..Default::default()
    }
}

/// A message as raft takes it; the guard has looked at it.
pub(super) fn raft_message(m: kvorumpb::RaftMessage) -> Result<eraftpb::Message, Refused> {
    let mut message = eraftpb::Message {
        msg_type: guard::kind(m.kind)?,
        to: m.to,
        from: m.from,
        term: m.term,
        log_term: m.log_term,
        index: m.index,
        commit: m.commit,
        reject: m.reject,
        reject_hint: m.reject_hint,
        context: m.context,
        request_snapshot: m.request_snapshot,
        commit_term: m.commit_term,
        priority: m.priority,
        ..Default::default()
    };
    let entries: Vec<_> = m.entries.into_iter().map(travelled_entry).collect();
    message.set_entries(entries.into());
    if let Some(mark) = m.snapshot {
        let mut snapshot = eraftpb::Snapshot::default();
        let metadata = snapshot.mut_metadata();
        metadata.index = mark.index;
        metadata.term = mark.term;
        metadata.set_conf_state(raft_conf_state(mark.conf_state.unwrap_or_default()));
        message.set_snapshot(snapshot);
    }
    Ok(message)
}
