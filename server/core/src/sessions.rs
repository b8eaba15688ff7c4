//! Which stamped commands were applied: replicated, so that all members skip the same duplicates. (Raft thesis 6.3)

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use kvorum_proto::kvorumpb::Stamp;

use crate::backend::SideChange;
use crate::mutants::{self, Mutant};

/// Sessions that are remembered; the one that has been silent for longest goes first. A member has one per start.
const SESSIONS_MAX: usize = 128;
/// What the names of sessions in the meta table begin with.
const META_SESSION: &str = "session/";

#[derive(Debug, Default, PartialEq, Eq)]
struct Session {
    /// Everything below is applied, or will never be.
    floor: u64,
    /// What is applied at and above the floor.
    applied: BTreeSet<u64>,
    /// Entry that touched it last.
    touched: u64,
}

/// The sessions of all members.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    sessions: BTreeMap<u64, Session>,
    changed: BTreeSet<u64>,
}

fn name(session: u64) -> String {
    format!("{META_SESSION}{session:016x}")
}

impl Sessions {
    /// Notes that a command is applied by the entry at `index`. False if it was before: it must be skipped.
    pub(crate) fn admit(&mut self, stamp: &Stamp, index: u64) -> bool {
        let session = self.sessions.entry(stamp.session).or_default();
        session.touched = index;
        self.changed.insert(stamp.session);
        if stamp.floor > session.floor {
            session.floor = stamp.floor;
            session.applied = session.applied.split_off(&stamp.floor);
        }
        let first = stamp.sequence >= session.floor && session.applied.insert(stamp.sequence);
        first || mutants::on(Mutant::DuplicatedProposal)
    }

    /// The changes since the last call, to be kept; called at the end of each entry.
    pub(crate) fn take_changes(&mut self) -> Vec<SideChange> {
        if self.changed.is_empty() {
            return Vec::new();
        }
        let mut changes = Vec::new();
        while self.sessions.len() > SESSIONS_MAX {
            let silent = self.sessions.iter().min_by_key(|(id, s)| (s.touched, **id));
            let Some(id) = silent.map(|(id, _)| *id) else {
                break;
            };
            self.sessions.remove(&id);
            changes.push(SideChange::MetaDelete(name(id)));
        }
        for id in std::mem::take(&mut self.changed) {
            if let Some(session) = self.sessions.get(&id) {
                changes.push(SideChange::MetaPut(name(id), session.encode()));
            }
        }
        changes
    }

    /// Takes a row of the meta table back; false if it is none of a session.
    pub(crate) fn restore(&mut self, key: &str, value: &Bytes) -> bool {
        let Some(id) = key.strip_prefix(META_SESSION) else {
            return false;
        };
        if let (Ok(id), Some(session)) =
            (u64::from_str_radix(id, 16), Session::decode(value.clone()))
        {
            self.sessions.insert(id, session);
        }
        true
    }
}

impl Session {
    fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(16 + 8 * self.applied.len());
        out.put_u64(self.floor);
        out.put_u64(self.touched);
        self.applied.iter().for_each(|s| out.put_u64(*s));
        out.freeze()
    }

    fn decode(mut from: Bytes) -> Option<Self> {
        if from.len() < 16 || !from.len().is_multiple_of(8) {
            return None;
        }
        let (floor, touched) = (from.get_u64(), from.get_u64());
        let mut applied = BTreeSet::new();
        while from.has_remaining() {
            applied.insert(from.get_u64());
        }
        Some(Self {
            floor,
            applied,
            touched,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(sequence: u64, floor: u64) -> Stamp {
        Stamp {
            session: 5,
            sequence,
            floor,
        }
    }

    #[test]
    fn a_command_is_applied_once_in_any_order() {
        let mut sessions = Sessions::default();
        assert!(sessions.admit(&stamp(2, 1), 10));
        assert!(sessions.admit(&stamp(1, 1), 11));
        assert!(!sessions.admit(&stamp(2, 1), 12));
        assert!(!sessions.admit(&stamp(1, 2), 13));
        assert!(sessions.admit(&stamp(3, 3), 14));
    }

    #[test]
    fn what_is_kept_comes_back() {
        let mut sessions = Sessions::default();
        for sequence in [4, 7, 9] {
            assert!(sessions.admit(&stamp(sequence, 3), 20));
        }
        let mut again = Sessions::default();
        for change in sessions.take_changes() {
            let SideChange::MetaPut(key, value) = change else {
                panic!("nothing is forgotten yet")
            };
            assert!(again.restore(&key, &value));
        }
        assert!(!again.admit(&stamp(7, 3), 21));
        assert!(again.admit(&stamp(5, 3), 21));
    }

    #[test]
    fn the_most_silent_session_is_forgotten_first() {
        let mut sessions = Sessions::default();
        for id in 0..=SESSIONS_MAX as u64 {
            let stamp = Stamp {
                session: id,
                sequence: 1,
                floor: 1,
            };
            assert!(sessions.admit(&stamp, 100 + id));
        }
        let changes = sessions.take_changes();
        assert!(changes.contains(&SideChange::MetaDelete(name(0))));
        assert_eq!(changes.len(), 1 + SESSIONS_MAX);
    }
}
