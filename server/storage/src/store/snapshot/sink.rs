//! The receiving side: chunks into a file beside the state store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kvorum_core::types::Revision;
use redb::{Durability, Value as _, WriteTransaction};

use super::chunk::{Chunk, Kind, Rows, chain};
use super::head::{Counts, SnapshotHead};
use super::install::Staged;
use super::{DIGEST_LEN, Digest, SnapshotRefused};
use crate::disk::Disk;
use crate::error::StorageError;
use crate::log::array8;
use crate::store::backend::{describe, describe_storage};
use crate::store::inside::Inside;
use crate::store::opened::{Opened, make_tables};
use crate::store::{
    INCOMING_FILE, LEASES, MARK_APPLIED, MARK_BASE, MARK_BASE_TERM, MARK_TERM, MARKS, META,
    RECORDS, StoreOptions, codec,
};

/// Bytes of rows per transaction of the staged file.
const COMMIT_BYTES: usize = 8 << 20;
/// Pages kept in memory meanwhile.
const CACHE_BYTES: usize = 16 << 20;

static NUMBER: AtomicU64 = AtomicU64::new(0);

/// A name that no other file which is to take the state file's place has in this process.
pub(crate) fn incoming_name() -> String {
    format!("{INCOMING_FILE}{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// A snapshot that is coming in. Dropping it removes what came.
#[derive(Debug)]
pub struct SnapshotSink {
    staged: Staged,
    db: Option<Opened>,
    txn: Option<Txn>,
    head: Option<SnapshotHead>,
    due: u64,
    kind: Kind,
    counts: Counts,
    digest: Digest,
    pending_bytes: usize,
    /// Why no chunk is taken any more.
    failed: Option<SnapshotRefused>,
}

struct Txn(WriteTransaction);

impl std::fmt::Debug for Txn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Txn")
    }
}

impl SnapshotSink {
    /// Makes the file that takes what comes in.
    ///
    /// # Errors
    /// The disk's.
    pub fn new(disk: Arc<dyn Disk>) -> Result<Self, StorageError> {
        let name = incoming_name();
        let _inside = Inside::enter();
        let options = StoreOptions {
            cache_bytes: CACHE_BYTES,
        };
        let staged = Staged::new(disk.clone(), name.clone());
        let db = Opened::make(&*disk, &name, options)?;
        let mut sink = Self {
            staged,
            db: Some(db),
            txn: None,
            head: None,
            due: 0,
            kind: Kind::Head,
            counts: Counts::default(),
            digest: [0; DIGEST_LEN],
            pending_bytes: 0,
            failed: None,
        };
        let made = make_tables(sink.txn()?);
        made.map_err(|e| sink.redb("create", e))?;
        Ok(sink)
    }

    /// What the first chunk said; `None` before it.
    #[must_use]
    pub fn head(&self) -> Option<&SnapshotHead> {
        self.head.as_ref()
    }

    /// The number of the chunk that is due: where a sender goes on after a lost connection.
    #[must_use]
    pub fn due(&self) -> u64 {
        self.due
    }

    /// Rows that came so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Takes a chunk; true if it was the last, and `finish` is next.
    ///
    /// # Errors
    /// `Chunk` if it is damaged or not the one that is due: nothing changed. After any other error this snapshot is
    /// of no use.
    pub fn take(&mut self, bytes: &[u8]) -> Result<bool, SnapshotRefused> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        let _inside = Inside::enter();
        let chunk = self.parse(bytes)?;
        let taken = self.absorb(chunk);
        if let Err(failed) = &taken {
            self.failed = Some(failed.clone());
        }
        taken?;
        self.digest = chain(&self.digest, bytes);
        self.kind = chunk.kind;
        self.due += 1;
        Ok(self.is_complete())
    }

    /// True if the last chunk came.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.kind == Kind::End && self.failed.is_none()
    }

    /// Makes the state complete and durable, ready to take the place of the old one.
    ///
    /// # Errors
    /// `Contradiction` if the last chunk has not come. The disk's.
    pub fn finish(mut self) -> Result<Staged, SnapshotRefused> {
        let _inside = Inside::enter();
        let Some(head) = self.head.clone().filter(|_| self.is_complete()) else {
            let what = "it is not complete";
            return Err(self
                .failed
                .take()
                .unwrap_or_else(|| SnapshotRefused::Contradiction(what.into())));
        };
        self.mark(&head)?;
        self.commit(true)?;
        if let Some(Opened { db, file }) = self.db.take() {
            drop(db);
            file.sync()
                .map_err(|e| StorageError::io(self.staged.path(), "sync", e))?;
        }
        let disk = self.staged.disk().clone();
        let mut staged = std::mem::replace(&mut self.staged, Staged::new(disk, String::new()));
        staged.complete(head);
        Ok(staged)
    }

    fn refuse(&self, what: impl Into<String>) -> SnapshotRefused {
        SnapshotRefused::Chunk {
            due: self.due,
            what: what.into(),
        }
    }

    /// Everything that can be known before something changes.
    fn parse<'a>(&self, bytes: &'a [u8]) -> Result<Chunk<'a>, SnapshotRefused> {
        let chunk = Chunk::parse(bytes).map_err(|what| self.refuse(what))?;
        if chunk.number != self.due {
            return Err(self.refuse(format!("chunk {} came", chunk.number)));
        }
        if self.head.as_ref().is_some_and(|head| head.id != chunk.id) {
            return Err(self.refuse("it belongs to another snapshot"));
        }
        let follows = match chunk.kind {
            Kind::Head => self.head.is_none(),
            kind => self.head.is_some() && self.kind != Kind::End && kind >= self.kind,
        };
        if !follows {
            let what = format!("{:?} cannot follow {:?}", chunk.kind, self.kind);
            return Err(self.refuse(what));
        }
        Ok(chunk)
    }

    fn absorb(&mut self, chunk: Chunk<'_>) -> Result<(), SnapshotRefused> {
        let cut = || SnapshotRefused::Contradiction("a chunk is cut short".into());
        match chunk.kind {
            Kind::Head => {
                let head = SnapshotHead::decode(chunk.id, chunk.body)?;
                self.head = Some(head.ok_or_else(cut)?);
                return Ok(());
            }
            Kind::End => return self.check_end(chunk.body),
            Kind::Records => self.records(chunk.body)?,
            Kind::Leases => self.leases(chunk.body)?,
            Kind::Meta => self.metas(chunk.body)?,
        }
        self.pending_bytes += chunk.body.len();
        if self.pending_bytes >= COMMIT_BYTES {
            self.commit(false)?;
        }
        Ok(())
    }

    fn check_end(&self, mut body: &[u8]) -> Result<(), SnapshotRefused> {
        let counts = Counts::decode(&mut body);
        let promised = self.head.as_ref().map(|head| head.counts);
        let what = if counts.is_none() || body != self.digest {
            "the digest at its end is another"
        } else if counts != Some(self.counts) || promised != counts {
            "the number of its rows is another"
        } else {
            return Ok(());
        };
        Err(SnapshotRefused::Contradiction(what.into()))
    }

    fn records(&mut self, body: &[u8]) -> Result<(), SnapshotRefused> {
        let (path, txn) = (self.staged.path(), self.txn()?);
        let mut table = txn
            .open_table(RECORDS)
            .map_err(|e| describe(&path, "open", e.into()))?;
        let mut cursor = table
            .upper_bound_mut(std::ops::Bound::<Revision>::Unbounded)
            .map_err(|e| describe_storage(&path, "read", e))?;
        let mut count = 0;
        for row in Rows(body) {
            let (key, value) = checked(row)?;
            if key.len() != codec::KEY_LEN || value.len() <= codec::RECORD_HEAD_LEN {
                return Err(contradiction("a record is cut short"));
            }
            let revision = codec::RevisionKey::from_bytes(key);
            cursor.insert_before(revision, value).map_err(|e| match e {
                redb::CursorError::Storage(e) => describe_storage(&path, "write", e).into(),
                _ => contradiction("records are out of order"),
            })?;
            count += 1;
        }
        cursor
            .close()
            .map_err(|e| describe_storage(&path, "write", e))?;
        drop(table);
        self.counts.records += count;
        Ok(())
    }

    fn leases(&mut self, body: &[u8]) -> Result<(), SnapshotRefused> {
        let (path, txn) = (self.staged.path(), self.txn()?);
        let mut table = txn
            .open_table(LEASES)
            .map_err(|e| describe(&path, "open", e.into()))?;
        let mut count = 0;
        for row in Rows(body) {
            let (key, value) = checked(row)?;
            if key.len() != size_of::<i64>() {
                return Err(contradiction("a lease is cut short"));
            }
            let id = i64::from_be_bytes(array8(key));
            let old = table
                .insert(id, value)
                .map_err(|e| describe_storage(&path, "write", e))?;
            if old.is_some() {
                return Err(contradiction("a lease came twice"));
            }
            count += 1;
        }
        drop(table);
        self.counts.leases += count;
        Ok(())
    }

    fn metas(&mut self, body: &[u8]) -> Result<(), SnapshotRefused> {
        let (path, txn) = (self.staged.path(), self.txn()?);
        let mut table = txn
            .open_table(META)
            .map_err(|e| describe(&path, "open", e.into()))?;
        let mut count = 0;
        for row in Rows(body) {
            let (key, value) = checked(row)?;
            let name = str::from_utf8(key);
            let name = name.map_err(|_| contradiction("a name is not UTF-8"))?;
            let old = table
                .insert(name, value)
                .map_err(|e| describe_storage(&path, "write", e))?;
            if old.is_some() {
                return Err(contradiction("an entry came twice"));
            }
            count += 1;
        }
        drop(table);
        self.counts.meta += count;
        Ok(())
    }

    /// The log of whoever installs this ends before it, or went another way.
    fn mark(&mut self, head: &SnapshotHead) -> Result<(), SnapshotRefused> {
        let (path, txn) = (self.staged.path(), self.txn()?);
        let mut marks = txn
            .open_table(MARKS)
            .map_err(|e| describe(&path, "open", e.into()))?;
        let (index, term) = (head.index.0, head.term.0);
        let values = [
            (MARK_APPLIED, index),
            (MARK_TERM, term),
            (MARK_BASE, index),
            (MARK_BASE_TERM, term),
        ];
        for (name, value) in values {
            marks
                .insert(name, codec::seal_mark(name, value).as_slice())
                .map_err(|e| describe_storage(&path, "write", e))?;
        }
        Ok(())
    }

    /// The transaction that rows go into.
    fn txn(&mut self) -> Result<&WriteTransaction, StorageError> {
        if self.txn.is_none() {
            let path = self.staged.path();
            let Some(opened) = &self.db else {
                return Err(StorageError::Failed(path));
            };
            let begun = opened.db.begin_write();
            let txn = begun.map_err(|e| describe(&path, "begin to write", e.into()))?;
            self.txn = Some(Txn(txn));
        }
        let txn = self.txn.as_ref().map(|txn| &txn.0);
        txn.ok_or_else(|| StorageError::Failed(self.staged.path()))
    }

    /// Only the last commit must be one that opens at once after a crash: an unfinished file is removed.
    fn commit(&mut self, last: bool) -> Result<(), StorageError> {
        self.pending_bytes = 0;
        let Some(Txn(mut txn)) = self.txn.take() else {
            return Ok(());
        };
        txn.set_durability(Durability::Immediate)
            .map_err(|e| self.redb("commit", e.into()))?;
        txn.set_two_phase_commit(last);
        txn.set_quick_repair(last);
        txn.commit().map_err(|e| self.redb("commit", e.into()))
    }

    fn redb(&self, op: &'static str, error: redb::Error) -> StorageError {
        describe(&self.staged.path(), op, error)
    }
}

impl Drop for SnapshotSink {
    fn drop(&mut self) {
        let _inside = Inside::enter();
        // Before the file goes: closing writes to it.
        drop(self.txn.take());
        drop(self.db.take());
    }
}

/// The row, if it is whole and its own checksum is right.
fn checked<'a>(row: Option<(&'a [u8], &'a [u8])>) -> Result<(&'a [u8], &'a [u8]), SnapshotRefused> {
    let (key, value) = row.ok_or_else(|| contradiction("a row is cut short"))?;
    codec::open_side(key, value)
        .map(|_| (key, value))
        .ok_or_else(|| contradiction("the checksum of a row is wrong"))
}

fn contradiction(what: &str) -> SnapshotRefused {
    SnapshotRefused::Contradiction(what.into())
}
