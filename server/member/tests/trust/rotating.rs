//! Another root, with members that go away in the middle of it.

use std::time::Duration;

use kvorum_core::trust::Stage;
use kvorum_member::trust::Without;
use kvorum_proto::kvorumpb::TokenRole;

use crate::host::{Host, three, until};

const LIFE: Duration = Duration::from_secs(3600);

fn roots(host: &Host) -> Vec<u64> {
    host.handle().trust().roots().map(|root| root.id).collect()
}

async fn is_over(hosts: &[Host], newest: u64) {
    for host in hosts {
        until("only the new root is left", || roots(host) == [newest]).await;
        let path = host.pki_dir().join("ca.pem");
        until("the bundle on the disk as well", || {
            let pem = std::fs::read_to_string(&path).expect("the bundle");
            pem.matches("BEGIN CERTIFICATE").count() == 1
        })
        .await;
    }
}

/// The leader that a member follows; for a moment there may be none.
async fn led_by(host: &Host) -> u64 {
    let mut leader = 0;
    until("somebody leads", || {
        leader = host.handle().leader();
        leader != 0
    })
    .await;
    leader
}

#[tokio::test]
async fn a_rotation_ends_whoever_is_restarted_at_whatever_stage() {
    let mut hosts = three(LIFE).await;
    let mut newest = 1;
    // The leader's turn and a follower's, at each stage.
    let stages = [Stage::Bundle, Stage::Issuer, Stage::Reissue, Stage::Grace];
    for (number, stage) in stages.into_iter().cycle().take(8).enumerate() {
        let leader = led_by(&hosts[0]).await;
        let is_leader = number >= stages.len();
        let at = hosts
            .iter()
            .position(|h| (h.member_id.0 == leader) == is_leader)
            .expect("there is one");
        let other = (at + 1) % 3;
        hosts[other]
            .handle()
            .trust_rotate("test", 1)
            .await
            .expect("begun");
        newest += 1;
        let handle = hosts[other].handle().clone();
        until("the stage comes", || {
            let progress = handle.trust_progress();
            progress.stage >= stage || roots(&hosts[other]) == [newest]
        })
        .await;
        hosts[at].restart().await;
        for host in &hosts {
            let handle = host.handle().clone();
            until("it serves", || handle.leader() != 0).await;
        }
        is_over(&hosts, newest).await;
        hosts[at].put(&format!("{number}")).await.expect("served");
    }
    // A token made now pins the new root, and lets somebody in.
    let token = hosts[0].token(TokenRole::Learner, 0).await;
    Host::new("d", LIFE).join(&token).await.expect("it joins");
}

#[tokio::test]
async fn the_old_root_stays_while_a_member_is_away_unless_forced() {
    let mut hosts = three(LIFE).await;
    let id = hosts[2].member_id;
    hosts[2].stop().await;
    let handle = hosts[0].handle().clone();
    handle.trust_rotate("test", 1).await.expect("begun");
    until("the others trust it", || {
        handle.trust_progress().members == [id]
    })
    .await;
    assert_eq!(handle.trust_progress().stage, Stage::Bundle);
    assert_eq!(roots(&hosts[0]), [1, 2]);
    let without = Without {
        members: true,
        grace: false,
    };
    let forced = handle.trust_rotate_force(without).await;
    forced.expect("the leader says whom it does not reach");
    is_over(&hosts[..2], 2).await;
    hosts[0].put("without it").await.expect("served");
}
