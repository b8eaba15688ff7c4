//! The redb file: opened, made, and what a crash left beside it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use redb::{Builder, Database, Durability, WriteTransaction};

use super::backend::{DiskBackend, describe, describe_open};
use super::inside::Guarded;
use super::{
    FILE, FORMAT, INCOMING_FILE, LEASES, MARK_FORMAT, MARKS, META, NEW_FILE, RECORDS, StateStore,
    StoreOptions, codec,
};
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::error::StorageError;

/// A redb file in use. It stays usable when another takes its name.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) db: Guarded,
    pub(super) file: Arc<dyn DiskFile>,
}

impl Opened {
    /// Opens an existing file.
    pub(super) fn open(
        disk: &dyn Disk,
        name: &str,
        options: StoreOptions,
    ) -> Result<Self, StorageError> {
        let path = disk.path(name);
        let failed = |op, e| StorageError::io(&path, op, e);
        let file = disk
            .open(name, OpenMode::Existing)
            .map_err(|e| failed("open", e))?;
        if file
            .is_empty()
            .map_err(|e| failed("read the length of", e))?
        {
            let what = "the file is empty: its content was lost";
            return Err(StorageError::corrupt(&path, 0, what));
        }
        let given_up = Arc::new(AtomicBool::new(false));
        let db = builder(options)
            .create_with_backend(DiskBackend::new(file.clone(), given_up.clone()))
            .map_err(|e| describe_open(&path, e))?;
        let db = Guarded::new(db, given_up);
        Ok(Self { db, file })
    }

    /// Makes a file that must not exist.
    pub(super) fn make(
        disk: &dyn Disk,
        name: &str,
        options: StoreOptions,
    ) -> Result<Self, StorageError> {
        let path = disk.path(name);
        let file = disk
            .open(name, OpenMode::New)
            .map_err(|e| StorageError::io(&path, "create", e))?;
        let given_up = Arc::new(AtomicBool::new(false));
        let db = builder(options)
            .create_with_backend(DiskBackend::new(file.clone(), given_up.clone()))
            .map_err(|e| describe_open(&path, e))?;
        let db = Guarded::new(db, given_up);
        Ok(Self { db, file })
    }
}

impl StateStore {
    /// Verifies redb's own checksums, page by page from the root: what they cover can be walked without surprises.
    /// redb may write, so the disk should be one that forgets.
    pub(crate) fn check_pages(disk: &dyn Disk, options: StoreOptions) -> Result<(), StorageError> {
        let path = disk.path(FILE);
        let mut opened = Opened::open(disk, FILE, options)?;
        let clean = opened.db.check_integrity();
        if clean.map_err(|e| describe_open(&path, e))? {
            return Ok(());
        }
        let what = "redb's record of free pages does not fit its trees";
        Err(StorageError::damaged(&path, what))
    }
}

/// The tables of an empty store, and its format.
pub(super) fn make_tables(txn: &WriteTransaction) -> Result<(), redb::Error> {
    let format = codec::seal_mark(MARK_FORMAT, u64::from(FORMAT));
    txn.open_table(MARKS)?
        .insert(MARK_FORMAT, format.as_slice())?;
    txn.open_table(RECORDS)?;
    txn.open_table(LEASES)?;
    txn.open_table(META)?;
    Ok(())
}

/// Removes what a crash left of files that were to take the place of the state file.
pub(super) fn sweep(disk: &dyn Disk) -> Result<(), StorageError> {
    let names = disk
        .list()
        .map_err(|e| StorageError::io(disk.path(""), "list", e))?;
    for name in names.iter().filter(|name| is_incoming(name)) {
        disk.remove(name)
            .map_err(|e| StorageError::io(disk.path(name), "remove", e))?;
    }
    Ok(())
}

/// True for the names of files that are to take the place of the state file.
pub(crate) fn is_incoming(name: &str) -> bool {
    let number = name.strip_prefix(INCOMING_FILE);
    number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

pub(super) fn builder(options: StoreOptions) -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(options.cache_bytes);
    builder
}

pub(super) fn begin_write(
    db: &Database,
    durability: Durability,
) -> Result<WriteTransaction, redb::Error> {
    let mut txn = db.begin_write()?;
    txn.set_durability(durability)?;
    txn.set_two_phase_commit(true);
    txn.set_quick_repair(true);
    Ok(txn)
}

/// Makes an empty store under another name first: a crash here leaves either none or a complete one.
pub(super) fn create(disk: &dyn Disk, options: StoreOptions) -> Result<(), StorageError> {
    let path = disk.path(NEW_FILE);
    let failed = |op, e| StorageError::io(&path, op, e);
    if disk.exists(NEW_FILE).map_err(|e| failed("look for", e))? {
        disk.remove(NEW_FILE).map_err(|e| failed("remove", e))?;
    }
    let Opened { db, file } = Opened::make(disk, NEW_FILE, options)?;
    let made = || -> Result<(), redb::Error> {
        let txn = begin_write(&db, Durability::Immediate)?;
        make_tables(&txn)?;
        txn.commit()?;
        Ok(())
    };
    made().map_err(|e| describe(&path, "create", e))?;
    drop(db);
    file.sync().map_err(|e| failed("sync", e))?;
    disk.rename(NEW_FILE, FILE)
        .map_err(|e| failed("rename", e))?;
    disk.sync_dir()
        .map_err(|e| failed("sync the directory of", e))
}
