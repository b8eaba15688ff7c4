//! The rounds of a running member: they find what turned, and nothing else, whatever goes on meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use kvorum_core::backend::FlushMark;
use kvorum_core::log::{Append, Entry, EntryKind};
use kvorum_core::types::{Index, Revision, Term};

use super::{LOG_OPTIONS, OPTIONS, member, record, segments};
use crate::disk::MemDisk;
use crate::log::Log;
use crate::store::StateStore;
use crate::verify::{Scrub, ScrubStep, ScrubTotals};

fn round(state: &MemDisk, log: &MemDisk, bytes: usize) -> Result<ScrubTotals, String> {
    let (store, _) = StateStore::open(Arc::new(state.clone()), OPTIONS).expect("open");
    let mut scrub = Scrub::new(Arc::new(store), Arc::new(log.clone()));
    loop {
        match scrub.step(bytes) {
            ScrubStep::More => {}
            ScrubStep::Done(totals) => return Ok(totals),
            ScrubStep::Damaged(error) | ScrubStep::Failed(error) => {
                assert!(
                    matches!(scrub.step(bytes), ScrubStep::Done(_)),
                    "the round is over"
                );
                return Err(error.to_string());
            }
        }
    }
}

#[test]
fn a_round_looks_at_every_record_and_every_frame_in_steps_of_any_size() {
    let (state, log) = member(700);
    let whole = round(&state, &log, 1 << 30).expect("whole");
    assert_eq!(whole.records, 700);
    // Thirty groups and the marker behind them.
    assert_eq!(whole.frames, 31);
    for bytes in [1, 1000, 50_000] {
        assert_eq!(round(&state, &log, bytes), Ok(whole));
    }
}

#[test]
fn a_round_finds_what_turned_in_any_segment() {
    let (state, log) = member(10);
    for name in segments(&log) {
        for block in [0, 1, 3] {
            let copy = log.killed();
            copy.flip_bit(&name, block * 4096 + 20, 1).expect("flip");
            let found = round(&state, &copy, 9000);
            // The last segment may have no third frame.
            if found.is_ok() {
                assert_eq!(Some(&name), segments(&log).last(), "block {block}");
                assert_eq!(block, 3);
                continue;
            }
            let text = found.expect_err("damage");
            assert!(text.contains("KVORUM") || text.contains(".log"), "{text}");
        }
    }
}

#[test]
fn a_round_finds_a_record_that_turned() {
    let (state, log) = member(3000);
    let bytes = state.dump().remove(0).1;
    let at = bytes.windows(200).position(|w| w == [77; 200]);
    let at = at.expect("the value is in the file") as u64;
    state.flip_bit("state.redb", at + 40, 1).expect("flip");
    let text = round(&state, &log, 5000).expect_err("damage");
    assert!(text.contains("the checksum of the record"), "{text}");
}

#[test]
fn a_disk_that_cannot_be_read_is_not_taken_for_damage() {
    let (state, log) = member(10);
    let (store, _) = StateStore::open(Arc::new(state), OPTIONS).expect("open");
    let mut scrub = Scrub::new(Arc::new(store), Arc::new(log.clone()));
    log.fail_read_at(3);
    loop {
        match scrub.step(5000) {
            ScrubStep::More => {}
            ScrubStep::Failed(error) => {
                assert!(!error.is_damage(), "{error}");
                return;
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn appends_flushes_compactions_and_let_go_segments_are_no_damage() {
    let (state, log_disk) = (MemDisk::new(), MemDisk::new());
    let (store, _) = StateStore::open(Arc::new(state), OPTIONS).expect("open");
    let store = Arc::new(store);
    let (mut log, _) = Log::open(Arc::new(log_disk.clone()), LOG_OPTIONS).expect("open");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (rounds, done) = (&store, &done);
        let scrubs = scope.spawn(move || {
            let mut count = 0;
            while !done.load(Ordering::Relaxed) || count < 5 {
                let mut scrub = Scrub::new(rounds.clone(), Arc::new(log_disk.clone()));
                loop {
                    match scrub.step(3000) {
                        ScrubStep::More => {}
                        ScrubStep::Done(_) => break,
                        other => panic!("round {count}: {other:?}"),
                    }
                }
                count += 1;
            }
            count
        });
        for index in 1..3000_u64 {
            let entry = Entry {
                term: 1,
                index,
                kind: EntryKind::Normal,
                data: Bytes::from(vec![2; (index * 37 % 9000) as usize]),
            };
            let group = Append {
                number: 0,
                entries: vec![entry],
                hard_state: None,
            };
            log.append(&[group]).expect("append");
            log.release(index.saturating_sub(10));
            log.prepare_next().expect("prepare");
            if index % 10 == 0 {
                let main = index as i64;
                let mark = FlushMark {
                    applied: Index(index),
                    term: Term(1),
                    side: Vec::new(),
                };
                let records = (main..main + 10).map(record);
                store.flush(records, &mark).expect("flush");
                let gone: Vec<Revision> =
                    (main - 500..main - 490).map(Revision::first_of).collect();
                store.remove(&gone).expect("remove");
            }
        }
        done.store(true, Ordering::Relaxed);
        assert!(scrubs.join().expect("scrubs") >= 5);
    });
}
