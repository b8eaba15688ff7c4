//! A state that came from elsewhere and a log that must begin behind it, with a crash at every operation.

use std::sync::Arc;

use bytes::Bytes;
use kvorum_core::backend::{FlushMark, SideChange};
use kvorum_core::log::{Append, Entry, EntryKind, HardState};
use kvorum_core::types::{Index, Term};

use super::{all, open, record};
use crate::disk::MemDisk;
use crate::error::StorageError;
use crate::log::{Log, LogOptions, RecoveredLog};
use crate::store::StateStore;

/// The two disks of a member.
struct Disks {
    state: MemDisk,
    log: MemDisk,
}

impl Disks {
    fn new() -> Self {
        Self {
            state: MemDisk::new(),
            log: MemDisk::new(),
        }
    }

    fn crash(&self, seed: u64) -> Self {
        Self {
            state: self.state.crash(seed),
            log: self.log.crash(seed.wrapping_mul(7)),
        }
    }

    fn copy(&self) -> Self {
        Self {
            state: self.state.killed(),
            log: self.log.killed(),
        }
    }

    /// As a member starts.
    fn start(&self) -> Result<(StateStore, Log, RecoveredLog), StorageError> {
        let (store, restored) = open(&self.state)?;
        let base = store.base()?.map(|(index, term)| (index.0, term.0));
        let (log, recovered) = Log::open(
            Arc::new(self.log.clone()),
            LogOptions {
                segment_bytes: 8 * 4096,
                seed: 5,
                must_reach: Some(restored.applied.0),
                base,
            },
        )?;
        store.settle_base(restored.applied)?;
        Ok((store, log, recovered))
    }
}

fn first_state() -> FlushMark {
    FlushMark {
        applied: Index(1),
        term: Term(1),
        side: vec![SideChange::MetaPut(
            "conf_state".into(),
            Bytes::from_static(b"c"),
        )],
    }
}

fn group(first: u64, count: u64, term: u64, vote: u64, commit: u64) -> Append {
    let entries = (first..first + count).map(|index| Entry {
        term,
        index,
        kind: EntryKind::Normal,
        data: Bytes::from(vec![7; 900]),
    });
    Append {
        number: 0,
        entries: entries.collect(),
        hard_state: Some(HardState { term, vote, commit }),
    }
}

#[test]
fn a_new_cluster_begins_behind_its_first_state_whatever_crashes() {
    let begin = |disks: &Disks| -> Result<(), StorageError> {
        let (store, restored) = open(&disks.state)?;
        if restored.applied == Index(0) {
            store.flush_base(std::iter::empty(), &first_state())?;
        }
        drop(store);
        let (_, mut log, _) = disks.start()?;
        log.append(&[group(2, 1, 1, 9, 2)])?;
        Ok(())
    };
    let whole = Disks::new();
    begin(&whole).expect("no faults");
    let ops = whole.state.ops().max(whole.log.ops());
    for op in 0..ops {
        for seed in 0..6 {
            for cut_log in [true, false] {
                let disks = Disks::new();
                let cut = if cut_log { &disks.log } else { &disks.state };
                cut.cut_power_at(op);
                let done = begin(&disks).is_ok();
                let after = disks.crash(seed);
                if open(&after.state).expect("state").1.applied == Index(0) {
                    assert!(!done, "op {op} seed {seed}");
                    begin(&after).expect("the cluster is begun again");
                }
                let (store, _, recovered) = after
                    .start()
                    .unwrap_or_else(|e| panic!("op {op} seed {seed} log {cut_log}: {e}"));
                assert_eq!(store.base().expect("base"), None);
                assert_eq!(recovered.base, (1, 1), "op {op} seed {seed}");
                assert!(recovered.hard_state.commit >= 1);
                if done {
                    assert_eq!(recovered.hard_state.vote, 9);
                    assert_eq!(recovered.entries.len(), 1);
                }
            }
        }
    }
}

/// A member with 30 entries of term 3, 10 of them applied, votes for 4 in term 6, and gets the state at 20 of term 5.
fn behind(store: &StateStore, log: &mut Log) -> Result<(), StorageError> {
    for index in (1..=30).step_by(3) {
        log.append(&[group(index, 3, 3, 2, 10.min(index))])?;
        if index % 2 == 0 {
            log.prepare_next()?;
        }
    }
    let mark = |applied, term| FlushMark {
        applied: Index(applied),
        term: Term(term),
        side: Vec::new(),
    };
    store.flush((2..10).map(|m| record(m, 0, 50)), &mark(10, 3))?;
    let vote = Append {
        number: 0,
        entries: Vec::new(),
        hard_state: Some(HardState {
            term: 6,
            vote: 4,
            commit: 10,
        }),
    };
    log.append(&[vote])?;
    store.flush_base((10..40).map(|m| record(m, 0, 50)), &mark(20, 5))?;
    Ok(())
}

/// What a member does after it has taken the state of another: the log begins anew.
fn begin_anew(store: &StateStore, log: &mut Log) -> Result<(), StorageError> {
    let hard_state = HardState {
        term: 6,
        vote: 4,
        commit: 20,
    };
    log.reset(20, 5, hard_state)?;
    log.recycler().run()?;
    store.settle_base(Index(20))?;
    log.append(&[group(21, 1, 6, 4, 20)])?;
    Ok(())
}

#[test]
fn a_log_of_another_past_never_survives_behind_an_installed_state() {
    let prepared = Disks::new();
    {
        let (store, mut log, _) = prepared.start().expect("start");
        behind(&store, &mut log).expect("no faults");
    }
    let whole = prepared.copy();
    {
        let (store, mut log, recovered) = whole.start().expect("start");
        assert!(recovered.begun_anew && recovered.entries.is_empty());
        assert_eq!(recovered.hard_state.vote, 4);
        assert_eq!(all(&store).len(), 38);
        begin_anew(&store, &mut log).expect("no faults");
    }
    let ops = whole.log.ops().max(whole.state.ops());
    assert!(ops > 8, "{ops}");
    for op in 0..ops {
        for seed in 0..8 {
            for cut_log in [true, false] {
                let disks = prepared.copy();
                let cut = if cut_log { &disks.log } else { &disks.state };
                cut.cut_power_at(op);
                let done = disks
                    .start()
                    .and_then(|(store, mut log, _)| begin_anew(&store, &mut log))
                    .is_ok();
                let (_, log, recovered) = disks
                    .crash(seed)
                    .start()
                    .unwrap_or_else(|e| panic!("op {op} seed {seed} log {cut_log}: {e}"));
                let place = format!("op {op} seed {seed} log {cut_log}");
                assert_eq!(recovered.base, (20, 5), "{place}");
                assert_eq!(
                    (recovered.hard_state.term, recovered.hard_state.vote),
                    (6, 4),
                    "{place}"
                );
                assert!(recovered.entries.iter().all(|e| e.term == 6), "{place}");
                assert!(!done || log.last_index() == 21, "{place}");
            }
        }
    }
}

#[test]
fn a_log_that_holds_the_base_goes_on_with_what_follows_it() {
    let disks = Disks::new();
    let (store, mut log, _) = disks.start().expect("start");
    log.append(&[group(1, 9, 3, 2, 4)]).expect("append");
    let mark = FlushMark {
        applied: Index(5),
        term: Term(3),
        side: Vec::new(),
    };
    store.flush_base(std::iter::empty(), &mark).expect("flush");
    let (store, _, recovered) = disks.copy().start().expect("start");
    assert!(!recovered.begun_anew);
    assert_eq!(recovered.entries.len(), 9);
    assert_eq!(store.base().expect("base"), None);
}

#[test]
fn a_log_that_vanished_is_refused_once_it_had_begun() {
    let disks = Disks::new();
    let (store, _) = open(&disks.state).expect("open");
    store
        .flush_base(std::iter::empty(), &first_state())
        .expect("flush");
    drop(store);
    drop(disks.start().expect("start"));
    let without = Disks {
        state: disks.state.killed(),
        log: MemDisk::new(),
    };
    let error = without.start().map(|_| ()).expect_err("the log is gone");
    assert!(error.to_string().contains("has applied entry 1"), "{error}");
}

#[test]
fn a_log_that_committed_something_else_than_the_state_is_refused() {
    let disks = Disks::new();
    let (store, mut log, _) = disks.start().expect("start");
    log.append(&[group(1, 9, 3, 2, 9)]).expect("append");
    let mark = FlushMark {
        applied: Index(5),
        term: Term(4),
        side: Vec::new(),
    };
    store.flush_base(std::iter::empty(), &mark).expect("flush");
    let error = disks.copy().start().map(|_| ()).expect_err("refused");
    assert!(error.to_string().contains("another entry 5"), "{error}");
    let hard_state = HardState {
        term: 4,
        vote: 0,
        commit: 9,
    };
    let error = log.reset(5, 4, hard_state).expect_err("commit is behind");
    assert!(matches!(error, StorageError::Order(_)), "{error}");
}

#[test]
fn a_log_that_begins_behind_an_older_state_settles_no_newer_one() {
    let disks = Disks::new();
    let (store, mut log, _) = disks.start().expect("start");
    for index in [20, 30] {
        let mark = FlushMark {
            applied: Index(index),
            term: Term(5),
            side: Vec::new(),
        };
        store.flush_base(std::iter::empty(), &mark).expect("flush");
    }
    let hard_state = HardState {
        term: 5,
        vote: 0,
        commit: 20,
    };
    log.reset(20, 5, hard_state).expect("behind the first");
    store.settle_base(Index(20)).expect("settle");
    assert_eq!(store.base().expect("base"), Some((Index(30), Term(5))));
    // The log could not begin behind the second before the crash.
    let after = disks.copy();
    drop((store, log));
    let (store, _, recovered) = after.start().expect("it begins there now");
    assert_eq!((recovered.base, recovered.entries.len()), ((30, 5), 0));
    assert_eq!(store.base().expect("base"), None);
}
