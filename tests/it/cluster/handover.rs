//! Members that are asked to stop: the leader hands over first, and clients notice nothing.

use std::{
    io::Read as _,
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::{
    load::{Load, Size},
    members::Cluster,
    one_at_a_time, seed,
    spread::Spread,
    verdict,
};
use crate::{both::Side, clients};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_asked_to_stop_hands_over_first() {
    let _one = one_at_a_time().await;
    let mut random = seed();
    let mut cluster = Cluster::start("handover", 3);
    let load = Load::start(cluster.urls(), Size::usual(random.next()));
    let mut gaps = Spread::default();
    for _ in 0..3 {
        load.progress(100).await;
        let leader = cluster.agreed().await;
        let before = cluster.told(leader).await;
        let asked = load.clock().nanos();
        cluster.stop(leader);
        // Nobody waited for the old one to be missed: another led before it was gone. Who follows that one may hear of it
        // a moment later.
        let mut views = Vec::new();
        for place in cluster.running() {
            views.push(cluster.told(place).await);
        }
        let view = views.iter().find(|view| view.leader == view.id);
        let view = view.unwrap_or_else(|| panic!("{before:?}, {views:?}"));
        assert_eq!(
            view.term,
            before.term + 1,
            "one election, and nobody contested it"
        );
        load.progress(100).await;
        gaps.add(load.longest_gap(asked, load.clock().nanos()));
        cluster.restart(leader);
    }
    println!("longest time without a write around a leader's stop: {gaps}");
    let history = load.stop().await;
    verdict::expect_sound(&cluster, &history, "handover").await;
}

/// A client of its own process that runs until its input ends.
struct Steady(Child);

impl Steady {
    fn start(program: &std::path::Path, endpoints: &str) -> Self {
        let mut command = Command::new(program);
        command.args(["steady", endpoints]);
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        Self(pipes.spawn().expect("the client starts"))
    }

    /// What it printed from start to end.
    fn end(mut self) -> String {
        drop(self.0.stdin.take());
        let mut printed = String::new();
        let mut stdout = self.0.stdout.take().expect("piped");
        stdout.read_to_string(&mut printed).expect("it prints text");
        self.0.wait().expect("an own child can be waited for");
        printed
    }
}

impl Drop for Steady {
    fn drop(&mut self) {
        // Ended already, unless the test failed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_fails_no_call_of_the_official_client() {
    let program = match clients::go_client() {
        Ok(program) => program,
        Err(why) => return clients::skip("rolling restart", &why),
    };
    let _one = one_at_a_time().await;
    let mut cluster = Cluster::start("rolling", 3);
    let rounds = crate::number_from_env("KVORUM_TEST_CLUSTER_ROLLS", 1);
    let endpoints = cluster.urls().join(",");
    let steady = Steady::start(&program, &endpoints);
    tokio::time::sleep(Duration::from_millis(500)).await;
    for _ in 0..rounds {
        for place in 0..3 {
            cluster.stop(place);
            cluster.restart(place);
            // As an operator does: the next one goes when this one is back.
            cluster.agreed().await;
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }
    let printed = steady.end();
    let last = printed.lines().last().unwrap_or_default();
    println!("rolling restart of three members, {rounds} times: {last}");
    assert!(
        last.starts_with("ok "),
        "the client did not end well:\n{printed}"
    );
    // etcd loses proposals that were on their way to a leader that stops; its clients wait for them in vain.
    let none_failed = last.ends_with(" 0 failed");
    assert!(none_failed || cluster.side == Side::Etcd, "{printed}");
}
