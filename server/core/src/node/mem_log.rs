//! The tail of the log that raft reads: entries stay here from the moment they are proposed until they are applied,
//! flushed and no peer is likely to ask for them.

use std::collections::VecDeque;

use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage, StorageError, util::limit_size};

use super::convert;
use crate::log;
use crate::types::{Index, Term};

/// What a node starts from.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// Voters and learners, encoded as in the meta table.
    pub conf_state: bytes::Bytes,
    /// Hard state of the log; zero for a new member.
    pub hard_state: log::HardState,
    /// Entries of the log, consecutive.
    pub entries: Vec<log::Entry>,
    /// Last entry that is in the state store; the log may begin right after it.
    pub applied: Index,
    /// Its term.
    pub applied_term: Term,
}

#[derive(Debug)]
pub(super) struct MemLog {
    hard_state: HardState,
    conf_state: ConfState,
    /// Index and term just before the first entry.
    before: (u64, u64),
    entries: VecDeque<Entry>,
    bytes: usize,
    /// Last entry whose effects the state store holds, its term, and who voted there: a snapshot can begin here.
    flushed: (u64, u64, ConfState),
    /// Configurations of entries that are applied and not flushed yet.
    changes: VecDeque<(u64, ConfState)>,
}

impl MemLog {
    pub(super) fn new(start: Start) -> Result<Self, String> {
        let conf_state = convert::decode_conf_state(&start.conf_state)?;
        let (applied, term) = (start.applied.0, start.applied_term.0);
        // Entries that the state store has are of no use to a single member, and peers get a snapshot instead.
        let entries: Vec<log::Entry> = start
            .entries
            .into_iter()
            .filter(|e| e.index > applied)
            .collect();
        if let Some(first) = entries.first()
            && first.index != applied + 1
        {
            return Err(format!(
                "the log begins at entry {} but the state store ends at {applied}: entries between are missing",
                first.index
            ));
        }
        let last = entries.last().map_or(applied, |e| e.index);
        let mut hard_state = convert::raft_hard_state(start.hard_state);
        // The commit index is written with the entries after it, so it may be behind what was applied.
        hard_state.commit = hard_state.commit.clamp(applied, last);
        hard_state.term = hard_state.term.max(term);
        let bytes = entries.iter().map(|e| e.data.len()).sum();
        let entries = entries.into_iter().map(convert::raft_entry).collect();
        Ok(Self {
            hard_state,
            flushed: (applied, term, conf_state.clone()),
            changes: VecDeque::new(),
            conf_state,
            before: (applied, term),
            entries,
            bytes,
        })
    }

    /// The entry at `index` changed the configuration.
    pub(super) fn set_conf_state(&mut self, index: u64, state: ConfState) {
        self.changes.push_back((index, state.clone()));
        self.conf_state = state;
    }

    /// The state store holds everything up to `index`.
    pub(super) fn flushed(&mut self, index: u64) {
        let Ok(term) = self.term(index) else { return };
        if index <= self.flushed.0 {
            return;
        }
        (self.flushed.0, self.flushed.1) = (index, term);
        while let Some((at, _)) = self.changes.front() {
            if *at > index {
                break;
            }
            if let Some((_, state)) = self.changes.pop_front() {
                self.flushed.2 = state;
            }
        }
    }

    /// Everything is as a snapshot tells.
    pub(super) fn restore(&mut self, snapshot: &Snapshot) {
        let metadata = snapshot.get_metadata();
        self.entries.clear();
        self.bytes = 0;
        self.before = (metadata.index, metadata.term);
        self.conf_state = metadata.get_conf_state().clone();
        self.changes.clear();
        self.flushed = (metadata.index, metadata.term, self.conf_state.clone());
        self.hard_state.commit = self.hard_state.commit.max(metadata.index);
    }

    fn first(&self) -> u64 {
        self.before.0 + 1
    }

    fn last(&self) -> u64 {
        self.before.0 + self.entries.len() as u64
    }

    fn place(&self, index: u64) -> Option<usize> {
        usize::try_from(index.checked_sub(self.first())?).ok()
    }

    pub(super) fn append(&mut self, new: &[Entry]) {
        let Some(first) = new.first() else { return };
        let keep = self.place(first.index).unwrap_or(0);
        while self.entries.len() > keep {
            if let Some(e) = self.entries.pop_back() {
                self.bytes -= e.data.len();
            }
        }
        self.bytes += new.iter().map(|e| e.data.len()).sum::<usize>();
        self.entries.extend(new.iter().cloned());
    }

    pub(super) fn trim(&mut self, index: u64, tail_bytes: usize) {
        while self.bytes > tail_bytes {
            match self.entries.front() {
                Some(e) if e.index <= index => {
                    self.before = (e.index, e.term);
                    self.bytes -= e.data.len();
                    self.entries.pop_front();
                }
                _ => break,
            }
        }
    }
}

impl Storage for MemLog {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(
            self.hard_state.clone(),
            self.conf_state.clone(),
        ))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        let Some(from) = self.place(low) else {
            return Err(StorageError::Compacted.into());
        };
        let to = self.place(high).unwrap_or(0);
        if to > self.entries.len() || from > to {
            return Err(StorageError::Unavailable.into());
        }
        let mut slice: Vec<Entry> = self.entries.range(from..to).cloned().collect();
        limit_size(&mut slice, max_size.into());
        Ok(slice)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index == self.before.0 {
            return Ok(self.before.1);
        }
        let Some(place) = self.place(index) else {
            return Err(StorageError::Compacted.into());
        };
        self.entries
            .get(place)
            .map(|e| e.term)
            .ok_or_else(|| StorageError::Unavailable.into())
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.first())
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    fn snapshot(&self, request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        let (index, term, conf_state) = &self.flushed;
        if *index < request_index || *index == 0 {
            return Err(StorageError::SnapshotTemporarilyUnavailable.into());
        }
        let mut snapshot = Snapshot::default();
        let metadata = snapshot.mut_metadata();
        metadata.index = *index;
        metadata.term = *term;
        metadata.set_conf_state(conf_state.clone());
        Ok(snapshot)
    }
}
