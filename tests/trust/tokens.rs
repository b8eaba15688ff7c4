//! A user who is revoked is refused also by password and token.

use std::time::Instant;

use kvorum_proto::{authpb, etcdserverpb as pb, kvorumpb::CertificateKind};
use tonic::{
    Code, Status,
    metadata::{MetadataMap, MetadataValue},
};

use crate::{
    cluster::{Cluster, PROMISED, ends},
    revoked::watching,
    rpc::Rpc,
};

async fn log_in(rpc: &Rpc, name: &str) -> Result<MetadataMap, Status> {
    let request = pb::AuthenticateRequest {
        name: name.to_owned(),
        password: name.to_owned(),
    };
    let token = rpc.with(&MetadataMap::new(), request).await?.token;
    let mut metadata = MetadataMap::new();
    metadata.insert("token", MetadataValue::try_from(token).expect("a header"));
    Ok(metadata)
}

/// `root`, and these users who may have all keys.
async fn switch_on(cluster: &Cluster, users: &[&str]) {
    let admin = cluster.badge(CertificateKind::Admin, "boss", 0).await;
    let rpc = cluster.rpc(Some(&admin)).await;
    let none = MetadataMap::new();
    let role = |name: &str| pb::AuthRoleAddRequest { name: name.into() };
    rpc.with(&none, role("all")).await.expect("a role");
    let perm = authpb::Permission {
        perm_type: authpb::permission::Type::Readwrite.into(),
        key: "\0".into(),
        range_end: "\0".into(),
    };
    let grant = pb::AuthRoleGrantPermissionRequest {
        name: "all".into(),
        perm: Some(perm),
    };
    rpc.with(&none, grant).await.expect("a permission");
    for (user, role) in users
        .iter()
        .map(|user| (*user, "all"))
        .chain([("root", "root")])
    {
        let add = pb::AuthUserAddRequest {
            name: user.into(),
            password: user.into(),
            ..Default::default()
        };
        rpc.with(&none, add).await.expect("a user");
        let grant = pb::AuthUserGrantRoleRequest {
            user: user.into(),
            role: role.into(),
        };
        rpc.with(&none, grant).await.expect("granted");
    }
    let enable = pb::AuthEnableRequest {};
    rpc.with(&none, enable).await.expect("root exists");
}

fn get() -> pb::RangeRequest {
    pb::RangeRequest {
        key: "k".into(),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_revoked_user_is_refused_by_token_and_password_while_others_go_on() {
    let cluster = Cluster::start().await;
    let rpc = cluster.rpc(None).await;
    switch_on(&cluster, &["ann", "bob"]).await;
    let (ann, bob) = (log_in(&rpc, "ann").await, log_in(&rpc, "bob").await);
    let (ann, bob) = (ann.expect("known"), bob.expect("known"));
    let mut ends_soon = watching(&rpc, ann.clone()).await;
    let mut stays = watching(&rpc, bob.clone()).await;
    rpc.with(&ann, get()).await.expect("she may");
    let begin = Instant::now();
    cluster.deny_user("ann").await;
    let refused = rpc.with(&ann, get()).await.expect_err("revoked");
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(
        refused.message().contains("this user was revoked"),
        "{refused}"
    );
    let refused = ends("a watch", ends_soon.next()).await;
    let refused = refused.expect_err("ended");
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(
        refused.message().contains("this user was revoked"),
        "{refused}"
    );
    println!("a watch by token ended after {:?}", begin.elapsed());
    assert!(begin.elapsed() < PROMISED);
    let refused = log_in(&rpc, "ann").await.expect_err("revoked");
    assert!(
        refused.message().contains("this user was revoked"),
        "{refused}"
    );
    // A wrong password tells a stranger nothing.
    let wrong = pb::AuthenticateRequest {
        name: "ann".into(),
        password: "wrong".into(),
    };
    let refused = rpc.with(&MetadataMap::new(), wrong).await;
    let refused = refused.expect_err("wrong");
    assert!(
        refused.message().contains("authentication failed"),
        "{refused}"
    );
    let put = pb::PutRequest {
        key: "k".into(),
        ..Default::default()
    };
    rpc.with(&bob, put).await.expect("he may");
    let event = stays.next().await.expect("his watch goes on");
    assert_eq!(event.events.len(), 1);
}

#[tokio::test]
async fn a_token_is_no_way_round_a_revoked_certificate() {
    let cluster = Cluster::start().await;
    let badge = cluster.client("ann").await;
    let rpc = cluster.rpc(Some(&badge)).await;
    switch_on(&cluster, &["bob"]).await;
    let bob = log_in(&rpc, "bob").await.expect("known");
    let mut watch = watching(&rpc, bob.clone()).await;
    cluster.deny_badge(&badge).await;
    rpc.with(&bob, get()).await.expect_err("revoked");
    ends("a watch", watch.next()).await.expect_err("ended");
}
