//! Scripted tests of the parts of the store.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use kvorum_proto::etcdserverpb::{self as pb, request_op::Request as Op};

use super::encoding::{self, Pair, key_of, numbers_of};
use super::hash::KvHasher;
use super::key_index::KeyIndex;
use super::recent::Recent;
use super::txn::is_serializable;
use super::{Interval, Restore, Store};
use crate::backend::{BackendError, Record, Records};
use crate::types::{Index, Revision, Term};

/// A state store in which nothing was ever flushed.
#[derive(Debug)]
struct Empty;

impl Records for Empty {
    fn get(&self, _: Revision) -> Result<Option<Record>, BackendError> {
        Ok(None)
    }

    fn scan(&self, _: Revision, _: Revision, _: usize) -> Result<Vec<Record>, BackendError> {
        Ok(Vec::new())
    }
}

fn rev(main: i64) -> Revision {
    Revision::first_of(main)
}

fn record(main: i64, sub: u32) -> Record {
    Record {
        revision: Revision { main, sub },
        tombstone: false,
        kv: Bytes::from_static(b"x"),
    }
}

#[test]
fn an_interval_reads_ends_as_etcd_does() {
    assert_eq!(Interval::new(b"a", b""), Interval::Key(b"a"));
    assert_eq!(Interval::new(b"a", b"\0"), Interval::From(b"a"));
    assert!(Interval::new(b"\0", b"\0").contains(b"\xff\xff"));
    assert!(!Interval::new(b"a", b"c").contains(b"c"));
    assert_eq!(Interval::new(b"c", b"a").bounds(), None);
}

#[test]
fn a_key_is_read_as_it_was_at_each_revision() {
    let mut key = KeyIndex::default();
    key.put(rev(2), 0);
    key.put(rev(5), 7);
    key.tombstone(rev(6));
    let again = key.put(rev(9), 0);
    assert_eq!((again.created, again.version), (9, 1));
    let seen: Vec<_> = (1..=9).map(|at| key.at(at).map(|r| r.main)).collect();
    let want = [
        None,
        Some(2),
        Some(2),
        Some(2),
        Some(5),
        None,
        None,
        None,
        Some(9),
    ];
    assert_eq!(seen, want);
}

#[test]
fn compaction_keeps_what_reads_and_watches_from_it_need() {
    let history = || {
        let mut key = KeyIndex::default();
        key.put(rev(2), 0);
        key.put(rev(4), 0);
        key.tombstone(rev(6));
        key.put(rev(8), 0);
        key
    };
    let compact = |at: i64| {
        let (mut key, mut removed) = (history(), Vec::new());
        assert!(!key.compact(at, &mut removed));
        removed.iter().map(|r| r.main).collect::<Vec<_>>()
    };
    assert_eq!(compact(3), [0; 0]);
    assert_eq!(compact(4), [2]);
    assert_eq!(compact(5), [2]);
    assert_eq!(
        compact(6),
        [2, 4],
        "the deletion itself stays for watches (etcd #18089)"
    );
    assert_eq!(compact(7), [2, 4, 6]);
    assert_eq!(compact(20), [2, 4, 6]);
}

#[test]
fn a_deleted_key_leaves_the_index_with_the_compaction_after_its_deletion() {
    let mut key = KeyIndex::default();
    key.put(rev(2), 0);
    key.tombstone(rev(3));
    let mut removed = Vec::new();
    assert!(!key.compact(3, &mut removed));
    assert_eq!(removed, [rev(2)]);
    assert!(key.compact(4, &mut removed));
    assert_eq!(removed, [rev(2), rev(3)]);
}

#[test]
fn the_window_finds_records_by_revision_whatever_transactions_hold() {
    let mut recent = Recent::new(Revision::last_of(1), 0);
    let mut all = Vec::new();
    for main in 2..60 {
        for sub in 0..u32::try_from(main % 5 + 1).expect("small") {
            all.push(record(main, sub));
        }
    }
    all.iter().for_each(|r| recent.push(r.clone()));
    // Forget some in the middle of a transaction, too.
    let cut = all.len() / 3;
    recent.flushed_to(all[cut].revision, cut);
    for (i, r) in all.iter().enumerate() {
        assert_eq!(
            recent.get(r.revision).is_some(),
            i >= cut,
            "{:?}",
            r.revision
        );
    }
    assert_eq!(recent.get(Revision { main: 30, sub: 77 }), None);
    assert_eq!(recent.get(rev(99)), None);
    let some: Vec<_> = recent
        .scan(rev(40), Revision::last_of(41), 100)
        .cloned()
        .collect();
    let want: Vec<_> = all
        .iter()
        .filter(|r| (40..=41).contains(&r.revision.main))
        .cloned()
        .collect();
    assert_eq!(some, want);
}

#[test]
fn what_is_not_flushed_is_never_forgotten() {
    let mut recent = Recent::new(Revision::last_of(1), 0);
    (2..10).for_each(|main| recent.push(record(main, 0)));
    assert!(!recent.flushed_to(rev(5), 100));
    assert!(recent.get(rev(5)).is_none());
    assert!(recent.get(rev(6)).is_some());
}

#[test]
fn a_pair_is_encoded_canonically_and_its_numbers_are_read_in_place() {
    let pair = Pair {
        key: b"k",
        create_revision: 2,
        mod_revision: 300,
        version: 0,
        value: b"",
        lease: 5,
    };
    let kv = encoding::encode(&mut BytesMut::new(), &pair);
    assert_eq!(kv.as_ref(), b"\x0a\x01k\x10\x02\x18\xac\x02\x30\x05");
    let numbers = numbers_of(&kv).expect("it is a pair");
    assert_eq!(
        (numbers.key, numbers.create_revision, numbers.lease),
        (b"k".as_slice(), 2, 5)
    );
    assert_eq!(key_of(&kv), b"k");
    for cut in 1..kv.len() {
        assert!(
            numbers_of(&kv[..cut]).is_none_or(|n| n.lease == 0),
            "cut at {cut}"
        );
    }
    assert_eq!(key_of(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f"), b"");
}

#[test]
fn a_restored_store_reads_as_the_one_before() {
    let mut store = Store::new(Arc::new(Empty), 1 << 20);
    let mut log = Vec::new();
    for (key, delete) in [
        ("b", false),
        ("a", false),
        ("b", false),
        ("a", true),
        ("c", false),
    ] {
        let mut write = store.begin();
        if delete {
            store.delete(&mut write, key.as_bytes());
        } else {
            store.put(&mut write, key.as_bytes(), b"v", 0);
        }
        store.commit(&write);
        log.extend(write.events.into_iter().map(|e| e.record));
    }
    let mut restore = Restore::default();
    for r in &log {
        let numbers = numbers_of(&r.kv).expect("it is a pair");
        restore.record(r.revision, r.tombstone, &numbers, r.kv.len());
    }
    let again = restore.finish(Arc::new(Empty), 0, None, (Index(5), Term(1)));
    assert_eq!(
        (again.current(), again.keys(), again.size()),
        (6, 2, store.size())
    );
    for key in [b"a", b"b", b"c"] {
        assert_eq!(again.history(key), store.history(key));
        assert_eq!(again.latest(key), store.latest(key));
    }
}

#[test]
fn an_empty_store_has_the_hash_of_its_bucket_name() {
    // CRC-32C of "key".
    assert_eq!(KvHasher::new(-1, 1).finish(), crc32c_of(b"key"));
}

#[test]
fn only_a_transaction_whose_ranges_all_say_so_is_serializable() {
    let range = |serializable| pb::RequestOp {
        request: Some(Op::RequestRange(pb::RangeRequest {
            serializable,
            ..Default::default()
        })),
    };
    let txn = |success: Vec<_>, failure: Vec<_>| pb::TxnRequest {
        success,
        failure,
        ..Default::default()
    };
    let local = range(true);
    assert!(is_serializable(&txn(vec![local.clone()], vec![])));
    assert!(is_serializable(&txn(vec![], vec![local.clone()])));
    assert!(!is_serializable(&txn(vec![local], vec![range(false)])));
    assert!(!is_serializable(&txn(vec![], vec![])), "it only compares");
}

/// Bit by bit, to check the table.
fn crc32c_of(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ 0x82f6_3b78
            } else {
                crc >> 1
            };
        }
    }
    !crc
}
