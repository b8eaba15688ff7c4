//! The newest records, in memory: what the store thread has not flushed yet, and as much of the rest as fits.
//!
//! One window serves three readers: point reads of newly written keys, watchers that fell behind, and the flush.
//! Revisions only grow, so a record's place follows from its revision.

use std::collections::VecDeque;

use crate::backend::Record;
use crate::types::Revision;

/// Bytes a record costs beside its encoded pair: the slot and its share of the chunk header.
const SLOT_BYTES: usize = size_of::<Record>() + 8;

/// A window on the end of history.
#[derive(Debug)]
pub struct Recent {
    records: VecDeque<Record>,
    bytes: usize,
    /// Bytes pushed since the last flush began.
    fresh_bytes: usize,
    flushed: Revision,
    budget_bytes: usize,
}

impl Recent {
    /// An empty window: everything up to `flushed` is in the state store.
    #[must_use]
    pub fn new(flushed: Revision, budget_bytes: usize) -> Self {
        Self {
            records: VecDeque::new(),
            bytes: 0,
            fresh_bytes: 0,
            flushed,
            budget_bytes,
        }
    }

    /// Appends a record; revisions rise.
    pub fn push(&mut self, record: Record) {
        self.bytes += record.kv.len() + SLOT_BYTES;
        self.fresh_bytes += record.kv.len() + SLOT_BYTES;
        self.records.push_back(record);
    }

    /// The record at `revision`, if it is still here.
    #[must_use]
    pub fn get(&self, revision: Revision) -> Option<&Record> {
        let place = self.place(revision);
        self.records.get(place).filter(|r| r.revision == revision)
    }

    /// Index of the first record at or after `revision`. Each main revision has at least one record, so the distance
    /// in main revisions is a lower bound to gallop from.
    fn place(&self, revision: Revision) -> usize {
        let Some(front) = self.records.front() else {
            return 0;
        };
        let ahead = revision.main.saturating_sub(front.revision.main);
        let mut low = usize::try_from(ahead.max(0))
            .unwrap_or(0)
            .min(self.records.len());
        // Subs of the front's own transaction may be cut off, so the bound can be one transaction too far.
        while low > 0
            && self
                .records
                .get(low - 1)
                .is_some_and(|r| r.revision >= revision)
        {
            low -= 1;
        }
        let mut step = 1;
        let mut high = low;
        while self
            .records
            .get(high)
            .is_some_and(|r| r.revision < revision)
        {
            low = high + 1;
            high += step;
            step *= 2;
        }
        let high = high.min(self.records.len());
        let span = self.records.range(low.min(high)..high);
        let (mut a, mut b) = (0, span.len());
        while a < b {
            let middle = usize::midpoint(a, b);
            if self
                .records
                .get(low + middle)
                .is_some_and(|r| r.revision < revision)
            {
                a = middle + 1;
            } else {
                b = middle;
            }
        }
        low + a
    }

    /// True if every record from `from` on that still exists is here, so that no other place need be asked.
    #[must_use]
    pub fn covers(&self, from: Revision) -> bool {
        self.records.front().is_some_and(|r| r.revision <= from)
    }

    /// Up to `limit` records with `from <= revision <= to`.
    pub fn scan(
        &self,
        from: Revision,
        to: Revision,
        limit: usize,
    ) -> impl Iterator<Item = &Record> {
        let start = self.place(from);
        self.records
            .range(start..)
            .take_while(move |r| r.revision <= to)
            .take(limit)
    }

    /// First revision that is not flushed.
    #[must_use]
    pub fn flushed(&self) -> Revision {
        self.flushed
    }

    /// Bytes pushed since the last call of `flush_begins`.
    #[must_use]
    pub fn fresh_bytes(&self) -> usize {
        self.fresh_bytes
    }

    /// A flush takes everything there is now.
    pub fn flush_begins(&mut self) {
        self.fresh_bytes = 0;
    }

    /// The memory budget.
    #[must_use]
    pub fn budget_bytes(&self) -> usize {
        self.budget_bytes
    }

    /// Bytes held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Notes that everything up to `to` is in the state store, and forgets the oldest of it beyond the budget. At
    /// most `limit` records leave per call, so that a writer never waits long; true if more should.
    pub fn flushed_to(&mut self, to: Revision, limit: usize) -> bool {
        self.flushed = self.flushed.max(to);
        for _ in 0..limit {
            let excess = self.bytes > self.budget_bytes;
            match self.records.front() {
                Some(front) if excess && front.revision <= self.flushed => {
                    self.bytes -= front.kv.len() + SLOT_BYTES;
                    self.records.pop_front();
                }
                _ => return false,
            }
        }
        true
    }
}
