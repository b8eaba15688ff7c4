//! What ends, and when: tokens, and watches of those who may not watch any more.

use std::time::{Duration, Instant};

use kvorum_proto::etcdserverpb as pb;
use tonic::{Code, Status, metadata::MetadataMap};

use super::{Guarded, ROOT, add_user, log_in, switch_on, with_token};
use crate::rpc::{Duplex, Rpc};

/// Far above what it takes.
const PATIENCE: Duration = Duration::from_secs(60);

async fn get(rpc: &Rpc, token: &str) -> Result<pb::RangeResponse, Status> {
    let range = pb::RangeRequest {
        key: b"k".as_slice().into(),
        ..Default::default()
    };
    rpc.with(&with_token(token), range).await
}

fn is_invalid<T: std::fmt::Debug>(answer: Result<T, Status>) {
    let status = answer.expect_err("the token is worth nothing");
    assert_eq!(status.code(), Code::Unauthenticated);
    assert_eq!(status.message(), "etcdserver: invalid auth token");
}

#[tokio::test]
async fn a_token_ends_with_its_user_its_password_and_with_authentication() {
    let member = Guarded::start("auth-tokens", &[]);
    let rpc = member.certified("").await;
    switch_on(&rpc).await;
    let root = with_token(&log_in(&rpc, ROOT).await);
    let (first, second) = (log_in(&rpc, "user").await, log_in(&rpc, "user").await);
    assert_ne!(first, second);
    get(&rpc, &first).await.expect("both are good");
    get(&rpc, &second).await.expect("both are good");
    let change = pb::AuthUserChangePasswordRequest {
        name: "user".to_owned(),
        password: "user".to_owned(),
        ..Default::default()
    };
    rpc.with(&root, change).await.expect("root may");
    is_invalid(get(&rpc, &first).await);
    is_invalid(get(&rpc, &second).await);

    let third = log_in(&rpc, "user").await;
    get(&rpc, &third).await.expect("the new one is good");
    let delete = pb::AuthUserDeleteRequest {
        name: "user".to_owned(),
    };
    rpc.with(&root, delete).await.expect("root may");
    is_invalid(get(&rpc, &third).await);

    rpc.with(&root, pb::AuthDisableRequest {})
        .await
        .expect("root may");
    // While authentication is off nobody looks at tokens.
    get(&rpc, "whatever").await.expect("nobody looks");
    rpc.with(&MetadataMap::new(), pb::AuthEnableRequest {})
        .await
        .expect("root exists");
    is_invalid(rpc.with(&root, pb::AuthStatusRequest {}).await);
}

#[tokio::test]
async fn a_token_ends_when_nobody_uses_it() {
    // Far more than a thread may stand still between two uses.
    const TTL: Duration = Duration::from_secs(15);
    let member = Guarded::start("auth-ttl", &["--auth-token-ttl", "15"]);
    let rpc = member.certified("").await;
    switch_on(&rpc).await;
    let (used, unused) = (log_in(&rpc, "user").await, log_in(&rpc, "user").await);
    // A part of the time again and again is longer than the whole.
    let begin = Instant::now();
    while begin.elapsed() < TTL * 2 {
        tokio::time::sleep(TTL / 15).await;
        get(&rpc, &used).await.expect("it is used");
    }
    is_invalid(get(&rpc, &unused).await);
}

async fn watch(rpc: &Rpc, metadata: MetadataMap) -> Duplex<pb::WatchRequest> {
    let mut watch = rpc.open_with::<pb::WatchRequest>(metadata);
    let create = pb::WatchCreateRequest {
        key: b"k".as_slice().into(),
        ..Default::default()
    };
    watch.create(create).await;
    let created = watch.next().await.expect("a response");
    assert!(created.created && !created.canceled, "{created:?}");
    watch
}

/// The server ends a watch by itself, without anything that happened to its keys.
async fn is_ended(mut watch: Duplex<pb::WatchRequest>, reason: &str) {
    let ended = tokio::time::timeout(PATIENCE, watch.next());
    let ended = ended.await.expect("it ends").expect("a response");
    assert!(ended.canceled && ended.events.is_empty(), "{ended:?}");
    assert_eq!(ended.cancel_reason, reason);
}

const DENIED: &str = "rpc error: code = PermissionDenied desc = etcdserver: permission denied";

#[tokio::test]
async fn an_open_watch_ends_with_the_right_to_it() {
    let member = Guarded::start("auth-watches", &[]);
    let rpc = member.certified("").await;
    let early = watch(&rpc, MetadataMap::new()).await;
    switch_on(&rpc).await;
    let empty = "rpc error: code = InvalidArgument desc = etcdserver: user name is empty";
    is_ended(early, empty).await;

    let root = with_token(&log_in(&rpc, ROOT).await);
    add_user(&rpc, &root, "other", &[("k", "")]).await;
    let of_root = watch(&rpc, root.clone()).await;
    let of_user = watch(&rpc, with_token(&log_in(&rpc, "user").await)).await;
    let of_other = watch(&rpc, with_token(&log_in(&rpc, "other").await)).await;
    let revoke = pb::AuthRoleRevokePermissionRequest {
        role: "user".to_owned(),
        key: b"k".as_slice().into(),
        range_end: b"l".as_slice().into(),
    };
    rpc.with(&root, revoke).await.expect("root may");
    is_ended(of_user, DENIED).await;
    let delete = pb::AuthUserDeleteRequest {
        name: "other".to_owned(),
    };
    rpc.with(&root, delete).await.expect("root may");
    is_ended(of_other, DENIED).await;

    // Who kept the right sees what comes.
    let mut of_root = of_root;
    let put = pb::PutRequest {
        key: b"k".as_slice().into(),
        ..Default::default()
    };
    rpc.with(&root, put).await.expect("root may");
    assert_eq!(of_root.next().await.expect("an event").events.len(), 1);
}

/// A stream may live long: each watch on it is looked at when it is made, with what its token is worth then.
#[tokio::test]
async fn a_stream_outlives_a_token_that_is_worth_nothing_any_more() {
    let member = Guarded::start("auth-streams", &[]);
    let rpc = member.certified("").await;
    switch_on(&rpc).await;
    let token = with_token(&log_in(&rpc, "user").await);
    let mut stream = watch(&rpc, token).await;
    let root = with_token(&log_in(&rpc, ROOT).await);
    add_user(&rpc, &root, "newcomer", &[]).await;
    let create = pb::WatchCreateRequest {
        key: b"k2".as_slice().into(),
        ..Default::default()
    };
    stream.create(create.clone()).await;
    let created = stream.next().await.expect("a response");
    assert!(created.created && !created.canceled, "{created:?}");
    let change = pb::AuthUserChangePasswordRequest {
        name: "user".to_owned(),
        password: "user".to_owned(),
        ..Default::default()
    };
    rpc.with(&root, change).await.expect("root may");
    stream.create(create).await;
    let refused = stream.next().await.expect("a response");
    assert!(refused.created && refused.canceled, "{refused:?}");
    assert_eq!(refused.watch_id, -1);
    let invalid = "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token";
    assert_eq!(refused.cancel_reason, invalid);
}
