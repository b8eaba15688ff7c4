//! A state on its way from one member to another: the leader's, of one moment, to a member that is too far behind.
//!
//! The state travels in numbered chunks, each with a checksum; the last one carries a digest over all of them and the
//! number of rows. Rows travel as they are stored, with their own checksums, so that what a disk turned on one side
//! is noticed on the other. `SnapshotSource` makes the chunks out of a view of the store while flushes go on, and can
//! go back to an earlier one; `SnapshotSink` puts them into a file beside the state store, and nothing of it counts
//! before `StateStore::install` gives that file the store's name.
//!
//! | bytes | field of a chunk |
//! |---|---|
//! | 0..4 | magic `KVSC` |
//! | 4..8 | CRC-32C of the rest |
//! | 8..16 | id of the snapshot: one per view, so that chunks of two never mix |
//! | 16..24 | number of the chunk, from 0 |
//! | 24 | kind: 1 head, 2 records, 3 leases, 4 meta, 5 end |
//! | 25.. | body |
//!
//! All numbers are little-endian. The body of chunks 2 to 4 is a list of rows: length of the key (u16), length of the
//! value (u32), key, value.

mod chunk;
mod head;
mod install;
mod sink;
mod source;

#[cfg(test)]
mod tests;

pub use head::SnapshotHead;
pub use sink::SnapshotSink;
pub use source::SnapshotSource;

pub use super::staging::Staged;

use crate::error::StorageError;

/// The version that this build sends, and the newest it takes.
const FORMAT: u32 = 1;
/// A chunk is closed when its rows exceed this; one row may exceed it alone.
pub const CHUNK_BYTES: usize = 256 << 10;
/// Meta key of the raft configuration, which a receiver needs to see first.
const META_CONF_STATE: &str = "conf_state";

const DIGEST_LEN: usize = 32;
type Digest = [u8; DIGEST_LEN];

/// Why a chunk was not taken.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SnapshotRefused {
    /// The chunk is damaged, or not the one that is due. Nothing changed: the right one may follow.
    #[error("chunk {due} of the snapshot: {what}")]
    Chunk {
        /// The chunk that is due.
        due: u64,
        /// What is wrong with the one that came.
        what: String,
    },
    /// The sender is newer.
    #[error("the snapshot has format {found}, this build knows {known}: update this member first")]
    Newer {
        /// The sender's.
        found: u32,
        /// The newest that this build takes.
        known: u32,
    },
    /// Chunks that are whole contradict each other: this snapshot is of no use.
    #[error("the snapshot makes no sense: {0}")]
    Contradiction(String),
    /// The disk failed, or is full.
    #[error(transparent)]
    Storage(#[from] StorageError),
}
