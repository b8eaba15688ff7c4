//! Range. (ETCD 2.3)

use kvorum_proto::etcdserverpb::RangeRequest;
use kvorum_proto::etcdserverpb::range_request::{SortOrder, SortTarget};

use super::{Model, ModelError, compact, get, keys, model_with, put, revision_of};

#[test]
fn an_empty_store_is_at_revision_one() {
    let reply = Model::default()
        .range(&get("\0", "\0"))
        .expect("the whole store");
    assert_eq!(
        (revision_of(&reply.header), reply.count, reply.more),
        (1, 0, false)
    );
}

#[test]
fn an_interval_is_one_key_a_half_open_span_or_everything_from_a_key() {
    let model = model_with(&["a", "aa", "b", "c"]);
    let asked = |key, end| keys(&model.range(&get(key, end)).expect("a range")).join(" ");
    assert_eq!(asked("a", ""), "a");
    assert_eq!(asked("a", "b"), "a aa");
    assert_eq!(asked("aa", "\0"), "aa b c");
    assert_eq!(asked("\0", "\0"), "a aa b c");
}

#[test]
fn a_reversed_interval_is_empty_and_no_error() {
    let model = model_with(&["a", "b"]);
    let reply = model.range(&get("b", "a")).expect("an empty range");
    assert_eq!((reply.kvs.len(), reply.count, reply.more), (0, 0, false));
    assert_eq!(
        model.range(&get("b", "b")).expect("an empty range").count,
        0
    );
}

#[test]
fn a_past_revision_is_read_under_the_current_header() {
    let mut model = model_with(&["a", "b"]);
    model.put(&put("a", "new")).expect("a put");
    let reply = model
        .range(&RangeRequest {
            revision: 2,
            ..get("a", "\0")
        })
        .expect("a past range");
    assert_eq!(
        (keys(&reply), reply.kvs[0].value.as_ref()),
        (vec!["a"], &b"v2"[..])
    );
    assert_eq!(revision_of(&reply.header), 4);
}

#[test]
fn a_revision_is_refused_above_the_current_and_below_the_compacted_one() {
    let mut model = model_with(&["a", "b", "c"]);
    compact(&mut model, 3);
    let at = |revision| {
        model.range(&RangeRequest {
            revision,
            ..get("a", "\0")
        })
    };
    assert_eq!(at(5), Err(ModelError::FutureRevision));
    assert_eq!(at(2), Err(ModelError::Compacted));
    assert_eq!(
        keys(&at(3).expect("the compact revision itself")),
        ["a", "b"]
    );
    assert_eq!(keys(&at(-7).expect("negative is current")), ["a", "b", "c"]);
}

#[test]
fn count_ignores_limit_and_filters_and_more_tells_of_the_rest() {
    let model = model_with(&["a", "b", "c", "d"]);
    let reply = model
        .range(&RangeRequest {
            limit: 2,
            ..get("a", "\0")
        })
        .expect("a page");
    assert_eq!(
        (keys(&reply), reply.count, reply.more),
        (vec!["a", "b"], 4, true)
    );
    let reply = model
        .range(&RangeRequest {
            limit: 4,
            ..get("a", "\0")
        })
        .expect("a page");
    assert_eq!((reply.kvs.len(), reply.more), (4, false));
    let filtered = RangeRequest {
        limit: 1,
        min_mod_revision: 4,
        ..get("a", "\0")
    };
    let reply = model.range(&filtered).expect("a filtered page");
    assert_eq!(
        (keys(&reply), reply.count, reply.more),
        (vec!["c"], 4, true)
    );
}

#[test]
fn count_only_gives_no_pairs_and_never_more() {
    let model = model_with(&["a", "b", "c"]);
    let request = RangeRequest {
        count_only: true,
        limit: 1,
        max_mod_revision: 2,
        ..get("a", "\0")
    };
    let reply = model.range(&request).expect("a count");
    assert_eq!((reply.kvs.len(), reply.count, reply.more), (0, 3, false));
}

#[test]
fn revision_filters_keep_what_lies_between_them() {
    let mut model = model_with(&["a", "b", "c"]);
    model.put(&put("a", "again")).expect("a put");
    let kept = |request| keys(&model.range(&request).expect("a range")).join(" ");
    assert_eq!(
        kept(RangeRequest {
            max_mod_revision: 4,
            ..get("a", "\0")
        }),
        "b c"
    );
    assert_eq!(
        kept(RangeRequest {
            min_mod_revision: 4,
            ..get("a", "\0")
        }),
        "a c"
    );
    assert_eq!(
        kept(RangeRequest {
            max_create_revision: 2,
            ..get("a", "\0")
        }),
        "a"
    );
    assert_eq!(
        kept(RangeRequest {
            min_create_revision: 3,
            ..get("a", "\0")
        }),
        "b c"
    );
}

fn sorted(order: SortOrder, target: SortTarget, limit: i64) -> RangeRequest {
    RangeRequest {
        sort_order: order as i32,
        sort_target: target as i32,
        limit,
        ..get("a", "\0")
    }
}

#[test]
fn an_order_sorts_everything_before_the_limit_cuts() {
    let model = model_with(&["c", "a", "b"]);
    let got = |request| keys(&model.range(&request).expect("a range")).join(" ");
    assert_eq!(got(sorted(SortOrder::Descend, SortTarget::Key, 2)), "c b");
    assert_eq!(got(sorted(SortOrder::Ascend, SortTarget::Mod, 2)), "c a");
    assert_eq!(got(sorted(SortOrder::Descend, SortTarget::Create, 1)), "b");
    assert_eq!(
        got(sorted(SortOrder::Ascend, SortTarget::Value, 0)),
        "c a b"
    );
}

#[test]
fn a_target_without_an_order_sorts_only_the_first_rows_in_key_order() {
    let model = model_with(&["d", "c", "b", "a"]);
    let reply = model
        .range(&sorted(SortOrder::None, SortTarget::Mod, 1))
        .expect("a range");
    // Of "a" and "b", the two rows fetched, "b" is older; "d", the oldest of all, was never looked at.
    assert_eq!((keys(&reply), reply.more), (vec!["b"], true));
}

#[test]
fn keys_only_empties_values_after_sorting_by_them() {
    let mut model = model_with(&["a", "b"]);
    model.put(&put("a", "z")).expect("a put");
    model.put(&put("b", "y")).expect("a put");
    let request = RangeRequest {
        keys_only: true,
        ..sorted(SortOrder::Ascend, SortTarget::Value, 0)
    };
    let reply = model.range(&request).expect("a range");
    assert_eq!(keys(&reply), ["b", "a"]);
    assert!(
        reply
            .kvs
            .iter()
            .all(|kv| kv.value.is_empty() && kv.mod_revision > 0)
    );
}
