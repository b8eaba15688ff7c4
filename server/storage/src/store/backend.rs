//! redb over a `DiskFile`, and redb's errors in our words.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::{DatabaseError, StorageBackend};

use crate::disk::DiskFile;
use crate::error::StorageError;

/// Exclusive use is guarded by the lock of the data directory, so redb's own locks are left out.
#[derive(Debug)]
pub(super) struct DiskBackend {
    file: Arc<dyn DiskFile>,
    given_up: Arc<AtomicBool>,
}

impl DiskBackend {
    /// A file, and the flag that ends all access to it.
    pub(super) fn new(file: Arc<dyn DiskFile>, given_up: Arc<AtomicBool>) -> Self {
        Self { file, given_up }
    }

    fn in_use(&self) -> io::Result<&dyn DiskFile> {
        match self.given_up.load(Ordering::SeqCst) {
            true => Err(io::Error::other("another file has taken its place")),
            false => Ok(&*self.file),
        }
    }
}

impl StorageBackend for DiskBackend {
    fn len(&self) -> io::Result<u64> {
        self.in_use()?.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.in_use()?.read_at(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.in_use()?.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.in_use()?.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.in_use()?.write_at(offset, data)
    }
}

pub(super) fn describe_open(path: &Path, error: DatabaseError) -> StorageError {
    match error {
        DatabaseError::UpgradeRequired(format) => {
            StorageError::damaged(path, format!("redb file format {format} is not supported"))
        }
        DatabaseError::Storage(error) => describe_storage(path, "open", error),
        other => StorageError::damaged(path, other.to_string()),
    }
}

pub(super) fn describe(path: &Path, op: &'static str, error: redb::Error) -> StorageError {
    match error {
        // A length that rotted sends redb behind the end: no disk fails so, and another try does not help.
        redb::Error::Io(source) if source.kind() == io::ErrorKind::UnexpectedEof => {
            StorageError::damaged(path, "the file is shorter than it says")
        }
        redb::Error::Io(source) => StorageError::io(path, op, source),
        redb::Error::PreviousIo => StorageError::Failed(path.to_path_buf()),
        other => StorageError::damaged(path, format!("{op}: {other}")),
    }
}

pub(super) fn describe_storage(
    path: &Path,
    op: &'static str,
    error: redb::StorageError,
) -> StorageError {
    match error {
        // redb answers so for a file without its magic number.
        redb::StorageError::Io(e) if e.kind() == io::ErrorKind::InvalidData => {
            StorageError::corrupt(
                path,
                0,
                format!("not a kvorum state store, or damaged ({e})"),
            )
        }
        error => describe(path, op, error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_before_its_time_is_damage_wherever_redb_meets_it() {
        let path = Path::new("state.redb");
        let early = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let failed = || io::Error::from(io::ErrorKind::PermissionDenied);
        for error in [
            describe(path, "open", redb::Error::Io(early())),
            describe_storage(path, "read", redb::StorageError::Io(early())),
        ] {
            assert!(matches!(error, StorageError::Corrupt { .. }), "{error}");
        }
        let error = describe(path, "open", redb::Error::Io(failed()));
        assert!(!matches!(error, StorageError::Corrupt { .. }), "{error}");
    }
}
