//! What a member keeps on disk: the raft log, the state store and the directory that holds both.
//!
//! Everything here is synchronous and goes through `Disk`, so that the same code runs over a real directory and over
//! the simulator's disk. Nothing here knows the network, a clock or a source of randomness.
//!
//! The log is the durability: an entry is acknowledged when its group was written and synced. The state store is
//! the state: it is written behind, with the applied index in the same transaction as the effects it stands for.

pub mod bbolt;
pub mod dir;
pub mod disk;
pub mod error;
pub mod log;
pub mod spool;
pub mod store;
pub mod verify;

pub use dir::{DataDir, DirError, Identity, KnownMember, Origin};
pub use disk::{Disk, DiskFile, FlippedBit, MemDisk, OpenMode, RealDisk, SyncMethod};
pub use error::{OpenError, StorageError};
pub use log::{AppendStats, Log, LogOptions, RecoveredLog, Recycler};
pub use store::snapshot::{SnapshotHead, SnapshotRefused, SnapshotSink, SnapshotSource, Staged};
pub use store::{
    FlushStats, Shrink, ShrinkStep, StateStore, StateView, StoreOptions, contain, damage_under_work,
};
pub use verify::{Report, Scrub, ScrubStep, ScrubTotals, verify, verify_disks};

#[cfg(test)]
mod tests;
