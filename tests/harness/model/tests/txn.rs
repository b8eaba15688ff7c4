//! Evaluation of transactions. (ETCD 2.7)

use kvorum_proto::etcdserverpb::compare::CompareResult::{self, Equal, Greater, Less, NotEqual};
use kvorum_proto::etcdserverpb::compare::CompareTarget::{Create, Lease, Mod, Value, Version};
use kvorum_proto::etcdserverpb::compare::TargetUnion;
use kvorum_proto::etcdserverpb::response_op::Response;
use kvorum_proto::etcdserverpb::{Compare, PutRequest, RangeRequest, ResponseHeader, TxnRequest};

use super::{
    Model, ModelError, compact, compare, delete, get, grant, inner_range, just, keys, model_with,
    op, pair, put, revision_of, text, when,
};

/// Whether one compare holds.
fn holds(model: &Model, compare: Compare) -> bool {
    model
        .clone()
        .txn(&when(vec![compare]))
        .expect("a compare")
        .succeeded
}

#[test]
fn no_compare_at_all_succeeds_and_all_must_hold() {
    let mut model = model_with(&["a"]);
    assert!(model.txn(&when(vec![])).expect("a txn").succeeded);
    let right = compare("a", Equal, Version, TargetUnion::Version(1));
    let wrong = compare("a", Greater, Version, TargetUnion::Version(1));
    assert!(
        !model
            .txn(&when(vec![right, wrong]))
            .expect("a txn")
            .succeeded
    );
}

#[test]
fn every_target_is_compared_by_every_result() {
    let mut model = model_with(&["x", "a", "a"]);
    grant(&mut model, 9, 60);
    model
        .put(&PutRequest {
            lease: 9,
            ..put("a", "m")
        })
        .expect("a put");
    type Union = fn(i64) -> TargetUnion;
    let targets: [(_, Union, i64); 4] = [
        (Version, TargetUnion::Version, 3),
        (Create, TargetUnion::CreateRevision, 3),
        (Mod, TargetUnion::ModRevision, 5),
        (Lease, TargetUnion::Lease, 9),
    ];
    for (target, union, own) in targets {
        let check = |result, given| holds(&model, compare("a", result, target, union(given)));
        let truth = |given| [Equal, Greater, Less, NotEqual].map(|result| check(result, given));
        assert_eq!(truth(own), [true, false, false, false], "{target:?}");
        assert_eq!(truth(own - 1), [false, true, false, true], "{target:?}");
        assert_eq!(truth(own + 1), [false, false, true, true], "{target:?}");
    }
    let value = |result, given| {
        holds(
            &model,
            compare("a", result, Value, TargetUnion::Value(text(given))),
        )
    };
    assert!(value(Equal, "m") && value(Greater, "lz") && value(Less, "ma") && value(NotEqual, ""));
}

#[test]
fn a_missing_key_has_zeros_and_no_value() {
    let model = Model::default();
    assert!(holds(
        &model,
        compare("a", Equal, Version, TargetUnion::Version(0))
    ));
    assert!(holds(
        &model,
        compare("a", Less, Mod, TargetUnion::ModRevision(1))
    ));
    for result in [Equal, Greater, Less, NotEqual] {
        assert!(
            !holds(
                &model,
                compare("a", result, Value, TargetUnion::Value(text("")))
            ),
            "{result:?}"
        );
    }
}

#[test]
fn a_foreign_or_absent_operand_is_zero() {
    let model = model_with(&["a"]);
    assert!(holds(
        &model,
        compare("a", Greater, Version, TargetUnion::ModRevision(50))
    ));
    let absent = Compare {
        target_union: None,
        ..compare("a", Greater, Mod, TargetUnion::Lease(1))
    };
    assert!(holds(&model, absent));
}

#[test]
fn an_unknown_result_holds_and_an_unknown_target_is_equal() {
    let model = model_with(&["a"]);
    let version = compare("a", Equal, Version, TargetUnion::Version(99));
    assert!(holds(
        &model,
        Compare {
            result: 77,
            ..version.clone()
        }
    ));
    assert!(holds(
        &model,
        Compare {
            target: 77,
            ..version.clone()
        }
    ));
    assert!(!holds(
        &model,
        Compare {
            target: 77,
            result: CompareResult::Less as i32,
            ..version
        }
    ));
}

#[test]
fn a_compare_over_an_interval_must_hold_for_every_key_in_it() {
    let model = model_with(&["a", "b", "b"]);
    let over = |end, result, version| {
        let one = compare("a", result, Version, TargetUnion::Version(version));
        holds(
            &model,
            Compare {
                range_end: text(end),
                ..one
            },
        )
    };
    assert!(over("c", Greater, 0) && !over("c", Equal, 1) && over("\0", Less, 3));
    assert!(over("A", Equal, 0), "an empty interval is one missing key");
}

#[test]
fn operations_see_the_effects_of_earlier_ones() {
    let mut model = model_with(&["a"]);
    let ops = vec![
        op(get("a", "\0")),
        op(put("b", "1")),
        op(get("a", "\0")),
        op(delete("a", "")),
        op(get("a", "\0")),
    ];
    let reply = model.txn(&just(ops)).expect("a txn");
    assert_eq!((revision_of(&reply.header), model.revision()), (3, 3));
    let seen = |index: usize| inner_range(&reply.responses[index].response);
    assert_eq!(
        (keys(seen(0)), revision_of(&seen(0).header)),
        (vec!["a"], 2)
    );
    assert_eq!(
        (keys(seen(2)), revision_of(&seen(2).header)),
        (vec!["a", "b"], 3)
    );
    assert_eq!(
        (keys(seen(4)), revision_of(&seen(4).header)),
        (vec!["b"], 3)
    );
}

#[test]
fn a_txn_that_changes_nothing_leaves_the_revision() {
    let mut model = model_with(&["a"]);
    let reply = model
        .txn(&just(vec![op(delete("x", "")), op(get("a", ""))]))
        .expect("a txn");
    assert_eq!((revision_of(&reply.header), model.revision()), (2, 2));
}

#[test]
fn nested_compares_see_the_state_before_the_whole_txn() {
    let mut model = Model::default();
    let inner = TxnRequest {
        success: vec![op(put("b", "saw it"))],
        failure: vec![op(put("b", "did not"))],
        ..when(vec![compare("a", Equal, Version, TargetUnion::Version(1))])
    };
    let reply = model
        .txn(&just(vec![op(put("a", "1")), op(inner)]))
        .expect("a txn");
    let Some(Response::ResponseTxn(nested)) = &reply.responses[1].response else {
        panic!("a nested reply")
    };
    assert_eq!(
        (nested.succeeded, &nested.header),
        (false, &Some(ResponseHeader::default()))
    );
    assert_eq!(
        pair(&model, "b").expect("it exists").value.as_ref(),
        b"did not"
    );
}

#[test]
fn all_changes_share_one_revision() {
    let mut model = model_with(&["z"]);
    let ops = vec![
        op(put("a", "1")),
        op(just(vec![op(put("b", "2"))])),
        op(delete("z", "")),
    ];
    model.txn(&just(ops)).expect("a txn");
    assert_eq!(model.revision(), 3);
    assert!(
        ["a", "b"]
            .iter()
            .all(|key| pair(&model, key).expect("it exists").mod_revision == 3)
    );
}

#[test]
fn a_failing_check_of_the_chosen_path_undoes_everything() {
    let mut model = model_with(&["a", "b"]);
    compact(&mut model, 3);
    let mut refused = |last| {
        let before = model.current();
        let reply = model.txn(&just(vec![op(put("c", "1")), op(just(vec![last]))]));
        assert_eq!(model.current(), before, "nothing was written");
        reply.expect_err("the last operation cannot be done")
    };
    assert_eq!(
        refused(op(PutRequest {
            lease: 4,
            ..put("d", "")
        })),
        ModelError::LeaseNotFound
    );
    assert_eq!(
        refused(op(PutRequest {
            ignore_value: true,
            ..put("d", "")
        })),
        ModelError::KeyNotFound
    );
    assert_eq!(
        refused(op(RangeRequest {
            revision: 9,
            ..get("a", "")
        })),
        ModelError::FutureRevision
    );
    assert_eq!(
        refused(op(RangeRequest {
            revision: 2,
            ..get("a", "")
        })),
        ModelError::Compacted
    );
}

#[test]
fn the_branch_not_taken_is_not_validated() {
    let mut model = model_with(&["a"]);
    let untaken = TxnRequest {
        failure: vec![op(PutRequest {
            lease: 4,
            ..put("d", "")
        })],
        ..when(vec![])
    };
    assert!(model.txn(&untaken).is_ok());
}

#[test]
fn an_explicit_revision_is_held_against_the_revision_before_the_txn() {
    let mut model = model_with(&["a"]);
    let own = just(vec![
        op(put("b", "1")),
        op(RangeRequest {
            revision: 3,
            ..get("a", "\0")
        }),
    ]);
    assert_eq!(model.txn(&own), Err(ModelError::FutureRevision));
    let before = just(vec![
        op(put("b", "1")),
        op(RangeRequest {
            revision: 2,
            ..get("a", "\0")
        }),
    ]);
    let reply = model.txn(&before).expect("a txn");
    assert_eq!(keys(inner_range(&reply.responses[1].response)), ["a"]);
}

#[test]
fn a_negative_revision_inside_a_txn_is_compacted_once_anything_was() {
    let mut model = model_with(&["a"]);
    let negative = just(vec![op(RangeRequest {
        revision: -1,
        ..get("a", "")
    })]);
    assert!(model.txn(&negative).is_ok());
    compact(&mut model, 2);
    assert_eq!(model.txn(&negative), Err(ModelError::Compacted));
}
