//! What lies on a disk is looked at without touching it, and nothing that is wrong goes unseen.

mod rounds;

use std::sync::Arc;

use bytes::Bytes;
use kvorum_core::backend::{FlushMark, Record, SideChange};
use kvorum_core::log::{Append, Entry, EntryKind, HardState};
use kvorum_core::mvcc::encoding::{Pair, encode};
use kvorum_core::node::encode_conf_state;
use kvorum_core::types::{ClusterId, Index, LeaseId, MemberId, Revision, Term};
use kvorum_proto::leasepb::Lease;
use prost::Message as _;

use super::{Report, verify, verify_disks};
use crate::dir::{DataDir, DirError, Identity};
use crate::disk::{Disk as _, MemDisk};
use crate::log::{Log, LogOptions};
use crate::store::{StateStore, StoreOptions};
use crate::tests::{Dice, TempDir};

const OPTIONS: StoreOptions = StoreOptions {
    cache_bytes: 4 << 20,
};
const LOG_OPTIONS: LogOptions = LogOptions {
    segment_bytes: 8 * 4096,
    seed: 3,
    must_reach: None,
    base: None,
};

fn record(main: i64) -> Record {
    let value = vec![main as u8; 200];
    let pair = Pair {
        key: b"key",
        value: &value,
        create_revision: 2,
        mod_revision: main,
        version: main - 1,
        lease: 0,
    };
    Record {
        revision: Revision::first_of(main),
        tombstone: false,
        kv: encode(&mut bytes::BytesMut::new(), &pair),
    }
}

fn lease(id: i64, says: i64) -> SideChange {
    let lease = Lease {
        id: says,
        ttl: 60,
        remaining_ttl: 0,
    };
    SideChange::LeasePut(LeaseId(id), lease.encode_to_vec().into())
}

fn side() -> Vec<SideChange> {
    let mut side = vec![SideChange::MetaPut(
        "conf_state".into(),
        encode_conf_state(&[7]),
    )];
    side.extend((1..40).map(|id| lease(id, id)));
    side
}

fn fill(store: &StateStore, log: &mut Log, records: i64) {
    let records = (2..2 + records).map(record);
    let mark = FlushMark {
        applied: Index(20),
        term: Term(1),
        side: side(),
    };
    store.flush(records, &mark).expect("flush");
    for index in 1..=60 {
        let entry = Entry {
            term: 1,
            index,
            kind: EntryKind::Normal,
            data: Bytes::new(),
        };
        let padding = Entry {
            kind: EntryKind::ConfChange,
            index: index + 1,
            data: Bytes::from(vec![1; 3000]),
            ..entry.clone()
        };
        if index % 2 == 1 {
            let group = Append {
                number: 0,
                entries: vec![entry, padding],
                hard_state: Some(HardState {
                    term: 1,
                    vote: 7,
                    commit: index,
                }),
            };
            log.append(&[group]).expect("append");
        }
    }
    log.settle().expect("settle");
}

fn member(records: i64) -> (MemDisk, MemDisk) {
    let (state, log_disk) = (MemDisk::new(), MemDisk::new());
    let (store, _) = StateStore::open(Arc::new(state.clone()), OPTIONS).expect("open");
    let (mut log, _) = Log::open(Arc::new(log_disk.clone()), LOG_OPTIONS).expect("open");
    fill(&store, &mut log, records);
    drop(store);
    (state.killed(), log_disk.killed())
}

fn look(state: &MemDisk, log: &MemDisk) -> Report {
    verify_disks(Arc::new(state.clone()), Arc::new(log.clone()))
}

fn segments(log: &MemDisk) -> Vec<String> {
    let mut names = log.list().expect("list");
    names.retain(|name| name.ends_with(".log"));
    names.sort();
    names
}

#[test]
fn a_healthy_member_is_described_and_left_as_it_is() {
    let (state, log) = member(500);
    let before = (state.dump(), log.dump(), state.ops(), log.ops());
    let report = look(&state, &log);
    assert!(report.is_clean(), "{report}");
    let found = report.state.expect("state");
    assert_eq!((found.records, found.leases, found.meta), (500, 39, 1));
    assert_eq!((found.revision, found.applied.0), (501, 20));
    let found = report.log.expect("log");
    assert_eq!((found.entries, found.hard_state.commit), ((1, 60), 59));
    // Reading a log makes what it read durable; that is the only thing asked of the disk.
    let syncs = segments(&log).len() as u64;
    let after = (state.dump(), log.dump(), state.ops(), log.ops() - syncs);
    assert!(before == after, "something was changed");
}

#[test]
fn everything_that_is_wrong_is_told_and_not_only_the_first() {
    let (state, log) = member(500);
    let names = segments(&log);
    assert!(names.len() > 3, "{names:?}");
    log.flip_bit(&names[0], 2 * 4096 + 100, 1).expect("flip");
    log.flip_bit(&names[2], 4096 + 100, 1).expect("flip");
    let (store, _) = StateStore::open(Arc::new(state.clone()), OPTIONS).expect("open");
    let mut odd = record(900);
    odd.kv = Bytes::from_static(b"no pair");
    let mark = FlushMark {
        applied: Index(21),
        term: Term(1),
        side: vec![
            lease(3, 4),
            SideChange::LeasePut(LeaseId(5), Bytes::from_static(b"\xff")),
            SideChange::MetaPut("conf_state".into(), Bytes::from_static(b"\xff")),
        ],
    };
    store.flush([odd].into_iter(), &mark).expect("flush");
    drop(store);
    let text = look(&state, &log).to_string();
    for wanted in [
        &format!("{} at byte 8192", names[0]),
        "so entries from 3 on cannot be read",
        &names[2],
        "revision 900.0 is not a key-value pair",
        "lease 3 says that it is 4",
        "lease 5 cannot be read",
        "who votes cannot be read",
        "6 findings",
    ] {
        assert!(text.contains(wanted), "{wanted} is not in\n{text}");
    }
}

#[test]
fn a_log_that_does_not_reach_what_is_applied_is_a_finding() {
    let (state, log) = member(5);
    let report = look(&state, &MemDisk::new());
    assert!(!report.is_clean());
    assert_eq!(report.findings[0].first_missing_index(), Some(1));
    let names = segments(&log);
    let copy = log.killed();
    copy.remove(&names[1]).expect("remove");
    assert!(!look(&state, &copy).is_clean());
    log.remove(&names[0]).expect("remove");
    log.remove(&names[1]).expect("remove");
    assert!(!look(&state, &log).is_clean());
}

/// What a start finds, if it starts.
fn start(state: &MemDisk, log: &MemDisk) -> Option<(Vec<Record>, Vec<Entry>)> {
    let (state, log) = (state.killed(), log.killed());
    let (store, restored) = StateStore::open(Arc::new(state), OPTIONS).ok()?;
    let mut records = Vec::new();
    let scanned = store.scan_all(|revision, tombstone, kv| {
        records.push(Record {
            revision,
            tombstone,
            kv: Bytes::copy_from_slice(kv),
        });
    });
    scanned.ok()?;
    let options = LogOptions {
        must_reach: Some(restored.applied.0),
        ..LOG_OPTIONS
    };
    let (_, recovered) = Log::open(Arc::new(log), options).ok()?;
    Some((records, recovered.entries))
}

#[test]
fn no_flipped_bit_that_matters_goes_unseen() {
    let (state, log) = member(900);
    let wanted = start(&state, &log).expect("start");
    let mut dice = Dice(8);
    let (mut seen, mut harmless) = (0, 0);
    for round in 0..400 {
        let (state, log) = (state.killed(), log.killed());
        let disk = if round % 2 == 0 { &state } else { &log };
        let synced = disk.crash(0);
        let flipped = synced.rot(dice.next(), 1).remove(0);
        disk.flip_bit(&flipped.name, flipped.offset, flipped.bit)
            .expect("flip");
        let report = look(&state, &log);
        if report.is_clean() {
            harmless += 1;
            assert_eq!(start(&state, &log).as_ref(), Some(&wanted), "{flipped:?}");
        } else {
            seen += 1;
        }
    }
    assert!(
        seen > 50 && harmless > 20,
        "{seen} seen, {harmless} harmless"
    );
}

#[test]
fn a_directory_is_looked_at_under_its_lock_and_not_written_to() {
    let dir = TempDir::new("verify");
    let path = dir.path().join("member");
    let mut data = DataDir::open(&path).expect("open");
    data.set_identity(Identity {
        cluster_id: ClusterId(9),
        member_id: MemberId(7),
        name: "one".into(),
        ..Identity::default()
    })
    .expect("identity");
    let (store, _) = StateStore::open(data.state_disk(), OPTIONS).expect("open");
    let (mut log, _) = Log::open(data.log_disk(), LOG_OPTIONS).expect("open");
    fill(&store, &mut log, 50);
    drop((store, log));
    assert!(matches!(verify(&path), Err(DirError::InUse { .. })));
    drop(data);
    let files = || {
        let mut files: Vec<_> = [path.clone(), path.join("log")]
            .iter()
            .flat_map(|dir| std::fs::read_dir(dir).expect("list"))
            .map(|entry| entry.expect("entry").path())
            .filter(|path| path.is_file())
            .map(|path| (path.clone(), std::fs::read(path).expect("read")))
            .collect();
        files.sort();
        files
    };
    let before = files();
    let report = verify(&path).expect("verify");
    assert!(report.is_clean(), "{report}");
    assert!(report.to_string().contains("member 0000000000000007 (one)"));
    assert!(before == files(), "something was changed");
    std::fs::remove_file(path.join("member.json")).expect("remove");
    assert_eq!(verify(&path).expect("verify").findings.len(), 1);
    assert!(verify(&path.join("nowhere")).is_err());
}
