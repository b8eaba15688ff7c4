//! What can go wrong on disk, in words that name the file, the place and what to do.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kvorum_core::backend::BackendError;

/// A disk that failed, or content that cannot be trusted. None of these may be retried as if nothing had happened,
/// unless `is_out_of_space` says so.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StorageError {
    /// A system call failed.
    #[error("{op} {}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was being done.
        op: &'static str,
        /// What the system answered.
        source: Arc<io::Error>,
    },
    /// The content is damaged.
    #[error("{}{}: {what}{}; {action}", file.display(), at(*.offset), missing(*.first_missing))]
    Corrupt {
        /// The damaged file.
        file: PathBuf,
        /// Where the damage begins, where it is known.
        offset: Option<u64>,
        /// What is wrong there.
        what: String,
        /// In the log: the first entry that cannot be read for it. Those before are whole.
        first_missing: Option<u64>,
        /// What the operator can do.
        action: &'static str,
    },
    /// The file was written by a newer version.
    #[error(
        "{} was made by a newer kvorum (format {found}, this build knows {known}): \
         run that version or newer, or restore a backup into an empty data directory",
        file.display()
    )]
    Newer {
        /// The file.
        file: PathBuf,
        /// Its format version.
        found: u32,
        /// The newest version that this build reads.
        known: u32,
    },
    /// The caller broke the order that the files rely on. Nothing was written.
    #[error("refused to write: {0}")]
    Order(String),
    /// An earlier write or sync failed, so what the file holds is unknown until it is opened again.
    #[error("{} failed earlier and takes no more writes; restart the member", .0.display())]
    Failed(PathBuf),
}

/// Opening fails for the same reasons as reading and writing.
pub type OpenError = StorageError;

/// What an operator does about damage that a single member cannot mend.
pub(crate) const RESTORE: &str = "the disk or the file was damaged; restore this member from a backup, or remove it \
                                  and let it join again from a healthy member";

fn at(offset: Option<u64>) -> String {
    offset.map(|o| format!(" at byte {o}")).unwrap_or_default()
}

fn missing(first: Option<u64>) -> String {
    first
        .map(|index| format!(", so entries from {index} on cannot be read"))
        .unwrap_or_default()
}

impl StorageError {
    pub(crate) fn io(path: impl AsRef<Path>, op: &'static str, source: io::Error) -> Self {
        Self::Io {
            path: path.as_ref().to_path_buf(),
            op,
            source: Arc::new(source),
        }
    }

    pub(crate) fn corrupt(file: impl AsRef<Path>, offset: u64, what: impl Into<String>) -> Self {
        Self::Corrupt {
            file: file.as_ref().to_path_buf(),
            offset: Some(offset),
            what: what.into(),
            first_missing: None,
            action: RESTORE,
        }
    }

    pub(crate) fn damaged(file: impl AsRef<Path>, what: impl Into<String>) -> Self {
        Self::Corrupt {
            file: file.as_ref().to_path_buf(),
            offset: None,
            what: what.into(),
            first_missing: None,
            action: RESTORE,
        }
    }

    /// Says which entry of the log is the first that cannot be read.
    pub(crate) fn missing_from(mut self, index: u64) -> Self {
        if let Self::Corrupt { first_missing, .. } = &mut self {
            first_missing.get_or_insert(index);
        }
        self
    }

    /// True if what the disk gave back is not what was written: a healthy member has it still.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Corrupt { .. })
    }

    /// In a damaged log: the first entry that cannot be read. Those before are whole.
    #[must_use]
    pub fn first_missing_index(&self) -> Option<u64> {
        match self {
            Self::Corrupt { first_missing, .. } => *first_missing,
            _ => None,
        }
    }

    /// True if the disk was full. The log may then be asked again once there is space.
    #[must_use]
    pub fn is_out_of_space(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull
            || source.kind() == io::ErrorKind::QuotaExceeded)
    }
}

impl From<StorageError> for BackendError {
    fn from(error: StorageError) -> Self {
        Self(error.to_string())
    }
}
