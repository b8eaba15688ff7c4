//! The past, read without holding up writers: the lock is held for what is in memory, never for the disk.

use bytes::Bytes;
use kvorum_core::Revision;
use kvorum_core::backend::BackendError;
use kvorum_core::mvcc::Store;
use kvorum_core::watch::{History, Page, whole_page};
use kvorum_proto::mvccpb::KeyValue;
use parking_lot::RwLock;
use prost::Message;

/// One retained change of a key.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyVersion {
    /// Where it stands.
    pub revision: Revision,
    /// The pair, `None` for a deletion.
    pub kv: Option<KeyValue>,
}

/// The shared store as history.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SharedHistory<'a>(pub(crate) &'a RwLock<Store>);

impl SharedHistory<'_> {
    fn load(&self, revision: Revision) -> Result<Option<Bytes>, BackendError> {
        let store = self.0.read();
        if let Some(kv) = store.recent_kv(revision) {
            return Ok(Some(kv));
        }
        let records = store.records().clone();
        drop(store);
        Ok(records.get(revision)?.map(|r| r.kv))
    }

    /// All retained changes of a key, oldest first.
    pub(crate) fn versions(&self, key: &[u8]) -> Result<Vec<KeyVersion>, BackendError> {
        let changes = self.0.read().history(key);
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
        self.0.read().current()
    }

    fn compacted(&self) -> i64 {
        self.0.read().compacted()
    }

    fn page(&self, from: i64, to: i64, limit: usize) -> Result<Page, BackendError> {
        let store = self.0.read();
        match store.recent_page(from, to, limit) {
            Ok(page) => Ok(page),
            Err(flushed) => {
                let records = store.records().clone();
                drop(store);
                whole_page(from, to.min(flushed), limit, |a, b, n| {
                    records.scan(a, b, n)
                })
            }
        }
    }

    fn pair_at(&self, key: &[u8], at: i64) -> Result<Option<Bytes>, BackendError> {
        let store = self.0.read();
        let revision = store
            .revision_at(key, at)
            .filter(|_| at >= store.compacted());
        drop(store);
        revision.map_or(Ok(None), |r| self.load(r))
    }

    fn pair(&self, revision: Revision) -> Result<Option<Bytes>, BackendError> {
        self.load(revision)
    }
}
