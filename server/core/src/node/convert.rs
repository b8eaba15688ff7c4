//! Between the raft library's messages and our plain types.

use bytes::Bytes;
use protobuf::Message as _;
use raft::eraftpb;

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

pub(super) fn parse<M: protobuf::Message>(data: &[u8]) -> Result<M, String> {
    M::parse_from_bytes(data).map_err(|e| format!("a configuration change cannot be read: {e}"))
}

pub(super) fn encode(state: &eraftpb::ConfState) -> Bytes {
    // Writing to memory fails only for uninitialised required fields, which these messages do not have.
    state.write_to_bytes().unwrap_or_default().into()
}

pub(super) fn is_alone(state: &eraftpb::ConfState, id: u64) -> bool {
    state.voters == [id] && state.voters_outgoing.is_empty()
}

/// A configuration with these voters, encoded as it is kept in the meta table.
#[must_use]
pub fn encode_conf_state(voters: &[u64]) -> Bytes {
    encode(&eraftpb::ConfState {
        voters: voters.to_vec(),
        ..Default::default()
    })
}

/// Reads a configuration from the meta table.
///
/// # Errors
/// The bytes are not one.
pub fn decode_conf_state(bytes: &[u8]) -> Result<eraftpb::ConfState, String> {
    parse(bytes)
}

/// The only voter of an encoded configuration, if there is just one.
#[must_use]
pub fn sole_voter(state: &[u8]) -> Option<u64> {
    let state: eraftpb::ConfState = parse(state).ok()?;
    match state.voters.as_slice() {
        [id] if state.voters_outgoing.is_empty() => Some(*id),
        _ => None,
    }
}
