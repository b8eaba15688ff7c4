//! Seeded crashes: a model of what was acknowledged against what recovery finds, through any number of power cuts.

use std::sync::Arc;

use kvorum_core::log::{Append, Entry, HardState};

use super::{entry, options, state};
use crate::disk::MemDisk;
use crate::error::StorageError;
use crate::log::{Log, LogOptions, RecoveredLog};
use crate::tests::Dice;

/// All entries ever acknowledged and not overwritten, and the hard state.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    entries: Vec<Entry>,
    hard_state: HardState,
    released: u64,
}

impl Model {
    fn apply(&mut self, groups: &[Append]) {
        for group in groups {
            for entry in &group.entries {
                self.entries.truncate(entry.index as usize - 1);
                self.entries.push(entry.clone());
            }
            self.hard_state = group.hard_state.unwrap_or(self.hard_state);
        }
    }

    /// The recovered log equals this model, up to what was released from its front.
    fn matches(&self, recovered: &RecoveredLog) -> bool {
        let base = recovered.base.0;
        base <= self.released
            && self.hard_state == recovered.hard_state
            && self
                .entries
                .get(base as usize..)
                .is_some_and(|tail| tail == recovered.entries)
    }
}

fn random_groups(dice: &mut Dice, model: &Model) -> Vec<Append> {
    let mut next = model.clone();
    let count = 1 + dice.below(3);
    (0..count)
        .map(|number| {
            let last = next.entries.len() as u64;
            let floor = next.hard_state.commit.max(next.released);
            let overwrite = last > floor && dice.below(6) == 0;
            let first = if overwrite {
                floor + 1 + dice.below(last - floor)
            } else {
                last + 1
            };
            let term = next.entries.last().map_or(1, |e| e.term) + u64::from(overwrite);
            let entries = (0..dice.below(4) + u64::from(overwrite))
                .map(|i| entry(first + i, term, dice.below(5000) as usize))
                .collect();
            let mut group = Append {
                number,
                entries,
                hard_state: None,
            };
            next.apply(std::slice::from_ref(&group));
            if dice.below(3) == 0 {
                let floor = next.hard_state.commit;
                let commit = floor + dice.below(next.entries.len() as u64 - floor + 1);
                group.hard_state = Some(state(term, dice.below(4), commit));
                next.apply(std::slice::from_ref(&group));
            }
            group
        })
        .collect()
}

fn reopen(disk: &MemDisk, seed: u64) -> Result<(Log, RecoveredLog), StorageError> {
    Log::open(Arc::new(disk.clone()), LogOptions { seed, ..options() })
}

/// Works until the power goes. Returns the append that was under way then, which may or may not be found later.
fn work(log: &mut Log, dice: &mut Dice, model: &mut Model, steps: u64) -> Option<Model> {
    for _ in 0..steps {
        let failed = match dice.below(8) {
            0 => {
                let index = dice.below(model.hard_state.commit + 1);
                model.released = model.released.max(index);
                log.release(index);
                false
            }
            1 => log.prepare_next().is_err(),
            2 => log.settle().is_err(),
            _ => {
                let groups = random_groups(dice, model);
                let mut attempted = model.clone();
                attempted.apply(&groups);
                if log.append(&groups).is_err() {
                    return Some(attempted);
                }
                *model = attempted;
                false
            }
        };
        if failed {
            return None;
        }
    }
    None
}

/// Opens the log, with power cuts during recovery; each leaves a crash image that is opened again.
fn recover(disk: &mut MemDisk, dice: &mut Dice, place: &str) -> (Log, RecoveredLog) {
    loop {
        if dice.below(3) == 0 {
            disk.cut_power_at(dice.below(12));
        }
        match reopen(disk, dice.next()) {
            Ok(opened) => return opened,
            Err(StorageError::Io { .. }) => {
                *disk = if dice.below(3) == 0 {
                    disk.killed()
                } else {
                    disk.crash(dice.next())
                };
            }
            Err(error) => panic!("{place}: {error}"),
        }
    }
}

/// One history: work, power cut, recovery with power cuts in it, and again. Returns the entries it recovered.
fn history(seed: u64) -> usize {
    let mut dice = Dice(seed);
    let mut disk = MemDisk::new();
    if dice.below(2) == 0 {
        disk = disk.with_durable_log();
    }
    let mut model = Model::default();
    let mut attempted = None;
    let mut seen = 0;
    for life in 0..4 {
        let place = format!("seed {seed}, life {life}");
        let (mut log, recovered) = recover(&mut disk, &mut dice, &place);
        if let Some(attempt) = attempted.take()
            && !model.matches(&recovered)
        {
            model = attempt;
        }
        assert!(
            model.matches(&recovered),
            "{place}: expected {} entries, {:?}, found base {:?}, {} entries, {:?}",
            model.entries.len(),
            model.hard_state,
            recovered.base,
            recovered.entries.len(),
            recovered.hard_state,
        );
        seen += recovered.entries.len();
        if dice.below(4) > 0 {
            disk.cut_power_at(dice.below(60));
        }
        let steps = 5 + dice.below(40);
        attempted = work(&mut log, &mut dice, &mut model, steps);
        disk = if dice.below(4) == 0 {
            disk.killed()
        } else {
            disk.crash(dice.next())
        };
    }
    seen
}

#[test]
fn no_crash_loses_an_acknowledged_group_or_invents_one() {
    let seen: usize = (0..4000).map(history).sum();
    assert!(seen > 100_000, "only {seen} entries were ever at stake");
}

#[test]
fn the_same_seed_gives_the_same_crash_image() {
    let image = |seed| {
        let disk = MemDisk::new();
        let (mut log, _) = reopen(&disk, 1).expect("open");
        disk.cut_power_at(9);
        let mut model = Model::default();
        work(&mut log, &mut Dice(seed), &mut model, 50);
        disk.crash(seed).dump()
    };
    (0..20).for_each(|seed| assert_eq!(image(seed), image(seed)));
    assert_ne!(image(1), image(2));
}
