//! `kill -9` at random moments under load, again and again: no acknowledged write is lost and no revision is issued
//! twice.
//!
//! Several clients write, each to keys of its own, and note what was acknowledged. The server is killed at a seeded
//! moment and started on the same data. Then a watch reads the history that was added, and it must hold every
//! acknowledged write at its revision, nothing that nobody asked for, and no gap. At the end the whole history is
//! read once more and must be what it was.
//!
//! `KVORUM_TEST_KILL_CYCLES` (25) and `KVORUM_TEST_KILL_SEED` (1) choose how often and when.

mod client;
mod ledger;

use std::time::{Duration, Instant};

use kvorum_proto::etcdserverpb as pb;
use kvorum_tests::process::{Options, Server, TestDir};

use crate::{
    both::{op, put, txn},
    rpc::Rpc,
    seed::Seed,
};
use ledger::Ledger;

const CLIENTS: usize = 8;
const FIRST_KEYS: usize = 100_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_write_is_lost_and_no_revision_issued_twice() {
    let cycles = crate::number_from_env("KVORUM_TEST_KILL_CYCLES", 25);
    let seed = crate::number_from_env("KVORUM_TEST_KILL_SEED", 1);
    let mut random = Seed::new(seed);
    let dir = TestDir::new("kill-nine");
    let options = Options::new(&dir).flag("--quota-backend-bytes=8589934592");
    let mut ledger = Ledger::default();
    let mut server = options.start();
    fill(&server, &mut ledger).await;
    let mut recoveries = Vec::new();
    for cycle in 0..cycles {
        let moment = Duration::from_micros(5_000 + random.below(400_000));
        let outcome = client::load_until_killed(&mut server, cycle, seed, moment, &ledger).await;
        let started = Instant::now();
        server = options.start();
        recoveries.push(started.elapsed());
        let rpc = connect(&server).await;
        ledger
            .check(&rpc, outcome)
            .await
            .unwrap_or_else(|wrong| panic!("seed {seed}, cycle {cycle}: {wrong}"));
    }
    let rpc = connect(&server).await;
    ledger
        .check_from_the_start(&rpc)
        .await
        .unwrap_or_else(|wrong| panic!("seed {seed}, at the end: {wrong}"));
    report(cycles, &ledger, recoveries);
}

fn report(cycles: u64, ledger: &Ledger, mut recoveries: Vec<Duration>) {
    recoveries.sort();
    let median = recoveries
        .get(recoveries.len() / 2)
        .copied()
        .unwrap_or_default();
    let slowest = recoveries.last().copied().unwrap_or_default();
    println!(
        "kill -9: {cycles} cycles, {} writes acknowledged, {} changes in the history, {FIRST_KEYS} keys and more; \
         from start to serving: median {} ms, slowest {} ms",
        ledger.acknowledged(),
        ledger.changes(),
        median.as_millis(),
        slowest.as_millis(),
    );
}

async fn connect(server: &Server) -> Rpc {
    Rpc::connect(&server.url())
        .await
        .expect("a ready server accepts connections")
}

/// Puts the keys that every later start has to recover.
async fn fill(server: &Server, ledger: &mut Ledger) {
    let rpc = connect(server).await;
    let keys: Vec<String> = (0..FIRST_KEYS)
        .map(|number| format!("first/{number:06}"))
        .collect();
    for chunk in keys.chunks(128) {
        let ops = chunk
            .iter()
            .map(|key| op(put(key, &"x".repeat(100))))
            .collect();
        let answer: pb::TxnResponse = rpc.call(txn(ops)).await.expect("nobody kills yet");
        ledger.first_keys(answer.header.expect("header").revision, chunk);
    }
}
