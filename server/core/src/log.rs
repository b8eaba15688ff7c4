//! What the raft log on disk holds, in plain types: the conversions to the raft library's own live in `node`.

use bytes::Bytes;

/// What an entry's payload means to raft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// An encoded `kvorumpb.EntryBatch`, or empty (a new leader's first entry).
    Normal,
    /// A change of one voter or learner.
    ConfChange,
    /// A joint change of the configuration.
    ConfChangeV2,
}

/// One entry of the raft log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Term of the leader that made it.
    pub term: u64,
    /// Position in the log.
    pub index: u64,
    /// How raft reads `data`.
    pub kind: EntryKind,
    /// The payload.
    pub data: Bytes,
}

/// What raft must never forget, beside its entries. (Raft paper, figure 2)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// Latest term seen.
    pub term: u64,
    /// Candidate voted for in `term`, 0 for none.
    pub vote: u64,
    /// Highest index known to be committed.
    pub commit: u64,
}

/// One group that reaches the disk whole, in one sync or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Append {
    /// Given back when the group is durable; numbers rise.
    pub number: u64,
    /// Entries in rising index order. The first may overwrite a longer, conflicting tail.
    pub entries: Vec<Entry>,
    /// New hard state, if it changed.
    pub hard_state: Option<HardState>,
}

impl Append {
    /// True if nothing has to be written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.hard_state.is_none()
    }
}
