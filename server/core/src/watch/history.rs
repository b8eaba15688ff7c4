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
}

/// Read access to the past.
pub trait History {
    /// The newest revision.
    fn current(&self) -> i64;

    /// The compact revision.
    fn compacted(&self) -> i64;

    /// Records from main revision `from` to `to`, about `limit` of them, ending with a whole revision.
    ///
    /// # Errors
    /// The state store failed.
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
                whole_page(from, to.min(flushed), limit, |a, b, n| {
                    records.scan(a, b, n)
                })
            }
        }
    }

    fn pair_at(&self, key: &[u8], at: i64) -> Result<Option<Bytes>, BackendError> {
        match self
            .revision_at(key, at)
            .filter(|_| at >= Store::compacted(self))
        {
            Some(revision) => self.load(revision),
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
