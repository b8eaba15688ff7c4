//! Whoever waits in a queue of the server, and loses the right to it meanwhile, is told so.

use std::time::Duration;

use kvorum_proto::{METHODS, etcdserverpb as pb, v3electionpb as vote, v3lockpb as lock};
use tonic::{Code, Status, metadata::MetadataMap};

use super::{Guarded, ROOT, log_in, switch_on, with_token};
use crate::rpc::Rpc;

const PATIENCE: Duration = Duration::from_secs(30);

/// etcd's queues hide every code behind Unknown.
fn is_denied(status: &Status) {
    assert_eq!(status.code(), Code::Unknown, "{status:?}");
    assert_eq!(status.message(), "etcdserver: permission denied");
}

async fn first<Q, A>(rpc: &Rpc, path: &str, request: Q, as_user: MetadataMap) -> Result<A, Status>
where
    Q: prost::Message + 'static,
    A: prost::Message + Default + 'static,
{
    let method = METHODS.iter().find(|method| method.path() == path);
    rpc.first(method.expect("is served"), request, as_user)
        .await
}

#[tokio::test]
async fn who_waits_hears_that_the_right_is_gone() {
    let member = Guarded::start("auth-queues", &[]);
    let rpc = member.certified("").await;
    switch_on(&rpc).await;
    let root = with_token(&log_in(&rpc, ROOT).await);
    let wanted = lock::LockRequest {
        name: "k-lock".into(),
        lease: 0,
    };
    let held: lock::LockResponse = rpc
        .call_with("/v3lockpb.Lock/Lock", wanted.clone(), root.clone())
        .await
        .expect("root holds it");
    assert!(!held.key.is_empty());
    let user = with_token(&log_in(&rpc, "user").await);
    let waits = tokio::spawn({
        let (rpc, user) = (rpc.clone(), user.clone());
        async move {
            let path = "/v3lockpb.Lock/Lock";
            let got: Result<lock::LockResponse, _> = rpc.call_with(path, wanted, user).await;
            got
        }
    });
    let observes = tokio::spawn({
        let (rpc, user) = (rpc.clone(), user.clone());
        async move {
            let path = "/v3electionpb.Election/Observe";
            let name = "k-vote".into();
            let request = vote::LeaderRequest { name };
            let got: Result<vote::LeaderResponse, _> = first(&rpc, path, request, user).await;
            got
        }
    });
    // Both wait: the second place in the queue is taken, and watches are open.
    let place = pb::RangeRequest {
        key: "k-lock/".into(),
        range_end: "k-lock0".into(),
        count_only: true,
        ..Default::default()
    };
    let waiting = async {
        loop {
            let found = rpc.with(&root, place.clone()).await.expect("root may");
            if found.count == 2 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .expect("a second place");
    assert!(!waits.is_finished() && !observes.is_finished());
    let revoke = pb::AuthRoleRevokePermissionRequest {
        role: "user".to_owned(),
        key: "k".into(),
        range_end: "l".into(),
    };
    rpc.with(&root, revoke).await.expect("root may");
    let locked = tokio::time::timeout(PATIENCE, waits).await;
    let locked = locked.expect("it is told").expect("no panic");
    is_denied(&locked.expect_err("it may not"));
    let observed = tokio::time::timeout(PATIENCE, observes).await;
    let observed = observed.expect("it is told").expect("no panic");
    is_denied(&observed.expect_err("it may not"));
}
