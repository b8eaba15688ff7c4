//! What a snapshot file holds, in the figures that etcd's own tool shows.

use std::collections::HashSet;
use std::fs::File;
use std::path::Path;

use bytes::Bytes;
use kvorum_storage::StorageError;
use kvorum_storage::bbolt::{BoltFile, Item, Trailer, read_snapshot};

use super::{OfflineError, refused};

/// The figures of a snapshot file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotStatus {
    /// CRC-32C of everything in it.
    pub hash: u32,
    /// Its newest revision.
    pub revision: i64,
    /// Keys that exist.
    pub total_keys: usize,
    /// Length of its pages, bytes.
    pub total_size: u64,
    /// Version of its layout; empty before 3.6.
    pub version: String,
}

/// Opens a snapshot file for reading.
pub(super) fn open(path: &Path) -> Result<File, OfflineError> {
    match File::open(path) {
        Ok(file) => Ok(file),
        Err(error) => Err(refused(format!("open {}: {error}", path.display()))),
    }
}

/// Reads a snapshot from end to end, its SHA-256 included where it has one.
///
/// # Errors
/// It cannot be read, it is damaged, or it is no snapshot.
pub fn snapshot_status(path: &Path) -> Result<SnapshotStatus, OfflineError> {
    let mut keys: HashSet<Bytes> = HashSet::new();
    let mut newest = 0;
    let count = |item| {
        match item {
            Item::Record {
                revision,
                tombstone,
                kv,
            } => {
                newest = newest.max(revision.main);
                if tombstone {
                    keys.remove(&kv.key);
                } else {
                    // A copy of its own: the value must not stay with it.
                    keys.insert(Bytes::copy_from_slice(&kv.key));
                }
            }
            // etcd's tool takes the mark of a raised revision for a key without a name.
            Item::RevisionOnly(main) => {
                newest = newest.max(main);
                keys.insert(Bytes::new());
            }
            Item::Lease(_) | Item::User(_) | Item::Role(_) => {}
        }
        Ok(())
    };
    let name = path.display().to_string();
    let summary = read_snapshot(open(path)?, &name, Trailer::Optional, count)?;
    Ok(SnapshotStatus {
        hash: summary.hash,
        revision: newest,
        total_keys: keys.len(),
        total_size: summary.bytes,
        version: summary.tables.storage_version.unwrap_or_default(),
    })
}

/// Checks that a snapshot that came as a stream is whole.
///
/// # Errors
/// It cannot be read, or its SHA-256 is wrong or missing.
pub fn check_snapshot(path: &Path) -> Result<(), OfflineError> {
    let name = path.display().to_string();
    let opened: Result<_, StorageError> = BoltFile::open(open(path)?, &name, Trailer::Required);
    opened?;
    Ok(())
}
