//! Certificates that live for seconds, and members that are not accepted any more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use kvorum_core::MemberId;
use kvorum_proto::kvorumpb::{TokenRole, TrustDenial, trust_denial::Subject};

use crate::host::{Host, three, until};

/// How often each member renews in the test; more by the environment for a long run.
fn renewals() -> usize {
    let wanted = std::env::var("KVORUM_TEST_RENEWALS").ok();
    wanted.and_then(|n| n.parse().ok()).unwrap_or(2)
}

#[tokio::test]
async fn members_renew_while_they_serve_and_no_request_fails() {
    // A third of it is left when it is renewed: more than a thread may stand still.
    let hosts = three(Duration::from_secs(18)).await;
    let mut seen: BTreeMap<u64, BTreeSet<Vec<u8>>> = BTreeMap::new();
    let (begin, mut puts) = (Instant::now(), 0);
    let patience = Duration::from_secs(60 * renewals() as u64);
    while seen.len() < 3 || seen.values().any(|serials| serials.len() <= renewals()) {
        assert!(begin.elapsed() < patience, "{seen:?}");
        for host in &hosts {
            host.put(&format!("k{puts}"))
                .await
                .expect("no request fails");
            puts += 1;
        }
        for ack in hosts[0].handle().trust().acks() {
            let serials = seen.entry(ack.member_id).or_default();
            serials.insert(ack.serial.to_vec());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let counts: Vec<usize> = seen.values().map(BTreeSet::len).collect();
    println!(
        "{puts} puts in {:?}, certificates: {counts:?}",
        begin.elapsed()
    );
    // What is on the disk is what is shown: a restart goes on with it.
    let mut hosts = hosts;
    hosts[1].restart().await;
    let handle = hosts[1].handle().clone();
    until("it follows again", || handle.leader() != 0).await;
    hosts[1].put("again").await.expect("served");
}

#[tokio::test]
async fn a_revoked_member_is_cut_off_at_once_and_can_come_back_by_a_token() {
    let mut hosts = three(Duration::from_secs(3600)).await;
    let handle = hosts[0].handle().clone();
    let id = hosts[2].member_id;
    until("it is connected", || {
        !handle.trust_unreached().contains(&id)
    })
    .await;
    until("it told its certificate", || {
        handle.trust().ack(id).is_some()
    })
    .await;
    let serial = handle.trust().ack(id).expect("told").serial.clone();
    let begin = Instant::now();
    let denial = TrustDenial {
        subject: Some(Subject::Serial(serial)),
        ..TrustDenial::default()
    };
    handle.trust_deny(denial).await.expect("denied");
    until("it is cut off", || handle.trust_unreached().contains(&id)).await;
    println!("cut off after {:?}", begin.elapsed());
    assert!(begin.elapsed() < Duration::from_secs(5));
    hosts[0]
        .put("without it")
        .await
        .expect("two of three are enough");
    hosts[2].stop().await;
    rejoin(&hosts[0], &hosts[2]).await;
    hosts[2].start().await;
    until("it is back", || !handle.trust_unreached().contains(&id)).await;
}

/// Another certificate for a member that stands still.
async fn rejoin(from: &Host, of: &Host) {
    let wanted = kvorum_proto::kvorumpb::JoinToken {
        role: TokenRole::Rejoin.into(),
        member_id: of.member_id.0,
        ..Default::default()
    };
    let made = from.handle().trust_token_create("test", &wanted, 0).await;
    let token = kvorum_pki::JoinToken::parse(&made.expect("a token").text).expect("well formed");
    let options = of.join_options();
    let joined =
        tokio::task::spawn_blocking(move || kvorum_member::trust::rejoin(&token, &options));
    let joined = joined
        .await
        .expect("no panic")
        .expect("another certificate");
    assert_eq!(joined.member_id, MemberId(of.member_id.0));
}

#[tokio::test]
async fn a_member_whose_certificate_expired_while_it_was_off_comes_back_by_itself() {
    let mut hosts = three(Duration::from_secs(6)).await;
    let handle = hosts[0].handle().clone();
    let id = hosts[2].member_id;
    hosts[2].stop().await;
    let ends = handle.trust().ack(id).expect("told").not_after_unix_s;
    until("its certificate is over", || crate::host::now() > ends + 1).await;
    hosts[2].start().await;
    until("it is back", || !handle.trust_unreached().contains(&id)).await;
    let handle = hosts[2].handle().clone();
    until("it follows again", || handle.leader() != 0).await;
    hosts[2].put("back").await.expect("served");
}
