//! Files that are to take the place of the state file: written beside it, made complete, renamed over it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::{Durability, WriteTransaction};

use super::backend::describe;
use super::inside::Inside;
use super::opened::{Opened, make_tables};
use super::snapshot::SnapshotHead;
use super::{FILE, INCOMING_FILE, StoreOptions};
use crate::disk::Disk;
use crate::error::StorageError;

/// Pages kept in memory of a file in the making.
const CACHE_BYTES: usize = 16 << 20;

static NUMBER: AtomicU64 = AtomicU64::new(0);

/// A file that is to take the place of the state file. Dropping it removes it.
#[derive(Debug)]
pub struct Staged {
    disk: Arc<dyn Disk>,
    /// Empty once the file is somebody else's.
    name: String,
    head: Option<SnapshotHead>,
}

impl Staged {
    fn new(disk: Arc<dyn Disk>, name: String) -> Self {
        Self {
            disk,
            name,
            head: None,
        }
    }

    pub(super) fn complete(&mut self, head: SnapshotHead) {
        self.head = Some(head);
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn path(&self) -> PathBuf {
        self.disk.path(&self.name)
    }

    /// Which moment the state is of; `None` before it is complete.
    #[must_use]
    pub fn head(&self) -> Option<&SnapshotHead> {
        self.head.as_ref()
    }

    /// Gives it the state file's name, durably.
    pub(super) fn rename(&mut self) -> Result<(), StorageError> {
        let failed = |op, e| StorageError::io(self.disk.path(FILE), op, e);
        self.disk
            .rename(&self.name, FILE)
            .map_err(|e| failed("rename", e))?;
        self.disk
            .sync_dir()
            .map_err(|e| failed("sync the directory of", e))?;
        self.name.clear();
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.name.is_empty() {
            // Best effort: the next start removes it anyway.
            let _ = self.disk.remove(&self.name);
        }
    }
}

/// A file in the making. Dropping it removes it.
#[derive(Debug)]
pub(super) struct Staging {
    staged: Option<Staged>,
    db: Option<Opened>,
    txn: Option<Txn>,
    path: PathBuf,
    pending_bytes: usize,
}

struct Txn(WriteTransaction);

impl std::fmt::Debug for Txn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Txn")
    }
}

impl Staging {
    /// Makes a file with empty tables, under a name that no other has in this process.
    pub(super) fn new(disk: Arc<dyn Disk>) -> Result<Self, StorageError> {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{INCOMING_FILE}{number}");
        let options = StoreOptions {
            cache_bytes: CACHE_BYTES,
        };
        let staged = Staged::new(disk.clone(), name);
        let db = Opened::make(&*disk, staged.name(), options)?;
        let mut staging = Self {
            path: staged.path(),
            staged: Some(staged),
            db: Some(db),
            txn: None,
            pending_bytes: 0,
        };
        let made = make_tables(staging.txn()?);
        made.map_err(|e| describe(&staging.path, "create", e))?;
        Ok(staging)
    }

    pub(super) fn path(&self) -> PathBuf {
        self.path.clone()
    }

    /// The transaction that rows go into.
    pub(super) fn txn(&mut self) -> Result<&WriteTransaction, StorageError> {
        if self.txn.is_none() {
            let Some(opened) = &self.db else {
                return Err(StorageError::Failed(self.path()));
            };
            let begun = opened.db.begin_write();
            let txn = begun.map_err(|e| describe(&self.path, "begin to write", e.into()))?;
            self.txn = Some(Txn(txn));
        }
        let txn = self.txn.as_ref().map(|txn| &txn.0);
        txn.ok_or_else(|| StorageError::Failed(self.path()))
    }

    /// Counts what was written; from `limit` on it goes to the disk.
    pub(super) fn wrote(&mut self, bytes: usize, limit: usize) -> Result<(), StorageError> {
        self.pending_bytes += bytes;
        if self.pending_bytes >= limit {
            self.commit(false)?;
        }
        Ok(())
    }

    /// Makes everything durable and closes the file.
    pub(super) fn finish(&mut self) -> Result<Staged, StorageError> {
        self.commit(true)?;
        if let Some(Opened { db, file }) = self.db.take() {
            drop(db);
            file.sync()
                .map_err(|e| StorageError::io(&self.path, "sync", e))?;
        }
        let staged = self.staged.take();
        staged.ok_or_else(|| StorageError::Failed(self.path()))
    }

    /// Only the last commit must be one that opens at once after a crash: an unfinished file is removed.
    fn commit(&mut self, last: bool) -> Result<(), StorageError> {
        self.pending_bytes = 0;
        let Some(Txn(mut txn)) = self.txn.take() else {
            return Ok(());
        };
        let failed = |e| describe(&self.path, "commit", e);
        txn.set_durability(Durability::Immediate)
            .map_err(|e| failed(e.into()))?;
        txn.set_two_phase_commit(last);
        txn.set_quick_repair(last);
        txn.commit().map_err(|e| failed(e.into()))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let _inside = Inside::enter();
        // Before the file goes: closing writes to it.
        drop(self.txn.take());
        drop(self.db.take());
    }
}
