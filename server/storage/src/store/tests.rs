//! Tests of the state store: what was flushed is there with its applied index, whatever crashes or rots.

mod lookup;
mod origin;
mod smaller;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use kvorum_core::backend::{FlushMark, Record, Records, Restored, SideChange};
use kvorum_core::types::{Index, LeaseId, Revision, Term};
use redb::{Builder, TableDefinition};

use super::backend::DiskBackend;
use super::codec::seal_mark;
use super::{FILE, FORMAT, MARK_FORMAT, MARKS, NEW_FILE, StateStore, StoreOptions};
use crate::disk::{Disk, MemDisk, OpenMode, RealDisk};
use crate::error::StorageError;
use crate::tests::{Dice, TempDir};

fn open(disk: &MemDisk) -> Result<(StateStore, Restored), StorageError> {
    StateStore::open(
        Arc::new(disk.clone()),
        StoreOptions {
            cache_bytes: 4 << 20,
        },
    )
}

fn record(main: i64, sub: u32, len: usize) -> Record {
    let byte = (main % 251) as u8;
    let revision = Revision { main, sub };
    Record {
        revision,
        tombstone: main % 7 == 0,
        kv: Bytes::from(vec![byte; len]),
    }
}

fn mark(applied: u64) -> FlushMark {
    FlushMark {
        applied: Index(applied),
        term: Term(applied / 10),
        side: Vec::new(),
    }
}

fn all(store: &StateStore) -> Vec<Record> {
    let mut records = Vec::new();
    let scanned = store.scan_all(|revision, tombstone, kv| {
        records.push(Record {
            revision,
            tombstone,
            kv: Bytes::copy_from_slice(kv),
        });
    });
    scanned.expect("scan");
    records
}

#[test]
fn an_empty_disk_gives_an_empty_store() {
    let (store, restored) = open(&MemDisk::new()).expect("open");
    assert_eq!((restored.applied, restored.term), (Index(0), Term(0)));
    assert!(restored.leases.is_empty() && restored.meta.is_empty());
    assert!(all(&store).is_empty());
    assert_eq!(store.get(Revision::first_of(2)).expect("get"), None);
    assert!(store.file_bytes().expect("length") > 0);
}

#[test]
fn records_come_back_by_revision_and_in_order() {
    let disk = MemDisk::new();
    let (store, _) = open(&disk).expect("open");
    let records: Vec<Record> = (2..200)
        .flat_map(|main| (0..3).map(move |sub| record(main, sub, 40)))
        .collect();
    let stats = store
        .flush(records.iter().cloned(), &mark(5))
        .expect("flush");
    assert_eq!(stats.records, records.len() as u64);
    assert_eq!(all(&store), records);
    for wanted in &records {
        assert_eq!(
            store.get(wanted.revision).expect("get").as_ref(),
            Some(wanted)
        );
    }
    let (from, to) = (Revision { main: 10, sub: 1 }, Revision::last_of(11));
    let some = store.scan(from, to, 100).expect("scan");
    assert_eq!(some, records[25..30]);
    assert_eq!(store.scan(from, to, 2).expect("scan"), records[25..27]);
    assert!(store.scan(to, from, 2).expect("scan").is_empty());
    drop(store);
    let (store, restored) = open(&disk).expect("reopen");
    assert_eq!((restored.applied, restored.term), (Index(5), Term(0)));
    assert_eq!(all(&store), records);
}

#[test]
fn side_tables_come_back_as_they_were_last_changed() {
    let disk = MemDisk::new();
    let (store, _) = open(&disk).expect("open");
    let side = vec![
        SideChange::LeasePut(LeaseId(7), Bytes::from_static(b"seven")),
        SideChange::LeasePut(LeaseId(-1), Bytes::from_static(b"")),
        SideChange::LeasePut(LeaseId(8), Bytes::from_static(b"eight")),
        SideChange::LeaseDelete(LeaseId(8)),
        SideChange::LeaseDelete(LeaseId(9)),
        SideChange::MetaPut("compact".into(), Bytes::from_static(b"5")),
        SideChange::MetaPut("compact".into(), Bytes::from_static(b"6")),
        SideChange::MetaPut("gone".into(), Bytes::from_static(b"x")),
        SideChange::MetaDelete("gone".into()),
    ];
    store
        .flush(std::iter::empty(), &FlushMark { side, ..mark(9) })
        .expect("flush");
    drop(store);
    let (_, restored) = open(&disk).expect("reopen");
    assert_eq!(
        restored.leases,
        [
            (LeaseId(-1), Bytes::new()),
            (LeaseId(7), Bytes::from_static(b"seven"))
        ]
    );
    assert_eq!(
        restored.meta,
        [("compact".to_owned(), Bytes::from_static(b"6"))]
    );
}

#[test]
fn a_flush_out_of_order_is_refused_and_leaves_nothing() {
    let disk = MemDisk::new();
    let (store, _) = open(&disk).expect("open");
    store
        .flush((2..10).map(|m| record(m, 0, 9)), &mark(5))
        .expect("flush");
    let before = all(&store);
    let side = vec![SideChange::MetaPut("x".into(), Bytes::new())];
    let refusals = [
        store.flush([record(9, 0, 1)].into_iter(), &mark(6)),
        store.flush([record(12, 0, 1), record(11, 0, 1)].into_iter(), &mark(6)),
        store.flush(
            [record(13, 0, 1)].into_iter(),
            &FlushMark { side, ..mark(4) },
        ),
    ];
    for refusal in refusals {
        assert!(
            matches!(refusal, Err(StorageError::Order(_))),
            "{refusal:?}"
        );
    }
    assert_eq!(all(&store), before);
    drop(store);
    let (store, restored) = open(&disk).expect("reopen");
    assert_eq!((restored.applied, restored.meta.len()), (Index(5), 0));
    store
        .flush([record(10, 0, 1)].into_iter(), &mark(6))
        .expect("the store still works");
}

#[test]
fn removed_records_are_gone_and_stay_gone_after_the_next_flush() {
    let disk = MemDisk::new();
    let (store, _) = open(&disk).expect("open");
    store
        .flush((2..1000).map(|m| record(m, 0, 100)), &mark(5))
        .expect("flush");
    let gone: Vec<Revision> = (2..900).map(Revision::first_of).collect();
    store.remove(&gone).expect("remove");
    store.remove(&gone).expect("removing twice is harmless");
    assert_eq!(all(&store).len(), 100);
    store.flush(std::iter::empty(), &mark(6)).expect("flush");
    let (store, _) = open(&disk.crash(1)).expect("reopen");
    assert_eq!(all(&store).len(), 100);
}

#[test]
fn readers_see_finished_flushes_and_never_wait_for_the_writer() {
    let (store, _) = open(&MemDisk::new()).expect("open");
    std::thread::scope(|scope| {
        let store = &store;
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(move || {
                    let mut seen = 0;
                    while seen < 2000 {
                        let records = all(store);
                        assert_eq!(records.len() % 100, 0, "half a flush was visible");
                        assert!(records.len() >= seen);
                        seen = records.len();
                    }
                })
            })
            .collect();
        for batch in 0..20 {
            let first = 2 + batch * 100;
            let records = (first..first + 100).map(|m| record(m, 0, 50));
            store.flush(records, &mark(first as u64)).expect("flush");
        }
        readers.into_iter().for_each(|r| r.join().expect("reader"));
    });
}

/// What a flush should have left, per applied index.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    applied: u64,
    records: BTreeMap<Revision, Record>,
    meta: BTreeMap<String, Bytes>,
}

impl Model {
    fn of(store: &StateStore, restored: Restored) -> Self {
        let records = all(store).into_iter().map(|r| (r.revision, r)).collect();
        Self {
            applied: restored.applied.0,
            records,
            meta: restored.meta.into_iter().collect(),
        }
    }
}

/// One flush or removal; `next` is what it should lead to.
fn step(store: &StateStore, dice: &mut Dice, next: &mut Model) -> Result<(), StorageError> {
    if dice.below(5) == 0 {
        let gone: Vec<Revision> = next
            .records
            .keys()
            .filter(|_| dice.below(2) == 0)
            .copied()
            .collect();
        store.remove(&gone)?;
        gone.iter().for_each(|r| drop(next.records.remove(r)));
        return Ok(());
    }
    let last = next.records.keys().next_back().map_or(1, |r| r.main);
    let last = last.max(next.applied as i64);
    let count = dice.below(40) as i64;
    let records: Vec<Record> = (1..=count)
        .map(|i| record(last + i, 0, dice.below(600) as usize))
        .collect();
    next.applied = (last + count) as u64;
    let value = Bytes::from(next.applied.to_string());
    let side = vec![SideChange::MetaPut("applied".into(), value.clone())];
    next.meta.insert("applied".into(), value);
    next.records
        .extend(records.iter().map(|r| (r.revision, r.clone())));
    store.flush(
        records.into_iter(),
        &FlushMark {
            side,
            ..mark(next.applied)
        },
    )?;
    Ok(())
}

fn history(seed: u64) -> usize {
    let mut dice = Dice(seed);
    let mut disk = MemDisk::new();
    // What a crash may show: the state of the last flush, of a flush under way, or removals not yet flushed.
    let mut allowed = vec![Model::default()];
    let mut seen = 0;
    for life in 0..3 {
        let (store, restored) = loop {
            if dice.below(3) == 0 {
                disk.cut_power_at(dice.below(20));
            }
            match open(&disk) {
                Ok(opened) => break opened,
                Err(StorageError::Io { .. } | StorageError::Failed(_)) => {
                    disk = if dice.below(3) == 0 {
                        disk.killed()
                    } else {
                        disk.crash(dice.next())
                    };
                }
                Err(error) => panic!("seed {seed}, life {life}: {error}"),
            }
        };
        let mut model = Model::of(&store, restored);
        assert!(
            allowed.contains(&model),
            "seed {seed}, life {life}: applied {}, {} records; allowed {:?}",
            model.applied,
            model.records.len(),
            allowed
                .iter()
                .map(|m| (m.applied, m.records.len()))
                .collect::<Vec<_>>()
        );
        seen += model.records.len();
        disk.cut_power_at(dice.below(80));
        allowed = vec![model.clone()];
        for _ in 0..dice.below(12) {
            let mut next = model.clone();
            let done = step(&store, &mut dice, &mut next);
            let flushed = next.applied > model.applied;
            allowed.push(next.clone());
            if done.is_err() {
                break;
            }
            if flushed {
                allowed = vec![next.clone()];
            }
            model = next;
        }
        // While the store is still open: nothing tidy may happen on the way down.
        disk = if dice.below(4) == 0 {
            disk.killed()
        } else {
            disk.crash(dice.next())
        };
    }
    seen
}

#[test]
fn no_crash_parts_the_records_from_their_applied_index() {
    let seen: usize = (0..1500).map(history).sum();
    assert!(seen > 20_000, "only {seen} records were ever at stake");
}

#[test]
fn a_full_disk_or_a_failed_sync_is_an_error_and_loses_no_flush() {
    let mut failures = 0;
    for n in 0..40 {
        for full in [true, false] {
            let disk = MemDisk::new();
            let (store, _) = open(&disk).expect("open");
            store
                .flush((2..50).map(|m| record(m, 0, 100)), &mark(5))
                .expect("flush");
            if full {
                disk.fill_at_write(n);
            } else {
                disk.fail_sync_at(n);
            }
            let result = store.flush((50..400).map(|m| record(m, 0, 1000)), &mark(6));
            failures += u32::from(result.is_err());
            drop(store);
            disk.clear_faults();
            let (store, restored) = open(&disk.crash(n)).expect("reopen");
            match (result.is_ok(), restored.applied.0) {
                (_, 6) => assert_eq!(all(&store).len(), 398),
                (false, 5) => assert_eq!(all(&store).len(), 48),
                other => panic!("n {n}, full {full}: {other:?}"),
            }
        }
    }
    assert!(failures > 10, "{failures}");
}

#[test]
fn a_record_whose_bytes_changed_is_refused_by_every_read() {
    let disk = MemDisk::new();
    let (store, _) = open(&disk).expect("open");
    store
        .flush((2..400).map(|m| record(m, 0, 900)), &mark(5))
        .expect("flush");
    drop(store);
    let bytes = disk
        .dump()
        .into_iter()
        .find(|(n, _)| n == FILE)
        .expect("file")
        .1;
    let wanted = record(200, 0, 900);
    let at = bytes
        .windows(900)
        .position(|w| w == wanted.kv)
        .expect("the value is in the file");
    disk.flip_bit(FILE, at as u64 + 450, 2).expect("flip");
    let (store, _) = open(&disk).expect("the tree is whole");
    let error = store.get(wanted.revision).expect_err("get").to_string();
    assert!(
        error.contains("the record of revision 200.0") && error.contains(FILE),
        "{error}"
    );
    assert!(
        store
            .get(Revision::first_of(201))
            .expect("its neighbour is whole")
            .is_some()
    );
    store
        .scan(Revision::first_of(190), Revision::last_of(210), 100)
        .expect_err("scan");
    store
        .scan_all(|_, _, _| ())
        .expect_err("scan of everything");
}

/// redb itself reads damaged pages as they are, and stops with a panic on some; the shipped binary then aborts.
#[test]
fn no_flipped_bit_in_the_state_file_changes_what_a_start_reads() {
    let disk = MemDisk::new();
    let (store, _) = open(&disk).expect("open");
    let side = (1..20)
        .map(|i| SideChange::LeasePut(LeaseId(i), Bytes::from(vec![1; 50])))
        .collect();
    let mark = FlushMark { side, ..mark(77) };
    store
        .flush((2..3000).map(|m| record(m, 0, 60)), &mark)
        .expect("flush");
    let wanted = all(&store);
    drop(store);
    let (store, restored) = open(&disk).expect("reopen");
    drop(store);
    let len = disk
        .dump()
        .iter()
        .find(|(n, _)| n == FILE)
        .expect("file")
        .1
        .len() as u64;
    let mut dice = Dice(1);
    let (mut refused, mut harmless) = (0, 0);
    for _ in 0..600 {
        let (offset, bit) = (dice.below(len.min(400_000)), dice.below(8) as u8);
        let copy = disk.killed();
        copy.flip_bit(FILE, offset, bit).expect("flip");
        let read = std::panic::catch_unwind(|| {
            let (store, restored) = open(&copy)?;
            let mut records = Vec::new();
            store.scan_all(|revision, tombstone, kv| {
                records.push(Record {
                    revision,
                    tombstone,
                    kv: Bytes::copy_from_slice(kv),
                });
            })?;
            Ok::<_, StorageError>((restored, records))
        });
        match read {
            Ok(Ok((found, records))) => {
                harmless += 1;
                let same = (found.applied, found.term) == (restored.applied, restored.term)
                    && (found.leases, found.meta)
                        == (restored.leases.clone(), restored.meta.clone())
                    && records == wanted;
                assert!(same, "byte {offset} bit {bit} went unnoticed");
            }
            Ok(Err(_)) | Err(_) => refused += 1,
        }
    }
    assert!(
        refused > 100 && harmless > 10,
        "{refused} refused, {harmless} harmless"
    );
}

#[test]
fn a_newer_format_is_refused_with_what_to_do() {
    let disk = MemDisk::new();
    drop(open(&disk).expect("open"));
    edit(&disk, |txn| {
        let format = seal_mark(MARK_FORMAT, u64::from(FORMAT) + 3);
        txn.open_table(MARKS)
            .expect("table")
            .insert(MARK_FORMAT, format.as_slice())
            .expect("insert");
    });
    let error = open(&disk).map(|_| ()).expect_err("newer").to_string();
    assert!(
        error.contains("made by a newer kvorum (format 4, this build knows 1)"),
        "{error}"
    );
}

fn edit(disk: &MemDisk, f: impl FnOnce(&redb::WriteTransaction)) {
    let file = disk.open(FILE, OpenMode::Existing).expect("open");
    let db = Builder::new()
        .create_with_backend(DiskBackend::new(file, Arc::default()))
        .expect("database");
    let txn = db.begin_write().expect("begin");
    f(&txn);
    txn.commit().expect("commit");
}

#[test]
fn files_that_are_no_state_store_are_refused() {
    for bytes in [
        Vec::new(),
        vec![0; 4096],
        vec![b'x'; 100_000],
        b"SQLite format 3".to_vec(),
    ] {
        let disk = MemDisk::new();
        let file = disk.open(FILE, OpenMode::New).expect("create");
        file.write_at(0, &bytes).expect("write");
        let error = open(&disk).map(|_| ()).expect_err("refused");
        assert!(matches!(error, StorageError::Corrupt { .. }), "{error}");
        assert!(error.to_string().contains(FILE), "{error}");
    }
    let disk = MemDisk::new();
    disk.open(FILE, OpenMode::New).expect("create");
    edit(&disk, |txn| {
        let table: TableDefinition<u64, u64> = TableDefinition::new("theirs");
        txn.open_table(table)
            .expect("table")
            .insert(1, 1)
            .expect("insert");
    });
    let error = open(&disk).map(|_| ()).expect_err("refused").to_string();
    assert!(
        error.contains("not a kvorum state store") && error.contains("--data-dir"),
        "{error}"
    );
}

#[test]
fn what_a_crash_left_of_a_store_in_the_making_is_replaced() {
    let disk = MemDisk::new();
    let file = disk.open(NEW_FILE, OpenMode::New).expect("create");
    file.write_at(0, b"half").expect("write");
    let (_, restored) = open(&disk).expect("open");
    assert_eq!(restored.applied, Index(0));
    assert!(!disk.exists(NEW_FILE).expect("exists"));
}

#[test]
fn a_store_on_disk_survives_being_dropped() {
    let dir = TempDir::new("store");
    let disk = || Arc::new(RealDisk::new(dir.path()));
    let (store, _) = StateStore::open(disk(), StoreOptions::default()).expect("open");
    store
        .flush((2..5000).map(|m| record(m, 0, 300)), &mark(44))
        .expect("flush");
    drop(store);
    let (store, restored) = StateStore::open(disk(), StoreOptions::default()).expect("reopen");
    assert_eq!(restored.applied, Index(44));
    assert_eq!(all(&store).len(), 4998);
}
