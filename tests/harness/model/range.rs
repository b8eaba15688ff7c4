//! Range: interval, revision, limit, filters, order. (etcd: server/etcdserver/txn/txn.go, `executeRange`)

use std::cmp::Ordering;

use bytes::Bytes;
use kvorum_proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use kvorum_proto::etcdserverpb::{RangeRequest, RangeResponse};
use kvorum_proto::mvccpb::KeyValue;

use super::{Interval, Model, ModelError, Outcome, check, header};

impl Model {
    /// Answers a range.
    ///
    /// # Errors
    /// The request is malformed, or its revision is compacted or in the future.
    pub fn range(&self, request: &RangeRequest) -> Outcome<RangeResponse> {
        check::range(request)?;
        let current = self.visible_revision();
        if request.revision > current {
            return Err(ModelError::FutureRevision);
        }
        let revision = if request.revision > 0 {
            request.revision
        } else {
            current
        };
        if revision < self.compact_revision {
            return Err(ModelError::Compacted);
        }
        let interval = Interval::new(&request.key, &request.range_end);
        let pairs = self.pairs(&interval, revision);
        let count = i64::try_from(pairs.len()).unwrap_or(i64::MAX);
        let (kvs, more) = if request.count_only {
            (Vec::new(), false)
        } else {
            select(request, pairs)
        };
        Ok(RangeResponse {
            header: header(current),
            kvs,
            more,
            count,
        })
    }
}

/// Filters, sorts and cuts; true if the limit left something out.
fn select(request: &RangeRequest, mut pairs: Vec<&KeyValue>) -> (Vec<KeyValue>, bool) {
    let limit = usize::try_from(request.limit)
        .ok()
        .filter(|limit| *limit > 0);
    // Without an order and without filters etcd fetches one row more than asked for, and sorts those alone.
    if let (Some(limit), false) = (limit, reads_everything(request)) {
        pairs.truncate(limit.saturating_add(1));
    }
    pairs.retain(|kv| passes(request, kv));
    sort(request, &mut pairs);
    let more = limit.is_some_and(|limit| pairs.len() > limit);
    pairs.truncate(limit.unwrap_or(usize::MAX));
    let kvs = pairs.into_iter().map(|kv| {
        if request.keys_only {
            without_value(kv)
        } else {
            kv.clone()
        }
    });
    (kvs.collect(), more)
}

fn reads_everything(request: &RangeRequest) -> bool {
    request.sort_order != SortOrder::None as i32
        || request.min_mod_revision != 0
        || request.max_mod_revision != 0
        || request.min_create_revision != 0
        || request.max_create_revision != 0
}

/// The revision filters; 0 turns one off.
fn passes(request: &RangeRequest, kv: &KeyValue) -> bool {
    let at_least = |bound: i64, value: i64| bound == 0 || value >= bound;
    let at_most = |bound: i64, value: i64| bound == 0 || value <= bound;
    at_most(request.max_mod_revision, kv.mod_revision)
        && at_least(request.min_mod_revision, kv.mod_revision)
        && at_most(request.max_create_revision, kv.create_revision)
        && at_least(request.min_create_revision, kv.create_revision)
}

/// Sorts what came in key order. etcd leaves the order of equals open; here they stay in key order.
fn sort(request: &RangeRequest, pairs: &mut [&KeyValue]) {
    let compare = |a: &&KeyValue, b: &&KeyValue| order(request.sort_target(), a, b);
    if request.sort_order() == SortOrder::Descend {
        pairs.sort_by(|a, b| compare(b, a));
    } else {
        pairs.sort_by(compare);
    }
}

/// How `target` orders two pairs.
pub(crate) fn order(target: SortTarget, a: &KeyValue, b: &KeyValue) -> Ordering {
    match target {
        SortTarget::Key => a.key.cmp(&b.key),
        SortTarget::Version => a.version.cmp(&b.version),
        SortTarget::Create => a.create_revision.cmp(&b.create_revision),
        SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
        SortTarget::Value => a.value.cmp(&b.value),
    }
}

fn without_value(kv: &KeyValue) -> KeyValue {
    KeyValue {
        value: Bytes::new(),
        ..kv.clone()
    }
}
