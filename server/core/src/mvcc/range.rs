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
pub struct Row {
    revision: Revision,
    /// Encoded and complete; none if it must be read from the state store.
    kv: Option<Bytes>,
    /// The pair is in memory only because it was in the window. Kept for long, it would keep its neighbours too.
    borrowed: bool,
}

impl Row {
    /// Length of the pair, if it is in memory.
    #[must_use]
    pub fn pair_bytes(&self) -> Option<usize> {
        self.kv.as_ref().map(Bytes::len)
    }

    /// Lets go of what can be looked up again.
    pub fn release(&mut self) {
        if self.borrowed {
            self.kv = None;
        }
    }

    /// Takes the pair from the window if it is there (again).
    pub fn look_up(&mut self, store: &Store) {
        if self.kv.is_none() {
            self.kv = store.recent_kv(self.revision);
            self.borrowed = self.kv.is_some();
        }
    }
}

/// The pairs of `rows`, in order: those that are not in memory come from the state store.
///
/// # Errors
/// The state store failed, or a record was compacted since the row was found.
pub fn fetch(rows: &[Row], records: &Arc<dyn Records>) -> Result<Vec<Bytes>, ReadError> {
    let missing = rows.iter().filter(|row| row.kv.is_none());
    let missing: Vec<Revision> = missing.map(|row| row.revision).collect();
    let stored = match missing.as_slice() {
        [] => Vec::new(),
        some => records.get_many(some)?,
    };
    let mut stored = stored.into_iter();
    let mut kvs = Vec::with_capacity(rows.len());
    for row in rows {
        kvs.push(match &row.kv {
            Some(kv) => kv.clone(),
            None => stored.next().flatten().ok_or(Error::Compacted)?.kv,
        });
    }
    Ok(kvs)
}

/// A range being read.
#[derive(Debug)]
pub struct Reading<'r> {
    request: &'r pb::RangeRequest,
    at: i64,
    latest: bool,
    header: i64,
    found: Vec<Row>,
    /// Rows that were taken away already.
    taken: usize,
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
            taken: 0,
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
                if self.taken + self.found.len() < wanted {
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
        let numbers = self.numbers_only(index, revision);
        let kv = match numbers {
            Some(l) => Some(encoding::encode(
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
            None => store.recent_kv(revision),
        };
        self.found.push(Row {
            revision,
            borrowed: numbers.is_none() && kv.is_some(),
            kv,
        });
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

    /// Revision of the store when the read began.
    #[must_use]
    pub fn header(&self) -> i64 {
        self.header
    }

    /// Keys seen so far.
    #[must_use]
    pub fn count(&self) -> i64 {
        self.count
    }

    /// The rows collected so far and not yet taken.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.found
    }

    /// Takes the rows collected so far, so that a long read need not hold them all.
    pub fn take_rows(&mut self) -> Vec<Row> {
        self.taken += self.found.len();
        std::mem::take(&mut self.found)
    }

    /// Fetches what is not in memory, and filters, sorts and cuts.
    ///
    /// # Errors
    /// The state store failed, or a record was compacted while this read was under way.
    pub fn finish(self, records: &Arc<dyn Records>) -> Result<RangeReply, ReadError> {
        let kvs = fetch(&self.found, records)?;
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

/// True if pairs leave in the order and the number in which they are found.
#[must_use]
pub fn is_plain(r: &pb::RangeRequest) -> bool {
    let key = pb::range_request::SortTarget::Key as i32;
    let descend = pb::range_request::SortOrder::Descend as i32;
    r.sort_target == key && r.sort_order != descend && !has_filters(r)
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

/// True if no filter of the request drops this encoded pair.
#[must_use]
pub fn is_wanted(r: &pb::RangeRequest, kv: &Bytes) -> bool {
    !has_filters(r) || KeyValue::decode(kv.clone()).is_ok_and(|kv| passes(r, &kv))
}

fn passes(r: &pb::RangeRequest, kv: &KeyValue) -> bool {
    (r.max_mod_revision == 0 || kv.mod_revision <= r.max_mod_revision)
        && (r.min_mod_revision == 0 || kv.mod_revision >= r.min_mod_revision)
        && (r.max_create_revision == 0 || kv.create_revision <= r.max_create_revision)
        && (r.min_create_revision == 0 || kv.create_revision >= r.min_create_revision)
}

/// Filters and sorts rows that come in key order. A target other than the key without an order sorts ascending, after
/// the cut to `limit + 1` rows in key order: etcd's quirk, kept (ETCD.md 2.3).
#[must_use]
pub fn shape(r: &pb::RangeRequest, mut kvs: Vec<Bytes>) -> Vec<Bytes> {
    use pb::range_request::{SortOrder, SortTarget};
    if has_filters(r) {
        kvs.retain(|kv| is_wanted(r, kv));
    }
    let target = SortTarget::try_from(r.sort_target).unwrap_or(SortTarget::Key);
    let descend = SortOrder::try_from(r.sort_order) == Ok(SortOrder::Descend);
    match target {
        SortTarget::Key if descend => kvs.reverse(),
        SortTarget::Key => {}
        SortTarget::Version => sort(&mut kvs, descend, |kv| kv.version),
        SortTarget::Create => sort(&mut kvs, descend, |kv| kv.create_revision),
        SortTarget::Mod => sort(&mut kvs, descend, |kv| kv.mod_revision),
        SortTarget::Value => sort(&mut kvs, descend, |kv| kv.value),
    }
    kvs
}

/// Equal rows stay in key order either way.
fn sort<K: Ord>(kvs: &mut [Bytes], descend: bool, by: impl Fn(KeyValue) -> K) {
    // The store's own encoding always decodes.
    let by = |kv: &Bytes| by(KeyValue::decode(kv.clone()).unwrap_or_default());
    if descend {
        kvs.sort_by_cached_key(|kv| std::cmp::Reverse(by(kv)));
    } else {
        kvs.sort_by_cached_key(by);
    }
}

/// Drops the value of an encoded pair.
pub fn strip_value(kv: &mut Bytes) {
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
