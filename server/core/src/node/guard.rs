//! What a peer may say: each message is checked before raft sees it, because raft trusts its peers and ends in a panic
//! where it is wrong (RELIABILITY.md 0.3).

use kvorum_proto::kvorumpb::RaftMessage;
use raft::eraftpb::MessageType;
use raft::{RawNode, StateRole};

use super::mem_log::MemLog;

/// Largest entry that is taken: far above any request that a member lets in.
const ENTRY_MAX: usize = 64 << 20;
/// No term or index comes near; what is above was made up.
const NUMBER_MAX: u64 = 1 << 62;

/// Why a message was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No correct peer sends it.
    #[error("{0}")]
    Malformed(String),
    /// The leader counts on entries that this member has acknowledged and does not have.
    #[error(
        "the leader knows of {expected} log entries here, but the log ends at {last}: the data directory was wiped or \
         replaced by an older one"
    )]
    LostEntries {
        /// The commit index that the leader sent.
        expected: u64,
        /// The last entry that is here.
        last: u64,
    },
    /// The leader's committed entry is another one than ours.
    #[error(
        "the leader has another entry at index {index}, which is committed here: the data directory belongs to another \
         history of this cluster"
    )]
    Conflict {
        /// The entry.
        index: u64,
    },
    /// It has to wait until a snapshot has been installed; it will be sent again.
    #[error("a snapshot is being installed")]
    Installing,
}

fn malformed(what: impl Into<String>) -> Refused {
    Refused::Malformed(what.into())
}

/// The type of a message, if it is one that travels.
pub(super) fn kind(value: i32) -> Result<MessageType, Refused> {
    use MessageType as T;
    let all = [
        T::MsgAppend,
        T::MsgAppendResponse,
        T::MsgRequestVote,
        T::MsgRequestVoteResponse,
        T::MsgSnapshot,
        T::MsgHeartbeat,
        T::MsgHeartbeatResponse,
        T::MsgTransferLeader,
        T::MsgTimeoutNow,
        T::MsgReadIndex,
        T::MsgReadIndexResp,
        T::MsgRequestPreVote,
        T::MsgRequestPreVoteResponse,
    ];
    let known = all.into_iter().find(|t| *t as i32 == value);
    known.ok_or_else(|| malformed(format!("a message of type {value} does not travel")))
}

pub(super) fn check(
    raw: &RawNode<MemLog>,
    installing: bool,
    m: &RaftMessage,
) -> Result<(), Refused> {
    let kind = kind(m.kind)?;
    let raft = &raw.raft;
    if m.to != raft.id || m.from == raft.id || m.from == 0 {
        return Err(malformed(format!(
            "a message from {:x} to {:x} reached {:x}",
            m.from, m.to, raft.id
        )));
    }
    // A forwarded read has no term of its own.
    let termless = matches!(
        kind,
        MessageType::MsgReadIndex | MessageType::MsgTransferLeader
    );
    if m.term == 0 && !termless {
        return Err(malformed("a message without a term"));
    }
    let numbers = [
        m.term,
        m.log_term,
        m.index,
        m.commit,
        m.reject_hint,
        m.commit_term,
    ];
    if numbers.iter().any(|n| *n > NUMBER_MAX) {
        return Err(malformed("a number beyond all terms and indexes"));
    }
    if installing
        && matches!(
            kind,
            MessageType::MsgAppend | MessageType::MsgSnapshot | MessageType::MsgTimeoutNow
        )
    {
        return Err(Refused::Installing);
    }
    if m.term >= raft.term
        && from_leader(kind)
        && raft.state == StateRole::Leader
        && m.term == raft.term
    {
        return Err(malformed(format!(
            "{:x} claims to lead term {} too",
            m.from, m.term
        )));
    }
    match kind {
        MessageType::MsgAppend => entries(m).and_then(|()| agrees(raw, m)),
        MessageType::MsgHeartbeat => heartbeat(raw, m),
        MessageType::MsgSnapshot => snapshot(m),
        MessageType::MsgReadIndex | MessageType::MsgReadIndexResp => read(m),
        MessageType::MsgAppendResponse => response(raw, m),
        _ => Ok(()),
    }
}

fn from_leader(kind: MessageType) -> bool {
    matches!(
        kind,
        MessageType::MsgAppend | MessageType::MsgHeartbeat | MessageType::MsgSnapshot
    )
}

fn entries(m: &RaftMessage) -> Result<(), Refused> {
    let mut term = m.log_term;
    for (expected, entry) in (m.index + 1..).zip(&m.entries) {
        if entry.index != expected {
            return Err(malformed(format!(
                "entry {} stands where entry {expected} belongs",
                entry.index
            )));
        }
        if entry.term < term || entry.term > m.term {
            return Err(malformed(format!(
                "entry {expected} has the term {}",
                entry.term
            )));
        }
        if entry.data.len() > ENTRY_MAX || !(0..=2).contains(&entry.kind) {
            return Err(malformed(format!(
                "entry {expected} is too large or of no known kind"
            )));
        }
        term = entry.term;
    }
    Ok(())
}

/// What is committed here is committed for ever.
fn agrees(raw: &RawNode<MemLog>, m: &RaftMessage) -> Result<(), Refused> {
    let log = &raw.raft.raft_log;
    if m.term < raw.raft.term || m.index >= log.committed {
        return Ok(());
    }
    let committed = m.entries.iter().take_while(|e| e.index <= log.committed);
    for entry in committed {
        if log
            .term(entry.index)
            .is_ok_and(|here| here != 0 && here != entry.term)
        {
            return Err(Refused::Conflict { index: entry.index });
        }
    }
    Ok(())
}

/// A heartbeat of the present or a later leader never commits more than this member has acknowledged.
fn heartbeat(raw: &RawNode<MemLog>, m: &RaftMessage) -> Result<(), Refused> {
    let last = raw.raft.raft_log.last_index();
    if m.term >= raw.raft.term && m.commit > last {
        return Err(Refused::LostEntries {
            expected: m.commit,
            last,
        });
    }
    Ok(())
}

fn snapshot(m: &RaftMessage) -> Result<(), Refused> {
    let Some(mark) = &m.snapshot else {
        return Err(malformed("a snapshot without a mark"));
    };
    let voters = mark.conf_state.as_ref().map_or(0, |c| c.voters.len());
    if mark.index == 0
        || mark.index > NUMBER_MAX
        || mark.term == 0
        || mark.term > m.term
        || voters == 0
    {
        return Err(malformed("a snapshot without index, term or voters"));
    }
    Ok(())
}

fn read(m: &RaftMessage) -> Result<(), Refused> {
    match m.entries.as_slice() {
        [entry] if !entry.data.is_empty() => Ok(()),
        _ => Err(malformed("a read index request without one context")),
    }
}

/// Nobody acknowledges what this leader has not got.
fn response(raw: &RawNode<MemLog>, m: &RaftMessage) -> Result<(), Refused> {
    let raft = &raw.raft;
    let last = raft.raft_log.last_index();
    if m.term == raft.term && raft.state == StateRole::Leader && !m.reject && m.index > last {
        return Err(malformed(format!(
            "{:x} acknowledges entry {}, but the log ends at {last}",
            m.from, m.index
        )));
    }
    Ok(())
}
