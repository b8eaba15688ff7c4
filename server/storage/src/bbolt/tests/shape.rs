//! Round trips at every size that makes another shape of tree, and the bytes that etcd has for the same content.

use super::*;
use crate::bbolt::page::{BRANCH, Header, PAGE_BYTES};

fn round_trip(buckets: &[(&str, Vec<Pair>)]) -> Vec<u8> {
    let bytes = written(buckets);
    let mut expected: Vec<(String, Vec<Pair>)> = buckets
        .iter()
        .map(|(name, pairs)| ((*name).to_owned(), pairs.clone()))
        .collect();
    expected.sort();
    let found = read(&bytes).expect("sound");
    assert!(found == expected, "what was read is not what was written");
    bytes
}

/// Every branch page, with its number of children.
fn branches(bytes: &[u8]) -> Vec<u16> {
    let mut found = Vec::new();
    let mut page = 2;
    while let Some(rest) = bytes
        .get(page * PAGE_BYTES..)
        .filter(|rest| !rest.is_empty())
    {
        let header = Header::read(rest).expect("a page");
        if header.flags == BRANCH {
            found.push(header.count);
        }
        page += 1 + header.overflow as usize;
    }
    found
}

#[test]
fn empty_and_tiny_buckets_are_read_back() {
    round_trip(&[("a", Vec::new())]);
    round_trip(&[
        ("b", numbered(1, |_| 0)),
        ("a", numbered(3, |_| 5)),
        ("key", Vec::new()),
    ]);
}

#[test]
fn any_number_of_leaves_makes_a_tree_whose_branches_have_two_children_or_more() {
    // One pair a leaf, so that the number of pairs is the number of children.
    for leaves in (1..=420).step_by(1) {
        let bytes = written(&[("b", numbered(leaves, |_| 4000))]);
        assert_eq!(read(&bytes).expect("sound")[0].1.len(), leaves as usize);
        let branches = branches(&bytes);
        assert_eq!(branches.is_empty(), leaves == 1);
        assert!(
            branches.iter().all(|children| *children >= 2),
            "{leaves} leaves: {branches:?}"
        );
    }
}

#[test]
fn several_levels_of_branches_are_read_back() {
    // 170 children a branch: 60,000 leaves are three levels above the leaves.
    let bytes = written(&[("b", numbered(60_000, |_| 2100))]);
    assert!(branches(&bytes).iter().all(|children| *children >= 2));
    let read = read(&bytes).expect("sound");
    assert!(read[0].1 == numbered(60_000, |_| 2100));
}

#[test]
fn values_of_any_length_are_read_back() {
    let around_a_page = |n: u32| match n % 7 {
        0 => 0,
        1 => 4000 + (n as usize % 130),
        2 => 8150 + (n as usize % 60),
        3 => 100_000,
        _ => n as usize % 300,
    };
    round_trip(&[("b", numbered(1500, around_a_page))]);
    round_trip(&[("b", numbered(3, |_| 3 << 20))]);
}

#[test]
fn the_longest_keys_make_branches_of_more_than_a_page() {
    let key = |n: u8| {
        let mut key = vec![b'k'; 32_768];
        key[0] = n;
        key
    };
    let pairs: Vec<Pair> = (1..=20).map(|n| (key(n), vec![n])).collect();
    let bytes = round_trip(&[("b", pairs)]);
    assert!(branches(&bytes).iter().all(|children| *children >= 2));
}

#[test]
fn keys_out_of_order_are_never_written() {
    for keys in [[b"b", b"a"], [b"a", b"a"]] {
        let mut writer = BoltWriter::new(file(), PathBuf::from("f"));
        let mut bucket = writer.bucket(b"b");
        bucket.put(keys[0], b"").expect("the first key");
        assert!(matches!(
            bucket.put(keys[1], b""),
            Err(StorageError::Order(_))
        ));
        assert!(matches!(bucket.put(b"", b""), Err(StorageError::Order(_))));
    }
}

#[test]
fn a_snapshot_has_etcds_ten_buckets_with_etcds_bytes() {
    let bytes = snapshot();
    let all = read(&bytes).expect("sound");
    let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
    let ten = [
        "alarm",
        "auth",
        "authRoles",
        "authUsers",
        "cluster",
        "key",
        "lease",
        "members",
        "members_removed",
        "meta",
    ];
    assert_eq!(names, ten);
    let shown: Vec<String> = all
        .iter()
        .flat_map(|(name, pairs)| {
            pairs.iter().map(move |(key, value)| {
                format!("{name} {} {}", key.escape_ascii(), value.escape_ascii())
            })
        })
        .collect();
    // The same as `etcd-dump-db iterate-bucket` shows of a real etcd's.
    let expected = [
        r"alarm \x08\x05\x10\x01 ",
        r"auth authRevision \x00\x00\x00\x00\x00\x00\x00\x01",
        r"cluster clusterVersion 3.6.0",
        r"key \x00\x00\x00\x00\x00\x00\x00\x02_\x00\x00\x00\x00\x00\x00\x00\x00 \n\x01a\x10\x02\x18\x02 \x01*\x011",
        r"key \x00\x00\x00\x00\x00\x00\x00\x04_\x00\x00\x00\x00\x00\x00\x00\x01t \n\x01a",
        r"lease \x00\x00\x00\x00\x00\x00\x00M \x08M\x10d",
        r#"members 8ddab73534be950c {\"id\":10221683743416816908,\"peerURLs\":[\"http://127.0.0.1:2380\"],\"name\":\"a\\u003cb\\u003e\\u0026c\"}"#,
        r"members_removed 7 removed",
        r#"meta confState {\"voters\":[10221683743416816908],\"auto_leave\":false}"#,
        r"meta consistent_index \x00\x00\x00\x00\x00\x00\x00\x0c",
        r"meta finishedCompactRev \x00\x00\x00\x00\x00\x00\x00\x02_\x00\x00\x00\x00\x00\x00\x00\x00",
        r"meta scheduledCompactRev \x00\x00\x00\x00\x00\x00\x00\x03_\x00\x00\x00\x00\x00\x00\x00\x00",
        r"meta storageVersion 3.6.0",
        r"meta term \x00\x00\x00\x00\x00\x00\x00\x03",
    ];
    assert_eq!(shown, expected);
}

#[test]
fn a_snapshot_is_read_back_entry_by_entry() {
    let (summary, items) = walk(&snapshot(), Trailer::Required).expect("sound");
    assert_eq!(summary.tables, tables());
    assert_eq!(
        (summary.revision, summary.records, summary.leases),
        (4, 2, 1)
    );
    let deletion = KeyValue {
        key: Bytes::from_static(b"a"),
        ..KeyValue::default()
    };
    let expected = [
        Item::Record {
            revision: Revision::first_of(2),
            tombstone: false,
            kv: kv("a", 2, b"1"),
        },
        Item::Record {
            revision: Revision { main: 4, sub: 1 },
            tombstone: true,
            kv: deletion,
        },
        Item::Lease(Lease {
            id: 77,
            ttl: 100,
            remaining_ttl: 0,
        }),
    ];
    assert_eq!(items, expected);
}
