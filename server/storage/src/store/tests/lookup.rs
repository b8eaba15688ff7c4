//! Damage inside redb's tree hides records that are whole themselves: no look-up may take them for records that are not
//! there.

use std::collections::BTreeMap;
use std::panic::catch_unwind;

use kvorum_core::watch::Page;

use super::*;

/// History without gaps, as a member keeps it behind its compact revision.
const FIRST: i64 = 2;
const LAST: i64 = 3000;

fn filled(disk: &MemDisk) -> BTreeMap<Revision, Record> {
    let (store, _) = open(disk).expect("open");
    for (number, begin) in (FIRST..=LAST).step_by(100).enumerate() {
        let records = begin..(begin + 100).min(LAST + 1);
        let records = records.map(|m| record(m, 0, 60));
        store
            .flush(records, &mark(number as u64 + 1))
            .expect("flush");
    }
    let kept = all(&store);
    kept.into_iter().map(|r| (r.revision, r)).collect()
}

fn state_len(disk: &MemDisk) -> u64 {
    let files = disk.dump();
    let file = files.iter().find(|(name, _)| name == FILE);
    file.expect("the state file").1.len() as u64
}

#[derive(Debug, Default)]
struct Counted {
    right: u32,
    refused: u32,
    /// Fewer records than there are, which whoever knows the history notices.
    gaps: u32,
}

impl Counted {
    fn add(&mut self, other: &Self) {
        self.right += other.right;
        self.refused += other.refused;
        self.gaps += other.gaps;
    }
}

/// Asks for single records and for ranges, some of them beside what is there.
fn ask(
    store: &StateStore,
    truth: &BTreeMap<Revision, Record>,
    around: i64,
    dice: &mut Dice,
    place: &str,
) -> Counted {
    let mut counted = Counted::default();
    let span = (LAST + 200) as u64;
    let near = (around - 3..around + 3).filter(|m| *m >= 0);
    let mains: Vec<i64> = near
        .chain((0..40).map(|_| dice.below(span) as i64))
        .collect();
    for main in mains {
        let at = Revision::first_of(main);
        match store.record(at) {
            Ok(got) if got.as_ref() == truth.get(&at) => counted.right += 1,
            // The index names only records that must be there.
            Ok(got) => {
                assert!(
                    got.is_none(),
                    "{place}: the record of {main} is another one"
                );
                counted.gaps += 1;
            }
            Err(_) => counted.refused += 1,
        }
        let to = Revision::last_of(main + dice.below(300) as i64);
        let wanted: Vec<Record> = truth.range(at..=to).map(|(_, r)| r.clone()).collect();
        match store.records(at, to, 1000) {
            Ok(got) if got == wanted => counted.right += 1,
            Ok(got) => {
                let page = Page::cut(got, 1000, to.main.min(LAST));
                assert!(page.has_gap(main, 0), "{place}: {main}..={}", to.main);
                counted.gaps += 1;
            }
            Err(_) => counted.refused += 1,
        }
    }
    counted
}

#[test]
fn no_flipped_bit_in_the_state_file_makes_a_lookup_miss_a_record() {
    let disk = MemDisk::new();
    let truth = filled(&disk);
    let len = state_len(&disk);
    let mut dice = Dice(5);
    let mut total = Counted::default();
    let mut not_opened = 0;
    for _ in 0..400 {
        let copy = disk.killed();
        let (offset, bit) = (dice.below(len), dice.below(8) as u8);
        copy.flip_bit(FILE, offset, bit).expect("flip");
        let place = format!("bit {bit} of byte {offset}");
        let seed = dice.below(u64::MAX);
        let asked = catch_unwind(|| {
            let (store, _) = open(&copy).ok()?;
            Some(ask(&store, &truth, 0, &mut Dice(seed), &place))
        });
        match asked {
            Ok(Some(counted)) => total.add(&counted),
            Ok(None) => not_opened += 1,
            Err(panic) => assert!(is_of_redb(&*panic), "{place}"),
        }
    }
    assert!(
        total.right > 1000 && total.refused > 100 && total.gaps > 0,
        "{total:?}, {not_opened} not opened"
    );
}

/// True unless an assertion of this file ended the thread.
fn is_of_redb(panic: &(dyn std::any::Any + Send)) -> bool {
    let text = panic.downcast_ref::<String>().map_or("", String::as_str);
    !text.contains("bit ")
}

#[test]
fn a_branch_that_leads_astray_is_noticed_by_whoever_follows_it() {
    let disk = MemDisk::new();
    let truth = filled(&disk);
    let bytes = disk.dump().into_iter().find(|(n, _)| n == FILE);
    let bytes = bytes.expect("the state file").1;
    let mut total = Counted::default();
    let mut dice = Dice(9);
    let mut astray = 0;
    // Wherever eight bytes are a revision, be it in a leaf or in a branch, it becomes another one.
    for main in (FIRST..=LAST).step_by(7) {
        let wanted = (main.cast_unsigned() ^ (1 << 63)).to_be_bytes();
        let places = bytes.windows(8).enumerate().filter(|(_, w)| *w == wanted);
        for (at, _) in places {
            let copy = disk.killed();
            copy.flip_bit(FILE, at as u64 + 6, 1).expect("flip");
            let seed = dice.below(u64::MAX);
            let place = format!("bit 1 of byte {}", at + 6);
            let asked = catch_unwind(|| {
                let (store, _) = open(&copy).ok()?;
                Some(ask(&store, &truth, main, &mut Dice(seed), &place))
            });
            match asked {
                Ok(Some(counted)) => {
                    astray += u32::from(counted.refused > 0);
                    total.add(&counted);
                }
                Ok(None) => {}
                Err(panic) => assert!(is_of_redb(&*panic), "{place}"),
            }
        }
    }
    assert!(
        total.right > 1000 && astray > 50,
        "{total:?}, {astray} led astray"
    );
}
