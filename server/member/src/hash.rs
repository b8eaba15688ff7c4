//! Hashes of the store.

use std::time::Instant;

use kvorum_core::Error;
use kvorum_core::auth::{Caller, Need};
use kvorum_core::backend::BackendError;
use kvorum_core::mvcc::hash::KvHasher;
use kvorum_core::reply::HashKv;
use kvorum_core::watch::History;

use crate::handle::Handle;
use crate::history::SharedHistory;

/// Records per page at most, and bytes from which the next page has fewer.
const PAGE_RECORDS: usize = 4096;
const PAGE_BYTES: usize = 1 << 20;

impl Handle {
    /// Hash of the store at a revision, 0 for the current one; equal on all members, and to etcd's for equal content.
    /// Below 0 there is no history to refuse, and nothing to hash.
    ///
    /// # Errors
    /// The revision is compacted or in the future, or the caller has not the role root.
    pub async fn hash_kv(&self, caller: &Caller, revision: i64) -> Result<HashKv, Error> {
        self.permit(caller, &[Need::Admin])?;
        let begin = Instant::now();
        let hashed = self.hash_at(revision).await;
        let meters = &self.shared.meters;
        meters
            .hash_rev_seconds
            .observe(begin.elapsed().as_secs_f64());
        hashed
    }

    async fn hash_at(&self, revision: i64) -> Result<HashKv, Error> {
        loop {
            let (current, compact, at, any_key) = {
                let store = self.shared.store.read();
                let at = match revision {
                    0 => store.current(),
                    given => given,
                };
                (store.current(), store.compacted(), at, store.any_key_at(at))
            };
            if revision > 0 && at > current {
                return Err(Error::FutureRevision);
            }
            if revision > 0 && at < compact {
                return Err(Error::Compacted);
            }
            let mut hasher = KvHasher::new(compact, at);
            self.hash_records(&mut hasher, at, any_key).await?;
            // A compaction that came between took records before they were read: the same again, as of then.
            if self.shared.store.read().compacted() == compact {
                return Ok(HashKv {
                    hash: hasher.finish(),
                    compact_revision: compact,
                    hash_revision: at,
                    revision: current,
                });
            }
        }
    }

    async fn hash_records(
        &self,
        hasher: &mut KvHasher,
        at: i64,
        any_key: bool,
    ) -> Result<(), Error> {
        let (mut from, mut limit) = (1, PAGE_RECORDS / 64);
        while from <= at {
            if self.shared.is_stopping() {
                return Err(Error::Stopped);
            }
            let hashed = self.hash_page(hasher, from, at, any_key, limit);
            let (next, bytes) = hashed.map_err(|e| self.broken(e.to_string()))?;
            from = next;
            limit = if bytes > PAGE_BYTES {
                (limit / 4).max(1)
            } else {
                (limit * 2).min(PAGE_RECORDS)
            };
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Hashes a page; gives where the next one begins, and how many bytes it was.
    fn hash_page(
        &self,
        hasher: &mut KvHasher,
        from: i64,
        to: i64,
        any_key: bool,
        limit: usize,
    ) -> Result<(i64, usize), BackendError> {
        let page = SharedHistory(&self.shared).page(from, to, limit)?;
        let store = self.shared.store.read();
        for record in &page.records {
            hasher.record(record, store.hashes(record, to, any_key));
        }
        let bytes = page.records.iter().map(|record| record.kv.len()).sum();
        Ok((page.complete_to + 1, bytes))
    }

    /// Hash of everything this member stores. Two members with equal content need not agree.
    ///
    /// # Errors
    /// As `hash_kv`.
    pub async fn hash(&self, caller: &Caller) -> Result<u32, Error> {
        self.permit(caller, &[Need::Admin])?;
        let begin = Instant::now();
        let hashed = self.hash_at(0).await;
        let meters = &self.shared.meters;
        meters.hash_seconds.observe(begin.elapsed().as_secs_f64());
        Ok(hashed?.hash)
    }

    /// Succeeds at once: freed pages are reused, and no pause is ever needed to give space back.
    ///
    /// # Errors
    /// The member stops, or the caller has not the role root.
    #[allow(clippy::unused_async, reason = "an edge awaits every call alike")]
    pub async fn defragment(&self, caller: &Caller) -> Result<(), Error> {
        self.permit(caller, &[Need::Admin])?;
        if self.shared.is_stopping() {
            Err(Error::Stopped)
        } else {
            // There is nothing to do, and that is done at once.
            self.shared.meters.disk.defrag.observe(0.0);
            Ok(())
        }
    }
}
