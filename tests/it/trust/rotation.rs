//! The root of the authority is changed again and again under load, and in each stage of it a member is killed: the
//! change goes on, and no request fails.
//!
//! `KVORUM_TEST_ROTATIONS` says how often.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use kvorum_proto::etcdserverpb as pb;
use kvorum_tests::process::TestDir;

use super::load::Load;
use super::text;
use super::three::Three;
use super::tls_client::{Files, address};
use crate::number_from_env;

/// Far above what a rotation takes here.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(50);

/// What `kvorum ca status` says of the stage a rotation is in; 0 for none.
fn stage(three: &Three, running: usize) -> u32 {
    let told = text(&three.members[running].tool(&["ca", "status"]));
    let step = told.split("rotation, step ").nth(1);
    let digit = step.and_then(|step| step.chars().next());
    match digit.and_then(|digit| digit.to_digit(10)) {
        Some(stage) => stage,
        None => {
            // Anything else is an answer that did not come: as good as the first stage.
            u32::from(!told.contains("no rotation is under way"))
        }
    }
}

struct Drill {
    three: Three,
    load: Load,
    files: Files,
    out: String,
    kills: Vec<String>,
    /// Whose turn it is.
    next: usize,
}

impl Drill {
    async fn leader(&self) -> usize {
        let begin = Instant::now();
        loop {
            for (place, member) in self.three.members.iter().enumerate() {
                let Ok(rpc) = self.files.connect(address(member)).await else {
                    continue;
                };
                let Ok(status) = rpc.call(pb::StatusRequest {}).await else {
                    continue;
                };
                let own = status.header.map_or(0, |header| header.member_id);
                if own != 0 && status.leader == own {
                    return place;
                }
            }
            assert!(
                begin.elapsed() < PATIENCE,
                "nobody leads\n{}",
                self.three.logs()
            );
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Kills a member and starts it again: the leader and the others in turn.
    async fn kill(&mut self, stage: u32) {
        let leader = self.leader().await;
        let victim = (leader + self.next) % 3;
        self.next += 1;
        let is_leader = victim == leader;
        let at = address(&self.three.members[victim]);
        self.load.damage.goes_down(at);
        if is_leader {
            self.load.damage.leader_killed();
        }
        self.three.members[victim].server.kill();
        // The others go on without it for a while.
        let done = || self.load.tally.done.load(Ordering::Relaxed);
        let before = done();
        let begin = Instant::now();
        while done() < before + 50 {
            assert!(
                begin.elapsed() < PATIENCE,
                "the others stand still\n{}",
                self.three.logs()
            );
            tokio::time::sleep(LOOK).await;
        }
        self.three.members[victim] = self.three.places[victim].start();
        self.load.damage.is_back(at);
        let who = if is_leader {
            "the leader"
        } else {
            "a follower"
        };
        self.kills.push(format!("stage {stage}: {who}"));
    }

    /// One change of the root, with a kill in every stage that is seen.
    async fn rotate(&mut self) {
        // Clients get a tenth of it to take up what they were given.
        let rotate = ["ca", "rotate", "--grace", "200s"];
        self.three.members[0].told(&rotate);
        let mut seen = BTreeSet::new();
        let mut renewed = false;
        let begin = Instant::now();
        loop {
            assert!(
                begin.elapsed() < PATIENCE,
                "stages {seen:?}, renewed: {renewed}\n{}\n{}",
                text(&self.three.members[0].tool(&["ca", "status"])),
                self.three.logs()
            );
            let now = stage(&self.three, 0);
            if now == 0 {
                break;
            }
            if seen.insert(now) {
                self.kill(now).await;
            }
            if now == 4 && !renewed {
                // What the stage waits for: clients with certificates of the old root only.
                let renew = ["cert", "renew", "app", "--out-dir", &self.out];
                renewed = self.three.members[0].tool(&renew).status.success();
            }
            tokio::time::sleep(LOOK).await;
        }
        assert!(seen.contains(&4), "clients were waited for: {seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_root_is_changed_under_load_and_kills_and_no_request_fails() {
    let rotations = number_from_env("KVORUM_TEST_ROTATIONS", 1);
    let dir = TestDir::new("rotation");
    let three = Three::start(&dir, &[]).await;
    let out = dir.path().join("client");
    let files = Files::make(&three.members[0], &out, "app", &[]);
    let addresses: Vec<_> = three.members.iter().map(address).collect();
    let mut drill = Drill {
        load: Load::start(&addresses, &files, 2),
        out: out.to_string_lossy().into_owned(),
        three,
        files,
        kills: Vec::new(),
        next: 0,
    };
    let before = super::tls_client::certificates(&drill.files.roots);
    let begin = Instant::now();
    for _ in 0..rotations {
        drill.rotate().await;
    }
    let took = begin.elapsed();
    let Drill {
        three, load, kills, ..
    } = drill;
    let (tally, _) = load.stop().await;
    let failed = tally.failed.lock().expect("not poisoned").clone();
    println!(
        "rotation: {rotations} in {:.0} s; killed with -9 in {}; {} requests, {} failed; {} answered by another member \
         since the one asked was killed, {} asked again after the leader was killed",
        took.as_secs_f64(),
        kills.join(", "),
        tally.done.load(Ordering::Relaxed),
        failed.len(),
        tally.retried_elsewhere.load(Ordering::Relaxed),
        tally.retried_later.load(Ordering::Relaxed),
    );
    assert!(failed.is_empty(), "{}\n{}", failed.join("\n"), three.logs());
    // A member writes the file a moment after the cluster has dropped the root.
    let begin = Instant::now();
    let kept = loop {
        let kept = super::tls_client::certificates(&three.members[0].pki("ca.pem"));
        if kept.len() == 1 {
            break kept;
        }
        assert!(begin.elapsed() < PATIENCE, "the old roots stay");
        tokio::time::sleep(LOOK).await;
    };
    assert!(!before.contains(&kept[0]), "the root is another one");
}
