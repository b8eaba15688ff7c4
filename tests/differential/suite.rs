//! The run: many stories on a few pairs at a time, what they came to, and the report.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use kvorum_tests::reference;
use tokio::runtime;

use crate::{
    differences,
    messages::Rpc,
    play::{Flow, Play, Tally, Unexplained},
    shrink,
    step::Step,
    story::Story,
    stream_differences,
};

/// What a plain run of the tests sends.
const USUAL_REQUESTS: u64 = 8_000;
/// How long a story is before both servers start anew.
const STORY_STEPS: usize = 1_500;
/// One in so many stories plays on small stores; it is short, so that only requests that are meant to fill them do.
const TIGHT_EVERY: u64 = 8;
const TIGHT_STEPS: usize = 300;

/// More would only say the same.
const FOUND_MAX: usize = 8;

fn number(name: &str, usual: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name}={text} is not a number")),
        Err(_) => usual,
    }
}

/// A story that found something.
pub(crate) struct Found {
    pub(crate) seed: u64,
    pub(crate) tight: bool,
    pub(crate) steps: Vec<Step>,
    pub(crate) what: Unexplained,
}

/// Plays one seed's story.
async fn tell(seed: u64, tally: &mut Tally) -> Result<(), Box<Found>> {
    let tight = seed % TIGHT_EVERY == TIGHT_EVERY - 1;
    let mut play = Play::start(tight).await;
    let mut story = Story::new(seed, tight);
    let mut steps = Vec::new();
    let outcome = run(&mut play, &mut story, tight, &mut steps).await;
    tally.add(&play.tally);
    outcome.map_err(|what| {
        Box::new(Found {
            seed,
            tight,
            steps,
            what,
        })
    })
}

async fn run(
    play: &mut Play,
    story: &mut Story,
    tight: bool,
    steps: &mut Vec<Step>,
) -> Result<(), Unexplained> {
    let hash_each = number("KVORUM_TEST_DIFF_HASH", 0) != 0;
    for _ in 0..if tight { TIGHT_STEPS } else { STORY_STEPS } {
        let streams: Vec<_> = play.streams.iter().map(|one| one.model.clone()).collect();
        let step = story.next(&play.model, &streams);
        steps.push(step.clone());
        if play.step(&step).await? == Flow::Parted {
            return Ok(());
        }
        if hash_each {
            play.step(&Step::Call(Rpc::HashKv, Bytes::new())).await?;
        }
    }
    for step in Story::last_look(&play.model) {
        steps.push(step.clone());
        play.step(&step).await?;
    }
    Ok(())
}

fn runtime() -> runtime::Runtime {
    runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made")
}

/// Plays stories from `seed` on until the requests are used up or enough is found.
fn play_all(requests: u64, seed: u64, pairs: u64) -> (Tally, Vec<Found>) {
    let next = AtomicU64::new(seed);
    let sent = AtomicU64::new(0);
    let all = Mutex::new((Tally::default(), Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..pairs {
            scope.spawn(|| {
                while sent.load(Ordering::Relaxed) < requests {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let mut tally = Tally::default();
                    let told = runtime().block_on(tell(seed, &mut tally));
                    sent.fetch_add(tally.requests, Ordering::Relaxed);
                    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
                    all.0.add(&tally);
                    if let Err(found) = told {
                        all.1.push(*found);
                        if all.1.len() >= FOUND_MAX {
                            sent.store(requests, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    all.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn report(tally: &Tally) {
    println!(
        "{} requests to each side, {} watch events compared",
        tally.requests, tally.events
    );
    for (kind, count) in &tally.kinds {
        println!("  {count:>8}  {kind}");
    }
    println!("answers:");
    for (outcome, count) in &tally.outcomes {
        println!("  {count:>8}  {outcome}");
    }
    println!("listed differences:");
    let of_streams = stream_differences::LIST.iter().copied();
    let of_calls = differences::LIST
        .iter()
        .map(|entry| (entry.name, entry.reason));
    for (name, reason) in of_calls.chain(of_streams) {
        let count = tally.listed.get(name).copied().unwrap_or(0);
        println!("  {count:>8}  {name}: {reason}");
    }
    println!("the model expected otherwise {} times", tally.model_off);
}

/// All that was found in a line each, then the first of it as short as it gets.
fn tell_found(found: Vec<Found>) {
    for one in &found {
        let step = one.steps.last().map(Step::to_string).unwrap_or_default();
        println!(
            "seed {}, step {}: {step}\n{}",
            one.seed,
            one.steps.len(),
            one.what
        );
    }
    if let Some(first) = found.into_iter().next() {
        panic!("{}", runtime().block_on(shrink::shortest(first)));
    }
}

#[test]
fn generated_requests_get_the_answers_that_etcd_gives() {
    let Some(etcd) = reference::etcd() else {
        println!("SKIP no etcd is installed and KVORUM_TEST_ETCD names none");
        return;
    };
    let requests = number("KVORUM_TEST_DIFF_REQUESTS", USUAL_REQUESTS);
    let seed = number("KVORUM_TEST_DIFF_SEED", 1);
    let pairs = number("KVORUM_TEST_DIFF_PAIRS", 4);
    let (tally, found) = play_all(requests, seed, pairs);
    println!("beside {}:", etcd.display());
    report(&tally);
    tell_found(found);
    for rpc in Rpc::ALL {
        let name = format!("{rpc:?}");
        assert!(tally.kinds.contains_key(&name), "{name} was never asked");
    }
}
