//! Disks that fail and disks that hang, under one member of a cluster that has to go on.

use super::{
    load::{Load, Size},
    members::Cluster,
    net::Place,
    one_at_a_time, seed,
    spread::Spread,
    strace::{self, Attached},
    verdict,
};
use crate::both::Side;

/// What a member says last when its disk failed.
const LAST_WORDS: &str = "the disk failed: nothing more is acknowledged, this member ends";
const DISK_FAILED: i32 = 1;
const BAD_DATA_DIR: i32 = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_whose_sync_fails_ends_and_the_others_serve_on() {
    let _one = one_at_a_time().await;
    if strace::wrapper("").is_none() {
        println!("SKIP failing syncs: strace is not installed");
        return;
    }
    // In CI three of them: one while it runs, one during its start, one later.
    let last = crate::number_from_env("KVORUM_TEST_CLUSTER_EIO", 3);
    let counts: Vec<u64> = if last == 3 {
        vec![1, 2, 7]
    } else {
        (1..=last).collect()
    };
    let mut random = seed();
    let mut cluster = Cluster::start("failing-syncs", 3);
    let load = Load::start(cluster.urls(), Size::usual(random.next()));
    let mut ends = Ends::default();
    for count in counts {
        let leader = cluster.agreed().await;
        let victim = match random.below(2) {
            0 => leader,
            _ => (leader + 1) % 3,
        };
        let fault = format!("error=EIO:when={count}");
        // The odd ones while it serves, the even ones counted from its start.
        if count % 2 == 1 {
            let pid = cluster.server(victim).server_pid();
            let Some(attached) = Attached::attach(pid, &fault) else {
                println!("SKIP failing syncs: strace may not attach here");
                break;
            };
            ends.note(cluster.side, cluster.wait_exit(victim));
            drop(attached);
        } else {
            cluster.stop(victim);
            cluster.members[victim].wrapper = strace::wrapper(&fault).expect("it is installed");
            cluster.spawn(victim);
            ends.note(cluster.side, cluster.wait_exit(victim));
            cluster.members[victim].wrapper.clear();
        }
        load.progress(30).await;
        cluster.restart(victim);
        load.progress(10).await;
    }
    let history = load.stop().await;
    println!("members whose sync failed: {ends:?}");
    verdict::expect_sound(&cluster, &history, "failing syncs").await;
}

/// How members ended.
#[derive(Debug, Default)]
struct Ends {
    while_serving: usize,
    during_start: usize,
}

impl Ends {
    fn note(&mut self, side: Side, (status, log): (std::process::ExitStatus, String)) {
        assert!(!status.success(), "went on after a failed sync:\n{log}");
        if side == Side::Etcd {
            self.while_serving += 1;
            return;
        }
        assert!(!log.contains("panicked"), "{log}");
        match status.code() {
            Some(DISK_FAILED) if log.contains(LAST_WORDS) => self.while_serving += 1,
            Some(BAD_DATA_DIR) => self.during_start += 1,
            _ => panic!("ended with {status}:\n{log}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_disk_hangs_is_replaced_and_comes_back_by_itself() {
    let _one = one_at_a_time().await;
    let mut random = seed();
    let cluster = Cluster::start("frozen-disk", 3);
    let load = Load::start(cluster.urls(), Size::usual(random.next()));
    let mut outages = Spread::default();
    for _ in 0..crate::number_from_env("KVORUM_TEST_CLUSTER_FREEZES", 2) {
        let leader = cluster.agreed().await;
        load.progress(50).await;
        let pid = cluster.server(leader).server_pid();
        let frozen = load.clock().nanos();
        let Some(attached) = Attached::attach(pid, "delay_enter=30s") else {
            println!("SKIP frozen disk: strace is not installed, or may not attach here");
            return;
        };
        cluster.leader_other_than(leader).await;
        load.progress(100).await;
        outages.add(load.longest_gap(frozen, load.clock().nanos()));
        if cluster.side == Side::Kvorum {
            names_the_disk(&cluster, leader).await;
        }
        drop(attached);
        cluster.agreed().await;
        if cluster.side == Side::Kvorum {
            cluster
                .until("the thawed member is ready", async || {
                    let page = cluster.page(leader, "/readyz")?;
                    page.starts_with("HTTP/1.1 200").then_some(())
                })
                .await;
        }
        load.progress(20).await;
    }
    let history = load.stop().await;
    println!("longest time without a write around a leader's frozen disk: {outages}");
    verdict::expect_sound(&cluster, &history, "frozen disk").await;
}

async fn names_the_disk(cluster: &Cluster, place: Place) {
    let said = cluster
        .until(
            "/readyz of the frozen member fails for its disk",
            async || {
                let page = cluster.page(place, "/readyz")?;
                (!page.starts_with("HTTP/1.1 200") && page.contains("disk")).then_some(page)
            },
        )
        .await;
    let line = said.lines().find(|line| line.contains("disk"));
    println!("a frozen disk in /readyz: {}", line.unwrap_or_default());
}
