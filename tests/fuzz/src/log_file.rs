//! Logs that were damaged: opening one refuses it, or gives entries that were written, and a log that goes on.
//!
//! Besides damage an input can forge: put bytes into a frame or a segment's head and make its checksum right again.
//! What is recovered then is anybody's guess, but it must be in order, and nothing may panic.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use kvorum_core::log::{Append, Entry, EntryKind, HardState};
use kvorum_storage::{Log, LogOptions, MemDisk};

use crate::disk_image::{Files, damage, disk_of, overwrite};
use crate::input::{Input, put_piece};

const BLOCK: usize = 4096;
const SEGMENT_BYTES: u64 = 8 * BLOCK as u64;
const CHANGES_MAX: usize = 12;
/// Numbers of changes that forge; all below are damage.
const FORGE_FRAME: u8 = 250;
const FORGE_HEAD: u8 = 253;

/// A log as it was written.
struct Written {
    files: Files,
    entries: BTreeMap<u64, Entry>,
}

pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let written = &logs()[usize::from(input.u8()) % logs().len()];
    let options = LogOptions {
        segment_bytes: SEGMENT_BYTES,
        seed: 7,
        must_reach: Some(u64::from(input.u8())).filter(|index| *index < 200),
        base: None,
    };
    let mut files = written.files.clone();
    let mut forged = false;
    for _ in 0..CHANGES_MAX {
        if input.is_empty() || files.is_empty() {
            break;
        }
        match input.u8() {
            kind @ FORGE_FRAME.. => {
                forged = true;
                forge(&mut files, kind, &mut input);
            }
            _ => damage(&mut files, &mut input),
        }
    }
    open(
        &disk_of(&files),
        options,
        (!forged).then_some(&written.entries),
    );
}

/// Opens the log, goes on with it, and opens it again.
fn open(disk: &MemDisk, options: LogOptions, written: Option<&BTreeMap<u64, Entry>>) {
    let Ok((mut log, recovered)) = Log::open(Arc::new(disk.clone()), options) else {
        return;
    };
    check_order(&recovered.entries, recovered.base.0);
    if let Some(written) = written {
        for entry in &recovered.entries {
            assert_eq!(written.get(&entry.index), Some(entry), "never written");
        }
    }
    let last = recovered.entries.last();
    let (index, term) = last.map_or(recovered.base, |entry| (entry.index, entry.term));
    assert_eq!(log.last_index(), index);
    let Some(next) = index.checked_add(1) else {
        return;
    };
    let more = entry(next, term.max(1), 10);
    let group = Append {
        entries: vec![more.clone()],
        ..Append::default()
    };
    if log.append(&[group]).is_err() {
        assert!(written.is_none(), "a log that opens goes on");
        return;
    }
    drop(log);
    let again = Log::open(Arc::new(disk.clone()), options);
    let (_, again) = again.unwrap_or_else(|error| panic!("what it wrote itself: {error}"));
    assert_eq!(again.entries.last(), Some(&more));
}

fn check_order(entries: &[Entry], base: u64) {
    let mut before = base;
    for entry in entries {
        assert_eq!(Some(entry.index), before.checked_add(1), "a gap");
        before = entry.index;
    }
}

/// Puts a piece into a block and makes the checksums of the frame, or of the segment's head, right again.
fn forge(files: &mut Files, kind: u8, input: &mut Input<'_>) {
    let chosen = usize::from(input.u8()) % files.len();
    let (block, offset) = (usize::from(input.u8()), usize::from(input.u16()) % BLOCK);
    let piece = input.piece();
    let Some((_, bytes)) = files.get_mut(chosen) else {
        return;
    };
    let start = if kind >= FORGE_HEAD {
        0
    } else {
        BLOCK * (1 + block % (bytes.len() / BLOCK).max(1))
    };
    overwrite(bytes, start + offset, piece);
    if start == 0 {
        seal_head(bytes);
    } else {
        seal_frame(bytes, start);
    }
}

/// As the head of `server/storage/src/log/segment.rs` says.
fn seal_head(bytes: &mut [u8]) {
    let Some(head) = bytes.get(..64) else { return };
    let crc = crc32c::crc32c_append(crc32c::crc32c(&head[..12]), &head[16..]);
    overwrite(bytes, 12, &crc.to_le_bytes());
}

/// As the head of `server/storage/src/log/frame.rs` says.
fn seal_frame(bytes: &mut [u8], start: usize) {
    let (Some(id), Some(head)) = (bytes.get(16..32), bytes.get(start..start + 48)) else {
        return;
    };
    let own = crc32c::crc32c(id);
    let length = u32::from_le_bytes([head[16], head[17], head[18], head[19]]);
    let body = bytes.get(start + 48..).unwrap_or_default();
    let body = body.get(..length as usize);
    if let Some(body) = body {
        let crc = crc32c::crc32c_append(own, body);
        overwrite(bytes, start + 20, &crc.to_le_bytes());
    }
    let Some(rest) = bytes.get(start + 8..start + 48) else {
        return;
    };
    let crc = crc32c::crc32c_append(own, rest);
    overwrite(bytes, start + 4, &crc.to_le_bytes());
}

fn entry(index: u64, term: u64, len: usize) -> Entry {
    Entry {
        index,
        term,
        kind: EntryKind::Normal,
        data: Bytes::from(vec![(index % 251) as u8; len]),
    }
}

/// Empty; three frames and a marker; several segments with hard states; one whose first segments were let go.
fn logs() -> &'static [Written] {
    static LOGS: OnceLock<Vec<Written>> = OnceLock::new();
    LOGS.get_or_init(|| {
        vec![
            written(0, 0, false),
            written(3, 100, false),
            written(30, 3000, false),
            written(30, 3000, true),
        ]
    })
}

fn written(count: u64, len: usize, release: bool) -> Written {
    let disk = MemDisk::new();
    let options = LogOptions {
        segment_bytes: SEGMENT_BYTES,
        seed: 7,
        must_reach: None,
        base: None,
    };
    let (mut log, _) = Log::open(Arc::new(disk.clone()), options).expect("an empty disk");
    let mut entries = BTreeMap::new();
    for index in 1..=count {
        let term = 1 + index / 10;
        let new = entry(index, term, len);
        entries.insert(index, new.clone());
        let group = Append {
            number: 0,
            entries: vec![new],
            hard_state: (index % 4 == 0).then_some(HardState {
                term,
                vote: 1,
                commit: index,
            }),
        };
        log.append(&[group]).expect("memory does not fail");
    }
    if release {
        log.release(count / 2);
        log.recycler().run().expect("memory does not fail");
    }
    log.settle().expect("memory does not fail");
    Written {
        files: disk.dump(),
        entries,
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = (0..4).map(|log| vec![log, 255]).collect();
    for log in 1..4 {
        for kind in 0..9 {
            // A change to the middle of the second block, and one to the second file.
            seeds.push(vec![log, 0, 0, kind, 0, 0x00, 0x10, 0x40, 0, 0]);
            seeds.push(vec![log, 255, 0, kind, 1, 0x00, 0x20, 0x40, 0, 9]);
        }
        // A body that begins with a record of its own, and a sequence that jumps.
        let mut body = vec![log, 255, FORGE_FRAME, 0, 0, 0, 48];
        put_piece(
            &mut body,
            &[2, 9, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
        );
        seeds.push(body);
        let mut sequence = vec![log, 255, FORGE_FRAME, 0, 1, 0, 8];
        put_piece(&mut sequence, &[9]);
        seeds.push(sequence);
        let mut length = vec![log, 255, FORGE_FRAME, 0, 0, 0, 16];
        put_piece(&mut length, &[0xff; 4]);
        seeds.push(length);
        let mut head = vec![log, 255, FORGE_HEAD, 0, 0, 0, 16];
        put_piece(&mut head, &[0xff; 8]);
        seeds.push(head);
    }
    seeds
}
