//! What was saved from a kvorum or an etcd comes back in a kvorum: keys, history, leases, hashes.

use std::fs;
use std::path::{Path, PathBuf};

use kvorum_proto::etcdserverpb as pb;
use kvorum_tests::process::{Options, Server, TestDir, find_program, start_etcd};
use kvorum_tests::reference;
use tonic::Code;

use super::{connect, done, not_done, path};
use crate::both::{get, put, refused};
use crate::rpc::Rpc;
use crate::snapshot::content::{everything, hash_kv, leases, many, mixed};

/// Options of a member whose files lie elsewhere than usual.
fn member_in(dir: &TestDir, data_dir: &Path) -> Options {
    Options {
        data_dir: data_dir.to_path_buf(),
        ..Options::new(dir)
    }
}

async fn ids(rpc: &Rpc) -> (u64, u64) {
    let status = rpc.call(pb::StatusRequest {}).await.expect("status");
    let header = status.header.expect("header");
    (header.cluster_id, header.member_id)
}

/// Saves from `server`, restores, starts what came out and compares.
async fn comes_back(dir: &TestDir, server: &Server) {
    let saved = connect(server).await;
    mixed(&saved).await;
    many(&saved, 3000, 50).await;
    let (file, data) = (dir.path().join("saved.db"), dir.path().join("restored"));
    let printed = done(&[
        "snapshot",
        "save",
        path(&file),
        "--endpoints",
        &server.url(),
    ]);
    assert!(printed.contains("Snapshot saved at"), "{printed}");
    let printed = done(&[
        "snapshot",
        "restore",
        path(&file),
        "--data-dir",
        path(&data),
    ]);
    assert!(printed.contains("of the new cluster"), "{printed}");

    let mut options = member_in(dir, &data);
    let mut member = options.start();
    let restored = connect(&member).await;
    let before = everything(&saved, 0).await;
    let after = everything(&restored, 0).await;
    assert!(before == after, "the pairs or their revisions differ");
    let status = restored.call(pb::StatusRequest {}).await.expect("status");
    assert_eq!(status.leader, ids(&restored).await.1);
    for back in 0..30 {
        let at = before.0 - back;
        assert_eq!(
            hash_kv(&restored, at).await,
            hash_kv(&saved, at).await,
            "at {at}"
        );
    }
    assert_eq!(leases(&restored).await, leases(&saved).await);
    assert_ne!(ids(&restored).await.0, ids(&saved).await.0);
    let header = restored.call(put("new", "1")).await.expect("put").header;
    assert_eq!(header.expect("header").revision, before.0 + 1);

    // What was restored is as durable as anything else.
    let own = ids(&restored).await;
    member.kill();
    options.client_port = 0;
    let member = options.start();
    let restored = connect(&member).await;
    assert_eq!(ids(&restored).await, own);
    assert_eq!(everything(&restored, before.0).await.1, before.1);
    let found = restored.call(get("new")).await.expect("range");
    assert_eq!(found.kvs.len(), 1);
}

#[tokio::test]
async fn a_snapshot_of_kvorum_comes_back() {
    let dir = TestDir::new("restore-own");
    let member = Options::new(&dir).start();
    comes_back(&dir, &member).await;
}

#[tokio::test]
async fn a_snapshot_of_a_real_etcd_comes_back() {
    let Some(etcd) = reference::etcd() else {
        println!("SKIP restore from etcd: etcd is not installed");
        return;
    };
    let dir = TestDir::new("restore-etcd");
    let server = start_etcd(&etcd, &dir, &["--unsafe-no-fsync"]);
    comes_back(&dir, &server).await;
}

/// A small snapshot, saved.
async fn saved(dir: &TestDir) -> PathBuf {
    let member = Options::new(dir).start();
    let rpc = connect(&member).await;
    mixed(&rpc).await;
    let file = dir.path().join("saved.db");
    done(&[
        "snapshot",
        "save",
        path(&file),
        "--endpoints",
        &member.address(),
    ]);
    file
}

#[tokio::test]
async fn the_figures_are_those_that_etcds_tool_shows() {
    let dir = TestDir::new("snapshot-status");
    let file = saved(&dir).await;
    let ours = done(&["snapshot", "status", path(&file)]);
    let ours: Vec<&str> = ours.trim().split(", ").collect();
    assert_eq!(ours.len(), 5, "{ours:?}");
    // 170 of mixed() are left of 256, and beside them leased, large and 99 of several.
    assert_eq!((ours[2], ours[4]), ("271", "3.6.0"));
    let table = done(&["snapshot", "status", path(&file), "-w", "table"]);
    assert!(
        table.contains("TOTAL KEYS") && table.contains(ours[0]),
        "{table}"
    );
    let json = done(&["snapshot", "status", path(&file), "--write-out=json"]);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["totalKey"], 271);
    assert_eq!(
        format!("{:x}", json["hash"].as_u64().expect("a number")),
        ours[0]
    );

    let Some(etcdctl) = find_program("etcdctl") else {
        println!("SKIP snapshot status beside etcdctl: it is not installed");
        return;
    };
    // 3.4 counts the entries of all buckets as keys, and knows no version; the others are compared.
    let theirs = crate::snapshot::etcdctl(&etcdctl, &["snapshot", "status", path(&file)]);
    let theirs: Vec<&str> = theirs.trim().split(", ").collect();
    assert_eq!(theirs[..2], ours[..2]);
    assert_eq!(theirs[3], ours[3]);
}

#[tokio::test]
async fn a_damaged_snapshot_is_refused_and_leaves_nothing() {
    let dir = TestDir::new("restore-damaged");
    let file = saved(&dir).await;
    let sound = fs::read(&file).expect("the snapshot");
    let data = dir.path().join("restored");
    let bad = dir.path().join("bad.db");
    let places = [
        0,
        17,
        4096 + 8,
        sound.len() / 2,
        sound.len() - 40,
        sound.len() - 1,
    ];
    for place in places {
        let mut bytes = sound.clone();
        bytes[place] ^= 4;
        fs::write(&bad, &bytes).expect("a file");
        let said = not_done(&["snapshot", "restore", path(&bad), "--data-dir", path(&data)]);
        assert!(
            said.contains("SHA-256") && said.contains("bad.db"),
            "{place}: {said}"
        );
        assert!(!data.exists(), "{place}");
        not_done(&["snapshot", "status", path(&bad)]);
    }
    for length in [0, 31, 512, sound.len() - 32, sound.len() - 4096] {
        fs::write(&bad, &sound[..length]).expect("a file");
        not_done(&["snapshot", "restore", path(&bad), "--data-dir", path(&data)]);
        assert!(!data.exists(), "cut to {length}");
    }
    // Without its digest it is the file of a data directory, which is taken if one says so.
    fs::write(&bad, &sound[..sound.len() - 32]).expect("a file");
    done(&[
        "snapshot",
        "restore",
        path(&bad),
        "--skip-hash-check",
        "--data-dir",
        path(&data),
    ]);
}

#[tokio::test]
async fn a_directory_that_holds_something_is_not_restored_into() {
    let dir = TestDir::new("restore-full");
    let file = saved(&dir).await;
    let data = dir.path().join("restored");
    done(&[
        "snapshot",
        "restore",
        path(&file),
        "--data-dir",
        path(&data),
    ]);
    let before = fs::read(data.join("member.json")).expect("the identity");
    let said = not_done(&[
        "snapshot",
        "restore",
        path(&file),
        "--data-dir",
        path(&data),
    ]);
    assert!(said.contains("not empty"), "{said}");
    assert_eq!(
        fs::read(data.join("member.json")).expect("the identity"),
        before
    );
}

#[tokio::test]
async fn a_raised_revision_is_never_issued_again_and_ends_old_watches() {
    let dir = TestDir::new("restore-bump");
    let file = saved(&dir).await;
    let data = dir.path().join("restored");
    let said = not_done_usage(&[
        "snapshot",
        "restore",
        path(&file),
        "--data-dir",
        path(&data),
        "--bump-revision=5",
    ]);
    assert!(said.contains("mark-compacted"), "{said}");
    let bump = ["--bump-revision=1000000", "--mark-compacted"];
    let words = [
        "snapshot",
        "restore",
        path(&file),
        "--data-dir",
        path(&data),
        bump[0],
        bump[1],
    ];
    done(&words);
    let ours = done(&["snapshot", "status", path(&file)]);
    let saved: i64 = ours
        .split(", ")
        .nth(1)
        .expect("a revision")
        .parse()
        .expect("a number");
    let member = member_in(&dir, &data).start();
    let rpc = connect(&member).await;
    let (revision, pairs) = everything(&rpc, 0).await;
    assert_eq!((revision, pairs.len()), (saved + 1_000_000, 271));
    let old = pb::RangeRequest {
        revision: saved,
        ..get("leased")
    };
    refused(
        rpc.call(old).await,
        Code::OutOfRange,
        "etcdserver: mvcc: required revision has been compacted",
    );
    let header = rpc.call(put("new", "1")).await.expect("put").header;
    assert_eq!(header.expect("header").revision, saved + 1_000_001);
}

/// Usage errors are clap's, and its exit code.
fn not_done_usage(words: &[&str]) -> String {
    let (code, printed) = super::tool(words);
    assert_eq!(code, 2, "{printed}");
    printed
}

#[tokio::test]
async fn members_of_one_cluster_are_restored_with_ids_that_agree() {
    let dir = TestDir::new("restore-three");
    let file = saved(&dir).await;
    let cluster = "a=http://127.0.0.1:1,b=http://127.0.0.1:2,c=http://127.0.0.1:3";
    let mut seen = Vec::new();
    for (name, url) in [
        ("a", "http://127.0.0.1:1"),
        ("b", "http://127.0.0.1:2"),
        ("c", "http://127.0.0.1:3"),
    ] {
        let data = dir.path().join(name);
        done(&[
            "snapshot",
            "restore",
            path(&file),
            "--data-dir",
            path(&data),
            "--name",
            name,
            "--initial-cluster",
            cluster,
            "--initial-advertise-peer-urls",
            url,
        ]);
        let line = done(&["recover", "inspect", "--data-dir", path(&data)]);
        assert!(line.contains("last=1.1 commit=1 applied=1"), "{line}");
        let word = |name: &str| {
            let word = line.split(' ').find_map(|word| word.strip_prefix(name));
            word.expect(name).to_owned()
        };
        seen.push((word("member="), word("cluster="), word("voters=")));
    }
    assert!(
        seen.iter()
            .all(|(_, cluster, voters)| (cluster, voters) == (&seen[0].1, &seen[0].2))
    );
    let voters: Vec<&str> = seen[0].2.split(',').collect();
    let mut members: Vec<&str> = seen.iter().map(|s| s.0.as_str()).collect();
    members.sort_by_key(|id| u64::from_str_radix(id, 16).expect("an id"));
    assert_eq!(members, voters);

    let data = dir.path().join("d");
    let said = not_done(&[
        "snapshot",
        "restore",
        path(&file),
        "--data-dir",
        path(&data),
        "--name",
        "d",
        "--initial-cluster",
        cluster,
    ]);
    assert!(said.contains("no member called \"d\""), "{said}");
    let said = not_done(&[
        "snapshot",
        "restore",
        path(&file),
        "--data-dir",
        path(&data),
        "--name",
        "a",
        "--initial-cluster",
        cluster,
        "--initial-advertise-peer-urls",
        "http://127.0.0.1:9",
    ]);
    assert!(said.contains("must be the same"), "{said}");
    assert!(!data.exists());
}
