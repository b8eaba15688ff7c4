//! A complete snapshot takes the place of the state store.

use kvorum_core::backend::Restored;

use crate::error::StorageError;
use crate::store::inside::Inside;
use crate::store::opened::Opened;
use crate::store::staging::Staged;
use crate::store::{FILE, StateStore};

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
        let Some(head) = staged.head().cloned() else {
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
