//! The power goes at every operation between the first chunk and a log that begins behind the new state.

use std::sync::Arc;

use bytes::Bytes;
use kvorum_core::log::{Append, Entry, EntryKind, HardState};

use super::{OPTIONS, SnapshotSource, chunks, content, incoming, mark, record, stage, store_with};
use crate::disk::{Disk as _, MemDisk};
use crate::error::StorageError;
use crate::log::{Log, LogOptions, RecoveredLog};
use crate::store::StateStore;
use crate::store::snapshot::{SnapshotRefused, SnapshotSink};

fn start(state: &MemDisk, log: &MemDisk) -> Result<(StateStore, Log, RecoveredLog), StorageError> {
    let (store, restored) = StateStore::open(Arc::new(state.clone()), OPTIONS)?;
    let options = LogOptions {
        segment_bytes: 8 * 4096,
        seed: 3,
        must_reach: Some(restored.applied.0),
        base: store.base()?.map(|(index, term)| (index.0, term.0)),
    };
    let (log, recovered) = Log::open(Arc::new(log.clone()), options)?;
    store.settle_base(restored.applied)?;
    Ok((store, log, recovered))
}

fn hard_state(commit: u64) -> HardState {
    HardState {
        term: 4,
        vote: 2,
        commit,
    }
}

/// A member that has applied 8 of its 60 entries, of which the last 40 are void.
fn behind() -> (MemDisk, MemDisk) {
    let (state, log_disk) = (MemDisk::new(), MemDisk::new());
    let (store, mut log, _) = start(&state, &log_disk).expect("start");
    for first in (1..=60).step_by(4) {
        let entry = |index| Entry {
            term: 2,
            index,
            kind: EntryKind::Normal,
            data: Bytes::from(vec![1; 500]),
        };
        let group = Append {
            number: 0,
            entries: (first..first + 4).map(entry).collect(),
            hard_state: Some(hard_state(first.min(8))),
        };
        log.append(&[group]).expect("append");
    }
    store
        .flush((2..7).map(|m| record(m, 20)), &mark(8, Vec::new()))
        .expect("flush");
    drop(store);
    (state.killed(), log_disk.killed())
}

/// Takes the snapshot and goes on behind it.
fn catch_up(
    state: &MemDisk,
    store: &StateStore,
    log: &mut Log,
    sent: &[Bytes],
) -> Result<(), SnapshotRefused> {
    let mut sink = SnapshotSink::new(Arc::new(state.clone()))?;
    for chunk in sent {
        sink.take(chunk)?;
    }
    let staged = sink.finish()?;
    let restored = store.install(staged)?;
    log.reset(restored.applied.0, restored.term.0, hard_state(50))?;
    store.settle_base(restored.applied)?;
    log.recycler().run()?;
    let next = Entry {
        term: 4,
        index: 51,
        kind: EntryKind::Normal,
        data: Bytes::new(),
    };
    let group = Append {
        number: 1,
        entries: vec![next],
        hard_state: None,
    };
    log.append(&[group])?;
    Ok(())
}

#[test]
fn a_crash_at_any_moment_leaves_the_old_state_or_the_new_one_and_a_log_that_fits() {
    let (_, sender) = store_with(400, 300);
    let sent = chunks(&mut SnapshotSource::new(sender, 7).expect("source"));
    let (state, log_disk) = behind();
    let (whole_state, whole_log) = (state.killed(), log_disk.killed());
    let (store, mut log, _) = start(&whole_state, &whole_log).expect("start");
    let (before, before_log) = (whole_state.ops(), whole_log.ops());
    catch_up(&whole_state, &store, &mut log, &sent).expect("no faults");
    let wanted = content(&store).1;
    let ops = (whole_state.ops() - before).max(whole_log.ops() - before_log);
    assert!(ops > 15, "{ops}");
    let (mut old, mut new) = (0, 0);
    for op in 0..ops + 1 {
        for seed in 0..6 {
            for cut_log in [false, true] {
                let place = format!("op {op} seed {seed} log {cut_log}");
                let (state, log_disk) = (state.killed(), log_disk.killed());
                let (store, mut log, _) = start(&state, &log_disk).expect("start");
                let cut = if cut_log { &log_disk } else { &state };
                cut.cut_power_at(op);
                let done = catch_up(&state, &store, &mut log, &sent).is_ok();
                let (state, log_disk) = (state.crash(seed), log_disk.crash(seed + 77));
                let (store, log, recovered) =
                    start(&state, &log_disk).unwrap_or_else(|e| panic!("{place}: {e}"));
                assert!(incoming(&state).is_empty(), "{place}");
                assert_eq!(recovered.hard_state.vote, 2, "{place}");
                let (restored, records) = content(&store);
                if restored.applied.0 == 8 {
                    old += 1;
                    assert!(!done, "{place}");
                    assert_eq!((records.len(), log.last_index()), (5, 60), "{place}");
                    continue;
                }
                new += 1;
                assert_eq!(records, wanted, "{place}");
                assert_eq!(recovered.base, (50, 3), "{place}");
                assert_eq!(log.last_index(), if done { 51 } else { log.last_index() });
                assert!(recovered.entries.iter().all(|e| e.term == 4), "{place}");
            }
        }
    }
    assert!(old > 20 && new > 20, "{old} old, {new} new");
}

#[test]
fn what_a_crash_left_of_a_snapshot_is_removed_by_the_next_start() {
    let (_, sender) = store_with(40, 300);
    let sent = chunks(&mut SnapshotSource::new(sender, 7).expect("source"));
    let (state, log_disk) = behind();
    let staged = stage(&state, &sent);
    let after = state.killed();
    drop(staged);
    assert_eq!(incoming(&after).len(), 1);
    assert!(after.exists("state.redb").expect("exists"));
    start(&after, &log_disk).map(drop).expect("start");
    assert!(incoming(&after).is_empty());
}
