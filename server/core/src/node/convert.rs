//! Between the raft library's messages and our plain types.

use bytes::Bytes;
use kvorum_proto::kvorumpb;
use prost::Message;
use raft::eraftpb::{self, ConfChangeTransition, ConfChangeType};

use crate::log::{Entry, EntryKind, HardState};

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

pub(super) fn encode(state: &eraftpb::ConfState) -> Bytes {
    let state = kvorumpb::ConfState {
        voters: state.voters.clone(),
        learners: state.learners.clone(),
        voters_outgoing: state.voters_outgoing.clone(),
        learners_next: state.learners_next.clone(),
        auto_leave: state.auto_leave,
    };
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
