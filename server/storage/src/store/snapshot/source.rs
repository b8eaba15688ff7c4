//! The sending side: chunks out of a view of the store.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use kvorum_core::types::Revision;
use redb::{Key, ReadableTableMetadata as _, TableDefinition, Value};

use super::chunk::{ChunkWriter, Kind, chain};
use super::head::{Counts, SnapshotHead};
use super::{CHUNK_BYTES, DIGEST_LEN, Digest, META_CONF_STATE};
use crate::error::StorageError;
use crate::store::inside::Inside;
use crate::store::reader::Reader;
use crate::store::{LEASES, META, RECORDS, StateStore, codec};

/// What the next chunk begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Position {
    Head,
    Records(Option<Revision>),
    Leases(Option<i64>),
    Meta(Option<String>),
    End,
    Done,
}

/// The state of one moment as chunks. Writers are not held up; the pages that they replace are kept until this is
/// dropped.
#[derive(Debug)]
pub struct SnapshotSource {
    store: Arc<StateStore>,
    txn: Reader,
    head: SnapshotHead,
    at: Position,
    /// Of the chunks made so far: where each begins, and the digest of those before it.
    made: Vec<(Position, Digest)>,
    number: usize,
    digest: Digest,
}

impl SnapshotSource {
    /// The store as the last flush left it. The id must be new for each snapshot that a member sends.
    ///
    /// # Errors
    /// The disk failed, or a checksum does not match.
    pub fn new(store: Arc<StateStore>, id: u64) -> Result<Self, StorageError> {
        let _inside = Inside::enter();
        let txn = store.begin_read()?;
        let restored = store.read_tables(&txn)?;
        let records = txn
            .open_table(RECORDS)
            .map_err(|e| store.failed("open", e.into()))?
            .len()
            .map_err(|e| store.storage("read", e))?;
        let conf_state = restored.meta.iter().find(|(key, _)| key == META_CONF_STATE);
        let head = SnapshotHead {
            id,
            index: restored.applied,
            term: restored.term,
            conf_state: conf_state.map(|(_, s)| s.clone()).unwrap_or_default(),
            counts: Counts {
                records,
                leases: restored.leases.len() as u64,
                meta: restored.meta.len() as u64,
            },
        };
        Ok(Self {
            store,
            txn,
            head,
            at: Position::Head,
            made: Vec::new(),
            number: 0,
            digest: [0; DIGEST_LEN],
        })
    }

    /// Which moment this is.
    #[must_use]
    pub fn head(&self) -> &SnapshotHead {
        &self.head
    }

    /// The number of the next chunk.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number as u64
    }

    /// The next chunk; `None` behind the last. Every row's checksum is verified before it leaves.
    ///
    /// # Errors
    /// The disk failed, or a checksum does not match.
    pub fn next_chunk(&mut self) -> Result<Option<Bytes>, StorageError> {
        let _inside = Inside::enter();
        let begin = (self.at.clone(), self.digest);
        let chunk = loop {
            let (kind, next) = match &self.at {
                Position::Done => return Ok(None),
                Position::Head => (Kind::Head, Position::Records(None)),
                Position::Records(_) => (Kind::Records, Position::Leases(None)),
                Position::Leases(_) => (Kind::Leases, Position::Meta(None)),
                Position::Meta(_) => (Kind::Meta, Position::End),
                Position::End => (Kind::End, Position::Done),
            };
            let mut out = ChunkWriter::new(self.head.id, self.number(), kind);
            let more = self.fill(&mut out)?;
            self.at = more.unwrap_or(next);
            if !out.is_empty() {
                break out.seal();
            }
        };
        if self.number == self.made.len() {
            self.made.push(begin);
        }
        self.digest = chain(&self.digest, &chunk);
        self.number += 1;
        Ok(Some(chunk))
    }

    /// Goes back to a chunk that was made before, for a receiver that lost the connection. False if it never was.
    #[must_use]
    pub fn resume(&mut self, number: u64) -> bool {
        if number == self.number() {
            return true;
        }
        let made = usize::try_from(number)
            .ok()
            .and_then(|at| self.made.get(at));
        let Some((at, digest)) = made.cloned() else {
            return false;
        };
        (self.at, self.digest) = (at, digest);
        self.number = usize::try_from(number).unwrap_or(self.number);
        true
    }

    /// Fills a chunk; where the table goes on behind it, or `None` at its end.
    fn fill(&self, out: &mut ChunkWriter) -> Result<Option<Position>, StorageError> {
        match &self.at {
            Position::Head => {
                self.head.encode(&mut out.0);
                Ok(None)
            }
            Position::Records(after) => {
                let last = self.rows(RECORDS, after.as_ref(), out, |key| key)?;
                Ok(last.map(|key| Position::Records(Some(key))))
            }
            Position::Leases(after) => {
                let last = self.rows(LEASES, after.as_ref(), out, |key| key)?;
                Ok(last.map(|key| Position::Leases(Some(key))))
            }
            Position::Meta(after) => {
                let after = after.as_deref();
                let last = self.rows(META, after.as_ref(), out, str::to_owned)?;
                Ok(last.map(|key| Position::Meta(Some(key))))
            }
            Position::End => {
                self.head.counts.encode(&mut out.0);
                out.0.extend_from_slice(&self.digest);
                Ok(None)
            }
            Position::Done => Ok(None),
        }
    }

    /// Rows behind `after` until the chunk is full; the last one's key if there may be more.
    fn rows<K, T>(
        &self,
        table: TableDefinition<K, &'static [u8]>,
        after: Option<&K::SelfType<'_>>,
        out: &mut ChunkWriter,
        keep: impl Fn(K::SelfType<'_>) -> T,
    ) -> Result<Option<T>, StorageError>
    where
        K: Key + SealedKey + 'static,
    {
        let store = &*self.store;
        let table = self
            .txn
            .open_table(table)
            .map_err(|e| store.failed("open", e.into()))?;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let range = table
            .range::<&K::SelfType<'_>>((from, Bound::Unbounded))
            .map_err(|e| store.storage("read", e))?;
        for row in range {
            let (key, value) = row.map_err(|e| store.storage("read", e))?;
            let sealed = K::sealed(&key.value());
            if codec::open_side(&sealed, value.value()).is_none() {
                return Err(store.bad_checksum(&K::named(&key.value())));
            }
            out.row(&sealed, value.value());
            if out.len() >= CHUNK_BYTES {
                return Ok(Some(keep(key.value())));
            }
        }
        Ok(None)
    }
}

/// A key as it stands in checksums and on the way.
pub(super) trait SealedKey: Value {
    fn sealed(key: &Self::SelfType<'_>) -> Vec<u8>;
    fn named(key: &Self::SelfType<'_>) -> String;
}

impl SealedKey for codec::RevisionKey {
    fn sealed(key: &Revision) -> Vec<u8> {
        Self::as_bytes(key).to_vec()
    }

    fn named(key: &Revision) -> String {
        format!("the record of revision {}.{}", key.main, key.sub)
    }
}

impl SealedKey for i64 {
    fn sealed(key: &i64) -> Vec<u8> {
        key.to_be_bytes().to_vec()
    }

    fn named(key: &i64) -> String {
        format!("lease {key:x}")
    }
}

impl SealedKey for &'static str {
    fn sealed(key: &&str) -> Vec<u8> {
        key.as_bytes().to_vec()
    }

    fn named(key: &&str) -> String {
        format!("meta {key:?}")
    }
}
