//! The facts that the model rests on, one test each, in etcd's own terms.

mod compaction;
mod lease;
mod range;
mod refusals;
mod txn;
mod watch;
mod write;

use bytes::Bytes;
use kvorum_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use kvorum_proto::etcdserverpb::request_op::Request;
use kvorum_proto::etcdserverpb::response_op::Response;
use kvorum_proto::etcdserverpb::{
    AlarmRequest, CompactionRequest, Compare, DeleteRangeRequest, LeaseGrantRequest, PutRequest,
    RangeRequest, RangeResponse, RequestOp, ResponseHeader, TxnRequest,
};
use kvorum_proto::mvccpb::KeyValue;

use super::{Model, ModelError};

fn text(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn put(key: &str, value: &str) -> PutRequest {
    PutRequest {
        key: text(key),
        value: text(value),
        ..PutRequest::default()
    }
}

fn delete(key: &str, range_end: &str) -> DeleteRangeRequest {
    DeleteRangeRequest {
        key: text(key),
        range_end: text(range_end),
        ..DeleteRangeRequest::default()
    }
}

fn get(key: &str, range_end: &str) -> RangeRequest {
    RangeRequest {
        key: text(key),
        range_end: text(range_end),
        ..RangeRequest::default()
    }
}

fn op(request: impl Into<Op>) -> RequestOp {
    RequestOp {
        request: Some(request.into().0),
    }
}

struct Op(Request);

impl From<PutRequest> for Op {
    fn from(request: PutRequest) -> Self {
        Self(Request::RequestPut(request))
    }
}

impl From<RangeRequest> for Op {
    fn from(request: RangeRequest) -> Self {
        Self(Request::RequestRange(request))
    }
}

impl From<DeleteRangeRequest> for Op {
    fn from(request: DeleteRangeRequest) -> Self {
        Self(Request::RequestDeleteRange(request))
    }
}

impl From<TxnRequest> for Op {
    fn from(request: TxnRequest) -> Self {
        Self(Request::RequestTxn(request))
    }
}

fn when(compare: Vec<Compare>) -> TxnRequest {
    TxnRequest {
        compare,
        ..TxnRequest::default()
    }
}

fn just(ops: Vec<RequestOp>) -> TxnRequest {
    TxnRequest {
        success: ops,
        ..TxnRequest::default()
    }
}

fn compare(key: &str, result: CompareResult, target: CompareTarget, union: TargetUnion) -> Compare {
    Compare {
        key: text(key),
        result: result as i32,
        target: target as i32,
        target_union: Some(union),
        ..Compare::default()
    }
}

/// A model in which `keys` were put in order, from revision 2 on, each with the value "v" and its revision.
fn model_with(keys: &[&str]) -> Model {
    let mut model = Model::default();
    for (key, revision) in keys.iter().zip(2..) {
        model
            .put(&put(key, &format!("v{revision}")))
            .expect("a plain put");
    }
    model
}

fn compact(model: &mut Model, revision: i64) {
    model
        .compact(&CompactionRequest {
            revision,
            physical: false,
        })
        .expect("a possible revision");
}

fn grant(model: &mut Model, id: i64, ttl: i64) {
    model
        .lease_grant(&LeaseGrantRequest { ttl, id })
        .expect("a free id");
}

fn raise(model: &mut Model, alarm: i32) {
    model.alarm(&AlarmRequest {
        action: 1,
        member_id: 7,
        alarm,
    });
}

fn keys(response: &RangeResponse) -> Vec<&str> {
    response.kvs.iter().map(key_of).collect()
}

fn key_of(kv: &KeyValue) -> &str {
    std::str::from_utf8(&kv.key).expect("test keys are text")
}

fn revision_of(header: &Option<ResponseHeader>) -> i64 {
    header.as_ref().expect("every reply has a header").revision
}

fn pair(model: &Model, key: &str) -> Option<KeyValue> {
    model.range(&get(key, "")).expect("a plain get").kvs.pop()
}

fn inner_range(response: &Option<Response>) -> &RangeResponse {
    match response {
        Some(Response::ResponseRange(range)) => range,
        other => panic!("a range reply, not {other:?}"),
    }
}
