//! The seam between the storage code and the machine: a flat directory of files.
//!
//! Twelve methods are everything the log and the state store ask of a disk. `RealDisk` is a directory, `MemDisk` is a
//! disk in memory that knows which bytes were synced and can lose the others.

mod mem;
mod real;

use std::fmt::Debug;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

pub use mem::{FlippedBit, MemDisk};
pub use real::RealDisk;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// The file must exist.
    Existing,
    /// The file must not exist.
    New,
}

/// How writes to a log file become durable; the best one that the filesystem offers is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncMethod {
    /// `O_DIRECT|O_DSYNC`: past the page cache, durable when the write returns.
    DirectDsync,
    /// `O_DSYNC`: durable when the write returns.
    Dsync,
    /// A plain write, then `fdatasync`.
    Fdatasync,
}

impl SyncMethod {
    /// True if a write is durable when it returns.
    #[must_use]
    pub const fn durable_on_return(self) -> bool {
        !matches!(self, Self::Fdatasync)
    }

    /// The name for logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DirectDsync => "O_DIRECT|O_DSYNC",
            Self::Dsync => "O_DSYNC",
            Self::Fdatasync => "fdatasync",
        }
    }
}

/// A directory of files, without subdirectories. Renames and removals are durable after `sync_dir`.
pub trait Disk: Send + Sync + Debug {
    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// The system's.
    fn open(&self, name: &str, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens an existing file for log writes: aligned blocks of 4096 bytes from aligned memory, nothing else.
    ///
    /// # Errors
    /// The system's.
    fn open_log(&self, name: &str) -> io::Result<(Arc<dyn DiskFile>, SyncMethod)>;

    /// The names of all files, in no order.
    ///
    /// # Errors
    /// The system's.
    fn list(&self) -> io::Result<Vec<String>>;

    /// True if the name exists.
    ///
    /// # Errors
    /// The system's.
    fn exists(&self, name: &str) -> io::Result<bool>;

    /// Renames a file over whatever has the new name.
    ///
    /// # Errors
    /// The system's.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// The system's.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes creations, renames and removals durable.
    ///
    /// # Errors
    /// The system's.
    fn sync_dir(&self) -> io::Result<()>;

    /// Where the file is, for messages.
    fn path(&self, name: &str) -> PathBuf;
}

/// An open file. Offsets are given with each call, so it can be shared between threads.
pub trait DiskFile: Send + Sync + Debug {
    /// Fills `buf`, or fails.
    ///
    /// # Errors
    /// The system's; `UnexpectedEof` if the file ends before.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()>;

    /// Writes all of `data`.
    ///
    /// # Errors
    /// The system's.
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;

    /// Cuts the file, or extends it with zeros.
    ///
    /// # Errors
    /// The system's.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// The length of the file.
    ///
    /// # Errors
    /// The system's.
    fn len(&self) -> io::Result<u64>;

    /// True if the file has no bytes.
    ///
    /// # Errors
    /// The system's.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Makes all finished writes durable. After a failure nothing is known about them.
    ///
    /// # Errors
    /// The system's.
    fn sync(&self) -> io::Result<()>;
}
