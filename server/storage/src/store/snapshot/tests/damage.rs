//! Chunks that were flipped, cut, lengthened, reordered, repeated, mixed or forged.

use std::sync::Arc;

use bytes::Bytes;

use super::super::{SnapshotRefused, SnapshotSink, SnapshotSource};
use super::{chunks, content, incoming, open, same, stage, store_with};
use crate::disk::{Disk, MemDisk, OpenMode};

/// Makes a chunk's checksum right again.
fn seal(chunk: &mut [u8]) {
    let crc = crc32c::crc32c(&chunk[8..]);
    chunk[4..8].copy_from_slice(&crc.to_le_bytes());
}

fn sent(records: i64) -> Vec<Bytes> {
    let (_, sender) = store_with(records, 300);
    chunks(&mut SnapshotSource::new(sender, 9).expect("source"))
}

#[test]
fn no_damaged_chunk_is_taken_and_the_right_one_may_follow() {
    let sent = sent(6);
    let disk = MemDisk::new();
    let mut sink = SnapshotSink::new(Arc::new(disk.clone())).expect("sink");
    let refused = |sink: &mut SnapshotSink, bytes: &[u8], what: &str| {
        let due = sink.due();
        match sink.take(bytes) {
            Err(SnapshotRefused::Chunk { due: at, .. }) => assert_eq!(at, due, "{what}"),
            other => panic!("{what}: {other:?}"),
        }
    };
    for (number, chunk) in sent.iter().enumerate() {
        for at in 0..chunk.len() {
            let mut flipped = chunk.to_vec();
            flipped[at] ^= 1 << (at % 8);
            refused(&mut sink, &flipped, &format!("byte {at} of {number}"));
            refused(&mut sink, &chunk[..at], &format!("{number} cut at {at}"));
        }
        for more in [1, 100, 5000] {
            let mut longer = chunk.to_vec();
            longer.resize(chunk.len() + more, 0);
            refused(&mut sink, &longer, "longer");
        }
        for (other, chunk) in sent.iter().enumerate() {
            if other != number {
                refused(&mut sink, chunk, "out of turn");
            }
        }
        sink.take(chunk).expect("the right one");
    }
    refused(&mut sink, &sent[0], "behind the end");
    let (receiver, _) = open(&disk);
    // Opening has removed the file of the sink, as a start after a crash does; so it is staged once more.
    drop(sink);
    receiver.install(stage(&disk, &sent)).expect("install");
    assert_eq!(content(&receiver).1.len(), 6);
}

#[test]
fn chunks_of_two_snapshots_never_mix() {
    let (_, sender) = store_with(2000, 300);
    let one = chunks(&mut SnapshotSource::new(sender.clone(), 1).expect("source"));
    let two = chunks(&mut SnapshotSource::new(sender, 2).expect("source"));
    let mut sink = SnapshotSink::new(Arc::new(MemDisk::new())).expect("sink");
    sink.take(&one[0]).expect("take");
    let error = sink.take(&two[1]).expect_err("another id").to_string();
    assert!(error.contains("another snapshot"), "{error}");
    sink.take(&one[1]).expect("its own");
}

/// What a checksum cannot tell: a sender that lies, or bytes that turned before it was made.
#[test]
fn a_snapshot_that_contradicts_itself_is_never_complete() {
    let sent = sent(6);
    let mut taken = 0;
    for number in 0..sent.len() {
        for at in 16..sent[number].len() {
            let sink = SnapshotSink::new(Arc::new(MemDisk::new()));
            let mut sink = sink.expect("sink");
            let mut all = sent.clone();
            let mut forged = all[number].to_vec();
            forged[at] ^= 1 << (at % 8);
            seal(&mut forged);
            all[number] = forged.into();
            let result = all.iter().try_for_each(|c| sink.take(c).map(drop));
            taken += u32::from(result.is_ok());
            assert!(result.is_err(), "byte {at} of chunk {number}");
            assert!(!sink.is_complete());
            sink.finish().map(drop).expect_err("of no use");
        }
    }
    assert_eq!(taken, 0);
}

#[test]
fn a_newer_sender_is_named() {
    let sent = sent(6);
    let mut newer = sent[0].to_vec();
    newer[25] = 7;
    seal(&mut newer);
    let mut sink = SnapshotSink::new(Arc::new(MemDisk::new())).expect("sink");
    let error = sink.take(&newer).expect_err("newer").to_string();
    assert!(error.contains("format 7, this build knows 1"), "{error}");
}

#[test]
fn a_sender_never_ships_a_row_that_rotted() {
    let (disk, sender) = store_with(50, 9000);
    drop(sender);
    let file = disk.open("state.redb", OpenMode::Existing).expect("open");
    let mut bytes = vec![0; file.len().expect("length") as usize];
    file.read_at(0, &mut bytes).expect("read");
    let at = bytes.windows(9000).position(|w| w == [30; 9000]);
    let at = at.expect("the value is in the file") as u64;
    disk.flip_bit("state.redb", at + 4000, 1).expect("flip");
    let (sender, _) = open(&disk);
    let mut source = SnapshotSource::new(sender, 1).expect("source");
    let error = loop {
        match source.next_chunk() {
            Ok(chunk) => assert!(chunk.is_some(), "all was sent"),
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.contains("revision 30.1"), "{error}");
}

#[test]
fn a_disk_that_fails_or_fills_harms_only_the_snapshot() {
    let sent = sent(9000);
    let disk = MemDisk::new();
    let (receiver, _) = open(&disk);
    let before = content(&receiver);
    let mut failures = 0;
    for n in 0..60 {
        for full in [true, false] {
            if full {
                disk.fill_at_write(n);
            } else {
                disk.fail_sync_at(n);
            }
            let staged = SnapshotSink::new(Arc::new(disk.clone()))
                .map_err(SnapshotRefused::from)
                .and_then(|mut sink| {
                    sent.iter().try_for_each(|c| sink.take(c).map(drop))?;
                    sink.finish()
                });
            failures += u32::from(staged.is_err());
            drop(staged);
            disk.clear_faults();
            assert!(incoming(&disk).is_empty(), "n {n} full {full}");
            assert!(same(&content(&receiver), &before));
        }
    }
    assert!(failures > 60, "{failures}");
    receiver.install(stage(&disk, &sent)).expect("install");
}
