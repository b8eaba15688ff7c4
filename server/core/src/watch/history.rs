//! Where a hub reads the past.

use bytes::Bytes;

use crate::backend::{BackendError, Record};
use crate::mvcc::Store;
use crate::types::Revision;

/// A page of history.
#[derive(Debug, Default)]
pub struct Page {
    /// The records, in order.
    pub records: Vec<Record>,
    /// All records up to the end of this main revision are in the page.
    pub complete_to: i64,
}

impl Page {
    /// Cuts a list of records that may end inside a revision. `limit` is what was asked for, `to` the end of what
    /// was scanned.
    #[must_use]
    pub fn cut(mut records: Vec<Record>, limit: usize, to: i64) -> Self {
        if records.len() < limit {
            return Self {
                records,
                complete_to: to,
            };
        }
        let last = records.last().map_or(to, |r| r.revision.main);
        let whole = records.partition_point(|r| r.revision.main < last);
        records.truncate(whole);
        Self {
            records,
            complete_to: last - 1,
        }
    }

    /// True if records are missing: behind the compact revision every main revision from `from` on has records, and
    /// their subs count from 0. History begins with the first write, revision 2. That the last sub of a revision is
    /// missing cannot be seen, for nobody knows how many there were.
    #[must_use]
    pub fn has_gap(&self, from: i64, compacted: i64) -> bool {
        let begin = from.max(compacted.saturating_add(1)).max(2);
        if self.complete_to < begin {
            return false;
        }
        let mut last: Option<Revision> = None;
        for record in &self.records {
            let Revision { main, sub } = record.revision;
            if main < begin {
                continue;
            }
            let follows = match last {
                None => (main, sub) == (begin, 0),
                Some(last) if last.main == main => last.sub.checked_add(1) == Some(sub),
                Some(last) => (main, sub) == (last.main + 1, 0),
            };
            if !follows {
                return true;
            }
            last = Some(record.revision);
        }
        last.is_none_or(|last| last.main < self.complete_to)
    }
}

/// Read access to the past.
pub trait History {
    /// The newest revision.
    fn current(&self) -> i64;

    /// The compact revision.
    fn compacted(&self) -> i64;

    /// Records from main revision `from` to `to`, about `limit` of them, ending with a whole revision. A page that is
    /// complete to less than `from` says that history cannot be read just now: ask again.
    ///
    /// # Errors
    /// The state store failed, or has lost records.
    fn page(&self, from: i64, to: i64, limit: usize) -> Result<Page, BackendError>;

    /// The pair that `key` held at main revision `at`, encoded.
    ///
    /// # Errors
    /// The state store failed.
    fn pair_at(&self, key: &[u8], at: i64) -> Result<Option<Bytes>, BackendError>;

    /// The pair written at `revision`.
    ///
    /// # Errors
    /// The state store failed.
    fn pair(&self, revision: Revision) -> Result<Option<Bytes>, BackendError>;
}

/// The error of a state store whose records do not make a history.
#[must_use]
pub fn missing_history(from: i64, to: i64) -> BackendError {
    BackendError(format!(
        "records between the revisions {from} and {to} are missing; restore this member"
    ))
}

/// A page that ends with a whole revision, from a scan that knows nothing of pages: a revision with more records than
/// `limit` is asked for again with more room.
///
/// # Errors
/// The scan failed.
pub fn whole_page(
    from: i64,
    to: i64,
    mut limit: usize,
    mut scan: impl FnMut(Revision, Revision, usize) -> Result<Vec<Record>, BackendError>,
) -> Result<Page, BackendError> {
    loop {
        let records = scan(Revision::first_of(from), Revision::last_of(to), limit)?;
        let page = Page::cut(records, limit, to);
        if page.complete_to >= from || limit > usize::MAX / 2 {
            return Ok(page);
        }
        limit *= 2;
    }
}

impl History for Store {
    fn current(&self) -> i64 {
        Store::current(self)
    }

    fn compacted(&self) -> i64 {
        Store::compacted(self)
    }

    fn page(&self, from: i64, to: i64, limit: usize) -> Result<Page, BackendError> {
        match self.recent_page(from, to, limit) {
            Ok(page) => Ok(page),
            Err(flushed) => {
                let records = self.records().clone();
                let page = whole_page(from, to.min(flushed), limit, |a, b, n| {
                    records.scan(a, b, n)
                })?;
                match page.has_gap(from, Store::compacted(self)) {
                    true => Err(missing_history(from, page.complete_to)),
                    false => Ok(page),
                }
            }
        }
    }

    fn pair_at(&self, key: &[u8], at: i64) -> Result<Option<Bytes>, BackendError> {
        match self
            .revision_at(key, at)
            .filter(|_| at >= Store::compacted(self))
        {
            Some(revision) => self.load_newest(revision).map(Some),
            None => Ok(None),
        }
    }

    fn pair(&self, revision: Revision) -> Result<Option<Bytes>, BackendError> {
        self.load(revision)
    }
}

impl Store {
    /// A page out of the in-memory window.
    ///
    /// # Errors
    /// The window begins later; the state store has all up to the given main revision.
    pub fn recent_page(&self, from: i64, to: i64, limit: usize) -> Result<Page, i64> {
        if !self.recent.covers(Revision::first_of(from)) && from <= self.recent.flushed().main {
            return Err(self.recent.flushed().main);
        }
        let scan = |a, b, n| Ok(self.recent.scan(a, b, n).cloned().collect());
        whole_page(from, to, limit, scan).map_err(|_| self.recent.flushed().main)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(revisions: &[(i64, u32)], complete_to: i64) -> Page {
        let record = |(main, sub): &(i64, u32)| Record {
            revision: Revision {
                main: *main,
                sub: *sub,
            },
            tombstone: false,
            kv: Bytes::new(),
        };
        Page {
            records: revisions.iter().map(record).collect(),
            complete_to,
        }
    }

    #[test]
    fn a_page_from_the_middle_of_history_must_hold_every_revision() {
        let whole = [(5, 0), (6, 0), (6, 1), (7, 0)];
        assert!(!page(&whole, 7).has_gap(5, 2));
        for left_out in [0, 1, 3] {
            let mut cut = whole.to_vec();
            cut.remove(left_out);
            assert!(page(&cut, 7).has_gap(5, 2), "{cut:?}");
        }
        assert!(page(&whole, 8).has_gap(5, 2), "the end is missing");
        assert!(page(&[], 5).has_gap(5, 2));
        assert!(!page(&[], 4).has_gap(5, 2), "nothing was asked for");
    }

    #[test]
    fn what_compaction_removed_is_no_gap() {
        let kept = [(2, 0), (5, 1), (8, 0), (9, 0)];
        assert!(!page(&kept, 9).has_gap(1, 7));
        assert!(!page(&kept, 9).has_gap(1, 100));
        assert!(page(&kept, 9).has_gap(1, 6));
    }

    #[test]
    fn history_begins_with_the_first_write() {
        assert!(!page(&[(2, 0)], 2).has_gap(0, -1));
        assert!(page(&[(3, 0)], 3).has_gap(1, -1));
    }
}
