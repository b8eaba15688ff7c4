//! Tokens in a cluster of three: what one member gave out is good at the others, as in etcd.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use kvorum_proto::etcdserverpb as pb;
use kvorum_tests::process::{TestDir, find_program};
use tonic::{Code, Status, metadata::MetadataMap};

use super::{ROOT, log_in, switch_on, with_token};
use crate::{
    both::{get, put, refused},
    cluster::{members::Cluster, one_at_a_time},
    rpc::Rpc,
};

/// Far above what it takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn is_invalid<T: std::fmt::Debug>(answer: Result<T, Status>) {
    let text = "etcdserver: invalid auth token";
    refused(answer, Code::Unauthenticated, text);
}

async fn each(cluster: &Cluster) -> Vec<Rpc> {
    let mut all = Vec::new();
    for place in cluster.running() {
        all.push(cluster.rpc(place).await);
    }
    all
}

/// Asks until whoever is asked has heard of it.
async fn in_the_end<T>(what: &str, ask: impl AsyncFn() -> Result<T, Status>) -> T {
    let mut last = None;
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        match ask().await {
            Ok(answer) => return answer,
            Err(status) => last = Some(status),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what}: {last:?}")
}

#[tokio::test]
async fn a_simple_token_of_one_member_is_good_at_all() {
    let _alone = one_at_a_time().await;
    let mut cluster = Cluster::start_with("auth-several", 3, &["--bcrypt-cost", "4"]);
    cluster.settled().await;
    let all = each(&cluster).await;
    switch_on(&all[0]).await;
    for from in 0..3 {
        // At once: a member that is behind waits until it has heard of the token.
        for (to, rpc) in all.iter().enumerate() {
            let token = with_token(&log_in(&all[from], "user").await);
            let key = format!("k-{from}-{to}");
            rpc.with(&token, put(&key, "")).await.expect("it is good");
            refused(
                rpc.with(&token, get("z")).await,
                Code::PermissionDenied,
                "etcdserver: permission denied",
            );
        }
    }
    let token = with_token(&log_in(&all[0], "user").await);
    let root = with_token(&log_in(&all[1], ROOT).await);
    let change = pb::AuthUserChangePasswordRequest {
        name: "user".to_owned(),
        password: "user".to_owned(),
        ..Default::default()
    };
    all[2].with(&root, change).await.expect("root may");
    for rpc in &all {
        // Behind a write that this member has applied. One that has not heard of the change yet is told that its view is
        // old, and so is its client, which asks again.
        in_the_end("root may", async || rpc.with(&root, put("z", "")).await).await;
        is_invalid(rpc.with(&token, get("k")).await);
    }
    restarts(&mut cluster).await;
}

/// A member that comes back may have forgotten tokens, as an etcd may; it never takes one for another's, and who logs in
/// again, wherever, is known to it.
async fn restarts(cluster: &mut Cluster) {
    let rpc = cluster.rpc(0).await;
    let token = log_in(&rpc, "user").await;
    for kill in [false, true] {
        match kill {
            true => cluster.kill(2),
            false => cluster.stop(2),
        }
        let meanwhile = with_token(&log_in(&rpc, "user").await);
        rpc.with(&meanwhile, put("k", "meanwhile"))
            .await
            .expect("two of three");
        cluster.restart(2);
        let back = cluster.rpc(2).await;
        match back.with(&with_token(&token), get("z")).await {
            Err(status) if status.code() == Code::PermissionDenied => {}
            answer => is_invalid(answer),
        }
        // What was said while it was away it hears from the others.
        let found = in_the_end("a token made meanwhile", async || {
            back.with(&meanwhile, get("k")).await
        });
        assert_eq!(found.await.kvs[0].value, "meanwhile");
        let again = with_token(&log_in(&back, "user").await);
        for rpc in each(cluster).await {
            rpc.with(&again, get("k")).await.expect("it is good");
        }
    }
}

/// A pair of keys; nothing where there is no openssl.
fn key_pair(dir: &Path) -> Option<[String; 2]> {
    let openssl = find_program("openssl")?;
    let file = |name: &str| dir.join(name).to_string_lossy().into_owned();
    let files = [file("jwt.key"), file("jwt.pub")];
    let steps: [&[&str]; 2] = [
        &["genrsa", "-out", &files[0], "2048"],
        &["rsa", "-in", &files[0], "-pubout", "-out", &files[1]],
    ];
    for step in steps {
        let done = Command::new(&openssl).args(step).output();
        assert!(done.expect("openssl starts").status.success());
    }
    Some(files)
}

#[tokio::test]
async fn a_jwt_of_one_member_is_good_at_all_until_rights_change() {
    let _alone = one_at_a_time().await;
    let dir = TestDir::new("auth-jwt-keys");
    let Some([private, public]) = key_pair(dir.path()) else {
        println!("SKIP jwt on three members: openssl is not installed");
        return;
    };
    let signs = format!("jwt,pub-key={public},priv-key={private},sign-method=RS256");
    let flags = ["--bcrypt-cost", "4", "--auth-token", &signs];
    let mut cluster = Cluster::start_with("auth-several-jwt", 3, &flags);
    cluster.settled().await;
    switch_on(&cluster.rpc(0).await).await;
    // One that only verifies.
    cluster.stop(2);
    cluster.flags[3] = format!("jwt,pub-key={public},sign-method=RS256");
    cluster.restart(2);
    let all = each(&cluster).await;
    let mut last = MetadataMap::new();
    for from in &all[..2] {
        last = with_token(&log_in(from, "user").await);
        for rpc in &all {
            rpc.with(&last, put("k", "")).await.expect("it is good");
        }
    }
    let login = pb::AuthenticateRequest {
        name: "user".to_owned(),
        password: "user".to_owned(),
    };
    let refusal = all[2].call(login).await.expect_err("it has no key");
    assert!(refusal.message().contains("verify-only"), "{refusal:?}");
    // Any change of rights makes all tokens old, and a restart changes nothing.
    let root = with_token(&log_in(&all[0], ROOT).await);
    let add = pb::AuthRoleAddRequest {
        name: "another".to_owned(),
    };
    all[1].with(&root, add).await.expect("root may");
    cluster.kill(1);
    cluster.restart(1);
    let fresh = with_token(&log_in(&all[0], "user").await);
    let root = with_token(&log_in(&all[0], ROOT).await);
    for rpc in each(&cluster).await {
        in_the_end("root may", async || rpc.with(&root, put("z", "")).await).await;
        refused(
            rpc.with(&last, get("k")).await,
            Code::InvalidArgument,
            "etcdserver: revision of auth store is old",
        );
        rpc.with(&fresh, get("k")).await.expect("it is good");
    }
}
