//! Snapshots between members, damaged or forged on the way: refused, or a state that can be installed and read.
//!
//! What was only damaged never arrives as something else. What was forged, with checksums and digest made right again,
//! may be anything that a store can hold, but nothing may panic.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use kvorum_core::backend::{FlushMark, Record, SideChange};
use kvorum_core::{Index, LeaseId, Revision, Term};
use kvorum_storage::bbolt::Sha256Digest;
use kvorum_storage::{
    MemDisk, SnapshotRefused, SnapshotSink, SnapshotSource, StateStore, StoreOptions,
};

use crate::disk_image::overwrite;
use crate::input::{Input, put_piece};

const CHANGES_MAX: usize = 12;
/// Changes from this number on forge; all below are damage.
const FORGE: u8 = 128;
const HEAD_BYTES: usize = 25;
/// Where the head's counts stand, and the bytes they take.
const COUNTS_AT: usize = HEAD_BYTES + 20;
const COUNTS_BYTES: usize = 24;

type Chunks = Vec<Vec<u8>>;

fn store() -> (MemDisk, Arc<StateStore>) {
    let disk = MemDisk::new();
    let options = StoreOptions {
        cache_bytes: 1 << 20,
    };
    let opened = StateStore::open(Arc::new(disk.clone()), options);
    let (store, _) = opened.expect("an empty disk");
    (disk, Arc::new(store))
}

/// Nothing at all; some rows of every table; records in two chunks.
fn sent() -> &'static [Chunks] {
    static SENT: OnceLock<Vec<Chunks>> = OnceLock::new();
    SENT.get_or_init(|| vec![chunks(0, 0), chunks(4, 50), chunks(300, 1000)])
}

fn chunks(records: i64, len: usize) -> Chunks {
    let (_, store) = store();
    let mut side = vec![SideChange::MetaPut("conf_state".into(), Bytes::new())];
    side.extend((0..records.min(3)).map(|id| SideChange::LeasePut(LeaseId(id), Bytes::new())));
    let mark = FlushMark {
        applied: Index(9),
        term: Term(2),
        side,
    };
    let records = (2..2 + records).map(|main| Record {
        revision: Revision::first_of(main),
        tombstone: false,
        kv: Bytes::from(vec![main as u8; len]),
    });
    store.flush(records, &mark).expect("memory does not fail");
    let mut source = SnapshotSource::new(store, 1).expect("memory does not fail");
    let next = || source.next_chunk().expect("memory does not fail");
    std::iter::from_fn(next).map(|c| c.to_vec()).collect()
}

pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let original = &sent()[usize::from(input.u8()) % sent().len()];
    let mut all = original.clone();
    let mut forged = false;
    for _ in 0..CHANGES_MAX {
        if input.is_empty() || all.is_empty() {
            break;
        }
        match input.u8() {
            kind @ FORGE.. => {
                forged = true;
                forge(&mut all, kind, &mut input);
            }
            kind => damage(&mut all, kind, &mut input),
        }
    }
    take(&all, (!forged).then_some(original));
}

/// Takes chunks until one is refused, and installs what is complete.
fn take(all: &Chunks, original: Option<&Chunks>) {
    let (disk, store) = store();
    let sink = SnapshotSink::new(Arc::new(disk));
    let mut sink = sink.expect("memory does not fail");
    for chunk in all {
        match sink.take(chunk) {
            Ok(_) => {}
            Err(SnapshotRefused::Storage(error)) => panic!("memory does not fail: {error}"),
            Err(_) => return,
        }
    }
    let Ok(staged) = sink.finish() else { return };
    if let Some(original) = original {
        assert_eq!(all, original, "something else arrived");
    }
    let promised = staged.head().expect("it is complete").counts;
    let restored = store.install(staged).expect("what is complete installs");
    let mut records = 0;
    let scanned = store.scan_all(|_, _, _| records += 1);
    scanned.expect("every row was checked");
    let found = (records, restored.leases.len(), restored.meta.len());
    let promised = (
        promised.records,
        usize::try_from(promised.leases).expect("small"),
        usize::try_from(promised.meta).expect("small"),
    );
    assert_eq!(found, promised);
}

fn damage(all: &mut Chunks, kind: u8, input: &mut Input<'_>) {
    let chosen = usize::from(input.u8()) % all.len();
    let other = usize::from(input.u8()) % all.len();
    let offset = usize::from(input.u16());
    let chunk = &mut all[chosen];
    let at = offset % chunk.len().max(1);
    match kind % 7 {
        0 => {
            if let Some(byte) = chunk.get_mut(at) {
                *byte ^= 1 << (other % 8);
            }
        }
        1 => chunk.truncate(at),
        2 => chunk.extend_from_slice(input.piece()),
        3 => overwrite(chunk, at, input.piece()),
        4 => all.swap(chosen, other),
        5 => {
            all.remove(chosen);
        }
        _ => {
            let twice = chunk.clone();
            all.insert(other, twice);
        }
    }
}

fn forge(all: &mut Chunks, kind: u8, input: &mut Input<'_>) {
    let chosen = usize::from(input.u8()) % all.len();
    match kind % 3 {
        0 => {
            let at = usize::from(input.u16());
            let piece = input.piece();
            let chunk = &mut all[chosen];
            let at = at % chunk.len().max(1);
            overwrite(chunk, at, piece);
            seal(chunk);
        }
        1 => {
            // A chunk of one row whose own checksum is right.
            let (table, key, rest) = (2 + input.u8() % 3, input.piece(), input.piece());
            let crc = crc32c::crc32c_append(crc32c::crc32c(key), rest);
            let mut chunk = all[chosen].clone();
            chunk.resize(HEAD_BYTES, 0);
            chunk[24] = table;
            chunk.extend_from_slice(&(key.len() as u16).to_le_bytes());
            chunk.extend_from_slice(&(rest.len() as u32 + 4).to_le_bytes());
            chunk.extend_from_slice(key);
            chunk.extend_from_slice(&crc.to_le_bytes());
            chunk.extend_from_slice(rest);
            all.insert((chosen + 1).min(all.len()), chunk);
            mend(all);
        }
        _ => mend(all),
    }
}

/// As the head of `server/storage/src/store/snapshot.rs` says.
fn seal(chunk: &mut [u8]) {
    if let Some(rest) = chunk.get(8..) {
        let crc = crc32c::crc32c(rest);
        overwrite(chunk, 4, &crc.to_le_bytes());
    }
}

/// Makes numbers, counts, checksums and the digest right again.
fn mend(all: &mut Chunks) {
    let mut counts = [0_u64; 3];
    for chunk in all.iter() {
        let table = chunk.get(24).and_then(|kind| kind.checked_sub(2));
        if let Some(count) = table.and_then(|table| counts.get_mut(usize::from(table))) {
            *count += rows(&chunk[HEAD_BYTES..]);
        }
    }
    let counts: Vec<u8> = counts.iter().flat_map(|n| n.to_le_bytes()).collect();
    if let Some(head) = all.first_mut() {
        overwrite(head, COUNTS_AT, &counts);
    }
    let last = all.len().saturating_sub(1);
    let mut digest = [0; 32];
    for (number, chunk) in all.iter_mut().enumerate() {
        overwrite(chunk, 16, &(number as u64).to_le_bytes());
        if number == last {
            overwrite(chunk, HEAD_BYTES, &counts);
            overwrite(chunk, HEAD_BYTES + COUNTS_BYTES, &digest);
        }
        seal(chunk);
        let mut sum = Sha256Digest::default();
        sum.feed(&digest);
        sum.feed(chunk.get(8..).unwrap_or_default());
        digest = sum.finish();
    }
}

fn rows(mut body: &[u8]) -> u64 {
    let mut count = 0;
    while let Some((head, rest)) = body.split_at_checked(6) {
        let key = usize::from(u16::from_le_bytes([head[0], head[1]]));
        let value = u32::from_le_bytes([head[2], head[3], head[4], head[5]]) as usize;
        let Some(rest) = rest.get(key + value..) else {
            break;
        };
        body = rest;
        count += 1;
    }
    count
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![vec![0], vec![1], vec![2]];
    for image in 0..3 {
        for kind in 0..7 {
            let mut seed = vec![image, kind, 1, 0, 30, 0];
            put_piece(&mut seed, b"xyz");
            seeds.push(seed);
        }
        for (table, key) in [(0, &[0x80; 12][..]), (1, &[7; 8]), (2, b"name"), (0, b"k")] {
            let mut seed = vec![image, FORGE + 2, 0, table];
            put_piece(&mut seed, key);
            put_piece(&mut seed, b"\0value");
            seeds.push(seed);
        }
        // A head that says something else, mended.
        for at in [0, 24, 25, 29, 45] {
            let mut seed = vec![image, FORGE + 1, 0, at, 0];
            put_piece(&mut seed, &[5, 5]);
            seed.extend([FORGE, 0]);
            seeds.push(seed);
        }
    }
    seeds
}
