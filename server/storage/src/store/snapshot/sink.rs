//! The receiving side: chunks into a file beside the state store.

use std::sync::Arc;

use kvorum_core::types::Revision;
use redb::Value as _;

use super::chunk::{Chunk, Kind, Rows, chain};
use super::head::{Counts, SnapshotHead};
use super::{DIGEST_LEN, Digest, SnapshotRefused};
use crate::disk::Disk;
use crate::error::StorageError;
use crate::log::array8;
use crate::store::backend::{describe, describe_storage};
use crate::store::inside::Inside;
use crate::store::staging::{Staged, Staging};
use crate::store::{
    LEASES, MARK_APPLIED, MARK_BASE, MARK_BASE_TERM, MARK_TERM, MARKS, META, RECORDS, codec,
};

/// Bytes of rows per transaction of the staged file.
const COMMIT_BYTES: usize = 8 << 20;
/// A snapshot that is coming in. Dropping it removes what came.
#[derive(Debug)]
pub struct SnapshotSink {
    staging: Staging,
    head: Option<SnapshotHead>,
    due: u64,
    kind: Kind,
    counts: Counts,
    digest: Digest,
    /// Why no chunk is taken any more.
    failed: Option<SnapshotRefused>,
}

impl SnapshotSink {
    /// Makes the file that takes what comes in.
    ///
    /// # Errors
    /// The disk's.
    pub fn new(disk: Arc<dyn Disk>) -> Result<Self, StorageError> {
        let _inside = Inside::enter();
        Ok(Self {
            staging: Staging::new(disk)?,
            head: None,
            due: 0,
            kind: Kind::Head,
            counts: Counts::default(),
            digest: [0; DIGEST_LEN],
            failed: None,
        })
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
        let mut staged = self.staging.finish()?;
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
        Ok(self.staging.wrote(chunk.body.len(), COMMIT_BYTES)?)
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
        let (path, txn) = (self.staging.path(), self.staging.txn()?);
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
        let (path, txn) = (self.staging.path(), self.staging.txn()?);
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
        let (path, txn) = (self.staging.path(), self.staging.txn()?);
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
        let (path, txn) = (self.staging.path(), self.staging.txn()?);
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
