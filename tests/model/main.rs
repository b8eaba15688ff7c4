//! The core against the model: a million random operations, every answer and every watch compared.
//!
//! `KVORUM_MODEL_OPS` sets how many; `KVORUM_MODEL_SEED` plays one seed alone, as a failure names it.

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
    story.map_err(|story| format!("{story}\nagain: KVORUM_MODEL_SEED={seed}"))
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
    let verdict = match number("KVORUM_MODEL_SEED") {
        Some(seed) => play(seed),
        None => play_all(
            number("KVORUM_MODEL_OPS")
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
    let spoilers: [(&str, Tamper); 7] = [
        (
            "a value in a range",
            Tamper::Answer(|answer| match answer {
                Answer::Range(reply) => match reply.kvs.first_mut() {
                    Some(kv) => {
                        kv.value = "spoilt".into();
                        true
                    }
                    None => false,
                },
                _ => false,
            }),
        ),
        (
            "the count of a range",
            Tamper::Answer(|answer| match answer {
                Answer::Range(reply) => {
                    reply.count += 1;
                    true
                }
                _ => false,
            }),
        ),
        (
            "the revision of a put",
            Tamper::Answer(|answer| match answer {
                Answer::Put(reply) => reply.header.as_mut().is_some_and(|header| {
                    header.revision += 1;
                    true
                }),
                _ => false,
            }),
        ),
        (
            "the branch of a txn",
            Tamper::Answer(|answer| match answer {
                Answer::Txn(reply) => {
                    reply.succeeded = !reply.succeeded;
                    true
                }
                _ => false,
            }),
        ),
        (
            "a hash",
            Tamper::Answer(|answer| match answer {
                Answer::HashKv(reply) => {
                    reply.hash ^= 1;
                    true
                }
                _ => false,
            }),
        ),
        (
            "a lost event",
            Tamper::Watch(|response| response.events.pop().is_some()),
        ),
        ("a wrong pair before", Tamper::Watch(spoil_prev_kv)),
    ];
    for (what, tamper) in spoilers {
        let noticed = (0..20).any(|seed| Run::new(seed, Some(tamper)).play(OPS_PER_SEED).is_err());
        let clean = (0..20).all(|seed| Run::new(seed, None).play(200).is_ok());
        assert!(noticed && clean, "{what}");
    }
}

fn spoil_prev_kv(response: &mut WatchResponse) -> bool {
    let prev_kv = response
        .events
        .iter_mut()
        .find_map(|event| event.prev_kv.as_mut());
    prev_kv.is_some_and(|kv| {
        kv.version += 1;
        true
    })
}
