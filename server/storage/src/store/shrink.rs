//! Makes the file smaller while it is in use: what lives is copied into another file, which takes its place.
//!
//! redb uses freed pages again, so a file grows no further than its fullest moment; but after a large compaction most
//! of it may be free for good. The copy is made in steps between flushes. A record never changes, so a step may take
//! the records of the store's present moment behind the last one it copied; those that are removed after they were
//! copied are remembered by the store and removed from the copy. The last step copies the small tables and the marks
//! with no flush in between. A crash leaves either file, whole, and the start removes the other.

use std::ops::Bound;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};

use kvorum_core::types::Revision;
use redb::{Key, ReadableTable, ReadableTableMetadata as _, TableDefinition};

use super::backend::{describe, describe_storage};
use super::inside::Inside;
use super::opened::Opened;
use super::staging::{Staged, Staging};
use super::{LEASES, MARKS, META, RECORDS, StateStore, codec};
use crate::error::StorageError;

/// How far a step came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShrinkStep {
    /// There is more to copy.
    More,
    /// The smaller file is in use.
    Done {
        /// Length of the file before, bytes.
        before: u64,
        /// Its length now, bytes.
        after: u64,
    },
    /// Another file took the place meanwhile.
    Overtaken,
}

/// A copy in the making. Dropping it gives it up. One at a time, by the thread that flushes.
#[derive(Debug)]
pub struct Shrink {
    store: Arc<StateStore>,
    staging: Staging,
    /// The last record that was copied.
    copied: Option<Revision>,
    /// How often another file had taken the place when this began.
    swaps: u64,
}

impl Shrink {
    /// Begins a copy.
    ///
    /// # Errors
    /// The disk's. The store is as it was.
    pub fn new(store: Arc<StateStore>) -> Result<Self, StorageError> {
        let _inside = Inside::enter();
        let staging = Staging::new(store.disk.clone())?;
        *store.removed() = Some(Vec::new());
        Ok(Self {
            staging,
            copied: None,
            swaps: store.swaps.load(Ordering::SeqCst),
            store,
        })
    }

    /// Copies about `bytes` bytes more; the last step also puts the copy in place.
    ///
    /// # Errors
    /// The disk's; `Corrupt` if what was to be copied is damaged. The store is as it was, and this copy of no use.
    /// Only after an error while the copy got its name it is unknown which of the two files a start would find; both
    /// are whole, and the store takes no more writes.
    pub fn step(&mut self, bytes: usize) -> Result<ShrinkStep, StorageError> {
        let _inside = Inside::enter();
        if self.swaps != self.store.swaps.load(Ordering::SeqCst) {
            return Ok(ShrinkStep::Overtaken);
        }
        self.forget_removed()?;
        if self.copy_records(bytes)? {
            return Ok(ShrinkStep::More);
        }
        self.copy_table(LEASES, |key| key.to_be_bytes().to_vec())?;
        self.copy_table(META, |key| key.as_bytes().to_vec())?;
        self.copy_table(MARKS, |key| key.as_bytes().to_vec())?;
        self.check_count()?;
        let staged = self.staging.finish()?;
        let before = self.store.file_bytes()?;
        self.store.replace_by(staged)?;
        let after = self.store.file_bytes()?;
        Ok(ShrinkStep::Done { before, after })
    }

    /// What was removed behind the last copied record was never copied, and never will be.
    fn forget_removed(&mut self) -> Result<(), StorageError> {
        let removed = self.store.removed().replace(Vec::new());
        let removed = removed.unwrap_or_default();
        if removed.is_empty() {
            return Ok(());
        }
        let (path, txn) = (self.staging.path(), self.staging.txn()?);
        let mut table = txn
            .open_table(RECORDS)
            .map_err(|e| describe(&path, "open", e.into()))?;
        for revision in removed.iter().filter(|r| Some(**r) <= self.copied) {
            table
                .remove(revision)
                .map_err(|e| describe_storage(&path, "remove", e))?;
        }
        Ok(())
    }

    /// True if there may be more.
    fn copy_records(&mut self, bytes: usize) -> Result<bool, StorageError> {
        let store = self.store.clone();
        let txn = store.begin_read()?;
        let from = txn
            .open_table(RECORDS)
            .map_err(|e| store.failed("open", e.into()))?;
        let behind = self.copied.map_or(Bound::Unbounded, Bound::Excluded);
        let range = from
            .range::<Revision>((behind, Bound::Unbounded))
            .map_err(|e| store.storage("read", e))?;
        let (path, to) = (self.staging.path(), self.staging.txn()?);
        let mut to = to
            .open_table(RECORDS)
            .map_err(|e| describe(&path, "open", e.into()))?;
        let mut cursor = to
            .upper_bound_mut(Bound::<Revision>::Unbounded)
            .map_err(|e| describe_storage(&path, "read", e))?;
        let mut written = 0;
        for item in range {
            let (key, value) = item.map_err(|e| store.storage("read", e))?;
            let (revision, value) = (key.value(), value.value());
            store.open_record(revision, value)?;
            cursor.insert_before(revision, value).map_err(|e| match e {
                redb::CursorError::Storage(e) => describe_storage(&path, "write", e),
                _ => StorageError::damaged(&store.path, "records are out of order"),
            })?;
            self.copied = Some(revision);
            written += codec::KEY_LEN + value.len();
            if written >= bytes {
                break;
            }
        }
        cursor
            .close()
            .map_err(|e| describe_storage(&path, "write", e))?;
        drop(to);
        // Each step is synced by itself, so that the log's appends never wait behind much.
        self.staging.wrote(written, 1)?;
        Ok(written >= bytes)
    }

    fn copy_table<K: Key + 'static>(
        &mut self,
        table: TableDefinition<K, &'static [u8]>,
        sealed: impl Fn(K::SelfType<'_>) -> Vec<u8>,
    ) -> Result<(), StorageError> {
        let store = &*self.store;
        let txn = store.begin_read()?;
        let from = txn
            .open_table(table)
            .map_err(|e| store.failed("open", e.into()))?;
        let (path, to) = (self.staging.path(), self.staging.txn()?);
        let mut to = to
            .open_table(table)
            .map_err(|e| describe(&path, "open", e.into()))?;
        for item in from.iter().map_err(|e| store.storage("read", e))? {
            let (key, value) = item.map_err(|e| store.storage("read", e))?;
            if codec::open_side(&sealed(key.value()), value.value()).is_none() {
                return Err(store.bad_checksum(&"a small entry"));
            }
            to.insert(key.value(), value.value())
                .map_err(|e| describe_storage(&path, "write", e))?;
        }
        Ok(())
    }

    /// What the tree of the old file hid would be lost for good with it.
    fn check_count(&mut self) -> Result<(), StorageError> {
        let (path, txn) = (self.staging.path(), self.staging.txn()?);
        let copied = txn
            .open_table(RECORDS)
            .map_err(|e| describe(&path, "open", e.into()))?
            .len()
            .map_err(|e| describe_storage(&path, "read", e))?;
        let txn = self.store.begin_read()?;
        let table = txn
            .open_table(RECORDS)
            .map_err(|e| self.store.failed("open", e.into()))?;
        self.store.check_count("records", copied, &table)
    }
}

impl Drop for Shrink {
    fn drop(&mut self) {
        *self.store.removed() = None;
    }
}

impl StateStore {
    fn removed(&self) -> MutexGuard<'_, Option<Vec<Revision>>> {
        self.removed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers what was removed for a copy in the making.
    pub(super) fn note_removed(&self, revisions: &[Revision]) {
        if let Some(removed) = self.removed().as_mut() {
            removed.extend_from_slice(revisions);
        }
    }

    /// Puts a complete copy in the place of the file in use. It is opened first: what cannot be opened replaces nothing.
    fn replace_by(&self, mut staged: Staged) -> Result<(), StorageError> {
        let opened = Opened::open(&*self.disk, staged.name(), self.options)?;
        let renamed = staged.rename();
        // A start may find either file now: nothing may be written that only one of them holds.
        if renamed.is_err() {
            self.failed.store(true, Ordering::SeqCst);
        }
        renamed?;
        self.swap(opened);
        Ok(())
    }
}
