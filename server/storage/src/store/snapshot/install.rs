//! A complete snapshot takes the place of the state store.

use std::path::PathBuf;
use std::sync::Arc;

use kvorum_core::backend::Restored;

use super::SnapshotHead;
use crate::disk::Disk;
use crate::error::StorageError;
use crate::store::inside::Inside;
use crate::store::opened::Opened;
use crate::store::{FILE, StateStore};

/// A file that is to take the place of the state file. Dropping it removes it.
#[derive(Debug)]
pub struct Staged {
    disk: Arc<dyn Disk>,
    /// Empty once the file is somebody else's.
    name: String,
    head: Option<SnapshotHead>,
}

impl Staged {
    pub(super) fn new(disk: Arc<dyn Disk>, name: String) -> Self {
        Self {
            disk,
            name,
            head: None,
        }
    }

    pub(super) fn complete(&mut self, head: SnapshotHead) {
        self.head = Some(head);
    }

    pub(super) fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    pub(super) fn path(&self) -> PathBuf {
        self.disk.path(&self.name)
    }

    /// Which moment the state is of; `None` before it is complete.
    #[must_use]
    pub fn head(&self) -> Option<&SnapshotHead> {
        self.head.as_ref()
    }

    fn rename(&mut self) -> Result<(), StorageError> {
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

impl StateStore {
    /// Puts a complete snapshot in the place of everything that is stored, durably, and reads its small tables. Reads
    /// that are under way end in the old state. The log must begin anew behind it next; see `Log::reset`.
    ///
    /// To be called by the thread that flushes.
    ///
    /// # Errors
    /// `Order` if the snapshot is not complete or older than what is stored: nothing changed. After any other error
    /// it is unknown which of the two a start will find, and both are whole.
    pub fn install(&self, mut staged: Staged) -> Result<Restored, StorageError> {
        let _inside = Inside::enter();
        let Some(head) = staged.head.clone() else {
            return Err(StorageError::Order("a snapshot is not complete".into()));
        };
        let applied = self.restore()?.applied;
        if head.index < applied {
            let what = format!(
                "a snapshot of entry {} behind applied entry {applied}",
                head.index
            );
            return Err(StorageError::Order(what));
        }
        staged.rename()?;
        let opened = Opened::open(&*self.disk, FILE, self.options)?;
        self.swap(opened);
        self.restore()
    }
}
