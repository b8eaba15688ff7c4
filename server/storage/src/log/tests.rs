//! Tests of the log over a disk in memory: what was acknowledged comes back, whatever crashes or rots.

mod crash;
mod damage;
mod real;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use kvorum_core::log::{Append, Entry, EntryKind, HardState};

use super::{BLOCK, Log, LogOptions, RecoveredLog};
use crate::disk::{Disk, MemDisk};
use crate::error::StorageError;

const SEGMENT: u64 = 8 * BLOCK as u64;

fn options() -> LogOptions {
    LogOptions {
        segment_bytes: SEGMENT,
        seed: 7,
        must_reach: None,
        base: None,
    }
}

fn open(disk: &MemDisk) -> Result<(Log, RecoveredLog), StorageError> {
    Log::open(Arc::new(disk.clone()), options())
}

fn entry(index: u64, term: u64, len: usize) -> Entry {
    let byte = (index % 251) as u8 ^ term as u8;
    Entry {
        index,
        term,
        kind: EntryKind::Normal,
        data: Bytes::from(vec![byte; len]),
    }
}

fn group(entries: Vec<Entry>) -> Append {
    Append {
        number: 0,
        entries,
        hard_state: None,
    }
}

fn state(term: u64, vote: u64, commit: u64) -> HardState {
    HardState { term, vote, commit }
}

fn append_one(log: &mut Log, index: u64, len: usize) {
    log.append(&[group(vec![entry(index, 1, len)])])
        .expect("append");
}

fn indices(recovered: &RecoveredLog) -> Vec<u64> {
    recovered.entries.iter().map(|e| e.index).collect()
}

#[test]
fn an_empty_disk_gives_an_empty_log() {
    let (log, recovered) = open(&MemDisk::new()).expect("open");
    assert_eq!(log.last_index(), 0);
    assert!(recovered.entries.is_empty());
    assert_eq!(recovered.hard_state, HardState::default());
    assert_eq!(recovered.base, (0, 0));
    assert!(recovered.torn.is_none());
}

#[test]
fn every_group_comes_back_as_it_was_written() {
    let disk = MemDisk::new();
    let (mut log, _) = open(&disk).expect("open");
    let mut kinds = vec![entry(1, 1, 0), entry(2, 1, 5000), entry(3, 2, 17)];
    kinds[1].kind = EntryKind::ConfChange;
    kinds[2].kind = EntryKind::ConfChangeV2;
    let groups = [
        Append {
            number: 1,
            entries: kinds.clone(),
            hard_state: Some(state(2, 9, 1)),
        },
        Append {
            number: 2,
            entries: vec![entry(4, 2, 1)],
            hard_state: Some(state(2, 9, 4)),
        },
    ];
    let stats = log.append(&groups).expect("append");
    assert_eq!((stats.frames, stats.bytes), (1, 2 * BLOCK as u64));
    kinds.push(entry(4, 2, 1));
    for _ in 0..3 {
        let (log, recovered) = open(&disk.killed()).expect("reopen");
        assert_eq!(recovered.entries, kinds);
        assert_eq!(recovered.hard_state, state(2, 9, 4));
        assert_eq!(log.last_index(), 4);
    }
}

#[test]
fn all_groups_of_one_append_share_one_sync() {
    let disk = MemDisk::new();
    let (mut log, _) = open(&disk).expect("open");
    let before = disk.syncs();
    let groups: Vec<Append> = (1..=20).map(|i| group(vec![entry(i, 1, 10)])).collect();
    log.append(&groups).expect("append");
    assert_eq!(disk.syncs() - before, 1);
}

#[test]
fn an_append_of_nothing_writes_nothing() {
    let disk = MemDisk::new();
    let (mut log, _) = open(&disk).expect("open");
    let before = disk.ops();
    log.append(&[]).expect("append");
    log.append(&[Append::default()]).expect("append");
    assert_eq!(disk.ops(), before);
}

#[test]
fn a_lower_index_replaces_the_tail() {
    let disk = MemDisk::new();
    let (mut log, _) = open(&disk).expect("open");
    log.append(&[group((1..=6).map(|i| entry(i, 1, 9)).collect())])
        .expect("append");
    log.append(&[group(vec![entry(4, 2, 9)])]).expect("append");
    log.append(&[group(vec![entry(5, 2, 9)])]).expect("append");
    let (_, recovered) = open(&disk.killed()).expect("reopen");
    let terms: Vec<_> = recovered
        .entries
        .iter()
        .map(|e| (e.index, e.term))
        .collect();
    assert_eq!(terms, [(1, 1), (2, 1), (3, 1), (4, 2), (5, 2)]);
}

#[test]
fn appends_that_do_not_continue_the_log_are_refused_and_change_nothing() {
    let disk = MemDisk::new();
    let (mut log, _) = open(&disk).expect("open");
    append_one(&mut log, 1, 10);
    let before = disk.ops();
    let bad = [
        group(vec![entry(3, 1, 1)]),
        group(vec![entry(0, 1, 1)]),
        group(vec![entry(2, 0, 1)]),
        group(vec![entry(2, 1, 1), entry(4, 1, 1)]),
        group(vec![entry(2, 1, 1), entry(2, 1, 1)]),
        group(vec![entry(2, 3, 1), entry(3, 2, 1)]),
        Append {
            number: 1,
            entries: vec![],
            hard_state: Some(state(1, 1, 2)),
        },
    ];
    for group in bad {
        let error = log
            .append(std::slice::from_ref(&group))
            .expect_err("must be refused");
        assert!(matches!(error, StorageError::Order(_)), "{error}");
    }
    assert_eq!(disk.ops(), before);
    append_one(&mut log, 2, 10);
}

#[test]
fn the_log_rolls_over_segments_and_replays_all_of_them() {
    let disk = MemDisk::new();
    let (mut log, _) = open(&disk).expect("open");
    (1..=50).for_each(|i| append_one(&mut log, i, 3000));
    assert!(log.segments() > 5);
    let (_, recovered) = open(&disk.killed()).expect("reopen");
    assert_eq!(indices(&recovered), (1..=50).collect::<Vec<_>>());
}

#[test]
fn a_group_larger_than_a_segment_gets_a_segment_of_its_own() {
    let disk = MemDisk::new();
    let (mut log, _) = open(&disk).expect("open");
    append_one(&mut log, 1, 10);
    append_one(&mut log, 2, 5 * SEGMENT as usize);
    append_one(&mut log, 3, 10);
    let (_, recovered) = open(&disk.killed()).expect("reopen");
    assert_eq!(
        recovered.entries,
        [
            entry(1, 1, 10),
            entry(2, 1, 5 * SEGMENT as usize),
            entry(3, 1, 10)
        ]
    );
    log.release(2);
    log.prepare_next().expect("prepare");
    let (_, recovered) = open(&disk.killed()).expect("reopen");
    assert_eq!(recovered.entries, [entry(3, 1, 10)]);
}

#[test]
fn release_frees_whole_segments_and_keeps_the_hard_state() {
    let disk = MemDisk::new();
    let (mut log, _) = open(&disk).expect("open");
    let first = Append {
        number: 1,
        entries: vec![entry(1, 3, 10)],
        hard_state: Some(state(3, 8, 1)),
    };
    log.append(&[first]).expect("append");
    (2..=100).for_each(|i| {
        log.append(&[group(vec![entry(i, 3, 3000)])])
            .expect("append");
        log.release(i.saturating_sub(20));
        log.prepare_next().expect("prepare");
    });
    let files = disk.list().expect("list").len();
    assert!(files <= 7, "{files} files");
    let (_, recovered) = open(&disk.killed()).expect("reopen");
    assert_eq!(recovered.hard_state, state(3, 8, 1));
    let first = recovered.entries[0].index;
    assert!((60..=81).contains(&first), "{first}");
    assert_eq!(recovered.base, (first - 1, 3));
    assert_eq!(recovered.entries.last().map(|e| e.index), Some(100));
}

#[test]
fn a_segment_with_an_entry_above_the_released_index_stays() {
    let disk = MemDisk::new();
    let (mut log, _) = open(&disk).expect("open");
    (1..=30).for_each(|i| append_one(&mut log, i, 3000));
    let before = log.segments();
    log.release(1);
    assert_eq!(log.segments(), before);
    log.release(1000);
    assert_eq!(log.segments(), 1);
}

#[test]
fn recycled_segments_never_replay_what_they_held_before() {
    let disk = MemDisk::new();
    let (mut log, _) = open(&disk).expect("open");
    for i in 1..=400 {
        append_one(&mut log, i, 3000);
        log.release(i - 1);
        log.prepare_next().expect("prepare");
        let (_, recovered) = open(&disk.killed()).expect("reopen");
        assert_eq!(recovered.entries.last().map(|e| e.index), Some(i));
    }
    let ids: Vec<String> = disk.list().expect("list");
    assert!(ids.len() <= 4, "{ids:?}");
}

#[test]
fn a_reset_starts_the_log_behind_a_snapshot() {
    let disk = MemDisk::new();
    let (mut log, _) = open(&disk).expect("open");
    (1..=30).for_each(|i| append_one(&mut log, i, 3000));
    log.reset(1000, 5, state(5, 2, 1000)).expect("reset");
    log.append(&[group(vec![entry(1001, 5, 10)])])
        .expect("append");
    let (log, recovered) = open(&disk.killed()).expect("reopen");
    assert_eq!(indices(&recovered), [1001]);
    assert_eq!(
        (recovered.base, recovered.hard_state),
        ((1000, 5), state(5, 2, 1000))
    );
    assert_eq!(log.last_index(), 1001);
}

#[test]
fn a_failed_sync_is_final() {
    let disk = MemDisk::new();
    let (mut log, _) = open(&disk).expect("open");
    append_one(&mut log, 1, 10);
    disk.fail_sync_at(0);
    let error = log
        .append(&[group(vec![entry(2, 1, 10)])])
        .expect_err("EIO");
    assert!(
        matches!(error, StorageError::Io { op: "sync", .. }),
        "{error}"
    );
    assert!(!error.is_out_of_space());
    for _ in 0..3 {
        let error = log
            .append(&[group(vec![entry(2, 1, 10)])])
            .expect_err("still failed");
        assert!(matches!(error, StorageError::Failed(_)), "{error}");
    }
    assert!(matches!(log.settle(), Err(StorageError::Failed(_))));
}

#[test]
fn what_a_failed_sync_left_in_the_page_cache_is_made_durable_before_it_counts() {
    let disk = MemDisk::new();
    let (mut log, _) = open(&disk).expect("open");
    append_one(&mut log, 1, 10);
    disk.fail_sync_at(0);
    log.append(&[group(vec![entry(2, 1, 10)])])
        .expect_err("EIO");
    let restarted = disk.killed();
    let (_, recovered) = open(&restarted).expect("reopen");
    let seen = indices(&recovered);
    for seed in 0..50 {
        let (_, after) = open(&restarted.crash(seed)).expect("reopen after power loss");
        assert_eq!(indices(&after), seen, "seed {seed}");
    }
}

#[test]
fn a_full_disk_refuses_the_append_and_takes_it_once_there_is_space() {
    let disk = MemDisk::new();
    let (mut log, _) = open(&disk).expect("open");
    disk.set_capacity(2 * SEGMENT);
    let mut index = 1;
    let error = loop {
        match log.append(&[group(vec![entry(index, 1, 3000)])]) {
            Ok(_) => index += 1,
            Err(error) => break error,
        }
    };
    assert!(error.is_out_of_space(), "{error}");
    assert!(index > 10);
    assert!(log.append(&[group(vec![entry(index, 1, 3000)])]).is_err());
    let (_, recovered) = open(&disk.killed()).expect("a full disk does not stop the start");
    assert_eq!(recovered.entries.len() as u64, index - 1);
    disk.clear_faults();
    append_one(&mut log, index, 3000);
    let (_, recovered) = open(&disk.killed()).expect("reopen");
    assert_eq!(recovered.entries.len() as u64, index);
}

#[test]
fn files_of_others_in_the_directory_are_left_alone() {
    let disk = MemDisk::new();
    for name in [
        "state.redb",
        "0000.log",
        "000000000000000G.log",
        "0000000000000001.txt",
    ] {
        disk.open(name, crate::disk::OpenMode::New).expect("create");
    }
    let (mut log, _) = open(&disk).expect("open");
    append_one(&mut log, 1, 10);
    open(&disk.killed()).expect("reopen");
    assert!(disk.exists("state.redb").expect("exists"));
}

#[test]
fn another_thread_may_recycle_while_the_log_appends() {
    let disk = MemDisk::new();
    let (mut log, _) = open(&disk).expect("open");
    let recycler = log.recycler();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                recycler.run().expect("recycle");
            }
        });
        for i in 1..=2000 {
            append_one(&mut log, i, 3000);
            log.release(i.saturating_sub(10));
        }
        done.store(true, Ordering::Relaxed);
    });
    recycler.run().expect("recycle");
    let (_, recovered) = open(&disk.killed()).expect("reopen");
    assert_eq!(recovered.entries.last().map(|e| e.index), Some(2000));
    assert!((1900..=1991).contains(&recovered.entries[0].index));
}
