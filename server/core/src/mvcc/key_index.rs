//! The changes of one key that are still readable, newest first in reach. (etcd: server/storage/mvcc/key_index.go)

use crate::mutants::{self, Mutant};
use crate::types::Revision;

/// One retained change of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where it stands.
    pub revision: Revision,
    /// True for a deletion, which ends a generation.
    pub tombstone: bool,
}

/// All retained changes of one key. The newest is inline, with what compares and keys-only reads need, so that most
/// keys cost one tree slot and no allocation of their own beside the key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyIndex {
    last: Revision,
    created: i64,
    version: i64,
    lease: i64,
    #[allow(
        clippy::box_collection,
        reason = "8 bytes instead of 24 in each of millions of slots"
    )]
    older: Option<Box<Vec<Change>>>,
}

/// The newest state of a live key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latest {
    /// Newest change.
    pub revision: Revision,
    /// Revision that began the generation.
    pub created: i64,
    /// Puts since then.
    pub version: i64,
    /// Attached lease, 0 for none.
    pub lease: i64,
}

impl KeyIndex {
    /// Appends a put and tells the new state.
    pub fn put(&mut self, revision: Revision, lease: i64) -> Latest {
        self.retire();
        if self.version == 0 {
            self.created = revision.main;
        }
        self.version += 1;
        self.lease = lease;
        self.last = revision;
        self.state()
    }

    /// Appends a tombstone.
    pub fn tombstone(&mut self, revision: Revision) {
        self.retire();
        self.created = 0;
        self.version = 0;
        self.lease = 0;
        self.last = revision;
    }

    /// Appends a change read back from the store, whose numbers are known.
    pub fn restore(&mut self, latest: Latest) {
        self.retire();
        self.last = latest.revision;
        self.created = latest.created;
        self.version = latest.version;
        self.lease = latest.lease;
    }

    fn retire(&mut self) {
        if self.last.main != 0 {
            let change = Change {
                revision: self.last,
                tombstone: self.version == 0,
            };
            self.older.get_or_insert_default().push(change);
        }
    }

    fn state(&self) -> Latest {
        Latest {
            revision: self.last,
            created: self.created,
            version: self.version,
            lease: self.lease,
        }
    }

    /// The newest state, `None` if the key does not exist now.
    #[must_use]
    pub fn latest(&self) -> Option<Latest> {
        (self.version != 0).then(|| self.state())
    }

    /// Revision of the newest change, tombstones included.
    #[must_use]
    pub fn modified(&self) -> Revision {
        self.last
    }

    /// The change that a read at main revision `at` sees, `None` if the key did not exist then.
    #[must_use]
    pub fn at(&self, at: i64) -> Option<Revision> {
        if self.last.main <= at {
            return (self.version != 0).then_some(self.last);
        }
        let older = self.older.as_ref()?;
        let after = older.partition_point(|c| c.revision.main <= at);
        let seen = older.get(after.checked_sub(1)?)?;
        (!seen.tombstone).then_some(seen.revision)
    }

    /// All retained changes, oldest first.
    pub fn changes(&self) -> impl DoubleEndedIterator<Item = Change> + '_ {
        let newest = Change {
            revision: self.last,
            tombstone: self.version == 0,
        };
        self.older
            .iter()
            .flat_map(|v| v.iter().copied())
            .chain(std::iter::once(newest))
    }

    /// Drops what no read at or above `at` and no watch from `at` on can need, and hands it to `removed`. True if
    /// nothing is left of the key.
    ///
    /// Kept: every change at or above `at`, tombstones included (a watch from `at` must see them, etcd #18089), and
    /// the newest put below `at` if a read at `at` still sees it.
    pub fn compact(&mut self, at: i64, removed: &mut Vec<Revision>) -> bool {
        if let Some(older) = &mut self.older {
            let newest_is_at = self.last.main <= at;
            let above = older.partition_point(|c| c.revision.main < at);
            let covered = older
                .get(above)
                .map_or(newest_is_at, |c| c.revision.main <= at);
            let visible = above.checked_sub(1).and_then(|i| older.get(i));
            let keep = usize::from(!covered && visible.is_some_and(|c| !c.tombstone));
            removed.extend(older.drain(..above - keep).map(|c| c.revision));
            if older.is_empty() {
                self.older = None;
            } else if older.capacity() > 2 * older.len() {
                older.shrink_to_fit();
            }
        }
        let end = at + i64::from(mutants::on(Mutant::CompactedDelete));
        let gone = self.version == 0 && self.last.main < end && self.older.is_none();
        if gone {
            removed.push(self.last);
        }
        gone
    }
}
