//! Members that were away for long, and new ones: what they lack comes as a whole, while the others write on.

use std::time::{Duration, Instant};

use kvorum_proto::etcdserverpb as pb;

use super::{
    load::{Load, Size},
    members::Cluster,
    one_at_a_time, seed, verdict,
};
use crate::{
    both::{Side, op, put, txn},
    rpc::Rpc,
};

/// Puts in one transaction.
const BATCH: u64 = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_was_away_for_long_catches_up_while_the_others_write() {
    let _one = one_at_a_time().await;
    let mib = crate::number_from_env("KVORUM_TEST_CLUSTER_BEHIND_MIB", 96);
    let flags: &[&str] = match super::members::side() {
        Side::Etcd => &["--snapshot-count=100", "--snapshot-catchup-entries=50"],
        Side::Kvorum => &[],
    };
    let mut cluster = Cluster::start_with("far-behind", 3, flags);
    let leader = cluster.agreed().await;
    let absent = (leader + 1) % 3;
    cluster.kill(absent);
    let load = Load::start(cluster.running_urls(), Size::usual(seed().next()));
    // Far more than a log keeps for those who are away.
    let rpc = cluster.rpc(leader).await;
    let value = "x".repeat(64 * 1024);
    for number in 0..mib * 16 {
        let key = format!("bulk/{:03}", number % 64);
        rpc.call(put(&key, &value)).await.expect("put");
    }
    let begun = load.clock().nanos();
    let back = Instant::now();
    cluster.restart(absent);
    caught_up(&cluster, absent).await;
    println!("{mib} MiB behind: level after {:?}", back.elapsed());
    load.progress(50).await;
    let pause = load.longest_gap(begun, load.clock().nanos());
    println!("longest time without a write meanwhile: {pause:?}");
    snapshot_was_sent(&cluster).await;
    load.stop().await;
    cluster.settled().await;
    verdict::equal_hashes(&cluster)
        .await
        .unwrap_or_else(|wrong| panic!("{wrong}"));
}

/// Waits until the member has what the others had when it was asked first.
async fn caught_up(cluster: &Cluster, place: usize) {
    let leader = cluster.leader().await;
    let goal = cluster.told(leader).await.revision;
    cluster
        .until("the member has caught up", async || {
            let view = cluster.view(place).await?;
            (view.revision >= goal).then_some(())
        })
        .await;
}

/// Some member counts a snapshot that it sent.
async fn snapshot_was_sent(cluster: &Cluster) {
    let look = async || {
        let mut sent = 0.0;
        for place in cluster.running() {
            let page = cluster.page(place, "/metrics").unwrap_or_default();
            let counted = page.lines().filter_map(|line| {
                let rest = line.strip_prefix("etcd_network_snapshot_send_success{")?;
                rest.rsplit_once(' ')?.1.trim().parse::<f64>().ok()
            });
            sent += counted.sum::<f64>();
        }
        (sent > 0.0).then_some(())
    };
    // The sender may count it after the other one has it.
    cluster
        .until("somebody counts a snapshot that was sent", look)
        .await;
}

/// Restart and catch-up of many keys. `KVORUM_TEST_CLUSTER_KEYS=1000000` is the long run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_with_many_keys_restarts_and_a_new_one_gets_them() {
    let _one = one_at_a_time().await;
    let keys = crate::number_from_env("KVORUM_TEST_CLUSTER_KEYS", 20_000);
    let mut cluster = Cluster::start("many-keys", 3);
    let leader = cluster.agreed().await;
    fill(&cluster.rpc(leader).await, keys).await;
    cluster.settled().await;
    let follower = (leader + 1) % 3;
    cluster.kill(follower);
    let begun = Instant::now();
    cluster.restart(follower);
    println!(
        "{keys} keys: a killed follower serves after {:?}",
        begun.elapsed()
    );
    cluster.kill(leader);
    let begun = Instant::now();
    cluster.restart(leader);
    println!(
        "{keys} keys: a killed leader serves after {:?}",
        begun.elapsed()
    );
    let leader = cluster.agreed().await;
    let (place, _) = cluster.add_member(leader, true).await;
    let begun = Instant::now();
    cluster.spawn(place);
    cluster.wait_up(place).await;
    caught_up(&cluster, place).await;
    println!(
        "{keys} keys: a new member has all of them after {:?}",
        begun.elapsed()
    );
    cluster.settled().await;
    verdict::equal_hashes(&cluster)
        .await
        .unwrap_or_else(|wrong| panic!("{wrong}"));
}

/// Puts so many keys of 36 bytes with values of 256, in transactions from several tasks.
async fn fill(rpc: &Rpc, keys: u64) {
    const WRITERS: u64 = 8;
    let value = "v".repeat(256);
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let (rpc, value) = (rpc.clone(), value.clone());
        writers.push(tokio::spawn(async move {
            let mut number = writer * BATCH;
            while number < keys {
                let batch = number..keys.min(number + BATCH);
                let puts = batch.map(|number| op(put(&format!("many/{number:031}"), &value)));
                rpc.call(txn(puts.collect())).await.expect("txn");
                number += WRITERS * BATCH;
            }
        }));
    }
    for writer in writers {
        writer.await.expect("a writer does not panic");
    }
    let all = pb::RangeRequest {
        key: "many/".into(),
        range_end: "many0".into(),
        count_only: true,
        ..Default::default()
    };
    let count = rpc.call(all).await.expect("count").count;
    assert_eq!(count, i64::try_from(keys).expect("few"));
    tokio::time::sleep(Duration::from_millis(100)).await;
}
