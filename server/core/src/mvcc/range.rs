//! Reading intervals: which keys at which revision, then the pairs. (etcd: server/etcdserver/txn/range.go)
//!
//! A long read goes in pages, so that no writer waits for it: each page is collected under the lock, and the pairs
//! that are not in memory are fetched after it was let go.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use kvorum_proto::etcdserverpb as pb;
use kvorum_proto::mvccpb::KeyValue;
use prost::Message;

use super::encoding::{self, Pair};
use super::interval::Interval;
use super::key_index::{KeyIndex, Latest};
use super::store::Store;
use crate::backend::{BackendError, Records};
use crate::error::Error;
use crate::reply::RangeReply;
use crate::types::Revision;

/// Why a read ends without an answer.
#[derive(Debug)]
pub enum ReadError {
    /// The client is told.
    Refused(Error),
    /// The state store failed; the process ends.
    Backend(BackendError),
}

impl From<Error> for ReadError {
    fn from(e: Error) -> Self {
        Self::Refused(e)
    }
}

impl From<BackendError> for ReadError {
    fn from(e: BackendError) -> Self {
        Self::Backend(e)
    }
}

/// A pair on its way to the reply.
#[derive(Debug)]
enum Found {
    /// Encoded and complete.
    Pair(Bytes),
    /// To be read from the state store.
    Stored(Revision),
}

impl Found {
    fn stored(&self) -> Option<Revision> {
        match self {
            Self::Stored(revision) => Some(*revision),
            Self::Pair(_) => None,
        }
    }
}

/// A range being read.
#[derive(Debug)]
pub struct Reading<'r> {
    request: &'r pb::RangeRequest,
    at: i64,
    latest: bool,
    header: i64,
    found: Vec<Found>,
    count: i64,
    counts: bool,
    after: Option<Box<[u8]>>,
    arena: BytesMut,
}

/// Keys visited per page.
pub const PAGE_KEYS: usize = 1000;

impl<'r> Reading<'r> {
    /// Starts a read: checks the revision and pins it.
    ///
    /// # Errors
    /// The revision is compacted or in the future.
    pub fn new(store: &Store, request: &'r pb::RangeRequest) -> Result<Self, Error> {
        let current = store.current();
        if request.revision > current {
            return Err(Error::FutureRevision);
        }
        if request.revision > 0 && request.revision < store.compacted() {
            return Err(Error::Compacted);
        }
        Ok(Self::pinned(request, current))
    }

    /// A read inside a transaction: the newest state is that of the transaction so far.
    #[must_use]
    pub fn in_txn(request: &'r pb::RangeRequest, newest: i64) -> Self {
        Self::pinned(request, newest)
    }

    fn pinned(request: &'r pb::RangeRequest, newest: i64) -> Self {
        let latest = request.revision <= 0 || request.revision >= newest;
        Self {
            request,
            at: if latest { newest } else { request.revision },
            latest,
            header: newest,
            found: Vec::new(),
            count: 0,
            counts: true,
            after: None,
            arena: BytesMut::new(),
        }
    }

    /// Ends the read once the limit is reached: its `count` then tells nothing.
    #[must_use]
    pub fn uncounted(mut self) -> Self {
        self.counts = false;
        self
    }

    /// Rows that are worth collecting: one more than the limit tells `more`; sorts and filters need all.
    fn wanted(&self) -> usize {
        let r = self.request;
        let all = r.limit <= 0 || r.sort_order != 0 || has_filters(r);
        if r.count_only {
            0
        } else if all {
            usize::MAX
        } else {
            usize::try_from(r.limit)
                .unwrap_or(usize::MAX)
                .saturating_add(1)
        }
    }

    /// Collects the next page. True if more keys remain.
    ///
    /// # Errors
    /// The pinned revision was compacted meanwhile.
    pub fn page(&mut self, store: &Store) -> Result<bool, Error> {
        if self.at < store.compacted() {
            return Err(Error::Compacted);
        }
        let interval = Interval::new(&self.request.key, &self.request.range_end);
        if let Interval::Key(key) = interval {
            self.visit_one(store, key);
            return Ok(false);
        }
        let after = self.after.take();
        let bounds = match &after {
            Some(key) => interval.bounds_after(key),
            None => interval.bounds(),
        };
        let Some(bounds) = bounds else {
            return Ok(false);
        };
        let wanted = self.wanted();
        for (visited, (key, index)) in store.index.range::<[u8], _>(bounds).enumerate() {
            if visited == PAGE_KEYS {
                return Ok(true);
            }
            let seen = if self.latest_at(store) {
                index.latest().map(|l| l.revision)
            } else {
                index.at(self.at)
            };
            if let Some(revision) = seen {
                self.count += 1;
                if self.found.len() < wanted {
                    self.collect(store, key, index, revision);
                } else if !self.counts {
                    break;
                }
            }
            if visited + 1 == PAGE_KEYS {
                self.after = Some(key.clone());
            }
        }
        self.after = None;
        Ok(false)
    }

    /// The inline state answers only while nothing newer was written since the read began.
    fn latest_at(&self, store: &Store) -> bool {
        self.latest && store.current() <= self.at
    }

    fn visit_one(&mut self, store: &Store, key: &[u8]) {
        let Some(index) = store.index.get(key) else {
            return;
        };
        if let Some(revision) = index.at(self.at) {
            self.count = 1;
            if self.wanted() > 0 {
                self.collect(store, key, index, revision);
            }
        }
    }

    fn collect(&mut self, store: &Store, key: &[u8], index: &KeyIndex, revision: Revision) {
        let found = match self.numbers_only(index, revision) {
            Some(l) => Found::Pair(encoding::encode(
                &mut self.arena,
                &Pair {
                    key,
                    create_revision: l.created,
                    mod_revision: revision.main,
                    version: l.version,
                    value: &[],
                    lease: l.lease,
                },
            )),
            None => store
                .recent_kv(revision)
                .map_or(Found::Stored(revision), Found::Pair),
        };
        self.found.push(found);
    }

    /// The newest numbers of a key, if they are all that the request needs.
    fn numbers_only(&self, index: &KeyIndex, revision: Revision) -> Option<Latest> {
        if !self.request.keys_only || sorts_by_value(self.request) {
            return None;
        }
        index.latest().filter(|l| l.revision == revision)
    }

    /// The revision that is read.
    #[must_use]
    pub fn at(&self) -> i64 {
        self.at
    }

    /// Fetches what is not in memory, and filters, sorts and cuts.
    ///
    /// # Errors
    /// The state store failed, or a record was compacted while this read was under way.
    pub fn finish(self, records: &Arc<dyn Records>) -> Result<RangeReply, ReadError> {
        let stored: Vec<Revision> = self.found.iter().filter_map(Found::stored).collect();
        let mut stored = if stored.is_empty() {
            Vec::new()
        } else {
            records.get_many(&stored)?
        }
        .into_iter();
        let mut kvs = Vec::with_capacity(self.found.len());
        for found in self.found {
            kvs.push(match found {
                Found::Pair(kv) => kv,
                Found::Stored(_) => stored.next().flatten().ok_or(Error::Compacted)?.kv,
            });
        }
        let limit = usize::try_from(self.request.limit).ok().filter(|l| *l > 0);
        let mut kvs = shape(self.request, kvs);
        let more = !self.request.count_only && limit.is_some_and(|l| kvs.len() > l);
        kvs.truncate(limit.unwrap_or(usize::MAX));
        if self.request.keys_only {
            kvs.iter_mut().for_each(strip_value);
        }
        Ok(RangeReply {
            revision: self.header,
            kvs,
            more,
            count: self.count,
        })
    }
}

/// Reads an interval in one go, where the caller owns the store anyway.
///
/// # Errors
/// As the steps above.
pub fn read_now(store: &Store, mut reading: Reading<'_>) -> Result<RangeReply, ReadError> {
    while reading.page(store)? {}
    reading.finish(store.records())
}

fn has_filters(r: &pb::RangeRequest) -> bool {
    r.max_mod_revision != 0
        || r.min_mod_revision != 0
        || r.max_create_revision != 0
        || r.min_create_revision != 0
}

fn sorts_by_value(r: &pb::RangeRequest) -> bool {
    r.sort_target == pb::range_request::SortTarget::Value as i32
}

fn passes(r: &pb::RangeRequest, kv: &KeyValue) -> bool {
    (r.max_mod_revision == 0 || kv.mod_revision <= r.max_mod_revision)
        && (r.min_mod_revision == 0 || kv.mod_revision >= r.min_mod_revision)
        && (r.max_create_revision == 0 || kv.create_revision <= r.max_create_revision)
        && (r.min_create_revision == 0 || kv.create_revision >= r.min_create_revision)
}

/// Filters and sorts. A target other than the key without an order sorts ascending, after the cut to `limit + 1`
/// rows in key order: etcd's quirk, kept (ETCD.md 2.3).
fn shape(r: &pb::RangeRequest, kvs: Vec<Bytes>) -> Vec<Bytes> {
    use pb::range_request::{SortOrder, SortTarget};
    let target = SortTarget::try_from(r.sort_target).unwrap_or(SortTarget::Key);
    let order = SortOrder::try_from(r.sort_order).unwrap_or(SortOrder::None);
    let sorted = target != SortTarget::Key || order == SortOrder::Descend;
    if !sorted && !has_filters(r) {
        return kvs;
    }
    let mut rows: Vec<(KeyValue, Bytes)> = kvs
        .into_iter()
        .filter_map(|kv| Some((KeyValue::decode(kv.clone()).ok()?, kv)))
        .filter(|(decoded, _)| passes(r, decoded))
        .collect();
    if sorted {
        let by = |a: &KeyValue, b: &KeyValue| match target {
            SortTarget::Key => a.key.cmp(&b.key),
            SortTarget::Version => a.version.cmp(&b.version),
            SortTarget::Create => a.create_revision.cmp(&b.create_revision),
            SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
            SortTarget::Value => a.value.cmp(&b.value),
        };
        // Equal rows stay in key order either way.
        if order == SortOrder::Descend {
            rows.sort_by(|a, b| by(&b.0, &a.0));
        } else {
            rows.sort_by(|a, b| by(&a.0, &b.0));
        }
    }
    rows.into_iter().map(|(_, kv)| kv).collect()
}

fn strip_value(kv: &mut Bytes) {
    if let Ok(mut decoded) = KeyValue::decode(kv.clone())
        && !decoded.value.is_empty()
    {
        decoded.value = Bytes::new();
        *kv = decoded.encode_to_vec().into();
    }
}

/// The reply as a message, for places that put it into another one.
#[must_use]
pub fn to_message(reply: RangeReply) -> pb::RangeResponse {
    pb::RangeResponse {
        header: Some(pb::ResponseHeader {
            revision: reply.revision,
            ..Default::default()
        }),
        kvs: reply
            .kvs
            .into_iter()
            .filter_map(|kv| KeyValue::decode(kv).ok())
            .collect(),
        more: reply.more,
        count: reply.count,
    }
}
