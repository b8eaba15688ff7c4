//! Transactions: choose all branches, validate them, then run. (etcd: server/etcdserver/txn/txn.go)

use std::cmp::Ordering;

use bytes::Bytes;
use kvorum_proto::etcdserverpb::compare::TargetUnion;
use kvorum_proto::etcdserverpb::request_op::Request;
use kvorum_proto::etcdserverpb::response_op::Response;
use kvorum_proto::etcdserverpb::{
    Compare, RangeRequest, RequestOp, ResponseHeader, ResponseOp, TxnRequest, TxnResponse,
};
use kvorum_proto::mvccpb::KeyValue;

use super::{Interval, Model, ModelError, Outcome, check, header};

/// Which branch a transaction takes, and which the transactions nested in that branch take, in their order.
struct Path {
    succeeded: bool,
    nested: Vec<Path>,
}

impl Model {
    /// Answers a transaction.
    ///
    /// # Errors
    /// The request is malformed, an alarm forbids it, or an operation of a chosen branch cannot be done; then nothing
    /// was changed.
    pub fn txn(&mut self, request: &TxnRequest) -> Outcome<TxnResponse> {
        check::txn(request, self.limits.max_txn_ops)?;
        if !is_read_only(request) {
            self.refuse_if_corrupt()?;
        }
        if puts_anything(request) {
            self.refuse_if_no_space()?;
        }
        let path = self.choose(request);
        self.validate(request, &path)?;
        let responses = self.run(request, &path)?;
        self.commit();
        Ok(TxnResponse {
            header: header(self.revision),
            succeeded: path.succeeded,
            responses,
        })
    }

    /// Evaluates every compare, nested ones included, against the state before the transaction.
    fn choose(&self, request: &TxnRequest) -> Path {
        let succeeded = request.compare.iter().all(|compare| self.holds(compare));
        let nested = branch(request, succeeded)
            .iter()
            .filter_map(|op| match &op.request {
                Some(Request::RequestTxn(inner)) => Some(self.choose(inner)),
                _ => None,
            });
        Path {
            succeeded,
            nested: nested.collect(),
        }
    }

    /// A compare holds if every key of its interval satisfies it; no key at all counts as one that does not exist.
    fn holds(&self, compare: &Compare) -> bool {
        let interval = Interval::new(&compare.key, &compare.range_end);
        let pairs = self.pairs(&interval, self.revision);
        if !pairs.is_empty() {
            return pairs.into_iter().all(|kv| satisfies(compare, kv));
        }
        const VALUE: i32 = 3;
        compare.target != VALUE && satisfies(compare, &KeyValue::default())
    }

    /// Everything that can fail is looked at before the first write.
    fn validate(&self, request: &TxnRequest, path: &Path) -> Outcome<()> {
        let mut nested = path.nested.iter();
        for op in branch(request, path.succeeded) {
            match &op.request {
                Some(Request::RequestRange(range)) => self.validate_range(range)?,
                Some(Request::RequestPut(put)) => {
                    self.require_kept(put)?;
                    self.require_lease(put.lease)?;
                }
                Some(Request::RequestTxn(inner)) => {
                    nested
                        .next()
                        .map_or(Ok(()), |path| self.validate(inner, path))?;
                }
                Some(Request::RequestDeleteRange(_)) | None => {}
            }
        }
        Ok(())
    }

    /// Unlike a plain range, a negative revision is compared as it stands (−1 is "never compacted").
    fn validate_range(&self, range: &RangeRequest) -> Outcome<()> {
        match range.revision {
            0 => Ok(()),
            revision if revision > self.revision => Err(ModelError::FutureRevision),
            revision if revision < self.compact_revision => Err(ModelError::Compacted),
            _ => Ok(()),
        }
    }

    fn run(&mut self, request: &TxnRequest, path: &Path) -> Outcome<Vec<ResponseOp>> {
        let mut nested = path.nested.iter();
        let mut responses = Vec::new();
        for op in branch(request, path.succeeded) {
            let response = match &op.request {
                Some(Request::RequestRange(range)) => {
                    Some(Response::ResponseRange(self.range(range)?))
                }
                Some(Request::RequestPut(put)) => Some(Response::ResponsePut(self.put_in_txn(put))),
                Some(Request::RequestDeleteRange(delete)) => {
                    Some(Response::ResponseDeleteRange(self.delete_in_txn(delete)))
                }
                Some(Request::RequestTxn(inner)) => match nested.next() {
                    Some(path) => Some(Response::ResponseTxn(TxnResponse {
                        header: Some(ResponseHeader::default()),
                        succeeded: path.succeeded,
                        responses: self.run(inner, path)?,
                    })),
                    None => None,
                },
                None => None,
            };
            responses.push(ResponseOp { response });
        }
        Ok(responses)
    }
}

fn branch(request: &TxnRequest, succeeded: bool) -> &[RequestOp] {
    if succeeded {
        &request.success
    } else {
        &request.failure
    }
}

/// True if both branches hold plain ranges only; then the transaction never passes the log.
fn is_read_only(request: &TxnRequest) -> bool {
    let mut ops = request.success.iter().chain(&request.failure);
    ops.all(|op| matches!(op.request, Some(Request::RequestRange(_))))
}

/// True if any branch, taken or not, holds a put.
fn puts_anything(request: &TxnRequest) -> bool {
    request
        .success
        .iter()
        .chain(&request.failure)
        .any(|op| match &op.request {
            Some(Request::RequestPut(_)) => true,
            Some(Request::RequestTxn(inner)) => puts_anything(inner),
            _ => false,
        })
}

/// One compare against one key. A missing or foreign operand counts as 0 or empty; an unknown target always comes out
/// equal; an unknown result is always satisfied.
fn satisfies(compare: &Compare, kv: &KeyValue) -> bool {
    let operand = compare.target_union.as_ref();
    let number = |own: i64, given: Option<i64>| own.cmp(&given.unwrap_or(0));
    let ordering = match (compare.target, operand) {
        (0, Some(TargetUnion::Version(given))) => number(kv.version, Some(*given)),
        (0, _) => number(kv.version, None),
        (1, Some(TargetUnion::CreateRevision(given))) => number(kv.create_revision, Some(*given)),
        (1, _) => number(kv.create_revision, None),
        (2, Some(TargetUnion::ModRevision(given))) => number(kv.mod_revision, Some(*given)),
        (2, _) => number(kv.mod_revision, None),
        (3, Some(TargetUnion::Value(given))) => kv.value.cmp(given),
        (3, _) => kv.value.cmp(&Bytes::new()),
        (4, Some(TargetUnion::Lease(given))) => number(kv.lease, Some(*given)),
        (4, _) => number(kv.lease, None),
        _ => Ordering::Equal,
    };
    match compare.result {
        0 => ordering == Ordering::Equal,
        1 => ordering == Ordering::Greater,
        2 => ordering == Ordering::Less,
        3 => ordering != Ordering::Equal,
        _ => true,
    }
}
