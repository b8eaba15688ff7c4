//! The core against the model: a million random operations, every answer and every watch compared.
//!
//! `KVORUM_TEST_MODEL_OPS` sets how many; `KVORUM_TEST_MODEL_SEED` plays one seed alone, as a failure names it.

mod answer;
mod disk;
mod run;
mod streams;
mod subject;

use std::env;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use kvorum_proto::etcdserverpb::WatchResponse;

use answer::Answer;
use run::{Run, Tamper};

const OPS: u64 = 1_000_000;
const OPS_PER_SEED: u64 = 2_000;

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(
        text.replace('_', "")
            .parse()
            .unwrap_or_else(|_| panic!("{name}={text} is not a number")),
    )
}

/// Plays one seed; a failure says how to see it again.
fn play(seed: u64) -> Result<(), String> {
    let story = Run::new(seed, None).play(OPS_PER_SEED);
    story.map_err(|story| format!("{story}\nagain: KVORUM_TEST_MODEL_SEED={seed}"))
}

/// Plays all seeds on all processors; the failure of the lowest seed, if any.
fn play_all(seeds: u64) -> Result<(), String> {
    let next = AtomicU64::new(0);
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return Ok(());
            }
            if let Err(story) = play(seed) {
                next.store(seeds, Ordering::Relaxed);
                return Err(story);
            }
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let verdicts = workers
            .into_iter()
            .map(|worker| worker.join().expect("a run does not panic"));
        verdicts.fold(Ok(()), Result::and)
    })
}

#[test]
fn the_core_answers_as_the_model_does() {
    let verdict = match number("KVORUM_TEST_MODEL_SEED") {
        Some(seed) => play(seed),
        None => play_all(
            number("KVORUM_TEST_MODEL_OPS")
                .unwrap_or(OPS)
                .div_ceil(OPS_PER_SEED),
        ),
    };
    if let Err(story) = verdict {
        panic!("the core and the model differ:\n{story}");
    }
}

/// Changes one answer of each kind; each time the comparison has to notice.
#[test]
fn a_spoilt_answer_is_noticed() {
    const SEEDS: u64 = 5;
    for seed in 0..SEEDS {
        Run::new(seed, None)
            .play(OPS_PER_SEED)
            .expect("nothing is spoilt yet");
    }
    for (what, tamper) in [
        ("a value in a range", Tamper::Answer(spoil_value)),
        ("the count of a range", Tamper::Answer(spoil_count)),
        ("the revision of a put", Tamper::Answer(spoil_revision)),
        ("the branch of a txn", Tamper::Answer(spoil_branch)),
        ("a hash", Tamper::Answer(spoil_hash)),
        ("a lost event", Tamper::Watch(lose_event)),
        ("a wrong pair before", Tamper::Watch(spoil_prev_kv)),
    ] {
        let noticed = |seed| Run::new(seed, Some(tamper)).play(OPS_PER_SEED).is_err();
        assert!((0..SEEDS).any(noticed), "{what} went unnoticed");
    }
}

// Each tells whether it found something to spoil.

fn spoil_value(answer: &mut Answer) -> bool {
    let Answer::Range(reply) = answer else {
        return false;
    };
    let first = reply.kvs.first_mut();
    first.map(|kv| kv.value = "spoilt".into()).is_some()
}

fn spoil_count(answer: &mut Answer) -> bool {
    let Answer::Range(reply) = answer else {
        return false;
    };
    reply.count += 1;
    true
}

fn spoil_revision(answer: &mut Answer) -> bool {
    let Answer::Put(reply) = answer else {
        return false;
    };
    let header = reply.header.as_mut();
    header.map(|header| header.revision += 1).is_some()
}

fn spoil_branch(answer: &mut Answer) -> bool {
    let Answer::Txn(reply) = answer else {
        return false;
    };
    reply.succeeded = !reply.succeeded;
    true
}

fn spoil_hash(answer: &mut Answer) -> bool {
    let Answer::HashKv(reply) = answer else {
        return false;
    };
    reply.hash ^= 1;
    true
}

fn lose_event(response: &mut WatchResponse) -> bool {
    response.events.pop().is_some()
}

fn spoil_prev_kv(response: &mut WatchResponse) -> bool {
    let events = response.events.iter_mut();
    let prev_kv = events.filter_map(|event| event.prev_kv.as_mut()).next();
    prev_kv.map(|kv| kv.version += 1).is_some()
}
