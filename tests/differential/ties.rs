//! Pairs that a range sorts as equal come in no order that anybody promises: Go's sort is not stable.
//!
//! Up to twelve elements it is, and there the order is compared as it comes. Beyond that, equal pairs are brought into
//! the order of their keys, and of those that a limit has cut through, only what they were sorted by is compared.

use bytes::Bytes;
use kvorum_proto::{etcdserverpb as pb, mvccpb::KeyValue};
use pb::{request_op::Request, response_op::Response};
use prost::Message;

use crate::messages::{Answer, Rpc};

const STABLE_UP_TO: i64 = 12;

/// Brings the ranges of both answers into one order.
pub(crate) fn settle(rpc: Rpc, request: &Bytes, answers: [&mut Answer; 2]) {
    for answer in answers {
        match (rpc, answer) {
            (Rpc::Range, Answer::Range(reply)) => {
                if let Ok(request) = pb::RangeRequest::decode(request.clone()) {
                    range(&request, reply);
                }
            }
            (Rpc::Txn, Answer::Txn(reply)) => {
                if let Ok(request) = pb::TxnRequest::decode(request.clone()) {
                    txn(&request, reply);
                }
            }
            _ => {}
        }
    }
}

fn txn(request: &pb::TxnRequest, reply: &mut pb::TxnResponse) {
    let ops = if reply.succeeded {
        &request.success
    } else {
        &request.failure
    };
    for (op, response) in ops.iter().zip(&mut reply.responses) {
        match (&op.request, &mut response.response) {
            (Some(Request::RequestRange(op)), Some(Response::ResponseRange(reply))) => {
                range(op, reply);
            }
            (Some(Request::RequestTxn(op)), Some(Response::ResponseTxn(reply))) => txn(op, reply),
            _ => {}
        }
    }
}

fn range(request: &pb::RangeRequest, reply: &mut pb::RangeResponse) {
    if request.sort_target == 0 || reply.count <= STABLE_UP_TO {
        return;
    }
    let by = |kv: &KeyValue| match request.sort_target {
        1 => kv.version,
        2 => kv.create_revision,
        3 => kv.mod_revision,
        _ => 0,
    };
    // Values that are not told cannot be told apart either: all pairs count as equal then.
    let value = |kv: &KeyValue| match request.sort_target {
        4 => kv.value.clone(),
        _ => Bytes::new(),
    };
    let sorted_by = |kv: &KeyValue| (by(kv), value(kv));
    let mut from = 0;
    while from < reply.kvs.len() {
        let first = sorted_by(&reply.kvs[from]);
        let group = reply.kvs[from..]
            .iter()
            .take_while(|kv| sorted_by(kv) == first);
        let to = from + group.count();
        reply.kvs[from..to].sort_by(|one, other| one.key.cmp(&other.key));
        if to == reply.kvs.len() && reply.more {
            for kv in &mut reply.kvs[from..] {
                *kv = KeyValue {
                    version: by(kv),
                    value: value(kv),
                    ..Default::default()
                };
            }
        }
        from = to;
    }
}
