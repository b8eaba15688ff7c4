//! Rotten, cut, foreign and newer files: seen and named with place and remedy, or harmless; never a panic.

use std::sync::Arc;

use kvorum_core::log::Append;

use super::{BLOCK, SEGMENT, append_one, entry, group, indices, open, options, state};
use crate::disk::{Disk, MemDisk, OpenMode};
use crate::error::StorageError;
use crate::log::buffer::AlignedBuffer;
use crate::log::frame::{FrameWriter, Tail};
use crate::log::segment::{FORMAT, SegmentId, name};
use crate::log::{Log, LogOptions};

const PAGE: u64 = BLOCK as u64;

/// Three frames and a marker, in one segment.
fn small_log() -> MemDisk {
    let disk = MemDisk::new();
    let (mut log, _) = open(&disk).expect("open");
    (1..=3).for_each(|i| append_one(&mut log, i, 100 + i as usize));
    log.settle().expect("settle");
    disk.killed()
}

/// As many entries as fill several segments.
fn long_log() -> MemDisk {
    let disk = MemDisk::new();
    let (mut log, _) = open(&disk).expect("open");
    (1..=30).for_each(|i| append_one(&mut log, i, 3000));
    disk.killed()
}

fn segments(disk: &MemDisk) -> Vec<String> {
    let mut names: Vec<String> = disk.list().expect("list");
    names.retain(|n| n.ends_with(".log"));
    names.sort();
    names
}

fn copy_with(disk: &MemDisk, name: &str, bytes: &[u8]) -> MemDisk {
    let copy = disk.killed();
    let file = copy.open(name, OpenMode::Existing).expect("open");
    file.set_len(bytes.len() as u64).expect("cut");
    file.write_at(0, bytes).expect("write");
    copy
}

fn bytes_of(disk: &MemDisk, name: &str) -> Vec<u8> {
    let file = disk.open(name, OpenMode::Existing).expect("open");
    let mut bytes = vec![0; file.len().expect("len") as usize];
    file.read_at(0, &mut bytes).expect("read");
    bytes
}

fn refused(disk: &MemDisk) -> String {
    let error = open(disk).map(|_| ()).expect_err("must be refused");
    assert!(!matches!(error, StorageError::Io { .. }), "{error}");
    error.to_string()
}

fn id_of(disk: &MemDisk) -> SegmentId {
    let first = &segments(disk)[0];
    let header = bytes_of(disk, first);
    SegmentId::parse(&header[..BLOCK], 1, header.len() as u64, &disk.path(first)).expect("header")
}

/// Writes a frame that is valid in itself behind the first one.
fn put_frame(disk: &MemDisk, groups: &[Append], sequence: u64, tail: Tail) {
    let id = id_of(disk);
    let file = disk
        .open(&name(id.file_id), OpenMode::Existing)
        .expect("open");
    let mut first = [0; 8];
    file.read_at(PAGE, &mut first).expect("read");
    let previous = u32::from_le_bytes(first[4..].try_into().expect("four bytes"));
    let mut buffer = AlignedBuffer::new();
    let mut frame = FrameWriter::new(&mut buffer);
    groups.iter().for_each(|g| frame.group(g));
    frame.seal(id, sequence, previous, tail);
    file.write_at(2 * PAGE, buffer.as_slice()).expect("write");
}

#[test]
fn no_flipped_bit_ever_shortens_a_settled_log_in_silence() {
    let disk = small_log();
    let file = &segments(&disk)[0];
    let mut refusals = 0;
    for offset in 0..SEGMENT {
        let copy = disk.killed();
        copy.flip_bit(file, offset, (offset % 8) as u8)
            .expect("flip");
        match open(&copy) {
            Ok((_, recovered)) => assert_eq!(indices(&recovered), [1, 2, 3], "byte {offset}"),
            Err(StorageError::Corrupt {
                file: named,
                offset: Some(at),
                ..
            }) => {
                refusals += 1;
                assert_eq!(named, disk.path(file), "byte {offset}");
                assert!(
                    at <= offset && offset < at + 256,
                    "byte {offset} reported at {at}"
                );
            }
            Err(error) => panic!("byte {offset}: {error}"),
        }
    }
    // The file header and three frames, without their padding.
    assert!(refusals > 64 + 3 * (48 + 21 + 100), "{refusals}");
}

#[test]
fn every_bit_of_a_frame_header_counts() {
    let disk = small_log();
    let file = &segments(&disk)[0];
    for bit in 0..48 * 8 {
        let copy = disk.killed();
        copy.flip_bit(file, 2 * PAGE + bit / 8, (bit % 8) as u8)
            .expect("flip");
        let error = refused(&copy);
        assert!(
            error.contains("at byte 8192") && error.contains("restore this member"),
            "{error}"
        );
    }
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let disk = MemDisk::new();
    let (mut log, _) = open(&disk).expect("open");
    (1..=3).for_each(|i| append_one(&mut log, i, 100));
    let disk = disk.killed();
    let file = &segments(&disk)[0];
    let bytes = bytes_of(&disk, file);
    for cut in 0..bytes.len() {
        match open(&copy_with(&disk, file, &bytes[..cut])).map(|_| ()) {
            Err(StorageError::Corrupt {
                offset: Some(at), ..
            }) => assert!(at <= cut as u64),
            other => panic!("cut at {cut}: {other:?}"),
        }
    }
}

#[test]
fn a_log_that_lost_its_end_is_refused_when_the_state_store_knows_better() {
    let disk = MemDisk::new();
    let (mut log, _) = open(&disk).expect("open");
    (1..=3).for_each(|i| append_one(&mut log, i, 100));
    let file = &segments(&disk)[0];
    let mut bytes = bytes_of(&disk, file);
    bytes[3 * BLOCK..].fill(0);
    let cut = copy_with(&disk.killed(), file, &bytes);
    let reach = |applied| {
        let options = LogOptions {
            must_reach: Some(applied),
            ..options()
        };
        Log::open(Arc::new(cut.killed()), options).map(|(_, r)| indices(&r))
    };
    assert_eq!(reach(2).expect("nothing applied is missing"), [1, 2]);
    let error = reach(3).expect_err("entry 3 was applied").to_string();
    assert!(error.contains("the log ends at entry 2"), "{error}");
    let empty = LogOptions {
        must_reach: Some(1),
        ..options()
    };
    Log::open(Arc::new(MemDisk::new()), empty)
        .map(|_| ())
        .expect_err("the log is gone");
}

#[test]
fn a_log_that_ends_before_its_own_commit_is_refused() {
    let disk = MemDisk::new();
    let (mut log, _) = open(&disk).expect("open");
    append_one(&mut log, 1, 10);
    // Written by hand: the log itself refuses to write such a group.
    let lying = Append {
        hard_state: Some(state(1, 1, 9)),
        ..Append::default()
    };
    put_frame(&disk, &[lying], 2, Tail { index: 1, term: 1 });
    let error = refused(&disk);
    assert!(error.contains("has committed entry 9"), "{error}");
}

#[test]
fn entries_out_of_order_are_refused_even_in_a_valid_frame() {
    let tail = Tail { index: 1, term: 1 };
    let cases = [
        (vec![entry(3, 1, 1)], 2, tail, "entry 3 follows entry 1"),
        (vec![entry(0, 1, 1)], 2, tail, "entry 0 follows"),
        (vec![entry(2, 0, 1)], 2, tail, "term 0"),
        (vec![entry(2, 5, 1), entry(3, 4, 1)], 2, tail, "has term 4"),
        (vec![entry(2, 1, 1)], 3, tail, "frame 3 follows frame 1"),
        (vec![entry(2, 1, 1)], 1, tail, "frame 1 follows frame 1"),
        (
            vec![entry(2, 1, 1)],
            2,
            Tail { index: 1, term: 9 },
            "continues after index 1 term 9",
        ),
        (vec![entry(u64::MAX, 1, 1)], 2, tail, "follows entry 1"),
    ];
    for (entries, sequence, tail, expected) in cases {
        let disk = MemDisk::new();
        let (mut log, _) = open(&disk).expect("open");
        append_one(&mut log, 1, 10);
        put_frame(&disk, &[group(entries)], sequence, tail);
        let error = refused(&disk);
        assert!(
            error.contains(expected) && error.contains("at byte 8192"),
            "{error}"
        );
    }
}

#[test]
fn a_frame_of_absurd_length_is_never_believed() {
    let disk = small_log();
    let file = &segments(&disk)[0];
    let mut bytes = bytes_of(&disk, file);
    bytes[2 * BLOCK + 16..2 * BLOCK + 20].fill(0xff);
    refused(&copy_with(&disk, file, &bytes));
    // The same behind the last frame, with a header whose checksum is right.
    let id = id_of(&disk);
    let mut buffer = AlignedBuffer::new();
    FrameWriter::new(&mut buffer).seal(id, 5, 0, Tail { index: 3, term: 1 });
    let frame = buffer.as_mut_slice();
    frame[16..20].fill(0xff);
    let mut own = id.file_id.to_le_bytes().to_vec();
    own.extend(id.salt.to_le_bytes());
    own.extend(&frame[8..48]);
    let crc = crc32c::crc32c(&own);
    frame[4..8].copy_from_slice(&crc.to_le_bytes());
    bytes = bytes_of(&disk, file);
    bytes[5 * BLOCK..6 * BLOCK].copy_from_slice(frame);
    let (_, recovered) = open(&copy_with(&disk, file, &bytes)).expect("nothing follows it");
    assert_eq!(indices(&recovered), [1, 2, 3]);
    assert_eq!(recovered.torn.map(|t| t.offset), Some(5 * PAGE));
}

#[test]
fn a_missing_segment_is_noticed() {
    let disk = long_log();
    let names = segments(&disk);
    for gone in &names[1..names.len() - 1] {
        let copy = disk.killed();
        copy.remove(gone).expect("remove");
        let error = refused(&copy);
        assert!(error.contains("frames are missing"), "{error}");
    }
    let copy = disk.killed();
    copy.remove(&names[0]).expect("remove");
    let options = LogOptions {
        must_reach: Some(2),
        ..options()
    };
    let error = Log::open(Arc::new(copy), options)
        .map(|_| ())
        .expect_err("entries are missing");
    assert!(
        error.to_string().contains("the log starts at entry"),
        "{error}"
    );
}

#[test]
fn damage_in_any_older_segment_is_refused_with_its_name_and_place() {
    let disk = long_log();
    let names = segments(&disk);
    for name in &names[..names.len() - 1] {
        for block in 1..SEGMENT / PAGE {
            let copy = disk.killed();
            copy.flip_bit(name, block * PAGE + 700, 3).expect("flip");
            let error = refused(&copy);
            assert!(error.contains(name.as_str()), "{error}");
            assert!(
                error.contains(&format!("at byte {}", block * PAGE)),
                "{error}"
            );
        }
    }
}

#[test]
fn a_newer_format_is_refused_with_what_to_do() {
    let disk = small_log();
    let file = &segments(&disk)[0];
    let mut bytes = bytes_of(&disk, file);
    bytes[8..12].copy_from_slice(&(FORMAT + 4).to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..64]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    let error = refused(&copy_with(&disk, file, &bytes));
    assert!(
        error.contains("made by a newer kvorum (format 5, this build knows 1)"),
        "{error}"
    );
}

#[test]
fn a_foreign_or_misnamed_segment_is_refused() {
    let disk = small_log();
    let file = &segments(&disk)[0];
    let error = refused(&copy_with(&disk, file, &vec![b'x'; 3 * BLOCK]));
    assert!(error.contains("bad magic"), "{error}");
    let copy = disk.killed();
    copy.rename(file, &name(77)).expect("rename");
    let error = refused(&copy);
    assert!(error.contains("another segment's name"), "{error}");
}

#[test]
fn a_value_that_looks_like_a_frame_is_not_taken_for_one() {
    let disk = MemDisk::new();
    let (mut log, _) = open(&disk).expect("open");
    append_one(&mut log, 1, 10);
    // What a client could make: a frame that is right but for the salt, on a block boundary inside its value.
    let mut id = id_of(&disk);
    id.salt ^= 1;
    let mut buffer = AlignedBuffer::new();
    FrameWriter::new(&mut buffer).seal(id, 3, 0, Tail { index: 2, term: 1 });
    let mut value = vec![0; BLOCK - 48 - 21];
    value.extend_from_slice(buffer.as_slice());
    let mut big = entry(2, 1, 0);
    big.data = value.into();
    log.append(&[group(vec![big])]).expect("append");
    let copy = disk.killed();
    copy.flip_bit(&segments(&disk)[0], 2 * PAGE + 9, 0)
        .expect("flip");
    let (_, recovered) = open(&copy).expect("a torn tail, whatever the value says");
    assert_eq!(indices(&recovered), [1]);
}

#[test]
fn damage_names_the_first_entry_that_is_lost_with_it() {
    let disk = long_log();
    let names = segments(&disk);
    let lost = |damage: &dyn Fn(&MemDisk, &str)| -> Vec<Option<u64>> {
        let cases = names[..names.len() - 1].iter().map(|name| {
            let copy = disk.killed();
            damage(&copy, name);
            let error = open(&copy).map(|_| ()).expect_err("damaged");
            assert!(error.is_damage(), "{error}");
            error.first_missing_index()
        });
        cases.collect()
    };
    // A segment takes seven frames of one entry each.
    let expected = |first: u64| (0..names.len() as u64 - 1).map(move |n| Some(first + 7 * n));
    let second = lost(&|copy, name| copy.flip_bit(name, 2 * PAGE + 500, 1).expect("flip"));
    assert_eq!(second, expected(2).collect::<Vec<_>>());
    let head = lost(&|copy, name| copy.flip_bit(name, 20, 1).expect("flip"));
    assert_eq!(head, expected(1).collect::<Vec<_>>());
    let copy = disk.killed();
    copy.flip_bit(&names[1], PAGE, 1).expect("flip");
    let text = refused(&copy);
    assert!(
        text.contains("so entries from 8 on cannot be read"),
        "{text}"
    );
}
