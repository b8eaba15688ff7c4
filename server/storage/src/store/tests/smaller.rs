//! The file is made smaller under flushes, removals, reads, full disks and crashes, and nothing of it is ever lost.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use kvorum_core::backend::{FlushMark, SideChange};
use kvorum_core::types::{LeaseId, Revision};

use super::{all, mark, open, record};
use crate::disk::{Disk as _, MemDisk};
use crate::error::StorageError;
use crate::store::snapshot::{SnapshotSink, SnapshotSource};
use crate::store::{Shrink, ShrinkStep, StateStore, is_incoming};
use crate::tests::Dice;

/// A store whose file is mostly free: of 4000 records, every tenth is left.
fn sparse() -> (MemDisk, Arc<StateStore>) {
    let disk = MemDisk::new();
    let (store, _) = open(&disk).expect("open");
    let side = vec![
        SideChange::LeasePut(LeaseId(7), Bytes::from_static(b"seven")),
        SideChange::MetaPut("m".into(), Bytes::from_static(b"x")),
    ];
    let mark = FlushMark { side, ..mark(40) };
    store
        .flush((2..4002).map(|m| record(m, 0, 900)), &mark)
        .expect("flush");
    let gone: Vec<Revision> = (2..4002)
        .filter(|m| m % 10 != 0)
        .map(Revision::first_of)
        .collect();
    store.remove(&gone).expect("remove");
    store
        .flush(std::iter::empty(), &super::mark(41))
        .expect("flush");
    (disk, Arc::new(store))
}

fn left_overs(disk: &MemDisk) -> Vec<String> {
    let mut names = disk.list().expect("list");
    names.retain(|name| is_incoming(name));
    names
}

fn run(shrink: &mut Shrink, bytes: usize) -> Result<ShrinkStep, StorageError> {
    loop {
        match shrink.step(bytes)? {
            ShrinkStep::More => {}
            end => return Ok(end),
        }
    }
}

#[test]
fn the_file_gets_smaller_while_the_store_is_used() {
    let (disk, store) = sparse();
    let view = store.view().expect("view");
    let mut shrink = Shrink::new(store.clone()).expect("begin");
    assert_eq!(shrink.step(20_000).expect("step"), ShrinkStep::More);
    // One that was copied, and one that was not.
    let gone = [Revision::first_of(10), Revision::first_of(4000)];
    store.remove(&gone).expect("remove");
    let side = vec![SideChange::MetaPut("m".into(), Bytes::from_static(b"y"))];
    store
        .flush(
            [record(5000, 0, 10)].into_iter(),
            &FlushMark { side, ..mark(50) },
        )
        .expect("flush");
    let wanted = all(&store);
    let ShrinkStep::Done { before, after } = run(&mut shrink, 20_000).expect("shrink") else {
        panic!("overtaken")
    };
    drop(shrink);
    assert!(after * 3 < before, "{before} to {after}");
    assert_eq!(store.file_bytes().expect("length"), after);
    assert_eq!(all(&store), wanted);
    assert_eq!(view.record_count().expect("count"), 400);
    drop(view);
    store
        .flush([record(5001, 0, 10)].into_iter(), &mark(51))
        .expect("flush");
    store.remove(&[Revision::first_of(20)]).expect("remove");
    drop(store);
    let (store, restored) = open(&disk.crash(1)).expect("reopen");
    assert_eq!((restored.applied.0, restored.leases.len()), (51, 1));
    assert_eq!(restored.meta[0].1, Bytes::from_static(b"y"));
    assert_eq!(all(&store).len(), wanted.len());
    assert!(left_overs(&disk).is_empty());
}

#[test]
fn a_copy_that_is_given_up_or_overtaken_leaves_nothing() {
    let (disk, store) = sparse();
    let mut shrink = Shrink::new(store.clone()).expect("begin");
    shrink.step(20_000).expect("step");
    assert_eq!(left_overs(&disk).len(), 1);
    drop(shrink);
    assert!(left_overs(&disk).is_empty());
    let mut shrink = Shrink::new(store.clone()).expect("begin");
    shrink.step(20_000).expect("step");
    let mut source = SnapshotSource::new(store.clone(), 1).expect("source");
    let mut sink = SnapshotSink::new(Arc::new(disk.clone())).expect("sink");
    while let Some(chunk) = source.next_chunk().expect("read") {
        sink.take(&chunk).expect("take");
    }
    store
        .install(sink.finish().expect("finish"))
        .expect("install");
    assert_eq!(shrink.step(20_000).expect("step"), ShrinkStep::Overtaken);
    drop(shrink);
    assert_eq!(all(&store).len(), 400);
    assert!(left_overs(&disk).is_empty());
}

#[test]
fn a_disk_that_fails_or_fills_gives_up_the_copy_alone() {
    let (mut failures, mut retired) = (0, 0);
    for n in 0..20 {
        for fault in 0..3 {
            let (disk, store) = sparse();
            match fault {
                0 => disk.fill_at_write(n),
                1 => disk.fail_sync_at(n),
                _ => disk.fail_write_at(n),
            }
            let done = Shrink::new(store.clone()).and_then(|mut s| run(&mut s, 60_000));
            disk.clear_faults();
            let names_failed = matches!(
                &done,
                Err(StorageError::Io { op, .. }) if op.contains("directory")
            );
            failures += u32::from(done.is_err());
            assert_eq!(all(&store).len(), 400, "n {n} fault {fault}");
            assert!(left_overs(&disk).is_empty(), "n {n} fault {fault}");
            let more = store.flush([record(5000, 0, 10)].into_iter(), &mark(50));
            if names_failed {
                retired += 1;
                more.expect_err("either file may be found");
                assert_eq!(all(&open(&disk.crash(n)).expect("reopen").0).len(), 400);
                continue;
            }
            more.expect("the store goes on");
            drop(store);
            let (store, restored) = open(&disk.crash(n)).expect("reopen");
            assert_eq!((all(&store).len(), restored.applied.0), (401, 50));
        }
    }
    assert!(failures > 25 && retired > 0, "{failures}, {retired}");
}

#[test]
fn damage_is_never_copied() {
    let (disk, store) = sparse();
    drop(store);
    let bytes = disk.dump().remove(0).1;
    let wanted = record(2000, 0, 900);
    let places = bytes.windows(900).enumerate();
    for (at, _) in places.filter(|(_, w)| *w == wanted.kv).collect::<Vec<_>>() {
        disk.flip_bit("state.redb", at as u64 + 450, 2)
            .expect("flip");
    }
    let (store, _) = open(&disk).expect("open");
    let store = Arc::new(store);
    let mut shrink = Shrink::new(store).expect("begin");
    let error = run(&mut shrink, 20_000).expect_err("damage");
    assert!(error.is_damage(), "{error}");
}

type Model = BTreeMap<Revision, Bytes>;

fn model_of(store: &StateStore) -> Model {
    all(store).into_iter().map(|r| (r.revision, r.kv)).collect()
}

/// One step of a copy, begun if there is none; true if it took the place, `None` if it failed.
fn copy_step(store: &Arc<StateStore>, shrink: &mut Option<Shrink>) -> Option<bool> {
    let mut copy = match shrink.take() {
        Some(copy) => copy,
        None => Shrink::new(store.clone()).ok()?,
    };
    let more = copy.step(12_000).ok()? == ShrinkStep::More;
    *shrink = Some(copy).filter(|_| more);
    Some(!more)
}

/// Steps of a copy among flushes and removals, until the power goes. True if a copy took the place.
fn history(seed: u64) -> bool {
    let mut dice = Dice(seed);
    let disk = MemDisk::new();
    let (store, _) = open(&disk).expect("open");
    let store = Arc::new(store);
    store
        .flush((2..200).map(|m| record(m, 0, 300)), &mark(2))
        .expect("flush");
    disk.cut_power_at(dice.below(400));
    let mut model = model_of(&store);
    // What a crash may show: what the last flush left, and removals since.
    let mut allowed = vec![model.clone()];
    let (mut next, mut replaced) = (200, false);
    let mut shrink = None;
    for turn in 3..80 {
        let mut after = model.clone();
        let (done, durable) = match dice.below(6) {
            0 => {
                let gone: Vec<Revision> = after
                    .keys()
                    .filter(|_| dice.below(4) == 0)
                    .copied()
                    .collect();
                gone.iter().for_each(|r| drop(after.remove(r)));
                (store.remove(&gone).is_ok(), false)
            }
            1 | 2 => {
                let new = record(next, 0, dice.below(900) as usize);
                next += 1;
                after.insert(new.revision, new.kv.clone());
                (store.flush([new].into_iter(), &mark(turn)).is_ok(), true)
            }
            _ => {
                let stepped = copy_step(&store, &mut shrink);
                replaced |= stepped == Some(true);
                (stepped.is_some(), stepped == Some(true))
            }
        };
        allowed.push(after.clone());
        if !done {
            break;
        }
        if durable {
            allowed = vec![after.clone()];
        }
        model = after;
    }
    let image = if dice.below(4) == 0 {
        disk.killed()
    } else {
        disk.crash(dice.next())
    };
    let (found, _) = open(&image).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    let found = model_of(&found);
    assert!(allowed.contains(&found), "seed {seed}: {}", found.len());
    assert!(left_overs(&image).is_empty(), "seed {seed}");
    replaced
}

#[test]
fn no_crash_around_a_copy_loses_what_was_flushed() {
    let replaced = (0..400).filter(|seed| history(*seed)).count();
    assert!(replaced > 40, "only {replaced} copies took the place");
}

#[test]
fn churn_uses_freed_pages_again_and_does_not_grow_the_file() {
    let disk = MemDisk::new();
    let (store, _) = open(&disk).expect("open");
    let mut sizes = Vec::new();
    for round in 0..60_i64 {
        let first = 2 + round * 500;
        let records = (first..first + 500).map(|m| record(m, 0, 900));
        store
            .flush(records, &mark(round as u64 + 1))
            .expect("flush");
        // Five rounds stay.
        let old = first - 2500;
        let gone: Vec<Revision> = (old.max(2)..(old + 500).max(2))
            .map(Revision::first_of)
            .collect();
        store.remove(&gone).expect("remove");
        sizes.push(store.file_bytes().expect("length"));
    }
    let (settled, last) = (sizes[20], sizes[59]);
    assert!(last <= settled + settled / 8, "{settled} grew to {last}");
}
