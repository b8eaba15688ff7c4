//! Users and roles in a snapshot: after a restore the same passwords open the same keys, and nobody else gets in.

use std::path::{Path, PathBuf};
use std::process::Command;

use kvorum_proto::{authpb, etcdserverpb as pb};
use kvorum_tests::process::{Options, Server, TestDir, find_program, start_etcd};
use kvorum_tests::reference;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

use super::{connect, done, path};
use crate::auth::{add_user, log_in, switch_on, with_token};
use crate::both::{get, put, refused};
use crate::rpc::Rpc;

/// A snapshot as it is streamed to whoever shows `metadata`.
async fn save(rpc: &Rpc, metadata: MetadataMap, file: &Path) {
    let mut stream = rpc.open_with::<pb::SnapshotRequest>(metadata);
    stream.send(pb::SnapshotRequest {}).await;
    let mut bytes = Vec::new();
    // An etcd tells the end by the end of the stream only.
    while let Ok(part) = stream.next().await {
        bytes.extend_from_slice(&part.blob);
    }
    assert!(bytes.len() > 4096, "{} bytes came", bytes.len());
    std::fs::write(file, bytes).expect("the folder is writable");
}

async fn member_restored(dir: &TestDir, file: &Path) -> (Server, PathBuf) {
    let data_dir = dir.path().join("restored");
    done(&[
        "snapshot",
        "restore",
        path(file),
        "--data-dir",
        path(&data_dir),
    ]);
    let options = Options {
        data_dir: data_dir.clone(),
        ..Options::new(dir)
    };
    (options.start(), data_dir)
}

fn is_denied<T: std::fmt::Debug>(answer: Result<T, Status>) {
    refused(
        answer,
        Code::PermissionDenied,
        "etcdserver: permission denied",
    );
}

/// All that users and roles are, as root sees it.
async fn tables(rpc: &Rpc, root: &MetadataMap) -> Vec<String> {
    let mut all = Vec::new();
    let users = rpc.with(root, pb::AuthUserListRequest {}).await;
    for name in users.expect("root may").users {
        let request = pb::AuthUserGetRequest { name: name.clone() };
        let user = rpc.with(root, request).await.expect("root may");
        all.push(format!("user {name} {:?}", user.roles));
    }
    let roles = rpc.with(root, pb::AuthRoleListRequest {}).await;
    for role in roles.expect("root may").roles {
        let request = pb::AuthRoleGetRequest { role: role.clone() };
        let answer = rpc.with(root, request).await.expect("root may");
        all.push(format!("role {role} {:?}", answer.perm));
    }
    let status = rpc.with(root, pb::AuthStatusRequest {}).await;
    let status = status.map(|s| (s.enabled, s.auth_revision));
    // An etcd of 3.4 does not know the call.
    all.extend(status.ok().map(|status| format!("status {status:?}")));
    all
}

/// Users of every kind and keys of theirs: what root shows, what it sees of them, and a snapshot.
async fn with_users(dir: &TestDir, server: &Server) -> (MetadataMap, Vec<String>, PathBuf) {
    let rpc = connect(server).await;
    switch_on(&rpc).await;
    let root = with_token(&log_in(&rpc, "root").await);
    let cn_only = pb::AuthUserAddRequest {
        name: "certified".to_owned(),
        options: Some(authpb::UserAddOptions { no_password: true }),
        ..Default::default()
    };
    rpc.with(&root, cn_only).await.expect("a new user");
    add_user(&rpc, &root, "many", &[("a", "b"), ("x", "\0")]).await;
    rpc.with(&root, put("k1", "before"))
        .await
        .expect("root may");
    rpc.with(&root, put("z", "hidden")).await.expect("root may");
    let before = tables(&rpc, &root).await;
    let file = dir.path().join("saved.db");
    save(&rpc, root.clone(), &file).await;
    (root, before, file)
}

/// What comes out of a snapshot lets in the same users, as they were.
async fn the_same_may_come_in(dir: &TestDir, server: &Server) {
    let (root, before, file) = with_users(dir, server).await;
    let (mut member, data_dir) = member_restored(dir, &file).await;
    for life in 0..2 {
        let rpc = connect(&member).await;
        refused(
            rpc.call(get("k1")).await,
            Code::InvalidArgument,
            "etcdserver: user name is empty",
        );
        let old = rpc.with(&root, get("k1")).await;
        refused(old, Code::Unauthenticated, "etcdserver: invalid auth token");
        let wrong = pb::AuthenticateRequest {
            name: "root".to_owned(),
            password: "wrong".to_owned(),
        };
        refused(
            rpc.call(wrong).await,
            Code::InvalidArgument,
            "etcdserver: authentication failed, invalid user ID or password",
        );
        let user = with_token(&log_in(&rpc, "user").await);
        let found = rpc.with(&user, get("k1")).await.expect("it has k to l");
        assert_eq!(found.kvs[0].value, "before");
        rpc.with(&user, put("k2", "after")).await.expect("the same");
        is_denied(rpc.with(&user, get("z")).await);
        is_denied(rpc.with(&user, put("z", "")).await);
        let many = with_token(&log_in(&rpc, "many").await);
        let found = rpc.with(&many, get("z")).await.expect("it has x and on");
        assert_eq!(found.kvs[0].value, "hidden");
        is_denied(rpc.with(&many, get("k1")).await);
        let stranger = with_token(&log_in(&rpc, "stranger").await);
        is_denied(rpc.with(&stranger, get("k1")).await);
        let again = with_token(&log_in(&rpc, "root").await);
        let mut after = tables(&rpc, &again).await;
        // Where the other side did not tell.
        after.truncate(before.len());
        assert_eq!(after, before);
        if life == 0 {
            // What was restored is as durable as anything else.
            member.kill();
            member = Options {
                data_dir: data_dir.clone(),
                ..Options::new(dir)
            }
            .start();
        }
    }
    let rpc = connect(&member).await;
    let root = with_token(&log_in(&rpc, "root").await);
    rpc.with(&root, pb::AuthDisableRequest {})
        .await
        .expect("root may");
    rpc.call(get("z")).await.expect("nobody is asked any more");
}

#[tokio::test]
async fn users_of_kvorum_come_back() {
    let dir = TestDir::new("restore-users");
    let member = Options::new(&dir).start();
    the_same_may_come_in(&dir, &member).await;
}

#[tokio::test]
async fn users_of_a_real_etcd_come_back() {
    let Some(etcd) = reference::etcd() else {
        println!("SKIP users of etcd: etcd is not installed");
        return;
    };
    let dir = TestDir::new("restore-users-etcd");
    let server = start_etcd(&etcd, &dir, &["--unsafe-no-fsync"]);
    the_same_may_come_in(&dir, &server).await;
}

/// The other way: etcd's own tools take over users of kvorum.
#[tokio::test]
async fn users_of_kvorum_come_back_in_a_real_etcd() {
    let (Some(etcd), Some(etcdctl)) = (reference::etcd(), find_program("etcdctl")) else {
        println!("SKIP users into etcd: etcd or etcdctl is not installed");
        return;
    };
    let dir = TestDir::new("restore-users-into-etcd");
    let member = Options::new(&dir).start();
    let rpc = connect(&member).await;
    switch_on(&rpc).await;
    let root = with_token(&log_in(&rpc, "root").await);
    rpc.with(&root, put("k1", "before"))
        .await
        .expect("root may");
    let file = dir.path().join("saved.db");
    save(&rpc, root, &file).await;
    drop(member);
    // 3.4 restores with etcdctl; a newer reference reads what that made.
    let restored = Command::new(etcdctl)
        .env("ETCDCTL_API", "3")
        .args(["snapshot", "restore", path(&file), "--name", "default"])
        .arg("--data-dir")
        .arg(dir.path().join("etcd"))
        .output()
        .expect("etcdctl starts");
    assert!(
        restored.status.success(),
        "{}",
        String::from_utf8_lossy(&restored.stderr)
    );
    let server = start_etcd(&etcd, &dir, &["--unsafe-no-fsync"]);
    let rpc = connect(&server).await;
    let user = with_token(&log_in(&rpc, "user").await);
    let found = rpc.with(&user, get("k1")).await.expect("it has k to l");
    assert_eq!(found.kvs[0].value, "before");
    is_denied(rpc.with(&user, get("z")).await);
}
