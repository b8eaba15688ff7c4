//! The store as it was at one moment, for as long as it is looked at. Writers are not held up; the pages that they
//! replace are kept until the view is dropped.

use std::ops::Bound;

use kvorum_core::backend::Restored;
use kvorum_core::types::Revision;
use redb::ReadableTableMetadata as _;

use super::inside::Inside;
use super::reader::Reader;
use super::{RECORDS, StateStore};
use crate::error::StorageError;

/// A moment of the store: the effects of the log up to one entry, all of them and nothing else.
#[derive(Debug)]
pub struct StateView<'a> {
    store: &'a StateStore,
    txn: Reader,
}

impl StateStore {
    /// The store as the last flush left it.
    ///
    /// # Errors
    /// The disk's.
    pub fn view(&self) -> Result<StateView<'_>, StorageError> {
        let _inside = Inside::enter();
        Ok(StateView {
            store: self,
            txn: self.begin_read()?,
        })
    }
}

impl StateView<'_> {
    /// The small tables and the marks.
    ///
    /// # Errors
    /// The disk failed, or a checksum does not match.
    pub fn tables(&self) -> Result<Restored, StorageError> {
        let _inside = Inside::enter();
        self.store.read_tables(&self.txn)
    }

    /// How many records there are.
    ///
    /// # Errors
    /// The disk's.
    pub fn record_count(&self) -> Result<u64, StorageError> {
        let _inside = Inside::enter();
        let table = self
            .txn
            .open_table(RECORDS)
            .map_err(|e| self.store.failed("open", e.into()))?;
        table.len().map_err(|e| self.store.storage("read", e))
    }

    /// Shows every record in revision order, without copying: revision, tombstone, encoded `KeyValue`.
    ///
    /// # Errors
    /// `f` failed; the disk failed, a checksum does not match, or records are missing: damage inside redb's tree can
    /// hide some that are whole themselves, so their order and number are checked too.
    pub fn records(
        &self,
        mut f: impl FnMut(Revision, bool, &[u8]) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        let _inside = Inside::enter();
        let store = self.store;
        let table = self
            .txn
            .open_table(RECORDS)
            .map_err(|e| store.failed("open", e.into()))?;
        let range = table
            .range::<Revision>(..)
            .map_err(|e| store.storage("read", e))?;
        let (mut seen, mut last) = (0, None);
        for item in range {
            let (key, value) = item.map_err(|e| store.storage("read", e))?;
            let (revision, value) = (key.value(), value.value());
            let (tombstone, kv) = store.open_record(revision, value)?;
            if last >= Some(revision) {
                return Err(store.disorder());
            }
            last = Some(revision);
            seen += 1;
            f(revision, tombstone, kv)?;
        }
        store.check_count("records", seen, &table)
    }
}

/// What a look at some records came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    /// The last one, if there are more behind it.
    pub(crate) last: Option<Revision>,
}

impl StateStore {
    /// Verifies the checksums of the records behind `after`, about `bytes` bytes of them.
    pub(crate) fn check_records(
        &self,
        after: Option<Revision>,
        bytes: u64,
    ) -> Result<Seen, StorageError> {
        let _inside = Inside::enter();
        let txn = self.begin_read()?;
        let table = txn
            .open_table(RECORDS)
            .map_err(|e| self.failed("open", e.into()))?;
        if let Some(after) = after {
            self.check_before(&table, after)?;
        }
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let range = table
            .range::<Revision>((from, Bound::Unbounded))
            .map_err(|e| self.storage("read", e))?;
        let (mut seen, mut last) = (Seen::default(), after);
        for item in range {
            let (key, value) = item.map_err(|e| self.storage("read", e))?;
            let revision = key.value();
            let (_, kv) = self.open_record(revision, value.value())?;
            // What the order of the tree shows must be what a look-up finds.
            let sought = table.get(&revision).map_err(|e| self.storage("read", e))?;
            if last >= Some(revision) || sought.is_none() {
                return Err(self.disorder());
            }
            last = Some(revision);
            seen.records += 1;
            seen.bytes += kv.len() as u64;
            if seen.bytes >= bytes {
                seen.last = last;
                break;
            }
        }
        Ok(seen)
    }
}
