//! Transactions that etcd refuses.

use kvorum_proto::etcdserverpb as pb;
use tonic::Code;

use crate::both::{Side, delete, get, on_both, op, put, range, refused, txn};

const DUPLICATE: &str = "etcdserver: duplicate key given in txn request";
const TOO_MANY: &str = "etcdserver: too many operations in txn request";

fn puts(count: usize) -> Vec<pb::RequestOp> {
    (0..count)
        .map(|number| op(put(&format!("k{number}"), "v")))
        .collect()
}

/// Whether `key` does not exist.
fn missing(key: &str) -> pb::Compare {
    pb::Compare {
        key: key.to_owned().into(),
        target: pb::compare::CompareTarget::Create.into(),
        target_union: Some(pb::compare::TargetUnion::CreateRevision(0)),
        ..Default::default()
    }
}

#[tokio::test]
async fn more_than_128_operations_are_refused() {
    on_both("txn-ops", async |rpc, _| {
        rpc.call(txn(puts(128))).await.expect("128 are the limit");
        refused(
            rpc.call(txn(puts(129))).await,
            Code::InvalidArgument,
            TOO_MANY,
        );
        let request = pb::TxnRequest {
            failure: puts(129),
            ..Default::default()
        };
        refused(rpc.call(request).await, Code::InvalidArgument, TOO_MANY);
        let request = pb::TxnRequest {
            compare: vec![missing("a"); 129],
            ..Default::default()
        };
        refused(rpc.call(request).await, Code::InvalidArgument, TOO_MANY);
        // A nested transaction shares its parent's budget.
        let mut ops = puts(28);
        ops.push(op(txn((0..120).map(|_| op(get("x"))).collect())));
        refused(rpc.call(txn(ops)).await, Code::InvalidArgument, TOO_MANY);
    })
    .await;
}

#[tokio::test]
async fn two_puts_of_one_key_are_refused() {
    on_both("txn-duplicate", async |rpc, _| {
        let twice = || vec![op(put("a", "1")), op(put("a", "2"))];
        refused(
            rpc.call(txn(twice())).await,
            Code::InvalidArgument,
            DUPLICATE,
        );
        let request = pb::TxnRequest {
            failure: twice(),
            ..Default::default()
        };
        refused(rpc.call(request).await, Code::InvalidArgument, DUPLICATE);
        let ops = vec![op(put("a", "1")), op(delete("a"))];
        refused(rpc.call(txn(ops)).await, Code::InvalidArgument, DUPLICATE);
        let wide = pb::DeleteRangeRequest {
            range_end: "c".into(),
            ..delete("a")
        };
        let ops = vec![op(wide.clone()), op(put("b", "1"))];
        refused(rpc.call(txn(ops)).await, Code::InvalidArgument, DUPLICATE);
        let ops = vec![op(wide.clone()), op(wide)];
        rpc.call(txn(ops))
            .await
            .expect("overlapping deletes are fine");
    })
    .await;
}

#[tokio::test]
async fn a_key_put_in_two_nested_transactions_is_refused() {
    on_both("txn-nested-duplicate", async |rpc, _| {
        let nested = || op(txn(vec![op(put("a", "1"))]));
        let request = txn(vec![nested(), nested()]);
        refused(rpc.call(request).await, Code::InvalidArgument, DUPLICATE);
        let request = txn(vec![op(put("a", "0")), nested()]);
        refused(rpc.call(request).await, Code::InvalidArgument, DUPLICATE);
        let exclusive = pb::TxnRequest {
            success: vec![op(put("a", "1"))],
            failure: vec![op(put("a", "2"))],
            ..Default::default()
        };
        rpc.call(txn(vec![op(exclusive)]))
            .await
            .expect("only one branch runs");
    })
    .await;
}

#[tokio::test]
async fn an_empty_key_inside_a_transaction_is_refused() {
    on_both("txn-empty-key", async |rpc, _| {
        let text = "etcdserver: key is not provided";
        for bad in [op(put("", "v")), op(get("")), op(delete(""))] {
            refused(rpc.call(txn(vec![bad])).await, Code::InvalidArgument, text);
        }
        let request = pb::TxnRequest {
            compare: vec![missing("")],
            ..Default::default()
        };
        refused(rpc.call(request).await, Code::InvalidArgument, text);
        let nested = op(txn(vec![op(put("", "v"))]));
        refused(
            rpc.call(txn(vec![nested])).await,
            Code::InvalidArgument,
            text,
        );
    })
    .await;
}

#[tokio::test]
async fn an_operation_that_is_none_is_refused() {
    on_both("txn-empty-op", async |rpc, _| {
        let request = txn(vec![pb::RequestOp { request: None }]);
        refused(
            rpc.call(request).await,
            Code::InvalidArgument,
            "etcdserver: key not found",
        );
    })
    .await;
}

#[tokio::test]
async fn a_refused_operation_leaves_nothing_of_its_transaction() {
    on_both("txn-all-or-nothing", async |rpc, _| {
        let lease = pb::PutRequest {
            lease: 77,
            ..put("b", "2")
        };
        let request = txn(vec![op(put("a", "1")), op(lease)]);
        let text = "etcdserver: requested lease not found";
        refused(rpc.call(request).await, Code::NotFound, text);
        let future = pb::RangeRequest {
            revision: 99,
            ..get("a")
        };
        let request = txn(vec![op(put("a", "1")), op(future)]);
        let text = "etcdserver: mvcc: required revision is a future revision";
        refused(rpc.call(request).await, Code::OutOfRange, text);
        let ignoring = pb::PutRequest {
            ignore_value: true,
            ..put("b", "")
        };
        let request = txn(vec![op(put("a", "1")), op(ignoring)]);
        refused(
            rpc.call(request).await,
            Code::InvalidArgument,
            "etcdserver: key not found",
        );
        let answer = rpc.call(range("a", "z")).await.expect("range");
        assert_eq!(answer.count, 0);
        assert_eq!(answer.header.expect("header").revision, 1);
    })
    .await;
}

#[tokio::test]
async fn a_compare_without_its_value_compares_with_zero() {
    on_both("txn-compare-union", async |rpc, _| {
        for target in 0..5 {
            let compare = pb::Compare {
                key: "k".into(),
                target,
                ..Default::default()
            };
            let request = pb::TxnRequest {
                compare: vec![compare],
                ..Default::default()
            };
            let succeeded = rpc.call(request).await.expect("txn").succeeded;
            // A missing key has no value: no comparison of it holds.
            let value = pb::compare::CompareTarget::Value as i32;
            assert_eq!(succeeded, target != value, "target {target}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_unknown_compare_is_answered_as_etcd_does() {
    on_both("txn-compare-unknown", async |rpc, side| {
        rpc.call(put("k", "v")).await.expect("put");
        for (result, target) in [(9, 0), (0, 9), (-1, -1)] {
            let compare = pb::Compare {
                key: "k".into(),
                result,
                target,
                ..Default::default()
            };
            let request = pb::TxnRequest {
                compare: vec![compare],
                ..Default::default()
            };
            let answer = rpc
                .call(request)
                .await
                .expect("unknown enum values are no error");
            let expected = (result, target) != (0, 9) || answer.succeeded;
            assert!(expected, "{side:?} {result} {target} {}", answer.succeeded);
        }
    })
    .await;
}

#[tokio::test]
async fn nesting_without_end_is_refused_and_survived() {
    on_both("txn-depth", async |rpc, side| {
        let nested = |depth: usize| {
            (0..depth).fold(txn(vec![op(put("deep", "v"))]), |inner, _| {
                txn(vec![op(inner)])
            })
        };
        rpc.call(nested(15)).await.expect("16 levels are fine");
        if side == Side::Kvorum {
            // etcd has no limit of its own; kvorum's protects its stack and counts as too many operations.
            refused(rpc.call(nested(20)).await, Code::InvalidArgument, TOO_MANY);
            rpc.call(nested(90))
                .await
                .expect_err("deeper than any message may be");
        }
    })
    .await;
}
