//! What the store thread takes and gives back: flushes and the removals of a compaction, in slices.

use std::ops::Bound;

use super::store::{META_DIGEST, META_FINISHED_COMPACT, META_SCHEDULED_COMPACT, Store};
use crate::backend::{FlushMark, Record, SideChange};
use crate::types::Revision;

/// One flush: everything applied when it was taken.
#[derive(Clone, Debug)]
pub struct FlushPlan {
    /// Records after this one are not flushed yet.
    pub after: Revision,
    /// The last record to flush.
    pub to: Revision,
    /// What goes into the same transaction.
    pub mark: FlushMark,
}

/// Where an index walk goes on.
#[derive(Clone, Debug, Default)]
pub struct CompactCursor {
    next: Option<Box<[u8]>>,
    /// The compact revision that is being carried out.
    pub at: i64,
}

impl CompactCursor {
    /// A walk from the first key.
    #[must_use]
    pub fn new(at: i64) -> Self {
        Self { next: None, at }
    }
}

impl Store {
    /// Takes a flush of everything applied so far, `None` if nothing was. The caller reads the records in pages with
    /// `unflushed`, makes all durable in one transaction, and reports with `flushed`.
    pub fn begin_flush(&mut self, last: crate::types::Index) -> Option<FlushPlan> {
        let (applied, term) = self.applied();
        if applied <= last {
            return None;
        }
        let after = self.recent.flushed();
        self.recent.flush_begins();
        let (settled, mut side) = self.take_settled();
        let digest = meta_number(settled.digest.cast_signed());
        side.push(SideChange::MetaPut(META_DIGEST.into(), digest));
        let to = Revision::last_of(settled.current);
        Some(FlushPlan {
            after,
            to,
            mark: FlushMark {
                applied,
                term,
                side,
            },
        })
    }

    /// A page of a flush: up to `limit` records after `after`.
    #[must_use]
    pub fn unflushed(&self, after: Revision, to: Revision, limit: usize) -> Vec<Record> {
        let from = Revision {
            main: after.main,
            sub: after.sub.saturating_add(1),
        };
        // `after` may be the end of a transaction, and no sub follows the greatest one.
        let from = if after.sub == u32::MAX {
            Revision::first_of(after.main + 1)
        } else {
            from
        };
        self.recent.scan(from, to, limit).cloned().collect()
    }

    /// Bytes written since the last flush began.
    #[must_use]
    pub fn fresh_bytes(&self) -> usize {
        self.recent.fresh_bytes()
    }

    /// Bytes of records that are in memory beyond the budget: they wait for the state store.
    #[must_use]
    pub fn unflushed_bytes(&self) -> usize {
        self.recent
            .bytes()
            .saturating_sub(self.recent.budget_bytes())
    }

    /// A flush is durable: forgets what is beyond the memory budget. True if there is more to forget.
    pub fn flushed(&mut self, to: Revision) -> bool {
        self.recent.flushed_to(to, 4096)
    }

    /// Decides a compaction; reads below `revision` are refused from now on. The caller has checked the bounds.
    pub fn schedule_compaction(&mut self, revision: i64) {
        self.set_compacted(revision);
        self.note(SideChange::MetaPut(
            META_SCHEDULED_COMPACT.into(),
            meta_number(revision),
        ));
    }

    /// Walks `keys` keys of the index and drops what a compaction at `cursor.at` leaves unreadable. The revisions go
    /// to `removed`, to be removed from the state store after a flush that covers them. True while keys remain.
    pub fn compact_slice(
        &mut self,
        cursor: &mut CompactCursor,
        keys: usize,
        removed: &mut Vec<Revision>,
    ) -> bool {
        let from = cursor.next.take();
        let start = from.as_deref().map_or(Bound::Unbounded, Bound::Included);
        let mut dead: Vec<Box<[u8]>> = Vec::new();
        let walk = self.index.range_mut::<[u8], _>((start, Bound::Unbounded));
        for (seen, (key, index)) in walk.enumerate() {
            if seen == keys {
                cursor.next = Some(key.clone());
                break;
            }
            if index.compact(cursor.at, removed) {
                dead.push(key.clone());
            }
        }
        for key in dead {
            self.index.remove(&key);
        }
        cursor.next.is_some()
    }

    /// Records of these lengths left the state store.
    pub fn freed(&mut self, kv_bytes: impl Iterator<Item = usize>) {
        for bytes in kv_bytes {
            self.size.removed(bytes);
        }
    }

    /// A compaction's removals are done.
    pub fn finish_compaction(&mut self, at: i64) {
        self.note_alone(SideChange::MetaPut(
            META_FINISHED_COMPACT.into(),
            meta_number(at),
        ));
    }
}

/// How a number is kept in the meta table.
#[must_use]
pub fn meta_number(value: i64) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(&value.to_be_bytes())
}

/// Reads what `meta_number` wrote.
#[must_use]
pub fn read_meta_number(value: &[u8]) -> Option<i64> {
    Some(i64::from_be_bytes(value.try_into().ok()?))
}
