//! Files that hold what is on its way to a client. They have no name as soon as they are open, so that the system
//! frees them when they are closed, however the process ends; only a crash between two system calls leaves one, which
//! the next start removes.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::disk::{Disk, DiskFile, OpenMode};
use crate::error::StorageError;

const BEGIN: &str = "snapshot-";
const END: &str = ".spool";

static NUMBER: AtomicU64 = AtomicU64::new(0);

/// A new file without a name, and what it is called in messages.
///
/// # Errors
/// The disk's.
pub fn unnamed(disk: &dyn Disk) -> Result<(Arc<dyn DiskFile>, PathBuf), StorageError> {
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("{BEGIN}{number}{END}");
    let path = disk.path(&name);
    let file = disk
        .open(&name, OpenMode::New)
        .map_err(|e| StorageError::io(&path, "create", e))?;
    disk.remove(&name)
        .map_err(|e| StorageError::io(&path, "remove", e))?;
    Ok((file, path))
}

/// True for the names of these files.
pub(crate) fn is_spool(name: &str) -> bool {
    let number = name
        .strip_prefix(BEGIN)
        .and_then(|rest| rest.strip_suffix(END));
    number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Removes what a crash left.
///
/// # Errors
/// The disk's.
pub(crate) fn sweep(disk: &dyn Disk) -> Result<(), StorageError> {
    let names = disk
        .list()
        .map_err(|e| StorageError::io(disk.path(""), "list", e))?;
    for name in names.iter().filter(|name| is_spool(name)) {
        disk.remove(name)
            .map_err(|e| StorageError::io(disk.path(name), "remove", e))?;
    }
    Ok(())
}
