//! What is refused before anything is looked up. (etcd: server/etcdserver/api/v3rpc/key.go)

use std::collections::BTreeSet;

use bytes::Bytes;
use kvorum_proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use kvorum_proto::etcdserverpb::request_op::Request;
use kvorum_proto::etcdserverpb::{
    DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
};

use super::{ModelError, Outcome};

pub(super) fn range(request: &RangeRequest) -> Outcome<()> {
    key(&request.key)?;
    let order = SortOrder::try_from(request.sort_order);
    let target = SortTarget::try_from(request.sort_target);
    if order.is_err() || target.is_err() {
        return Err(ModelError::InvalidSortOption);
    }
    Ok(())
}

pub(super) fn put(request: &PutRequest) -> Outcome<()> {
    key(&request.key)?;
    if request.ignore_value && !request.value.is_empty() {
        return Err(ModelError::ValueProvided);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(ModelError::LeaseProvided);
    }
    Ok(())
}

pub(super) fn delete_range(request: &DeleteRangeRequest) -> Outcome<()> {
    key(&request.key)
}

/// Operation budget, contents, and last the keys written twice.
pub(super) fn txn(request: &TxnRequest, max_ops: usize) -> Outcome<()> {
    contents(request, max_ops)?;
    writes(&request.success)?;
    writes(&request.failure)?;
    Ok(())
}

fn key(key: &Bytes) -> Outcome<()> {
    if key.is_empty() {
        Err(ModelError::EmptyKey)
    } else {
        Ok(())
    }
}

/// Each level takes its longest list from the budget; the rest is what each nested transaction may use.
fn contents(request: &TxnRequest, max_ops: usize) -> Outcome<()> {
    let longest = request
        .compare
        .len()
        .max(request.success.len())
        .max(request.failure.len());
    let rest = max_ops.checked_sub(longest).ok_or(ModelError::TooManyOps)?;
    for compare in &request.compare {
        key(&compare.key)?;
    }
    for op in request.success.iter().chain(&request.failure) {
        match &op.request {
            None => return Err(ModelError::KeyNotFound),
            Some(Request::RequestRange(inner)) => range(inner)?,
            Some(Request::RequestPut(inner)) => put(inner)?,
            Some(Request::RequestDeleteRange(inner)) => delete_range(inner)?,
            Some(Request::RequestTxn(inner)) => contents(inner, rest)?,
        }
    }
    Ok(())
}

/// What one branch writes, as far as the rule against writing a key twice sees it.
#[derive(Default)]
struct Writes {
    puts: BTreeSet<Bytes>,
    deletes: Vec<(Bytes, Bytes)>,
}

impl Writes {
    /// Adds a put of `key`; `twin` are keys that the other branch of the same transaction puts.
    fn put(&mut self, key: &Bytes, twin: &BTreeSet<Bytes>) -> Outcome<()> {
        let put_before = self.puts.contains(key) && !twin.contains(key);
        // `range_end` is taken as it stands: an open end ("\0") lies before every key and covers none.
        let covers = |(start, end): &(Bytes, Bytes)| {
            if end.is_empty() {
                start == key
            } else {
                start <= key && key < end
            }
        };
        if put_before || self.deletes.iter().any(covers) {
            return Err(ModelError::DuplicateKey);
        }
        self.puts.insert(key.clone());
        Ok(())
    }
}

/// First this level's deletes, then nested transactions in order, then this level's puts. A nested delete therefore
/// collides with puts of later siblings and of this level, and not with puts of earlier siblings.
fn writes(ops: &[RequestOp]) -> Outcome<Writes> {
    let mut all = Writes::default();
    let requests = || ops.iter().filter_map(|op| op.request.as_ref());
    for request in requests() {
        if let Request::RequestDeleteRange(delete) = request {
            all.deletes
                .push((delete.key.clone(), delete.range_end.clone()));
        }
    }
    for request in requests() {
        if let Request::RequestTxn(txn) = request {
            let success = writes(&txn.success)?;
            let failure = writes(&txn.failure)?;
            success
                .puts
                .iter()
                .try_for_each(|key| all.put(key, &BTreeSet::new()))?;
            failure
                .puts
                .iter()
                .try_for_each(|key| all.put(key, &success.puts))?;
            all.deletes.extend(success.deletes);
            all.deletes.extend(failure.deletes);
        }
    }
    for request in requests() {
        if let Request::RequestPut(put) = request {
            all.put(&put.key, &BTreeSet::new())?;
        }
    }
    Ok(all)
}
