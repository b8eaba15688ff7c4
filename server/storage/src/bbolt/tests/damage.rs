//! Files that nobody should trust.

use super::*;
use crate::bbolt::page::{HEADER_BYTES, PAGE_BYTES};
use crate::tests::Dice;

fn refused(bytes: &[u8], trailer: Trailer) -> String {
    walk(bytes, trailer)
        .expect_err("must be refused")
        .to_string()
}

#[test]
fn each_way_to_be_no_snapshot_is_named() {
    let sound = snapshot();
    let mut damaged = sound.clone();
    damaged[9000] ^= 1;
    let text = refused(&damaged, Trailer::Required);
    assert!(
        text.contains("its SHA-256 is") && text.contains("take another snapshot"),
        "{text}"
    );
    for length in [0, 31, 32, 33, 4096, sound.len() - 1, sound.len() - 32] {
        let text = refused(&sound[..length], Trailer::Required);
        assert!(text.contains("cut short"), "{length}: {text}");
    }
    let text = refused(b"", Trailer::Optional);
    assert!(
        text.contains("neither of its two meta pages can be used"),
        "{text}"
    );
    let text = refused(&[7; 8192], Trailer::Optional);
    assert!(text.contains("it is no database of etcd"), "{text}");
    let text = refused(&written(&[("other", Vec::new())]), Trailer::Optional);
    assert!(text.contains("no bucket \"key\""), "{text}");
    assert!(walk(&sound[..sound.len() - 32], Trailer::Optional).is_ok());
}

#[test]
fn a_damaged_meta_page_is_stood_in_for_by_the_other() {
    for (at, sound) in [(20, true), (PAGE_BYTES + 20, true)] {
        let mut bytes = snapshot();
        bytes[at] ^= 1;
        assert_eq!(walk(&bytes, Trailer::Ignored).is_ok(), sound, "byte {at}");
    }
    let mut bytes = snapshot();
    bytes[20] ^= 1;
    bytes[PAGE_BYTES + 20] ^= 1;
    let text = refused(&bytes, Trailer::Ignored);
    assert!(text.contains("another format version"), "{text}");
}

/// A tree of two levels, and the offset of its branch page.
fn tree() -> (Vec<u8>, usize) {
    let bytes = written(&[("b", numbered(3, |_| 4000))]);
    (bytes, 5 * PAGE_BYTES)
}

#[test]
fn circles_and_pages_used_twice_are_refused() {
    let child = |place: usize| HEADER_BYTES + place * 16 + 8;
    for (target, expected) in [
        (5u64, "page 5 is used twice"),
        (3, "page 3 is used twice"),
        (6, "page 6 is used twice"),
        (1, "page 1 is named, but does not exist"),
        (7, "page 7 is named, but does not exist"),
        (u64::MAX, "is named, but does not exist"),
    ] {
        let (mut bytes, branch) = tree();
        let at = branch + child(2);
        bytes[at..at + 8].copy_from_slice(&target.to_le_bytes());
        let text = read(&bytes).expect_err("refused").to_string();
        assert!(text.contains(expected), "{target}: {text}");
    }
}

#[test]
fn lengths_that_lie_are_refused_before_anything_is_made_for_them() {
    for (at, value, expected) in [
        (
            12,
            [0xff, 0xff, 0xff, 0x7f],
            "reaches beyond the end of the file",
        ),
        (
            HEADER_BYTES + 8,
            [0xff, 0xff, 0xff, 0xff],
            "an entry 0 that does not lie in it",
        ),
        (
            HEADER_BYTES + 12,
            [0xff, 0xff, 0xff, 0xff],
            "an entry 0 that does not lie in it",
        ),
        (
            HEADER_BYTES + 4,
            [0, 0, 0, 0],
            "an entry 0 that does not lie in it",
        ),
        (8, [4, 0, 1, 0], "neither branch nor leaf"),
    ] {
        let (mut bytes, _) = tree();
        let at = 2 * PAGE_BYTES + at;
        bytes[at..at + 4].copy_from_slice(&value);
        let text = read(&bytes).expect_err("refused").to_string();
        assert!(text.contains(expected) && text.contains("page 2"), "{text}");
    }
}

#[test]
fn keys_out_of_order_are_refused() {
    let mut bytes = written(&[("b", numbered(3, |_| 0))]);
    let key = 2 * PAGE_BYTES + HEADER_BYTES + 3 * 16;
    bytes[key + 4..key + 8].copy_from_slice(&9u32.to_be_bytes());
    let text = read(&bytes).expect_err("refused").to_string();
    assert!(
        text.contains("page 2 has keys that are out of order"),
        "{text}"
    );
}

#[test]
fn entries_that_etcd_never_has_are_refused() {
    let revision =
        |main: u8, mark: u8| [0, 0, 0, 0, 0, 0, 0, main, mark, 0, 0, 0, 0, 0, 0, 0, 0].to_vec();
    let pair = |revision| kv("k", revision, b"v").encode_to_vec();
    for (bucket, key, value, expected) in [
        ("key", revision(2, b'-'), pair(2), "is not a revision"),
        ("key", revision(0, b'_'), pair(0), "is not a revision"),
        (
            "key",
            revision(3, b'_'),
            pair(2),
            "is a change of another revision",
        ),
        (
            "key",
            revision(2, b'_'),
            b"\xff".to_vec(),
            "cannot be decoded",
        ),
        (
            "key",
            revision(2, b'_'),
            kv("", 2, b"").encode_to_vec(),
            "without a key",
        ),
        ("lease", vec![0; 8], Vec::new(), "is another lease"),
        (
            "meta",
            b"term".to_vec(),
            vec![1],
            "is not a number of 8 bytes",
        ),
        (
            "meta",
            b"confState".to_vec(),
            b"{".to_vec(),
            "is not the JSON",
        ),
        ("members", b"xyz".to_vec(), b"{}".to_vec(), "id of a member"),
    ] {
        let names = ["key", "lease", "members", "meta"];
        let buckets = names.map(|name| {
            let here = name == bucket;
            (
                name,
                if here {
                    vec![(key.clone(), value.clone())]
                } else {
                    Vec::new()
                },
            )
        });
        let text = refused(&written(&buckets), Trailer::Optional);
        assert!(text.contains(expected), "{text}");
        assert!(text.contains(&format!("in bucket \"{bucket}\"")), "{text}");
    }
}

#[test]
fn no_change_of_any_byte_makes_the_reader_panic() {
    let sound = snapshot();
    let many = written(&[
        ("key", numbered(2000, |n| n as usize % 50)),
        ("meta", Vec::new()),
    ]);
    let mut dice = Dice(0x5eed);
    let mut below = |bound: usize| usize::try_from(dice.below(bound as u64)).expect("small");
    let mut outcomes = [0u32; 2];
    for round in 0..8000 {
        let mut bytes = if round % 4 == 0 {
            many.clone()
        } else {
            sound.clone()
        };
        for _ in 0..=below(3) {
            // The heads of pages hold all structure; change them more often than the rest.
            let page = below(bytes.len() / PAGE_BYTES);
            let at = match below(3) {
                0 => below(bytes.len()),
                _ => page * PAGE_BYTES + below(100),
            };
            bytes[at] = match below(3) {
                0 => 0xff,
                1 => bytes[at] ^ (1 << below(8)),
                _ => u8::try_from(below(256)).expect("a byte"),
            };
        }
        if below(10) == 0 {
            bytes.truncate(below(bytes.len()));
        }
        outcomes[usize::from(walk(&bytes, Trailer::Ignored).is_ok())] += 1;
        // Whatever it says of buckets that are not etcd's, it says it without a panic.
        let _ = read(&bytes);
    }
    assert!(outcomes.iter().all(|count| *count > 500), "{outcomes:?}");
}
