//! `kill -9` of random members under load, the leader among them.

use std::time::Duration;

use super::{
    load::{Load, Size},
    members::Cluster,
    one_at_a_time, seed,
    spread::Spread,
    verdict,
};

/// Nothing in a healthy cluster takes so long; the figures say what it does take.
const OUTAGE_MAX: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_killed_under_load_lose_nothing_and_writes_resume() {
    let _one = one_at_a_time().await;
    let kills = crate::number_from_env("KVORUM_TEST_CLUSTER_KILLS", 12);
    let mut random = seed();
    let mut cluster = Cluster::start("kills", 3);
    let load = Load::start(cluster.urls(), Size::usual(random.next()));
    load.progress(200).await;
    let (mut leaders, mut others) = (Spread::default(), Spread::default());
    for _ in 0..kills {
        let leader = cluster.leader().await;
        // Half of them hit the leader.
        let victim = match random.below(2) {
            0 => leader,
            _ => random.below(3) as usize,
        };
        tokio::time::sleep(Duration::from_millis(random.below(300))).await;
        let killed = load.clock().nanos();
        cluster.kill(victim);
        load.progress(60).await;
        let outage = load.longest_gap(killed, load.clock().nanos());
        assert!(outage < OUTAGE_MAX, "{outage:?} without a write");
        if victim == leader {
            leaders.add(outage);
        } else {
            others.add(outage);
        }
        // Sometimes at once, sometimes far behind.
        tokio::time::sleep(Duration::from_millis(random.below(500))).await;
        cluster.restart(victim);
        load.progress(20).await;
    }
    let history = load.stop().await;
    println!("outage after {kills} kills: of leaders {leaders}; of others {others}");
    verdict::expect_sound(&cluster, &history, "kills").await;
}
