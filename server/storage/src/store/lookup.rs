//! Records looked up by revision, and proof that a look-up missed none.
//!
//! redb descends by the keys in its branches and believes them. A record's checksum says nothing about those: with a
//! flipped bit there, or a page that was given away although it was in use, records that are whole themselves are not
//! found where they are sought. In the order of the tree they still stand beside that place, so its neighbours tell.

use std::ops::Bound;

use kvorum_core::backend::Record;
use kvorum_core::types::Revision;
use redb::ReadableTable;

use super::codec::RevisionKey;
use super::inside::Inside;
use super::{RECORDS, StateStore};
use crate::error::StorageError;

impl StateStore {
    /// The record at `revision`; see `Records::get`.
    ///
    /// # Errors
    /// The disk failed, the checksum does not match, or the record is in the file but not where it belongs.
    pub fn record(&self, revision: Revision) -> Result<Option<Record>, StorageError> {
        let mut found = self.record_list(&[revision])?;
        Ok(found.pop().flatten())
    }

    /// The records at `revisions`, of one state of the store; see `Records::get_many`.
    ///
    /// # Errors
    /// As `record`.
    pub fn record_list(&self, revisions: &[Revision]) -> Result<Vec<Option<Record>>, StorageError> {
        let _inside = Inside::enter();
        let txn = self.begin_read()?;
        let table = txn
            .open_table(RECORDS)
            .map_err(|e| self.failed("open", e.into()))?;
        let look_up = |revision: &Revision| {
            let value = table.get(revision).map_err(|e| self.storage("read", e))?;
            match value {
                Some(value) => self.copy_record(*revision, value.value()).map(Some),
                None => self.check_absence(&table, *revision).map(|()| None),
            }
        };
        revisions.iter().map(look_up).collect()
    }

    /// Up to `limit` records with `from <= revision <= to`; see `Records::scan`.
    ///
    /// # Errors
    /// As `record`.
    pub fn records(
        &self,
        from: Revision,
        to: Revision,
        limit: usize,
    ) -> Result<Vec<Record>, StorageError> {
        if from > to {
            return Ok(Vec::new());
        }
        let _inside = Inside::enter();
        let txn = self.begin_read()?;
        let table = txn
            .open_table(RECORDS)
            .map_err(|e| self.failed("open", e.into()))?;
        self.check_before(&table, from)?;
        let range = table
            .range(from..=to)
            .map_err(|e| self.storage("read", e))?;
        let mut records: Vec<Record> = Vec::new();
        for item in range.take(limit) {
            let (key, value) = item.map_err(|e| self.storage("read", e))?;
            let record = self.copy_record(key.value(), value.value())?;
            let last = records.last().map(|last| last.revision);
            if last >= Some(record.revision) || record.revision < from || record.revision > to {
                return Err(self.disorder());
            }
            records.push(record);
        }
        if records.len() < limit {
            self.check_behind(&table, to)?;
        }
        Ok(records)
    }

    /// Fails if a record at `revision` is in the tree all the same.
    pub(super) fn check_absence(
        &self,
        table: &impl ReadableTable<RevisionKey, &'static [u8]>,
        revision: Revision,
    ) -> Result<(), StorageError> {
        self.check_before(table, revision)?;
        self.check_behind(table, revision)
    }

    /// Fails if the record in front of the place of `revision` does not belong there.
    pub(super) fn check_before(
        &self,
        table: &impl ReadableTable<RevisionKey, &'static [u8]>,
        revision: Revision,
    ) -> Result<(), StorageError> {
        let mut before = table
            .range(..revision)
            .map_err(|e| self.storage("read", e))?;
        match before.next_back() {
            Some(Err(e)) => Err(self.storage("read", e)),
            Some(Ok((key, _))) if key.value() >= revision => Err(self.disorder()),
            Some(Ok(_)) | None => Ok(()),
        }
    }

    /// Fails if the record behind the place of `revision` does not belong there.
    fn check_behind(
        &self,
        table: &impl ReadableTable<RevisionKey, &'static [u8]>,
        revision: Revision,
    ) -> Result<(), StorageError> {
        let behind = (Bound::Excluded(revision), Bound::Unbounded);
        let mut behind = table
            .range::<Revision>(behind)
            .map_err(|e| self.storage("read", e))?;
        match behind.next() {
            Some(Err(e)) => Err(self.storage("read", e)),
            Some(Ok((key, _))) if key.value() <= revision => Err(self.disorder()),
            Some(Ok(_)) | None => Ok(()),
        }
    }

    pub(super) fn disorder(&self) -> StorageError {
        StorageError::damaged(&self.path, "records are out of order")
    }
}
