//! Snapshots that were damaged, or made by somebody else: read to their end, or refused.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use kvorum_core::{LeaseId, Revision};
use kvorum_proto::leasepb::Lease;
use kvorum_proto::mvccpb::KeyValue;
use kvorum_storage::bbolt::{
    BoltWriter, ConfState, EtcdMember, Item, Sha256Digest, SnapshotTables, SnapshotWriter, Trailer,
    read_snapshot,
};
use kvorum_storage::{Disk as _, DiskFile, MemDisk, OpenMode};
use prost::Message as _;

use crate::disk_image::{Files, damage, overwrite};
use crate::input::{Input, put_piece};

const CHANGES_MAX: usize = 12;
/// Changes from this number on make a meta page's checksum right again.
const FORGE: u8 = 240;
const PAGE_BYTES: usize = 4096;
const HEADER_BYTES: usize = 16;
const CHECKED_BYTES: usize = 56;

pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let image = &images()[usize::from(input.u8()) % images().len()];
    let trailer = [Trailer::Ignored, Trailer::Optional, Trailer::Required];
    let trailer = trailer[usize::from(input.u8()) % trailer.len()];
    let mut files: Files = vec![(String::new(), image.clone())];
    for _ in 0..CHANGES_MAX {
        if input.is_empty() || files.is_empty() {
            break;
        }
        match input.u8() {
            FORGE.. => forge(&mut files[0].1, &mut input),
            _ => damage(&mut files, &mut input),
        }
    }
    if let Some((_, damaged)) = files.first() {
        read(damaged, trailer);
    }
}

fn read(bytes: &[u8], trailer: Trailer) {
    let (mut records, mut leases) = (0, 0);
    let summary = read_snapshot(bytes, "snapshot", trailer, |item| {
        match item {
            Item::Record { revision, .. } => {
                records += 1;
                assert!(revision.main > 0, "a change before all changes");
            }
            Item::RevisionOnly(_) => records += 1,
            Item::Lease(_) => leases += 1,
            Item::User(_) | Item::Role(_) => {}
        }
        Ok(())
    });
    let Ok(summary) = summary else { return };
    assert_eq!((summary.records, summary.leases), (records, leases));
    assert!(summary.bytes <= bytes.len() as u64, "more than there is");
}

/// Puts a piece into a meta page and makes its checksum right again.
fn forge(bytes: &mut [u8], input: &mut Input<'_>) {
    let start = PAGE_BYTES * usize::from(input.u8() & 1);
    let offset = usize::from(input.u8()) % (HEADER_BYTES + CHECKED_BYTES);
    overwrite(bytes, start + offset, input.piece());
    let from = start + HEADER_BYTES;
    if let Some(checked) = bytes.get(from..from + CHECKED_BYTES) {
        // FNV-1a of 64 bits.
        let sum = checked.iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
            (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        overwrite(bytes, from + CHECKED_BYTES, &sum.to_le_bytes());
    }
}

/// What our writers make: a small snapshot with its digest, a larger one without, and a file without buckets.
fn images() -> &'static [Vec<u8>] {
    static IMAGES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    IMAGES.get_or_init(|| {
        let mut small = snapshot(3, 20);
        let mut digest = Sha256Digest::default();
        digest.feed(&small);
        small.extend(digest.finish());
        let (file, path) = new_file();
        BoltWriter::new(file.clone(), path)
            .finish()
            .expect("memory does not fail");
        vec![small, snapshot(300, 150), content(&*file)]
    })
}

fn new_file() -> (Arc<dyn DiskFile>, PathBuf) {
    let file = MemDisk::new().open("snapshot", OpenMode::New);
    (file.expect("an empty disk"), PathBuf::from("snapshot"))
}

fn content(file: &dyn DiskFile) -> Vec<u8> {
    let length = file.len().expect("memory does not fail");
    let mut bytes = vec![0; usize::try_from(length).expect("it is small")];
    file.read_at(0, &mut bytes).expect("memory does not fail");
    bytes
}

fn snapshot(changes: i64, value_bytes: usize) -> Vec<u8> {
    let (file, path) = new_file();
    let mut writer = SnapshotWriter::new(file.clone(), path);
    writer
        .records(|records| {
            (2..2 + changes).try_for_each(|main| {
                let kv = KeyValue {
                    key: Bytes::from(format!("key-{main}")),
                    create_revision: main,
                    mod_revision: main,
                    version: 1,
                    value: vec![b'v'; value_bytes].into(),
                    lease: main % 2,
                };
                let revision = Revision { main, sub: 0 };
                records.record(revision, main % 5 == 0, &kv.encode_to_vec())
            })
        })
        .expect("memory does not fail");
    let lease = Lease {
        id: 1,
        ttl: 60,
        ..Default::default()
    };
    writer
        .leases(&[(LeaseId(1), lease.encode_to_vec().into())])
        .expect("memory does not fail");
    writer.finish(&tables()).expect("memory does not fail");
    content(&*file)
}

fn tables() -> SnapshotTables {
    SnapshotTables {
        consistent_index: 9,
        term: 2,
        conf_state: Some(ConfState {
            voters: vec![1],
            ..ConfState::default()
        }),
        finished_compact: Some(2),
        storage_version: Some("3.6.0".into()),
        cluster_version: Some("3.6.0".into()),
        members: vec![EtcdMember {
            id: 1,
            peer_urls: vec!["http://localhost:2380".into()],
            name: "default".into(),
            ..EtcdMember::default()
        }],
        members_removed: vec![7],
        alarms: vec![(1, 1)],
        ..SnapshotTables::default()
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for image in 0..3 {
        seeds.extend((0..3).map(|trailer| vec![image, trailer]));
        for page in 0..8 {
            // A number in a page's head, its elements' places, and a page in another one's place.
            for at in [8, 10, 12, 20, 24, 28] {
                let offset = [0, page << 4, at];
                let mut change = [&[image, 0, 0, 1, 0], &offset[..], &[0, 0]].concat();
                put_piece(&mut change, &[0xff, 1]);
                seeds.push(change);
            }
            seeds.push(vec![image, 0, 0, 4, 0, 0, page << 4, 0, 0, 0, page ^ 1]);
        }
        for at in [24, 32, 40, 48, 56] {
            let mut change = vec![image, 0, FORGE, 0, at];
            put_piece(&mut change, &[0xff; 8]);
            seeds.push(change);
        }
    }
    seeds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_our_writers_make_is_read() {
        for (image, expected) in images().iter().zip([Some(3), Some(300), None]) {
            let read = read_snapshot(&image[..], "snapshot", Trailer::Ignored, |_| Ok(()));
            assert_eq!(read.ok().map(|summary| summary.records), expected);
        }
    }
}
