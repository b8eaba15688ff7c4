//! Small histories, right and wrong, and random ones that are right by construction until a read is spoilt.

use bytes::Bytes;
use kvorum_proto::etcdserverpb as pb;
use kvorum_proto::mvccpb::KeyValue;

use super::{Verdict, check};
use crate::harness::generate::Dice;
use crate::harness::history::{Call, Reply, Request};

const STEPS: usize = 1_000_000;

fn put(called: u64, returned: u64, value: &str) -> Call {
    Call {
        called,
        returned,
        request: Request::Put(pb::PutRequest {
            key: "k".into(),
            value: value.to_owned().into(),
            ..Default::default()
        }),
        reply: Some(Reply::Put(pb::PutResponse::default())),
    }
}

fn get(called: u64, returned: u64, value: Option<&str>) -> Call {
    let kvs = value.map(|value| KeyValue {
        key: "k".into(),
        value: value.to_owned().into(),
        ..Default::default()
    });
    Call {
        called,
        returned,
        request: Request::Range(pb::RangeRequest {
            key: "k".into(),
            ..Default::default()
        }),
        reply: Some(Reply::Range(pb::RangeResponse {
            kvs: kvs.into_iter().collect(),
            ..Default::default()
        })),
    }
}

fn swap(called: u64, returned: u64, from: &str, to: &str, succeeded: bool) -> Call {
    let put = pb::PutRequest {
        key: "k".into(),
        value: to.to_owned().into(),
        ..Default::default()
    };
    Call {
        called,
        returned,
        request: Request::Txn(pb::TxnRequest {
            compare: vec![pb::Compare {
                result: pb::compare::CompareResult::Equal as i32,
                target: pb::compare::CompareTarget::Value as i32,
                key: "k".into(),
                target_union: Some(pb::compare::TargetUnion::Value(from.to_owned().into())),
                ..Default::default()
            }],
            success: vec![pb::RequestOp {
                request: Some(pb::request_op::Request::RequestPut(put)),
            }],
            ..Default::default()
        }),
        reply: Some(Reply::Txn(pb::TxnResponse {
            succeeded,
            responses: vec![pb::ResponseOp::default(); usize::from(succeeded)],
            ..Default::default()
        })),
    }
}

fn lost(mut call: Call) -> Call {
    call.reply = None;
    call
}

fn holds(calls: &[Call]) -> bool {
    check(calls, STEPS).map(|verdict| assert_eq!(verdict, Verdict::Linearizable)) == Ok(())
}

#[test]
fn concurrent_calls_may_take_either_order() {
    assert!(holds(&[
        put(0, 10, "a"),
        put(0, 10, "b"),
        get(11, 12, Some("a"))
    ]));
    assert!(holds(&[
        put(0, 10, "a"),
        put(0, 10, "b"),
        get(11, 12, Some("b"))
    ]));
    assert!(holds(&[put(0, 10, "a"), get(5, 6, None)]));
}

#[test]
fn a_read_of_what_was_overwritten_before_is_found() {
    let calls = [put(0, 1, "a"), put(2, 3, "b"), get(4, 5, Some("a"))];
    let broken = check(&calls, STEPS).expect_err("is stale");
    assert_eq!(broken.key, Bytes::from("k"));
    assert_eq!(broken.furthest.map(|step| step.called), Some(4));
}

#[test]
fn reads_that_go_back_are_found() {
    let calls = [put(0, 100, "a"), get(1, 2, Some("a")), get(3, 4, None)];
    assert!(!holds(&calls));
}

#[test]
fn a_write_without_an_answer_may_come_late_or_never() {
    let unknown = lost(put(0, 1, "a"));
    assert!(holds(&[unknown.clone(), get(2, 3, None)]));
    assert!(holds(&[
        unknown.clone(),
        get(2, 3, None),
        get(50, 60, Some("a"))
    ]));
    assert!(!holds(&[unknown, get(2, 3, Some("a")), get(50, 60, None)]));
}

#[test]
fn a_swap_that_both_won_is_found() {
    let calls = |second| {
        [
            put(0, 1, "a"),
            swap(2, 9, "a", "b", true),
            swap(2, 9, "a", "c", second),
        ]
    };
    assert!(holds(&calls(false)));
    assert!(!holds(&calls(true)));
}

#[test]
fn a_swap_that_failed_had_another_value_before_it() {
    assert!(!holds(&[put(0, 1, "a"), swap(2, 3, "a", "b", false)]));
    assert!(holds(&[put(0, 1, "a"), swap(2, 3, "c", "b", false)]));
}

#[test]
fn a_search_without_end_is_given_up() {
    let mut calls: Vec<Call> = (0..40).map(|n| lost(put(0, 1, &format!("v{n}")))).collect();
    for n in 0..40 {
        calls.push(get(1_000, 2_000, Some(&format!("v{n}"))));
    }
    calls.push(get(3_000, 3_001, Some("never")));
    let verdict = check(&calls, 10_000);
    assert_eq!(verdict, Ok(Verdict::Unknown(vec!["k".into()])));
}

/// Calls whose effects take place in the order of their numbers, with times that overlap.
fn random(seed: u64) -> Vec<Call> {
    let mut dice = Dice::new(seed);
    let mut value = None;
    (0..200u64)
        .map(|n| {
            let (called, returned) = (
                n * 10 - dice.below(n.min(30) * 3 + 1),
                n * 10 + dice.below(40),
            );
            let text = format!("v{n}");
            if dice.one_in(2) {
                let call = put(called, returned, &text);
                value = Some(text);
                if dice.one_in(10) { lost(call) } else { call }
            } else {
                get(called, returned, value.as_deref())
            }
        })
        .collect()
}

#[test]
fn random_histories_hold_and_spoilt_ones_do_not() {
    for seed in 0..50 {
        let mut calls = random(seed);
        assert!(holds(&calls), "seed {seed}");
        let last = calls.iter().map(|call| call.returned).max().unwrap_or(0);
        calls.push(get(last + 1, last + 2, Some("v0")));
        calls.push(put(last + 3, last + 4, "end"));
        calls.push(get(last + 5, last + 6, Some("v1")));
        assert!(!holds(&calls), "seed {seed}");
    }
}
