//! Compact and HashKV. (ETCD 2.8, 2.13)

use kvorum_proto::etcdserverpb::{CompactionRequest, HashKvRequest, HashKvResponse};

use super::super::{Interval, Selection};
use super::{Model, ModelError, compact, delete, model_with, put, revision_of};

fn hash(model: &Model, revision: i64) -> HashKvResponse {
    model
        .hash_kv(&HashKvRequest { revision })
        .expect("a readable revision")
}

#[test]
fn a_compaction_moves_forward_and_not_past_the_present() {
    let mut model = model_with(&["a", "b", "c"]);
    let mut at = |revision| {
        model.compact(&CompactionRequest {
            revision,
            physical: true,
        })
    };
    assert_eq!(at(5), Err(ModelError::FutureRevision));
    assert_eq!(revision_of(&at(4).expect("the current revision").header), 4);
    assert_eq!(at(4), Err(ModelError::Compacted));
    assert_eq!(at(3), Err(ModelError::Compacted));
    assert_eq!(model.revision(), 4, "the revision does not move");
}

#[test]
fn compaction_keeps_the_newest_record_of_each_key_and_a_deletion_exactly_there() {
    let mut model = model_with(&["a", "a", "b", "c"]);
    model.delete_range(&delete("b", "")).expect("a delete at 6");
    model.delete_range(&delete("c", "")).expect("a delete at 7");
    compact(&mut model, 7);
    let everything = Selection {
        interval: Interval::all(),
        no_put: false,
        no_delete: false,
        prev_kv: true,
    };
    let left: Vec<i64> = model
        .events(&everything, 0, 99)
        .iter()
        .map(|(revision, _)| *revision)
        .collect();
    assert_eq!(
        left,
        [3, 7],
        "of a the newest, of b nothing, of c the deletion"
    );
}

#[test]
fn the_hash_of_an_empty_store_is_that_of_the_bucket_name() {
    let reply = hash(&Model::default(), 0);
    // CRC-32C("key"), computed apart from this code.
    assert_eq!(
        (reply.hash, reply.compact_revision, reply.hash_revision),
        (CRC_OF_KEY, -1, 1)
    );
}

const CRC_OF_KEY: u32 = 0x40A4_756D;

#[test]
fn a_hash_covers_what_lies_up_to_its_revision() {
    let mut model = model_with(&["a"]);
    let before = hash(&model, 2);
    model.put(&put("a", "x")).expect("a put");
    assert_eq!(hash(&model, 2).hash, before.hash);
    assert_ne!(hash(&model, 3).hash, before.hash);
    assert_eq!(
        model.hash_kv(&HashKvRequest { revision: 4 }),
        Err(ModelError::FutureRevision)
    );
}

#[test]
fn a_hash_skips_what_compaction_drops() {
    let mut long = model_with(&["a", "b", "a"]);
    compact(&mut long, 3);
    assert_eq!(hash(&long, 3).compact_revision, 3);
    assert_eq!(
        long.hash_kv(&HashKvRequest { revision: 2 }),
        Err(ModelError::Compacted)
    );
    // At 4 the first record of "a" is superseded, whether its removal has happened or not.
    let mut later = long.clone();
    compact(&mut later, 4);
    assert_eq!(hash(&later, 4).hash, hash(&long, 4).hash);
}

#[test]
fn a_deletion_exactly_at_the_compact_revision_is_not_hashed() {
    let mut model = model_with(&["a", "b"]);
    model.delete_range(&delete("a", "")).expect("a delete at 4");
    let mut without = model_with(&["x", "b"]);
    compact(&mut model, 4);
    without
        .delete_range(&delete("x", ""))
        .expect("a delete at 4");
    compact(&mut without, 4);
    assert_eq!(
        hash(&model, 0).hash,
        hash(&without, 0).hash,
        "only b at 3 counts in both"
    );
}
