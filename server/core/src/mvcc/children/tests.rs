//! Listings against the obvious way of making them, on keys that are hard to list.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::backend::{BackendError, Record, Records};

/// A state store that is never asked: a listing needs the index only.
#[derive(Debug)]
struct Unread;

impl Records for Unread {
    fn get(&self, _: Revision) -> Result<Option<Record>, BackendError> {
        Err(BackendError("a listing read a record".into()))
    }

    fn scan(&self, _: Revision, _: Revision, _: usize) -> Result<Vec<Record>, BackendError> {
        Err(BackendError("a listing scanned records".into()))
    }
}

fn empty() -> Store {
    Store::new(Arc::new(Unread), 1 << 20)
}

fn put(store: &mut Store, key: &[u8]) {
    let mut write = store.begin();
    store.put(&mut write, key, b"v", 0);
    store.commit(&write);
}

fn delete(store: &mut Store, key: &[u8]) {
    let mut write = store.begin();
    store.delete(&mut write, key);
    store.commit(&write);
}

fn store_of(keys: &[&[u8]]) -> Store {
    let mut store = empty();
    keys.iter().for_each(|key| put(&mut store, key));
    store
}

fn numbered(store: &mut Store, folder: &str, keys: u64) {
    let mut write = store.begin();
    for number in 0..keys {
        store.put(
            &mut write,
            format!("{folder}{number:07}").as_bytes(),
            b"v",
            0,
        );
    }
    store.commit(&write);
}

/// The page, and how many holds of the lock it took.
fn listed(store: &Store, request: &ChildrenRequest) -> (ChildrenPage, usize) {
    let mut children = Children::new(store, request.clone()).expect("the revision is readable");
    let mut holds = 1;
    while children.page(store).expect("nothing is compacted") {
        holds += 1;
    }
    (children.finish(), holds)
}

fn under(prefix: &[u8], delimiter: &[u8], limit: usize) -> ChildrenRequest {
    ChildrenRequest {
        prefix: prefix.to_vec(),
        delimiter: delimiter.to_vec(),
        limit,
        ..ChildrenRequest::default()
    }
}

/// All pages after each other.
fn all_pages(store: &Store, mut request: ChildrenRequest) -> Vec<Child> {
    let mut lines = Vec::new();
    loop {
        let (page, _) = listed(store, &request);
        assert!(page.lines.len() <= request.limit);
        lines.extend(page.lines);
        let Some(next) = page.next else {
            return lines;
        };
        assert!(next.starts_with(&request.prefix) && next > request.from);
        (request.from, request.revision) = (next, page.revision);
    }
}

fn folder(prefix: &[u8], count: u64) -> Child {
    Child::Folder {
        prefix: prefix.to_vec(),
        count,
        count_capped: false,
    }
}

fn names(lines: &[Child]) -> Vec<&[u8]> {
    let names = lines.iter().map(|line| match line {
        Child::Folder { prefix, .. } => prefix.as_slice(),
        Child::Key { key, .. } => key.as_slice(),
    });
    names.collect()
}

/// Every key looked at, one by one.
fn naive(state: &BTreeMap<Vec<u8>, Revision>, request: &ChildrenRequest) -> Vec<Child> {
    let mut lines: Vec<Child> = Vec::new();
    for (key, revision) in state {
        let Some(rest) = key.strip_prefix(request.prefix.as_slice()) else {
            continue;
        };
        let cut = (0..rest.len())
            .filter(|_| !request.delimiter.is_empty())
            .find(|at| rest[*at..].starts_with(&request.delimiter));
        let Some(cut) = cut else {
            lines.push(Child::Key {
                key: key.clone(),
                revision: *revision,
            });
            continue;
        };
        let name = [&request.prefix, &rest[..cut], &request.delimiter].concat();
        let same =
            |line: &&mut Child| matches!(line, Child::Folder { prefix, .. } if *prefix == name);
        match lines.iter_mut().find(same) {
            Some(Child::Folder { count, .. }) => *count += 1,
            _ => lines.push(folder(&name, 1)),
        }
    }
    lines
}

/// Numbers that are the same in every run. (xorshift64*, Vigna 2014)
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).expect("31 bits") % bound
    }

    /// Up to `most` bytes that often are delimiters, ends of byte ranges and no text.
    fn bytes(&mut self, least: usize, most: usize) -> Vec<u8> {
        const BYTES: [u8; 7] = [0x00, b'/', b'/', b'a', b'b', 0xfe, 0xff];
        let len = least + self.below(most - least + 1);
        (0..len).map(|_| BYTES[self.below(BYTES.len())]).collect()
    }
}

#[test]
fn pages_of_random_keys_are_the_naive_listing_at_every_revision() {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    for _ in 0..40 {
        let mut store = empty();
        let mut states = vec![(1, BTreeMap::new())];
        for _ in 0..150 {
            let key = numbers.bytes(1, 6);
            let mut state = states.last().expect("the first").1.clone();
            if numbers.below(4) > 0 {
                put(&mut store, &key);
                state.insert(key.clone(), Revision::first_of(store.current()));
            } else if state.remove(&key).is_some() {
                delete(&mut store, &key);
            }
            states.push((store.current(), state));
        }
        for _ in 0..60 {
            let (revision, state) = &states[numbers.below(states.len())];
            let delimiters: [&[u8]; 6] = [b"", b"/", b"//", b"a/", b"\xff", b"\0"];
            let mut request = under(
                &numbers.bytes(0, 3),
                delimiters[numbers.below(6)],
                1 + numbers.below(9),
            );
            request.revision = *revision;
            let want = naive(state, &request);
            assert_eq!(all_pages(&store, request.clone()), want, "{request:?}");
            let keys = state.keys().filter(|key| key.starts_with(&request.prefix));
            let (page, _) = listed(&store, &request);
            assert_eq!(
                (page.count, page.count_capped),
                (keys.count() as u64, false)
            );
        }
    }
}

#[test]
fn a_key_equal_to_the_prefix_and_a_delimiter_at_its_end_are_lines_of_their_own() {
    let store = store_of(&[b"app", b"app/", b"app//x", b"app/a", b"app0", b"b"]);
    let (page, _) = listed(&store, &under(b"app", b"/", 9));
    assert_eq!(names(&page.lines), [b"app".as_slice(), b"app/", b"app0"]);
    assert_eq!(page.lines[1], folder(b"app/", 3));
    let (page, _) = listed(&store, &under(b"app/", b"/", 9));
    assert_eq!(
        names(&page.lines),
        [b"app/".as_slice(), b"app//", b"app/a"],
        "the first is the key itself"
    );
    assert!(matches!(page.lines[0], Child::Key { .. }));
}

#[test]
fn a_prefix_without_a_successor_is_listed_to_the_last_key() {
    let store = store_of(&[
        b"\xfe",
        b"\xff",
        b"\xff\xff",
        b"\xff\xff/1",
        b"\xff\xff\xff",
    ]);
    let (page, _) = listed(&store, &under(b"\xff", b"/", 9));
    let want: [&[u8]; 4] = [b"\xff", b"\xff\xff", b"\xff\xff/", b"\xff\xff\xff"];
    assert_eq!(names(&page.lines), want);
    assert_eq!((page.count, page.next), (4, None));
}

#[test]
fn a_large_folder_is_counted_to_the_cap_and_jumped_over() {
    let mut store = empty();
    numbered(&mut store, "a/", FOLDER_KEYS);
    numbered(&mut store, "b/", FOLDER_KEYS + 1);
    numbered(&mut store, "c/", 50_000);
    put(&mut store, b"d");
    let (page, holds) = listed(&store, &under(b"", b"/", 9));
    let capped = |name: &[u8]| Child::Folder {
        prefix: name.to_vec(),
        count: FOLDER_KEYS,
        count_capped: true,
    };
    assert_eq!(page.lines[0], folder(b"a/", FOLDER_KEYS));
    assert_eq!(page.lines[1..3], [capped(b"b/"), capped(b"c/")]);
    assert_eq!(names(&page.lines)[3], b"d");
    assert!(holds <= 4, "{holds} holds for three folders and a key");
    assert_eq!((page.count, page.count_capped), (52_002, false), "known");
}

#[test]
fn a_folder_of_bytes_without_a_successor_ends_the_listing() {
    let mut store = empty();
    let mut write = store.begin();
    for number in 0..=FOLDER_KEYS {
        let key = [b"\xff\xff".as_slice(), number.to_string().as_bytes()].concat();
        store.put(&mut write, &key, b"v", 0);
    }
    store.commit(&write);
    let (page, _) = listed(&store, &under(b"\xff", b"\xff", 1));
    assert_eq!(
        (names(&page.lines), page.next),
        (vec![b"\xff\xff".as_slice()], None)
    );
}

#[test]
fn a_flat_page_visits_its_own_keys_and_counts_up_to_the_cap() {
    let mut store = empty();
    numbered(&mut store, "k", 60_000);
    put(&mut store, b"z");
    let (page, holds) = listed(&store, &under(b"k", b"", 100));
    assert_eq!(
        (page.lines.len(), page.next),
        (100, Some(b"k0000100".to_vec()))
    );
    assert_eq!((page.count, page.count_capped), (COUNT_KEYS as u64, true));
    assert!(holds <= COUNT_KEYS / PAGE_KEYS + 1, "{holds} holds");
    let (all, holds) = listed(&store, &under(b"", b"", 100));
    assert_eq!((all.count, all.count_capped), (60_001, false));
    assert_eq!(holds, 1);
}

#[test]
fn a_page_over_too_many_deleted_keys_ends_early_and_leads_on() {
    let mut store = empty();
    numbered(&mut store, "a/", 30_000);
    put(&mut store, b"b");
    let mut write = store.begin();
    for number in 0..30_000 {
        store.delete(&mut write, format!("a/{number:07}").as_bytes());
    }
    store.commit(&write);
    let mut request = under(b"", b"/", 2);
    let (page, _) = listed(&store, &request);
    assert!(page.lines.is_empty() && page.next.is_some());
    request.revision = page.revision;
    assert_eq!(names(&all_pages(&store, request)), [b"b".as_slice()]);
}

#[test]
fn a_folder_in_which_only_deleted_keys_follow_is_shown_once() {
    let mut store = empty();
    put(&mut store, b"a/");
    numbered(&mut store, "a/", 30_000);
    put(&mut store, b"b");
    let mut write = store.begin();
    for number in 0..30_000 {
        store.delete(&mut write, format!("a/{number:07}").as_bytes());
    }
    store.commit(&write);
    let lines = all_pages(&store, under(b"", b"/", 2));
    assert_eq!(names(&lines), [b"a/".as_slice(), b"b"]);
    assert!(matches!(
        lines[0],
        Child::Folder {
            count: 1,
            count_capped: true,
            ..
        }
    ));
}

#[test]
fn revisions_that_cannot_be_read_are_refused_also_between_two_holds() {
    let mut store = empty();
    numbered(&mut store, "k", 5_000);
    put(&mut store, b"k");
    let at = |revision| ChildrenRequest {
        revision,
        ..under(b"k", b"", 3_000)
    };
    assert_eq!(
        Children::new(&store, at(99)).err(),
        Some(Error::FutureRevision)
    );
    let mut reading = Children::new(&store, at(2)).expect("it is readable");
    assert_eq!(reading.page(&store), Ok(true));
    store.set_compacted(3);
    assert_eq!(reading.page(&store), Err(Error::Compacted));
    assert_eq!(Children::new(&store, at(2)).err(), Some(Error::Compacted));
}

#[test]
fn what_is_written_between_two_holds_is_not_seen() {
    let mut store = empty();
    numbered(&mut store, "k", 2_500);
    let mut reading = Children::new(&store, under(b"k", b"", 5_000)).expect("it is readable");
    assert_eq!(reading.page(&store), Ok(true));
    put(&mut store, b"k0002000a");
    delete(&mut store, b"k0002001");
    while reading.page(&store).expect("nothing is compacted") {}
    let page = reading.finish();
    assert_eq!(
        (page.lines.len(), page.count, page.revision),
        (2_500, 2_500, 2)
    );
}
