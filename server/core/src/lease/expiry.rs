//! Leases in the order in which they expire.

use std::collections::BTreeSet;

use crate::types::LeaseId;

/// An ordered set of deadlines; a lease has at most one.
#[derive(Debug, Default)]
pub(super) struct Expiry {
    deadlines: BTreeSet<(u64, LeaseId)>,
}

impl Expiry {
    pub(super) fn set(&mut self, id: LeaseId, old_ms: Option<u64>, new_ms: Option<u64>) {
        if let Some(old) = old_ms {
            self.deadlines.remove(&(old, id));
        }
        if let Some(new) = new_ms {
            self.deadlines.insert((new, id));
        }
    }

    /// Leases whose deadline has passed, oldest first.
    pub(super) fn due(&self, now_ms: u64) -> impl Iterator<Item = LeaseId> + '_ {
        self.deadlines
            .iter()
            .take_while(move |(at, _)| *at <= now_ms)
            .map(|(_, id)| *id)
    }

    pub(super) fn ordered(&self) -> impl Iterator<Item = LeaseId> + '_ {
        self.deadlines.iter().map(|(_, id)| *id)
    }
}
