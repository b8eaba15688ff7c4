//! Work on files while no member runs: restoring a snapshot, looking at what survived, going on with one survivor.
//!
//! Everything here takes the lock of the data directory first.

mod authority;
mod cluster;
mod first_state;
mod recover;
mod restore;
mod status;
mod survivor;

pub use kvorum_storage::verify::{Report, verify};

pub use authority::has_authority;
pub use cluster::{InitialCluster, parse_initial_cluster};
pub use first_state::first_state;
pub use recover::{ForceSingle, Recovered, force_single};
pub use restore::{RestoreOptions, Restored, restore};
pub use status::{SnapshotStatus, check_snapshot, snapshot_status};
pub use survivor::{LogPosition, Survivor, inspect};

use kvorum_storage::{DirError, StorageError};

/// Why work on files was not done.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DirError),
    /// The disk failed, or what is on it is damaged.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// What was asked for makes no sense, or would lose something.
    #[error("{0}")]
    Refused(String),
    /// There is no state to work on.
    #[error("the state store does not say who votes: this member never took part in its cluster")]
    NeverTookPart,
}

fn refused(why: impl Into<String>) -> OfflineError {
    OfflineError::Refused(why.into())
}

fn random() -> Result<u64, OfflineError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes)
        .map_err(|e| refused(format!("the system gives no random numbers: {e}")))?;
    Ok(u64::from_be_bytes(bytes))
}
