//! From the records of the state store to the store in memory: at the start, and when a snapshot took their place.

use std::sync::Arc;

use kvorum_core::Machine;
use kvorum_core::backend::Restored;
use kvorum_core::machine::{
    restored_compact_revision, restored_digest, restored_finished_compaction,
};
use kvorum_core::mvcc::encoding::numbers_of;
use kvorum_core::mvcc::{Restore, Store};
use kvorum_storage::{StateStore, StorageError};

use crate::options::MemberOptions;
use crate::shared::Shared;

/// Why there is no store.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RebuildError {
    /// The state store cannot be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A record is none.
    #[error("{0}")]
    Record(String),
}

/// Builds the index from the records.
pub(crate) fn store(
    state: &Arc<StateStore>,
    restored: &Restored,
    options: &MemberOptions,
) -> Result<Store, RebuildError> {
    let mut restore = Restore::default();
    let mut broken = None;
    state.scan_all(|revision, tombstone, kv| match numbers_of(kv) {
        Some(numbers) => restore.record(revision, tombstone, &numbers, kv.len()),
        None => broken = Some(revision),
    })?;
    if let Some(at) = broken {
        return Err(RebuildError::Record(format!(
            "the record at revision {}.{} is not a key-value pair; restore the member from a backup",
            at.main, at.sub
        )));
    }
    let recent_bytes = options.value_cache_bytes / 4 * 3;
    let compact = restored_compact_revision(restored);
    let applied = (restored.applied, restored.term);
    let mut store = restore.finish(state.clone(), recent_bytes, compact, applied);
    store.set_digest(restored_digest(restored));
    Ok(store)
}

/// The machine beside it.
pub(crate) fn machine(store: &Store, restored: &Restored, options: &MemberOptions) -> Machine {
    let mut machine = Machine::new(Shared::machine_options(options));
    machine.restore(store, restored);
    machine
}

/// A compaction that was decided and not carried out to the end.
pub(crate) fn interrupted_compaction(restored: &Restored) -> Option<i64> {
    let scheduled = restored_compact_revision(restored)?;
    let finished = restored_finished_compaction(restored).unwrap_or(0);
    (scheduled > finished).then_some(scheduled)
}
