//! The state store: every revision, the leases and the small tables of the machine, in one redb file.
//!
//! One flush is one transaction: it appends the records of a span of the log and stores the applied index of its last
//! entry beside them, so a crash leaves both or neither. redb verifies the checksums of its pages only when it
//! repairs, so every value carries a checksum of its own, over its key too, and each read verifies it.
//!
//! Only appends by cursor, inserts, removals and ranges are used; commits are two-phase with the allocator state saved,
//! so that opening after a crash needs no walk over the file.

mod backend;
mod codec;
mod contain;
mod inside;
mod lookup;
mod marks;
mod opened;
mod reader;
mod shrink;
pub mod snapshot;
mod staging;
mod view;

#[cfg(test)]
mod tests;

use std::fmt::Display;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kvorum_core::backend::{BackendError, FlushMark, Record, Records, Restored, SideChange};
use kvorum_core::types::{Index, LeaseId, Revision, Term};
use redb::{
    Durability, ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata,
    TableDefinition, WriteTransaction,
};

use crate::disk::Disk;
use crate::error::{OpenError, StorageError};
use backend::describe_storage;
use codec::RevisionKey;
use inside::Inside;
use opened::{Opened, create, sweep};
use reader::Reader;

pub use contain::contain;
pub use inside::damage_under_work;
pub(crate) use opened::is_incoming;
pub use shrink::{Shrink, ShrinkStep};
pub use view::StateView;

/// The version that this build writes, and the newest it reads.
const FORMAT: u32 = 1;

pub(crate) const FILE: &str = "state.redb";
/// The file while it is being made: it gets its name only when it is complete.
const NEW_FILE: &str = "state.redb.new";
/// Files that are to take its place, with a number behind; what a crash leaves of them is removed.
const INCOMING_FILE: &str = "state.redb.incoming-";

const RECORDS: TableDefinition<RevisionKey, &[u8]> = TableDefinition::new("records");
const LEASES: TableDefinition<i64, &[u8]> = TableDefinition::new("leases");
const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
/// What the store knows about itself: format version, applied index, its term, where the log begins.
const MARKS: TableDefinition<&str, &[u8]> = TableDefinition::new("marks");

const MARK_FORMAT: &str = "format";
const MARK_APPLIED: &str = "applied";
const MARK_TERM: &str = "term";
/// Index and term of a state that came from elsewhere, while the log may not know of it.
const MARK_BASE: &str = "base";
const MARK_BASE_TERM: &str = "base_term";

/// How a store is opened.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    /// Memory for pages, clean and dirty together. Fixed until the store is opened again.
    pub cache_bytes: usize,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            cache_bytes: 64 << 20,
        }
    }
}

/// What one flush wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlushStats {
    /// Records appended.
    pub records: u64,
    /// Bytes of keys and values appended, without the tree around them.
    pub bytes: u64,
    /// Time spent on changing the tree.
    pub changing: Duration,
    /// Time spent on making the change durable.
    pub committing: Duration,
}

/// The store. Reads take a shared reference and never wait for the writer; writes must come from one thread.
#[derive(Debug)]
pub struct StateStore {
    disk: Arc<dyn Disk>,
    options: StoreOptions,
    path: PathBuf,
    /// The file in use. Another takes its place whole: a peer's snapshot, or a smaller copy.
    opened: RwLock<Arc<Opened>>,
    readers: Arc<AtomicUsize>,
    /// What was removed since a copy in the making was last told, while there is one.
    removed: Mutex<Option<Vec<Revision>>>,
    /// How often another file took the place.
    swaps: AtomicU64,
    /// It is unknown which file a start would find.
    failed: AtomicBool,
}

impl StateStore {
    /// Opens the store in `disk`, or makes an empty one there.
    ///
    /// # Errors
    /// The disk failed, or the file is damaged, not ours or newer than this build.
    pub fn open(disk: Arc<dyn Disk>, options: StoreOptions) -> Result<(Self, Restored), OpenError> {
        let path = disk.path(FILE);
        inside::name(&path);
        let _inside = Inside::enter();
        sweep(&*disk)?;
        let looked = disk.exists(FILE);
        if !looked.map_err(|e| StorageError::io(&path, "look for", e))? {
            create(&*disk, options)?;
        }
        let store = Self::open_as_it_is(disk, options)?;
        let restored = store.restore()?;
        Ok((store, restored))
    }

    /// Opens an existing store. Nothing beside it is touched.
    pub(crate) fn open_as_it_is(
        disk: Arc<dyn Disk>,
        options: StoreOptions,
    ) -> Result<Self, StorageError> {
        let path = disk.path(FILE);
        let opened = Opened::open(&*disk, FILE, options)?;
        let store = Self {
            disk,
            options,
            path,
            opened: RwLock::new(Arc::new(opened)),
            readers: Arc::default(),
            removed: Mutex::default(),
            swaps: AtomicU64::new(0),
            failed: AtomicBool::new(false),
        };
        let txn = store.begin_read()?;
        store.check_format(&txn)?;
        drop(txn);
        Ok(store)
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes durable, in one transaction: the records, the side changes and the applied index. Records must come in
    /// revision order and behind every record in the store.
    ///
    /// # Errors
    /// `Order` if they do not; the disk's. Nothing of a failed flush remains.
    pub fn flush(
        &self,
        records: impl Iterator<Item = Record>,
        mark: &FlushMark,
    ) -> Result<FlushStats, StorageError> {
        self.flush_with(records, mark, false)
    }

    fn flush_with(
        &self,
        records: impl Iterator<Item = Record>,
        mark: &FlushMark,
        is_base: bool,
    ) -> Result<FlushStats, StorageError> {
        let _inside = Inside::enter();
        let begin = Instant::now();
        let txn = self.begin_write(Durability::Immediate)?;
        let mut stats = self.append_records(&txn, records)?;
        self.change_sides(&txn, &mark.side)?;
        self.move_marks(&txn, mark)?;
        if is_base {
            self.set_base(&txn, mark)?;
        }
        let changed = Instant::now();
        txn.commit().map_err(|e| self.failed("commit", e.into()))?;
        stats.changing = changed - begin;
        stats.committing = changed.elapsed();
        Ok(stats)
    }

    /// Removes records that compaction no longer needs, and gives back the lengths of their encoded pairs; unknown
    /// ones are skipped.
    ///
    /// Not durable by itself: the next flush carries it. A crash in between brings the records back, which is harmless as
    /// long as the mark that says "compacted up to here" is part of that next flush or a later one: the machine
    /// then compacts again. Give at most some thousand at a time, since a flush waits for the writer's place.
    ///
    /// # Errors
    /// The disk's.
    pub fn remove(&self, revisions: &[Revision]) -> Result<Vec<usize>, StorageError> {
        let _inside = Inside::enter();
        let txn = self.begin_write(Durability::None)?;
        let mut lengths = Vec::with_capacity(revisions.len());
        {
            let mut table = txn
                .open_table(RECORDS)
                .map_err(|e| self.failed("open", e.into()))?;
            for revision in revisions {
                let old = table
                    .remove(revision)
                    .map_err(|e| self.storage("remove", e))?
                    .map(|old| codec::kv_len(old.value()));
                if old.is_none() {
                    self.check_absence(&table, *revision)?;
                }
                lengths.extend(old);
            }
        }
        txn.commit().map_err(|e| self.failed("commit", e.into()))?;
        self.note_removed(revisions);
        Ok(lengths)
    }

    /// Shows every record in revision order, without copying: revision, tombstone, encoded `KeyValue`.
    ///
    /// # Errors
    /// The disk failed, a checksum does not match, or records are missing: damage inside redb's tree can hide some
    /// that are whole themselves, so their order and number are checked too.
    pub fn scan_all(&self, mut f: impl FnMut(Revision, bool, &[u8])) -> Result<(), StorageError> {
        self.view()?.records(|revision, tombstone, kv| {
            f(revision, tombstone, kv);
            Ok(())
        })
    }

    /// The length of the file: what it takes on disk, not what quotas count.
    ///
    /// # Errors
    /// The disk's.
    pub fn file_bytes(&self) -> Result<u64, StorageError> {
        let opened = self.opened();
        let len = opened.file.len();
        len.map_err(|e| StorageError::io(&self.path, "read the length of", e))
    }

    fn restore(&self) -> Result<Restored, StorageError> {
        let txn = self.begin_read()?;
        self.check_format(&txn)?;
        self.read_tables(&txn)
    }

    fn read_tables(&self, txn: &ReadTransaction) -> Result<Restored, StorageError> {
        let marks = txn
            .open_table(MARKS)
            .map_err(|e| self.failed("open", e.into()))?;
        let mut restored = Restored {
            applied: Index(self.mark(&marks, MARK_APPLIED)?.unwrap_or(0)),
            term: Term(self.mark(&marks, MARK_TERM)?.unwrap_or(0)),
            ..Restored::default()
        };
        let leases = txn
            .open_table(LEASES)
            .map_err(|e| self.failed("open", e.into()))?;
        for item in leases.iter().map_err(|e| self.storage("read", e))? {
            let (key, value) = item.map_err(|e| self.storage("read", e))?;
            let id = key.value();
            let bytes =
                self.open_side(&id.to_be_bytes(), value.value(), || format!("lease {id:x}"))?;
            restored.leases.push((LeaseId(id), bytes));
        }
        let meta = txn
            .open_table(META)
            .map_err(|e| self.failed("open", e.into()))?;
        for item in meta.iter().map_err(|e| self.storage("read", e))? {
            let (key, value) = item.map_err(|e| self.storage("read", e))?;
            let name = key.value();
            let bytes =
                self.open_side(name.as_bytes(), value.value(), || format!("meta {name:?}"))?;
            restored.meta.push((name.to_owned(), bytes));
        }
        self.check_count("leases", restored.leases.len() as u64, &leases)?;
        self.check_count("meta entries", restored.meta.len() as u64, &meta)?;
        Ok(restored)
    }

    fn check_count(
        &self,
        what: &str,
        seen: u64,
        table: &impl ReadableTableMetadata,
    ) -> Result<(), StorageError> {
        let stored = table.len().map_err(|e| self.storage("read", e))?;
        if seen == stored {
            return Ok(());
        }
        let what = format!("{seen} {what} were found where {stored} are stored");
        Err(StorageError::damaged(&self.path, what))
    }

    fn opened(&self) -> Arc<Opened> {
        let opened = self.opened.read().unwrap_or_else(PoisonError::into_inner);
        opened.clone()
    }

    /// From here on reads and writes go to another file. The old one is closed by whoever looks at it last.
    fn swap(&self, opened: Opened) {
        let mut place = self.opened.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *place, Arc::new(opened));
        drop(place);
        old.db.note_replaced();
        self.swaps.fetch_add(1, Ordering::SeqCst);
        drop(old);
    }

    fn begin_read(&self) -> Result<Reader, StorageError> {
        let opened = self.opened();
        let txn = opened
            .db
            .begin_read()
            .map_err(|e| self.failed("begin to read", e.into()))?;
        Ok(Reader::new(txn, opened, self.readers.clone()))
    }

    fn begin_write(&self, durability: Durability) -> Result<WriteTransaction, StorageError> {
        if self.failed.load(Ordering::SeqCst) {
            return Err(StorageError::Failed(self.path.clone()));
        }
        opened::begin_write(&self.opened().db, durability)
            .map_err(|e| self.failed("begin to write", e))
    }

    fn append_records(
        &self,
        txn: &WriteTransaction,
        records: impl Iterator<Item = Record>,
    ) -> Result<FlushStats, StorageError> {
        let mut stats = FlushStats::default();
        let mut table = txn
            .open_table(RECORDS)
            .map_err(|e| self.failed("open", e.into()))?;
        let end = Bound::<Revision>::Unbounded;
        let mut cursor = table
            .upper_bound_mut(end)
            .map_err(|e| self.storage("read", e))?;
        let mut value = Vec::new();
        for record in records {
            codec::seal_record(&mut value, record.revision, record.tombstone, &record.kv);
            cursor
                .insert_before(record.revision, value.as_slice())
                .map_err(|e| match e {
                    redb::CursorError::Storage(e) => self.storage("write", e),
                    _ => StorageError::Order(format!(
                        "revision {}.{} does not come after the last one stored",
                        record.revision.main, record.revision.sub
                    )),
                })?;
            stats.records += 1;
            stats.bytes += (codec::KEY_LEN + value.len()) as u64;
        }
        cursor.close().map_err(|e| self.storage("write", e))?;
        Ok(stats)
    }

    fn change_sides(
        &self,
        txn: &WriteTransaction,
        changes: &[SideChange],
    ) -> Result<(), StorageError> {
        if changes.is_empty() {
            return Ok(());
        }
        let write = |e| self.storage("write", e);
        let mut leases = txn
            .open_table(LEASES)
            .map_err(|e| self.failed("open", e.into()))?;
        let mut meta = txn
            .open_table(META)
            .map_err(|e| self.failed("open", e.into()))?;
        let mut value = Vec::new();
        for change in changes {
            match change {
                SideChange::LeasePut(id, lease) => {
                    codec::seal_side(&mut value, &id.0.to_be_bytes(), lease);
                    leases.insert(id.0, value.as_slice()).map_err(write)?;
                }
                SideChange::LeaseDelete(id) => {
                    leases.remove(id.0).map_err(write)?;
                }
                SideChange::MetaPut(name, bytes) => {
                    codec::seal_side(&mut value, name.as_bytes(), bytes);
                    meta.insert(name.as_str(), value.as_slice())
                        .map_err(write)?;
                }
                SideChange::MetaDelete(name) => {
                    meta.remove(name.as_str()).map_err(write)?;
                }
            }
        }
        Ok(())
    }

    fn open_record<'a>(
        &self,
        revision: Revision,
        value: &'a [u8],
    ) -> Result<(bool, &'a [u8]), StorageError> {
        codec::open_record(revision, value).ok_or_else(|| {
            self.bad_checksum(&format!(
                "the record of revision {}.{}",
                revision.main, revision.sub
            ))
        })
    }

    fn copy_record(&self, revision: Revision, value: &[u8]) -> Result<Record, StorageError> {
        let (tombstone, kv) = self.open_record(revision, value)?;
        Ok(Record {
            revision,
            tombstone,
            kv: Bytes::copy_from_slice(kv),
        })
    }

    fn open_side(
        &self,
        key: &[u8],
        value: &[u8],
        name: impl FnOnce() -> String,
    ) -> Result<Bytes, StorageError> {
        let bytes = codec::open_side(key, value).map(Bytes::copy_from_slice);
        bytes.ok_or_else(|| self.bad_checksum(&name()))
    }

    fn bad_checksum(&self, what: &dyn Display) -> StorageError {
        StorageError::damaged(&self.path, format!("the checksum of {what} is wrong"))
    }

    fn failed(&self, op: &'static str, error: redb::Error) -> StorageError {
        backend::describe(&self.path, op, error)
    }

    fn storage(&self, op: &'static str, error: redb::StorageError) -> StorageError {
        describe_storage(&self.path, op, error)
    }
}

impl Records for StateStore {
    fn get(&self, revision: Revision) -> Result<Option<Record>, BackendError> {
        Ok(self.record(revision)?)
    }

    fn get_many(&self, revisions: &[Revision]) -> Result<Vec<Option<Record>>, BackendError> {
        Ok(self.record_list(revisions)?)
    }

    fn scan(
        &self,
        from: Revision,
        to: Revision,
        limit: usize,
    ) -> Result<Vec<Record>, BackendError> {
        Ok(self.records(from, to, limit)?)
    }
}
