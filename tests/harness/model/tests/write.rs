//! Revisions, Put and DeleteRange. (ETCD 2.2, 2.5, 2.6)

use kvorum_proto::etcdserverpb::{DeleteRangeRequest, PutRequest};

use super::{ModelError, delete, get, grant, key_of, keys, model_with, pair, put, revision_of};

#[test]
fn the_first_write_makes_revision_two() {
    let mut model = model_with(&[]);
    let reply = model.put(&put("a", "1")).expect("a put");
    assert_eq!(
        (revision_of(&reply.header), reply.prev_kv, model.revision()),
        (2, None, 2)
    );
}

#[test]
fn version_and_create_revision_start_anew_after_a_delete() {
    let mut model = model_with(&["a", "a", "a"]);
    let kv = pair(&model, "a").expect("it exists");
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (2, 4, 3));
    model.delete_range(&delete("a", "")).expect("a delete");
    model.put(&put("a", "again")).expect("a put");
    let kv = pair(&model, "a").expect("it exists");
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (6, 6, 1));
}

#[test]
fn a_put_of_the_same_value_still_moves_the_revision() {
    let mut model = model_with(&["a"]);
    model.put(&put("a", "v2")).expect("a put");
    assert_eq!(model.revision(), 3);
}

#[test]
fn a_put_gives_back_the_pair_before_it_when_asked() {
    let mut model = model_with(&["a"]);
    let reply = model
        .put(&PutRequest {
            prev_kv: true,
            ..put("a", "x")
        })
        .expect("a put");
    assert_eq!(reply.prev_kv.expect("it existed").value.as_ref(), b"v2");
    let reply = model
        .put(&PutRequest {
            prev_kv: true,
            ..put("b", "x")
        })
        .expect("a put");
    assert_eq!(reply.prev_kv, None);
}

#[test]
fn ignore_value_and_ignore_lease_keep_what_was_there() {
    let mut model = model_with(&["a"]);
    grant(&mut model, 5, 60);
    model
        .put(&PutRequest {
            lease: 5,
            ignore_value: true,
            ..put("a", "")
        })
        .expect("a put");
    let kv = pair(&model, "a").expect("it exists");
    assert_eq!((kv.value.as_ref(), kv.lease), (&b"v2"[..], 5));
    model
        .put(&PutRequest {
            ignore_lease: true,
            ..put("a", "new")
        })
        .expect("a put");
    let kv = pair(&model, "a").expect("it exists");
    assert_eq!((kv.value.as_ref(), kv.lease), (&b"new"[..], 5));
}

#[test]
fn a_put_needs_the_key_it_ignores_parts_of_and_the_lease_it_names() {
    let mut model = model_with(&[]);
    let ignoring = PutRequest {
        ignore_value: true,
        ..put("a", "")
    };
    assert_eq!(model.put(&ignoring), Err(ModelError::KeyNotFound));
    let ignoring = PutRequest {
        ignore_lease: true,
        ..put("a", "x")
    };
    assert_eq!(model.put(&ignoring), Err(ModelError::KeyNotFound));
    let leased = PutRequest {
        lease: 9,
        ..put("a", "x")
    };
    assert_eq!(model.put(&leased), Err(ModelError::LeaseNotFound));
    assert_eq!(model.revision(), 1, "nothing was written");
}

#[test]
fn a_delete_counts_its_keys_and_gives_them_back_in_key_order() {
    let mut model = model_with(&["c", "a", "b"]);
    let request = DeleteRangeRequest {
        prev_kv: true,
        ..delete("a", "c")
    };
    let reply = model.delete_range(&request).expect("a delete");
    let before: Vec<_> = reply.prev_kvs.iter().map(key_of).collect();
    assert_eq!(
        (reply.deleted, before, revision_of(&reply.header)),
        (2, vec!["a", "b"], 5)
    );
    assert_eq!(keys(&model.range(&get("a", "\0")).expect("a range")), ["c"]);
}

#[test]
fn a_delete_of_nothing_succeeds_and_leaves_the_revision() {
    let mut model = model_with(&["a"]);
    let reply = model.delete_range(&delete("x", "\0")).expect("a delete");
    assert_eq!(
        (reply.deleted, revision_of(&reply.header), model.revision()),
        (0, 2, 2)
    );
}
