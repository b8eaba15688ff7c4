//! A real etcd serves what a snapshot of kvorum holds, and our reader finds what a snapshot of etcd holds.

use std::path::Path;

use kvorum_proto::mvccpb::KeyValue;
use kvorum_storage::bbolt::Item;
use kvorum_tests::process::{Options, Server, TestDir, find_program, start_etcd};
use kvorum_tests::reference;
use std::collections::BTreeMap;

use super::content::{everything, hash_kv, leases, many, mixed, put_bytes};
use super::{etcdctl, read, save};
use crate::rpc::Rpc;

async fn connect(server: &Server) -> Rpc {
    Rpc::connect(&server.url())
        .await
        .expect("a ready server accepts connections")
}

/// Saves with Debian's etcdctl, checks, restores, and starts Debian's etcd from it: it must say all that kvorum says.
async fn restores(name: &str, fill: impl AsyncFn(&Rpc)) {
    let (Some(tool), Some(etcd)) = (find_program("etcdctl"), reference::installed()) else {
        println!("SKIP snapshot restore: etcd and etcdctl are not installed");
        return;
    };
    let dir = TestDir::new(name);
    let member = Options::new(&dir).start();
    let kvorum = connect(&member).await;
    fill(&kvorum).await;
    let file = dir.path().join("saved.db");
    let data = dir.path().join("etcd");
    let path = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    etcdctl(
        &tool,
        &[
            "--endpoints",
            &member.address(),
            "snapshot",
            "save",
            &path(&file),
        ],
    );
    let status = etcdctl(&tool, &["snapshot", "status", &path(&file)]);
    etcdctl(
        &tool,
        &[
            "snapshot",
            "restore",
            &path(&file),
            "--data-dir",
            &path(&data),
        ],
    );
    let restored = start_etcd(&etcd, &dir, &["--unsafe-no-fsync"]);
    let etcd = connect(&restored).await;

    let ours = everything(&kvorum, 0).await;
    assert!(
        everything(&etcd, 0).await == ours,
        "{name}: the pairs or their revisions differ"
    );
    let shown: Vec<&str> = status.trim().split(", ").collect();
    let file = std::fs::read(&file).expect("the snapshot can be read");
    let (summary, _) = read(&file);
    assert_eq!(shown[0], format!("{:x}", summary.hash), "{name}: {status}");
    assert_eq!(summary.revision, ours.0);
    let compacted = summary.tables.finished_compact.unwrap_or(0);
    for back in 0..30 {
        let at = ours.0 - back;
        if at > compacted.max(1) {
            assert_eq!(
                hash_kv(&etcd, at).await,
                hash_kv(&kvorum, at).await,
                "{name} at {at}"
            );
        }
        if at > compacted.max(1) && back % 10 == 3 {
            let (ours, theirs) = (everything(&kvorum, at).await, everything(&etcd, at).await);
            assert!(ours == theirs, "{name}: history differs at {at}");
        }
    }
    assert_eq!(leases(&etcd).await, leases(&kvorum).await, "{name}");
    // A store that can be read only would be half a store: etcd writes into these pages too.
    many(&etcd, 300, 700).await;
    let after = everything(&etcd, 0).await.1;
    assert!(after.iter().any(|kv| kv.key == "many/00000299"));
}

#[tokio::test]
async fn an_empty_store_is_restored_into_etcd() {
    restores("restore-empty", async |_| {}).await;
}

#[tokio::test]
async fn a_bit_of_everything_is_restored_into_etcd() {
    restores("restore-mixed", mixed).await;
}

#[tokio::test]
async fn a_hundred_thousand_keys_are_restored_into_etcd() {
    restores("restore-many", async |rpc| many(rpc, 110_000, 20).await).await;
}

#[tokio::test]
async fn values_of_whole_pages_are_restored_into_etcd() {
    restores("restore-pages", async |rpc| {
        for n in 0..400 {
            let key = format!("page/{n:03}");
            rpc.call(put_bytes(key.as_bytes(), vec![b'p'; 3900 + n]))
                .await
                .expect("put");
        }
    })
    .await;
}

/// What the records of a snapshot leave alive.
fn newest(items: &[Item]) -> BTreeMap<Vec<u8>, KeyValue> {
    let mut alive = BTreeMap::new();
    for item in items {
        if let Item::Record { tombstone, kv, .. } = item {
            if *tombstone {
                alive.remove(&kv.key[..]);
            } else {
                alive.insert(kv.key.to_vec(), kv.clone());
            }
        }
    }
    alive
}

#[tokio::test]
async fn a_snapshot_of_a_real_etcd_is_read_as_that_etcd_shows_itself() {
    let (Some(tool), Some(etcd)) = (find_program("etcdctl"), reference::etcd()) else {
        println!("SKIP snapshot of etcd: etcd and etcdctl are not installed");
        return;
    };
    let dir = TestDir::new("read-etcd");
    let server = start_etcd(&etcd, &dir, &["--unsafe-no-fsync"]);
    let rpc = connect(&server).await;
    mixed(&rpc).await;
    many(&rpc, 3000, 50).await;
    let path = dir.path().join("etcd.db");
    let path = path.to_str().expect("UTF-8");
    etcdctl(
        &tool,
        &["--endpoints", &server.address(), "snapshot", "save", path],
    );
    let (summary, items) = read(&std::fs::read(path).expect("the snapshot can be read"));
    let (revision, pairs) = everything(&rpc, 0).await;
    assert_eq!(summary.revision, revision);
    let alive: Vec<KeyValue> = newest(&items).into_values().collect();
    assert!(alive == pairs, "the pairs differ");
    let read_leases = items.iter().filter_map(|item| match item {
        Item::Lease(lease) => Some((lease.id, lease.ttl)),
        _ => None,
    });
    let known = leases(&rpc).await;
    let known: Vec<(i64, i64)> = known.iter().map(|(id, ttl, _)| (*id, *ttl)).collect();
    assert_eq!(read_leases.collect::<Vec<_>>(), known);
    assert_eq!(summary.tables.members.len(), 1);
    assert_eq!(summary.tables.members[0].name, "default");
    assert_eq!(
        summary.tables.scheduled_compact,
        summary.tables.finished_compact
    );
}

#[tokio::test]
async fn kvorums_snapshot_is_read_as_kvorum_shows_itself() {
    let dir = TestDir::new("read-own");
    let member = Options::new(&dir).start();
    let rpc = connect(&member).await;
    mixed(&rpc).await;
    let (summary, items) = read(&save(&rpc).await.expect("a snapshot"));
    let (revision, pairs) = everything(&rpc, 0).await;
    assert_eq!(summary.revision, revision);
    let alive: Vec<KeyValue> = newest(&items).into_values().collect();
    assert!(alive == pairs, "the pairs differ");
    let tables = &summary.tables;
    assert_eq!(tables.members.len(), 1);
    let voters = tables.conf_state.as_ref().map(|state| state.voters.clone());
    assert_eq!(voters, Some(vec![tables.members[0].id]));
    assert_eq!(tables.cluster_version.as_deref(), Some("3.6.0"));
    assert_eq!(tables.storage_version.as_deref(), Some("3.6.0"));
    assert!(tables.term > 0 && tables.consistent_index > 0);
}
