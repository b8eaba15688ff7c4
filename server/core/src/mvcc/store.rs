//! The multi-version store: the index of all keys, the newest records, and the counters of the history.
//!
//! Writers hold it for a few commands at a time, readers for one page; values that are no longer in memory are read
//! from the state store without holding it at all.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::digest::Digest;
use super::encoding::{self, Pair};
use super::key_index::{KeyIndex, Latest};
use super::recent::Recent;
use super::size::SizeAccount;
use crate::backend::{BackendError, Record, Records, SideChange};
use crate::types::{Index, Revision, Term};

/// Meta key of the compact revision that was decided.
pub const META_SCHEDULED_COMPACT: &str = "scheduled_compact_revision";
/// Meta key of the compact revision whose removals are done.
pub const META_FINISHED_COMPACT: &str = "finished_compact_revision";

/// Meta key of the rolling digest.
pub const META_DIGEST: &str = "digest";

/// One change of one key, as watchers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The change.
    pub record: Record,
    /// The change before it, if the key existed; where `prev_kv` is read from.
    pub prev: Option<Revision>,
}

/// The state after a whole entry.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Settled {
    pub(super) index: Index,
    pub(super) term: Term,
    pub(super) current: i64,
    side: usize,
    pub(super) digest: u64,
}

/// The store.
pub struct Store {
    pub(super) index: BTreeMap<Box<[u8]>, KeyIndex>,
    pub(crate) recent: Recent,
    pub(super) records: Arc<dyn Records>,
    pub(super) size: SizeAccount,
    pub(super) side: Vec<SideChange>,
    current: i64,
    compact: i64,
    live: u64,
    settled: Settled,
    arena: BytesMut,
    /// Rolling digest of everything that entries have done to this store and the tables beside it.
    digest: Digest,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("current", &self.current)
            .field("compact", &self.compact)
            .field("keys", &self.live)
            .finish_non_exhaustive()
    }
}

/// A write transaction that has not ended: its changes share one main revision, which is used up only if there is one.
#[derive(Debug)]
pub struct Write {
    main: i64,
    /// The changes so far, in order.
    pub events: Vec<Event>,
}

impl Write {
    fn next(&self) -> Revision {
        let sub = u32::try_from(self.events.len()).unwrap_or(u32::MAX);
        Revision {
            main: self.main,
            sub,
        }
    }
}

impl Store {
    /// An empty store at revision 1. `recent_bytes` bounds what stays in memory of values that are flushed.
    #[must_use]
    pub fn new(records: Arc<dyn Records>, recent_bytes: usize) -> Self {
        Self {
            index: BTreeMap::new(),
            recent: Recent::new(Revision::last_of(1), recent_bytes),
            records,
            size: SizeAccount::default(),
            side: Vec::new(),
            current: 1,
            compact: -1,
            live: 0,
            settled: Settled::default(),
            arena: BytesMut::new(),
            digest: Digest::default(),
        }
    }

    /// The revision of the newest transaction; 1 for an empty store.
    #[must_use]
    pub fn current(&self) -> i64 {
        self.current
    }

    /// The compact revision; −1 if there never was a compaction.
    #[must_use]
    pub fn compacted(&self) -> i64 {
        self.compact
    }

    /// Keys that exist now.
    #[must_use]
    pub fn keys(&self) -> u64 {
        self.live
    }

    /// Logical size, bytes. (ETCD.md 2.13: accounting, never a file's length)
    #[must_use]
    pub fn size(&self) -> &SizeAccount {
        &self.size
    }

    /// Last applied entry.
    #[must_use]
    pub fn applied(&self) -> (Index, Term) {
        (self.settled.index, self.settled.term)
    }

    /// The entry whose flush holds everything that can be seen here now: the one that is being applied, if its first
    /// effects are visible already.
    #[must_use]
    pub fn visible(&self) -> Index {
        let begun = u64::from(self.current != self.settled.current);
        Index(self.settled.index.0 + begun)
    }

    /// Notes that all effects of an entry are in the store now. Only such a state may be flushed: half an entry on
    /// disk would be applied twice after a crash.
    pub fn set_applied(&mut self, index: Index, term: Term) {
        self.settled = Settled {
            index,
            term,
            current: self.current,
            side: self.side.len(),
            digest: self.digest.value(),
        };
    }

    /// Takes the small-table changes of settled entries.
    pub(super) fn take_settled(&mut self) -> (Settled, Vec<SideChange>) {
        let rest = self.side.split_off(self.settled.side.min(self.side.len()));
        let side = std::mem::replace(&mut self.side, rest);
        self.settled.side = 0;
        (self.settled, side)
    }

    /// Keeps a change of a small table for the next flush.
    pub fn note(&mut self, change: SideChange) {
        self.digest.side(&change);
        self.side.push(change);
    }

    /// Keeps a change that this member makes when it suits it: it is no part of what all members agree on.
    pub fn note_alone(&mut self, change: SideChange) {
        self.side.push(change);
    }

    /// The rolling digest: equal on all members that have applied the same entries.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.digest.value()
    }

    /// The digest of the state that was restored.
    pub fn set_digest(&mut self, value: u64) {
        self.digest = Digest::new(value);
        self.settled.digest = value;
    }

    /// Where values that are not in memory are read.
    #[must_use]
    pub fn records(&self) -> &Arc<dyn Records> {
        &self.records
    }

    /// Newest state of a key.
    #[must_use]
    pub fn latest(&self, key: &[u8]) -> Option<Latest> {
        self.index.get(key).and_then(KeyIndex::latest)
    }

    /// The change of `key` that a read at `at` sees.
    #[must_use]
    pub fn revision_at(&self, key: &[u8], at: i64) -> Option<Revision> {
        self.index.get(key).and_then(|k| k.at(at))
    }

    /// The changes of a key that are still retained, oldest first.
    #[must_use]
    pub fn history(&self, key: &[u8]) -> Vec<super::key_index::Change> {
        self.index
            .get(key)
            .map(|k| k.changes().collect())
            .unwrap_or_default()
    }

    /// The encoded pair at `revision` if it is in memory.
    #[must_use]
    pub fn recent_kv(&self, revision: Revision) -> Option<Bytes> {
        self.recent.get(revision).map(|r| r.kv.clone())
    }

    /// The encoded pair at `revision`, from memory or from the state store; `None` if it was compacted.
    ///
    /// # Errors
    /// The state store failed.
    pub fn load(&self, revision: Revision) -> Result<Option<Bytes>, BackendError> {
        match self.recent_kv(revision) {
            Some(kv) => Ok(Some(kv)),
            None => Ok(self.records.get(revision)?.map(|r| r.kv)),
        }
    }

    /// The encoded pair that the index names as a key's newest.
    ///
    /// # Errors
    /// The state store failed or has lost the record: no compaction removes the newest pair of a key.
    pub fn load_newest(&self, revision: Revision) -> Result<Bytes, BackendError> {
        self.load(revision)?.ok_or_else(|| {
            let Revision { main, sub } = revision;
            BackendError(format!(
                "the record at revision {main}.{sub} is missing; restore this member"
            ))
        })
    }

    /// Begins a write transaction. Nothing happens until it has a change.
    #[must_use]
    pub fn begin(&self) -> Write {
        Write {
            main: self.current + 1,
            events: Vec::new(),
        }
    }

    /// Ends a transaction; its revision counts if it changed something.
    pub fn commit(&mut self, write: &Write) {
        if !write.events.is_empty() {
            self.current = write.main;
        }
    }

    /// Writes a pair. The caller has checked the request.
    pub fn put(
        &mut self,
        write: &mut Write,
        key: &[u8],
        value: &[u8],
        lease: i64,
    ) -> Option<Latest> {
        let revision = write.next();
        if !self.index.contains_key(key) {
            self.index.insert(key.into(), KeyIndex::default());
        }
        let entry = self.index.get_mut(key)?;
        let before = entry.latest();
        let after = entry.put(revision, lease);
        let pair = Pair {
            key,
            create_revision: after.created,
            mod_revision: revision.main,
            version: after.version,
            value,
            lease,
        };
        let kv = encoding::encode(&mut self.arena, &pair);
        self.live += u64::from(before.is_none());
        self.push(
            write,
            Record {
                revision,
                tombstone: false,
                kv,
            },
            before,
        );
        before
    }

    /// Deletes a key that exists, and tells what it was.
    pub fn delete(&mut self, write: &mut Write, key: &[u8]) -> Option<Latest> {
        let revision = write.next();
        let entry = self.index.get_mut(key)?;
        let before = entry.latest()?;
        entry.tombstone(revision);
        let pair = Pair {
            key,
            create_revision: 0,
            mod_revision: revision.main,
            version: 0,
            value: &[],
            lease: 0,
        };
        let kv = encoding::encode(&mut self.arena, &pair);
        self.live -= 1;
        self.push(
            write,
            Record {
                revision,
                tombstone: true,
                kv,
            },
            Some(before),
        );
        Some(before)
    }

    fn push(&mut self, write: &mut Write, record: Record, before: Option<Latest>) {
        self.size.added(record.kv.len());
        self.digest.record(&record);
        self.recent.push(record.clone());
        write.events.push(Event {
            record,
            prev: before.map(|b| b.revision),
        });
    }

    pub(super) fn set_compacted(&mut self, revision: i64) {
        self.compact = revision;
    }

    /// Sets the counters of a store whose index was rebuilt.
    pub(super) fn restored(
        &mut self,
        current: i64,
        compact: Option<i64>,
        live: u64,
        applied: (Index, Term),
    ) {
        self.current = current;
        self.compact = compact.unwrap_or(-1);
        self.live = live;
        self.set_applied(applied.0, applied.1);
        let flushed = Revision::last_of(current);
        self.recent = Recent::new(flushed, self.recent.budget_bytes());
    }

    /// Live keys with their newest state, for rebuilding what hangs on keys.
    pub fn live(&self) -> impl Iterator<Item = (&[u8], Latest)> {
        self.index
            .iter()
            .filter_map(|(k, i)| i.latest().map(|l| (k.as_ref(), l)))
    }
}
