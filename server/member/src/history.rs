//! The past, read without holding up writers: the lock is held for what is in memory, never for the disk.

use bytes::Bytes;
use kvorum_core::Revision;
use kvorum_core::backend::BackendError;
use kvorum_core::watch::{History, Page, missing_history, whole_page};
use kvorum_proto::mvccpb::KeyValue;
use prost::Message;

use crate::shared::Shared;

/// One retained change of a key.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyVersion {
    /// Where it stands.
    pub revision: Revision,
    /// The pair, `None` for a deletion.
    pub kv: Option<KeyValue>,
}

/// The shared store as history.
#[derive(Clone, Copy)]
pub(crate) struct SharedHistory<'a>(pub(crate) &'a Shared);

impl SharedHistory<'_> {
    fn load(&self, revision: Revision) -> Result<Option<Bytes>, BackendError> {
        let store = self.0.store.read();
        if let Some(kv) = store.recent_kv(revision) {
            return Ok(Some(kv));
        }
        let records = store.records().clone();
        drop(store);
        Ok(records.get(revision)?.map(|r| r.kv))
    }

    /// A page of which the state store has every record. Records may be missing for a while only because a snapshot
    /// took the place of the state file, before the store in memory follows: then nothing is given.
    fn unless_gap(&self, from: i64, page: Page) -> Result<Page, BackendError> {
        // Compaction moves this mark first, and removes afterwards.
        if !page.has_gap(from, self.compacted()) {
            return Ok(page);
        }
        if self.0.was_replaced_lately() {
            return Ok(Page {
                records: Vec::new(),
                complete_to: from - 1,
            });
        }
        Err(missing_history(from, page.complete_to))
    }

    /// All retained changes of a key, oldest first.
    pub(crate) fn versions(&self, key: &[u8]) -> Result<Vec<KeyVersion>, BackendError> {
        let changes = self.0.store.read().history(key);
        let mut versions = Vec::with_capacity(changes.len());
        for change in changes {
            let kv = if change.tombstone {
                None
            } else {
                // Compacted since the index was read: no longer part of history.
                let Some(kv) = self.load(change.revision)? else {
                    continue;
                };
                KeyValue::decode(kv).ok()
            };
            versions.push(KeyVersion {
                revision: change.revision,
                kv,
            });
        }
        Ok(versions)
    }
}

impl History for SharedHistory<'_> {
    fn current(&self) -> i64 {
        self.0.store.read().current()
    }

    fn compacted(&self) -> i64 {
        self.0.store.read().compacted()
    }

    fn page(&self, from: i64, to: i64, limit: usize) -> Result<Page, BackendError> {
        let store = self.0.store.read();
        match store.recent_page(from, to, limit) {
            Ok(page) => Ok(page),
            Err(flushed) => {
                let records = store.records().clone();
                drop(store);
                let page = whole_page(from, to.min(flushed), limit, |a, b, n| {
                    records.scan(a, b, n)
                })?;
                self.unless_gap(from, page)
            }
        }
    }

    fn pair_at(&self, key: &[u8], at: i64) -> Result<Option<Bytes>, BackendError> {
        let store = self.0.store.read();
        let revision = store
            .revision_at(key, at)
            .filter(|_| at >= store.compacted());
        drop(store);
        let Some(revision) = revision else {
            return Ok(None);
        };
        let pair = self.load(revision)?;
        if pair.is_none() && self.compacted() <= at && !self.0.was_replaced_lately() {
            return Err(missing_history(revision.main, at));
        }
        Ok(pair)
    }

    fn pair(&self, revision: Revision) -> Result<Option<Bytes>, BackendError> {
        self.load(revision)
    }
}
