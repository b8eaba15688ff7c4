//! What is refused before it is looked at, and what alarms forbid. (ETCD 2.3, 2.5, 2.7, 2.13)

use kvorum_proto::etcdserverpb::{
    AlarmRequest, CompactionRequest, Compare, LeaseGrantRequest, LeaseRevokeRequest, PutRequest,
    RangeRequest, RequestOp, TxnRequest,
};

use super::{Model, ModelError, delete, get, grant, just, model_with, op, put, raise, when};

const NOSPACE: i32 = 1;
const CORRUPT: i32 = 2;

#[test]
fn every_request_needs_a_key() {
    let mut model = Model::default();
    assert_eq!(model.range(&get("", "\0")), Err(ModelError::EmptyKey));
    assert_eq!(model.put(&put("", "x")), Err(ModelError::EmptyKey));
    assert_eq!(
        model.delete_range(&delete("", "\0")),
        Err(ModelError::EmptyKey)
    );
    assert_eq!(
        model.txn(&when(vec![Compare::default()])),
        Err(ModelError::EmptyKey)
    );
    assert_eq!(
        model.txn(&just(vec![op(put("", "x"))])),
        Err(ModelError::EmptyKey)
    );
}

#[test]
fn unknown_sort_options_are_refused() {
    let model = Model::default();
    let order = RangeRequest {
        sort_order: 3,
        ..get("a", "")
    };
    assert_eq!(model.range(&order), Err(ModelError::InvalidSortOption));
    let target = RangeRequest {
        sort_target: -1,
        ..get("a", "")
    };
    assert_eq!(model.range(&target), Err(ModelError::InvalidSortOption));
}

#[test]
fn what_is_ignored_must_not_be_given() {
    let mut model = model_with(&["a"]);
    let both = PutRequest {
        ignore_value: true,
        ..put("a", "x")
    };
    assert_eq!(model.put(&both), Err(ModelError::ValueProvided));
    let both = PutRequest {
        ignore_lease: true,
        lease: 4,
        ..put("a", "x")
    };
    assert_eq!(model.put(&both), Err(ModelError::LeaseProvided));
}

#[test]
fn an_operation_without_content_is_a_key_not_found() {
    let empty = just(vec![RequestOp { request: None }]);
    assert_eq!(Model::default().txn(&empty), Err(ModelError::KeyNotFound));
}

#[test]
fn the_longest_list_of_a_txn_counts_against_the_budget() {
    let mut model = Model::default();
    let gets = |count| vec![op(get("a", "")); count];
    assert!(
        model
            .txn(&TxnRequest {
                success: gets(128),
                failure: gets(128),
                ..when(vec![])
            })
            .is_ok()
    );
    assert_eq!(model.txn(&just(gets(129))), Err(ModelError::TooManyOps));
}

#[test]
fn a_nested_txn_has_what_its_parent_leaves_and_siblings_the_same() {
    let mut model = Model::default();
    let nested = |count| op(just(vec![op(get("a", "")); count]));
    assert!(model.txn(&just(vec![nested(126), nested(126)])).is_ok());
    assert_eq!(
        model.txn(&just(vec![nested(126), nested(127)])),
        Err(ModelError::TooManyOps)
    );
}

#[test]
fn one_branch_puts_a_key_once() {
    let mut model = Model::default();
    let twice = vec![op(put("a", "1")), op(put("a", "2"))];
    assert_eq!(
        model.txn(&just(twice.clone())),
        Err(ModelError::DuplicateKey)
    );
    let untaken = TxnRequest {
        failure: twice,
        ..TxnRequest::default()
    };
    assert_eq!(
        model.txn(&untaken),
        Err(ModelError::DuplicateKey),
        "also in the branch not taken"
    );
    let nested = vec![op(put("a", "1")), op(just(vec![op(put("a", "2"))]))];
    assert_eq!(model.txn(&just(nested)), Err(ModelError::DuplicateKey));
}

#[test]
fn then_and_else_may_put_the_same_key() {
    let mut model = Model::default();
    let both = TxnRequest {
        success: vec![op(put("a", "1"))],
        failure: vec![op(put("a", "2"))],
        ..when(vec![])
    };
    assert!(model.txn(&both).is_ok());
    assert!(model.txn(&just(vec![op(both.clone())])).is_ok());
    let siblings = just(vec![op(both.clone()), op(both)]);
    assert_eq!(model.txn(&siblings), Err(ModelError::DuplicateKey));
}

#[test]
fn a_branch_does_not_put_what_it_deletes() {
    let mut model = Model::default();
    let covered = vec![op(put("b", "1")), op(delete("a", "c"))];
    assert_eq!(model.txn(&just(covered)), Err(ModelError::DuplicateKey));
    let beside = vec![
        op(put("c", "1")),
        op(delete("a", "c")),
        op(delete("a", "b")),
    ];
    assert!(
        model.txn(&just(beside)).is_ok(),
        "the end is not included, and deletes may overlap"
    );
    let inside = just(vec![op(just(vec![op(put("b", "1"))])), op(delete("b", ""))]);
    assert_eq!(model.txn(&inside), Err(ModelError::DuplicateKey));
}

#[test]
fn an_open_ended_delete_is_not_matched_with_puts() {
    let mut model = model_with(&["b"]);
    assert!(
        model
            .txn(&just(vec![op(delete("a", "\0")), op(put("b", "1"))]))
            .is_ok()
    );
}

#[test]
fn a_nested_delete_collides_with_later_siblings_only() {
    let mut model = Model::default();
    let nested = |inner: RequestOp| op(just(vec![inner]));
    let put_first = just(vec![nested(op(put("a", "1"))), nested(op(delete("a", "")))]);
    assert!(model.txn(&put_first).is_ok());
    let delete_first = just(vec![nested(op(delete("a", ""))), nested(op(put("a", "1")))]);
    assert_eq!(model.txn(&delete_first), Err(ModelError::DuplicateKey));
}

#[test]
fn contents_are_checked_before_duplicates() {
    let ops = vec![op(put("a", "1")), op(put("a", "2")), op(get("", ""))];
    assert_eq!(Model::default().txn(&just(ops)), Err(ModelError::EmptyKey));
}

#[test]
fn nospace_stops_what_adds_and_lets_the_rest_pass() {
    let mut model = model_with(&["a", "b"]);
    grant(&mut model, 1, 60);
    raise(&mut model, NOSPACE);
    assert_eq!(model.put(&put("a", "x")), Err(ModelError::NoSpace));
    let grant = LeaseGrantRequest { id: 2, ttl: 60 };
    assert_eq!(model.lease_grant(&grant), Err(ModelError::NoSpace));
    let untaken = TxnRequest {
        failure: vec![op(put("a", "x"))],
        ..TxnRequest::default()
    };
    assert_eq!(
        model.txn(&untaken),
        Err(ModelError::NoSpace),
        "also in the branch not taken"
    );
    assert!(model.txn(&just(vec![op(delete("a", ""))])).is_ok());
    assert!(model.delete_range(&delete("b", "")).is_ok());
    assert!(model.lease_revoke(&LeaseRevokeRequest { id: 1 }).is_ok());
    assert!(
        model
            .compact(&CompactionRequest {
                revision: 2,
                physical: false
            })
            .is_ok()
    );
}

#[test]
fn corrupt_stops_everything_applied_but_not_reads() {
    let mut model = model_with(&["a"]);
    raise(&mut model, CORRUPT);
    assert_eq!(model.put(&put("a", "x")), Err(ModelError::Corrupt));
    assert_eq!(
        model.delete_range(&delete("a", "")),
        Err(ModelError::Corrupt)
    );
    assert_eq!(
        model.txn(&just(vec![op(delete("a", ""))])),
        Err(ModelError::Corrupt)
    );
    assert_eq!(
        model.lease_revoke(&LeaseRevokeRequest { id: 1 }),
        Err(ModelError::Corrupt)
    );
    let compaction = CompactionRequest {
        revision: 2,
        physical: false,
    };
    assert_eq!(model.compact(&compaction), Err(ModelError::Corrupt));
    assert!(model.range(&get("a", "")).is_ok());
    assert!(model.txn(&just(vec![op(get("a", ""))])).is_ok());
}

#[test]
fn alarms_are_raised_listed_and_disarmed() {
    let mut model = Model::default();
    let mut ask = |action, member_id, alarm| {
        let reply = model.alarm(&AlarmRequest {
            action,
            member_id,
            alarm,
        });
        reply
            .alarms
            .iter()
            .map(|raised| (raised.member_id, raised.alarm))
            .collect::<Vec<_>>()
    };
    assert_eq!(ask(1, 7, NOSPACE), [(7, NOSPACE)]);
    assert_eq!(ask(1, 7, NOSPACE), [(7, NOSPACE)], "once more is no error");
    assert_eq!(ask(1, 8, CORRUPT), [(8, CORRUPT)]);
    assert_eq!(ask(1, 8, 0), [], "NONE is not an alarm");
    assert_eq!(ask(0, 0, 0), [(7, NOSPACE), (8, CORRUPT)]);
    assert_eq!(
        ask(0, 99, CORRUPT),
        [(8, CORRUPT)],
        "the member does not filter"
    );
    assert_eq!(ask(2, 9, NOSPACE), [], "not raised by that member");
    assert_eq!(ask(2, 7, NOSPACE), [(7, NOSPACE)]);
    assert_eq!(ask(0, 0, NOSPACE), []);
}
