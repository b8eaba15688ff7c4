//! Links that fail: both ways, one way, around the leader, again and again.

use std::time::Duration;

use tokio::time::sleep;

use super::{
    load::{Load, Size},
    members::{self, Cluster},
    net::Link,
    one_at_a_time, seed,
    spread::Spread,
    verdict,
};
use crate::{
    both::{get, put},
    seed::Seed,
};

/// Longer than any election timeout that is drawn at default timers.
const SEVERAL_ELECTIONS: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_isolated_leader_is_replaced_and_answers_no_linearizable_read() {
    let _one = one_at_a_time().await;
    let cluster = Cluster::start("isolated-leader", 3);
    let old = cluster.agreed().await;
    let rpc = cluster.rpc(old).await;
    rpc.call(put("k", "before")).await.expect("put");
    cluster.net.isolate(old, 0..3);
    let new = cluster.leader_other_than(old).await;
    let newer = cluster.rpc(new).await;
    newer.call(put("k", "after")).await.expect("put");
    let url = cluster.members[old].client_url();
    let answer = members::ask(&url, get("k"), Duration::from_secs(12)).await;
    let status = answer.expect_err("it cannot know that it still leads");
    println!("a read on the isolated leader: {status}");
    let serializable = kvorum_proto::etcdserverpb::RangeRequest {
        serializable: true,
        ..get("k")
    };
    let local = rpc.call(serializable).await.expect("what it has, it gives");
    assert_eq!(local.kvs[0].value, "before");
    cluster.net.heal();
    cluster.settled().await;
    let now = rpc.call(get("k")).await.expect("it follows again");
    assert_eq!(now.kvs[0].value, "after");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_was_cut_off_does_not_disturb_the_leader_when_it_is_back() {
    let _one = one_at_a_time().await;
    let cluster = Cluster::start("cut-off", 3);
    let leader = cluster.agreed().await;
    let before = cluster.told(leader).await;
    let load = Load::start(cluster.urls(), Size::usual(seed().next()));
    let follower = (leader + 1) % 3;
    // Both ways, then each way alone: it hears nobody, nobody hears it.
    for cut in 0..3 {
        for other in (0..3).filter(|other| *other != follower) {
            match cut {
                0 => cluster.net.cut(follower, other),
                1 => cluster.net.cut_one_way(other, follower),
                _ => cluster.net.cut_one_way(follower, other),
            }
        }
        sleep(SEVERAL_ELECTIONS).await;
        load.progress(20).await;
        cluster.net.heal();
        cluster.agreed().await;
        load.progress(20).await;
        let now = cluster.told(leader).await;
        assert_eq!(
            (now.leader, now.term),
            (before.leader, before.term),
            "cut {cut} cost an election"
        );
    }
    let history = load.stop().await;
    verdict::expect_sound(&cluster, &history, "cut-off follower").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_under_load_break_no_promise() {
    let _one = one_at_a_time().await;
    let cycles = crate::number_from_env("KVORUM_TEST_CLUSTER_PARTITIONS", KINDS);
    let mut random = seed();
    let cluster = Cluster::start("partitions", 3);
    let load = Load::start(cluster.urls(), Size::usual(random.next()));
    load.progress(50).await;
    let mut outages = Spread::default();
    for cycle in 0..cycles {
        let begun = load.clock().nanos();
        damage(&cluster, cycle % KINDS, &mut random).await;
        load.progress(30).await;
        outages.add(load.longest_gap(begun, load.clock().nanos()));
        cluster.net.heal();
        load.progress(30).await;
    }
    let history = load.stop().await;
    println!("longest time without a write in {cycles} partitions: {outages}");
    verdict::expect_sound(&cluster, &history, "partitions").await;
}

const KINDS: u64 = 8;

/// Every kind leaves a majority that can hear each other.
async fn damage(cluster: &Cluster, kind: u64, random: &mut Seed) {
    let leader = cluster.leader().await;
    let other = (leader + 1 + random.below(2) as usize) % 3;
    let third = 3 - leader - other;
    let net = &cluster.net;
    let span = Duration::from_millis(500 + random.below(2500));
    match kind {
        0 => net.isolate(leader, 0..3),
        1 => {
            net.cut_one_way(leader, other);
            net.cut_one_way(leader, third);
        }
        2 => {
            net.cut_one_way(other, leader);
            net.cut_one_way(third, leader);
        }
        // The leader hears one of the two only, and the two hear each other: a bridge.
        3 => net.cut(leader, other),
        4 => net.isolate(other, 0..3),
        5 => {
            for _ in 0..5 {
                net.isolate(leader, 0..3);
                sleep(Duration::from_millis(50 + random.below(1200))).await;
                net.heal();
                sleep(Duration::from_millis(50 + random.below(300))).await;
            }
        }
        6 => {
            for _ in 0..10 {
                net.reset(leader, other);
                net.reset(leader, third);
                sleep(Duration::from_millis(random.below(200))).await;
            }
        }
        _ => {
            let slow = Link {
                delay: Duration::from_millis(40),
                jitter: Duration::from_millis(60),
                ..Link::default()
            };
            let drip = Link {
                bytes_per_second: 4_000,
                ..slow
            };
            for (from, to) in [
                (leader, other),
                (other, leader),
                (other, third),
                (third, other),
            ] {
                net.set(from, to, slow);
            }
            net.set(leader, third, drip);
        }
    }
    sleep(span).await;
}
