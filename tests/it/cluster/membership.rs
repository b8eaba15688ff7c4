//! Members that come and go while clients write.

use std::time::{Duration, Instant};

use kvorum_proto::etcdserverpb as pb;
use tokio::time::sleep;
use tonic::Code;

use super::{
    load::{Load, Size},
    members::{self, Cluster},
    net::Place,
    one_at_a_time, seed, verdict,
};
use crate::{
    both::{Side, get, put},
    rpc::Rpc,
    seed::Seed,
};

/// Far above what it takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// The log line of a member that finds itself removed, in the words of both.
const REMOVED: &str = "removed";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_grows_to_five_and_shrinks_to_one_under_load() {
    let _one = one_at_a_time().await;
    let cycles = crate::number_from_env("KVORUM_TEST_CLUSTER_CYCLES", 1);
    let mut random = seed();
    let mut cluster = Cluster::start("membership", 3);
    let load = Load::start(cluster.urls(), Size::usual(random.next()));
    for _ in 0..cycles {
        // New members of kvorum ask for their promotion themselves if they are told to.
        if cluster.side == Side::Kvorum {
            cluster.flags = vec!["--auto-promote=true".to_owned()];
        }
        grow(&mut cluster, &load, 5).await;
        cluster.flags.clear();
        shrink(&mut cluster, &load, 3, &mut random).await;
        shrink(&mut cluster, &load, 1, &mut random).await;
        grow(&mut cluster, &load, 3).await;
    }
    let history = load.stop().await;
    let what = format!("{cycles} times 3, 5, 3, 1, 3 members");
    verdict::expect_sound(&cluster, &history, &what).await;
}

/// Adds learners, starts them, and sees each become a voter.
async fn grow(cluster: &mut Cluster, load: &Load, count: usize) {
    while cluster.running().len() < count {
        let leader = cluster.agreed().await;
        let (place, id) = cluster.add_member(leader, true).await;
        cluster.spawn(place);
        cluster.wait_up(place).await;
        promoted(cluster, leader, id).await;
        cluster.wait_ready(place);
        load.set_urls(cluster.running_urls());
        load.progress(20).await;
    }
}

/// Waits for a learner's promotion, and asks for it if nobody else does.
async fn promoted(cluster: &Cluster, leader: Place, id: u64) {
    let by_itself = !cluster.flags.is_empty();
    cluster
        .until("the learner votes", async || {
            let list = pb::MemberListRequest { linearizable: true };
            let list = cluster.ask(leader, list).await.ok()?;
            let member = list.members.iter().find(|member| member.id == id)?;
            if member.is_learner && !by_itself {
                // Refused until it has caught up.
                let _ = cluster.ask(leader, pb::MemberPromoteRequest { id }).await;
            }
            (!member.is_learner).then_some(())
        })
        .await;
}

/// Removes any member, the leader too, and sees it end by itself.
async fn shrink(cluster: &mut Cluster, load: &Load, count: usize, random: &mut Seed) {
    while cluster.running().len() > count {
        cluster.agreed().await;
        let running = cluster.running();
        let victim = running[random.below(running.len() as u64) as usize];
        let through = *running
            .iter()
            .find(|place| **place != victim)
            .expect("two run");
        let id = cluster.told(victim).await.id;
        load.set_urls(cluster.running_urls_but(victim));
        remove(cluster, through, id).await;
        let (status, log) = cluster.wait_exit(victim);
        assert!(
            log.contains(REMOVED),
            "ended with {status} and no reason:\n{log}"
        );
        load.progress(20).await;
    }
}

/// A removal whose answer got lost is found done when it is asked for again.
async fn remove(cluster: &Cluster, through: Place, id: u64) {
    cluster
        .until("the member is removed", async || {
            let request = pb::MemberRemoveRequest { id };
            let url = cluster.members[through].client_url();
            match members::ask(&url, request, Duration::from_secs(10)).await {
                Ok(_) => Some(()),
                Err(status) if status.code() == Code::NotFound => Some(()),
                Err(_) => {
                    sleep(Duration::from_millis(200)).await;
                    None
                }
            }
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_data_directory_is_refused_with_the_way_back() {
    let _one = one_at_a_time().await;
    let mut cluster = Cluster::start("wiped", 3);
    let leader = cluster.agreed().await;
    let rpc = cluster.rpc(leader).await;
    rpc.call(put("k", "v")).await.expect("put");
    let wiped = (leader + 1) % 3;
    cluster.kill(wiped);
    let folder = &cluster.members[wiped].data_dir;
    std::fs::remove_dir_all(folder).expect("the test's own folder");
    cluster.spawn(wiped);
    let (status, log) = cluster.wait_exit(wiped);
    assert!(!status.success(), "{log}");
    println!("a wiped member ends with {status}: {}", last(&log));
    if cluster.side == Side::Kvorum {
        let helps = log.contains("member remove") || log.contains("replace");
        assert!(helps, "names no command to run:\n{log}");
    }
    let kept = rpc.call(get("k")).await.expect("the others serve on");
    assert_eq!(kept.kvs[0].value, "v");
}

fn last(log: &str) -> &str {
    log.lines().last().unwrap_or_default()
}

/// Whoever connects before a new cluster has found itself is answered when it has, as by etcd, and not refused.
#[tokio::test]
async fn clients_that_come_before_a_new_cluster_is_there_are_not_refused() {
    let _one = one_at_a_time().await;
    let cluster = Cluster::begun("early-clients", 3, &[]);
    let begin = Instant::now();
    for place in 0..3 {
        let answer = loop {
            assert!(begin.elapsed() < PATIENCE, "it does not begin");
            // Until it listens.
            let Ok(rpc) = Rpc::connect(&cluster.members[place].client_url()).await else {
                sleep(Duration::from_millis(5)).await;
                continue;
            };
            match rpc.call(put("early", "value")).await {
                // A machine that stands still for seconds: that long nobody waits in silence.
                Err(status) if begin.elapsed() > Duration::from_secs(5) => {
                    println!("late, {:?}: {status}", begin.elapsed());
                }
                answer => break answer,
            }
        };
        answer.expect("served as soon as there is somebody to serve");
    }
}
