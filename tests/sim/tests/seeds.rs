//! What must hold of the simulator itself: equal seeds give equal runs, and the bugs that are built in are found.
//!
//! `KVORUM_TEST_SIM_SEEDS` multiplies the seeds of each test.

use kvorum_sim::{Ended, Mutant, Order, Profile, run};

fn order(seed: u64, ops: u64, profile: Profile) -> Order {
    Order {
        seed,
        ops,
        profile,
        mutant: None,
    }
}

/// Seeds of a test, more where the environment asks for more.
fn times(seeds: u64) -> u64 {
    let text = std::env::var("KVORUM_TEST_SIM_SEEDS").unwrap_or_default();
    seeds * text.parse::<u64>().unwrap_or(1).max(1)
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for (_, profile) in Profile::ALL {
        for seed in 1..=times(4) {
            let once = run(order(seed, 600, profile), false);
            let again = run(order(seed, 600, profile), false);
            assert_eq!(
                (once.hash, once.violation),
                (again.hash, again.violation),
                "{} seed {seed}",
                profile.name()
            );
        }
    }
}

#[test]
fn other_seeds_give_other_runs() {
    let first = run(order(1, 300, Profile::Swarm), false);
    let second = run(order(2, 300, Profile::Swarm), false);
    assert_ne!(first.hash, second.hash);
}

#[test]
fn without_a_bug_nothing_is_found() {
    for (_, profile) in Profile::ALL {
        // What duplicates may do to raft 0.7 is why the transport never makes any.
        if profile == Profile::Duplicates {
            continue;
        }
        for seed in 1..=times(5) {
            let Ended { violation, .. } = run(order(seed, 1_000, profile), false);
            assert_eq!(violation, None, "{} seed {seed}", profile.name());
        }
    }
}

/// Plays seeds until the bug is found; says how many it took.
fn found(mutant: Mutant, profile: Profile, ops: u64, seeds: u64) {
    for seed in 1..=seeds {
        let order = Order {
            mutant: Some(mutant),
            ..order(seed, ops, profile)
        };
        if let Some(violation) = run(order, false).violation {
            let text: String = violation.to_string().chars().take(200).collect();
            eprintln!("{} found by seed {seed}: {text}", mutant.name());
            return;
        }
    }
    panic!("{} was not found by {seeds} seeds", mutant.name());
}

#[test]
fn a_reply_before_the_sync_is_found() {
    found(Mutant::ReplyBeforeSync, Profile::Disks, 2_000, 20);
}

#[test]
fn a_local_read_is_found() {
    found(Mutant::LocalRead, Profile::Partitions, 2_000, 10);
}

#[test]
fn a_duplicated_proposal_is_found() {
    found(Mutant::DuplicatedProposal, Profile::Partitions, 2_000, 10);
}

/// What shows it is a leader that stands still until another leads, and is asked before it hears of that.
#[test]
fn a_reused_read_context_is_found() {
    found(Mutant::ReusedReadContext, Profile::Pauses, 2_000, 40);
}

#[test]
fn a_lost_hard_state_is_found() {
    found(Mutant::LostHardState, Profile::Disks, 2_000, 20);
}

#[test]
fn an_event_after_progress_is_found() {
    found(Mutant::EventAfterProgress, Profile::Calm, 2_000, 20);
}
