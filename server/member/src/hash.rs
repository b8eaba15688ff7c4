//! Hashes of the store.

use kvorum_core::Error;
use kvorum_core::backend::BackendError;
use kvorum_core::mvcc::hash::KvHasher;
use kvorum_core::reply::HashKv;
use kvorum_core::watch::History;

use crate::handle::Handle;
use crate::history::SharedHistory;

/// Records per page.
const PAGE_RECORDS: usize = 4096;

impl Handle {
    /// Hash of the store at a revision, 0 for the current one; equal on all members, and to etcd's for equal content.
    ///
    /// # Errors
    /// The revision is compacted or in the future.
    pub async fn hash_kv(&self, revision: i64) -> Result<HashKv, Error> {
        let (current, compact, at, any_key) = {
            let store = self.shared.store.read();
            let at = if revision == 0 {
                store.current()
            } else {
                revision
            };
            (store.current(), store.compacted(), at, store.any_key_at(at))
        };
        if at > current {
            return Err(Error::FutureRevision);
        }
        if at < compact {
            return Err(Error::Compacted);
        }
        let mut hasher = KvHasher::new(compact, at);
        let mut from = 1;
        while from <= at {
            from = self
                .hash_page(&mut hasher, from, at, any_key)
                .map_err(|e| self.broken(e.to_string()))?;
            tokio::task::yield_now().await;
        }
        if self.shared.store.read().compacted() != compact {
            // Records have gone while we read: what was computed is the hash of nothing.
            return Err(Error::Compacted);
        }
        Ok(HashKv {
            hash: hasher.finish(),
            compact_revision: compact,
            hash_revision: at,
            revision: current,
        })
    }

    fn hash_page(
        &self,
        hasher: &mut KvHasher,
        from: i64,
        to: i64,
        any_key: bool,
    ) -> Result<i64, BackendError> {
        let page = SharedHistory(&self.shared.store).page(from, to, PAGE_RECORDS)?;
        let store = self.shared.store.read();
        for record in &page.records {
            hasher.record(record, store.hashes(record, to, any_key));
        }
        Ok(page.complete_to + 1)
    }

    /// Hash of everything this member stores. Two members with equal content need not agree.
    ///
    /// # Errors
    /// As `hash_kv`.
    pub async fn hash(&self) -> Result<u32, Error> {
        Ok(self.hash_kv(0).await?.hash)
    }

    /// Succeeds at once: freed pages are reused, and no pause is ever needed to give space back.
    ///
    /// # Errors
    /// The member stops.
    #[allow(clippy::unused_async, reason = "an edge awaits every call alike")]
    pub async fn defragment(&self) -> Result<(), Error> {
        if self.shared.is_stopping() {
            Err(Error::Stopped)
        } else {
            Ok(())
        }
    }
}
