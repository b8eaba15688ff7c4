//! Every target on its seeds and on a fixed number of changes to them: the same inputs in every run.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use kvorum_tests::harness::generate::Dice;

use crate::mutate::mutate;
use crate::{TARGETS, Target};

/// Changed inputs for each target; a target that is slow stops earlier.
const INPUTS: u64 = 20_000;
const TARGET_TIME_MAX: Duration = Duration::from_secs(4);

fn feed(target: &Target, bytes: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| (target.run)(bytes))).is_err() {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        panic!(
            "{} panics on these bytes; write them to a file and replay it with \
             `cargo xtask fuzz {} --replay FILE`:\n{hex}",
            target.name, target.name
        );
    }
}

fn play(name: &str) {
    let target = crate::find(name).expect("a target");
    let seeds = (target.seeds)();
    assert!(!seeds.is_empty(), "{name} has nothing to begin from");
    for seed in &seeds {
        assert!(seed.len() <= target.input_bytes_max, "a seed is too long");
        feed(target, seed);
    }
    feed(target, &[]);
    let begun = Instant::now();
    let mut dice = Dice::new(1);
    for _ in 0..INPUTS {
        let mut input = dice.pick(&seeds);
        let other = dice.pick(&seeds);
        mutate(&mut input, &other, &mut dice);
        input.truncate(target.input_bytes_max);
        feed(target, &input);
        if begun.elapsed() > TARGET_TIME_MAX {
            break;
        }
    }
}

macro_rules! targets {
    ($($name:ident)*) => {
        $(#[test] fn $name() { play(stringify!($name)); })*

        #[test]
        fn every_target_has_a_test() {
            let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
        }
    };
}

targets! { grpc_request grpc_framing log_file snapshot_reader snapshot_sink gateway peer_frames keys pki }
