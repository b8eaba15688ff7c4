//! A disk without room: puts are refused, deletes and reads go on, and it ends by itself once there is room.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use kvorum_proto::etcdserverpb as pb;
use kvorum_tests::process::{Options, Server, TestDir};
use tonic::{Code, Status};

use crate::both::{delete, get, put};
use crate::rpc::Rpc;

/// Room for two segments of the log, the state, and some tens of mebibytes to be filled.
const DISK_BYTES: &str = "256m";
const VALUE_BYTES: usize = 20_000;
const NO_SPACE: &str = "etcdserver: mvcc: database space exceeded";

/// A member whose data directory is a small disk of its own, and where that disk is seen from outside.
fn start_on_small_disk(dir: &TestDir) -> Option<(Server, PathBuf)> {
    let able = Command::new("unshare").args(["-rm", "true"]).status();
    if !able.is_ok_and(|status| status.success()) {
        println!("SKIP full disk: this machine lets nobody mount a file system of their own");
        return None;
    }
    let mount = dir.path().join("disk");
    fs::create_dir_all(&mount).expect("a directory");
    let script = format!(
        "mount -t tmpfs -o size={DISK_BYTES} tmpfs '{}' && exec \"$@\"",
        mount.display()
    );
    let words = ["unshare", "-rm", "sh", "-c", &script, "sh"];
    let options = Options {
        data_dir: mount.join("member"),
        wrapper: words.map(str::to_owned).into(),
        ..Options::new(dir)
    };
    let member = options.start();
    let outside = PathBuf::from(format!("/proc/{}/root{}", member.pid(), mount.display()));
    Some((member, outside))
}

/// Takes all room that there is.
fn fill(disk: &Path) -> PathBuf {
    let path = disk.join("filler");
    let mut file = File::create(&path).expect("the disk can be seen");
    let mut block = vec![7; 1 << 20];
    while !block.is_empty() {
        if file.write_all(&block).is_err() {
            block.truncate(block.len() / 2);
        }
    }
    path
}

fn value() -> String {
    "v".repeat(VALUE_BYTES)
}

/// Writes until a write is refused; tells how many were not.
async fn write_until_refused(rpc: &Rpc, first: usize) -> (usize, Status) {
    for number in first.. {
        match rpc.call(put(&format!("k/{number:06}"), &value())).await {
            Ok(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            Err(status) => return (number, status),
        }
    }
    unreachable!("numbers do not end")
}

#[tokio::test]
async fn a_full_disk_refuses_puts_until_there_is_room_without_a_restart() {
    let dir = TestDir::new("full-disk");
    let Some((member, disk)) = start_on_small_disk(&dir) else {
        return;
    };
    let rpc = Rpc::connect(&member.url()).await.expect("connects");
    for number in 0..100 {
        rpc.call(put(&format!("k/{number:06}"), &value()))
            .await
            .expect("there is room");
    }
    let lease = rpc
        .call(pb::LeaseGrantRequest { id: 7, ttl: 9999 })
        .await
        .expect("grant");
    let mut written = 100;
    for round in 0..3 {
        let filler = fill(&disk);
        let (next, status) = write_until_refused(&rpc, written).await;
        assert_eq!(
            (status.code(), status.message()),
            (Code::ResourceExhausted, NO_SPACE),
            "{}",
            member.log()
        );
        // What is there stays, and what makes room goes on.
        let all = pb::RangeRequest {
            range_end: b"k0".to_vec().into(),
            count_only: true,
            ..get("k/")
        };
        let found = rpc.call(all.clone()).await.expect("reads go on");
        assert_eq!(found.count, i64::try_from(next).expect("small") - round);
        let gone = rpc.call(delete(&format!("k/{round:06}"))).await;
        let header = gone.expect("deletes go on").header.expect("header");
        let compact = pb::CompactionRequest {
            revision: header.revision,
            physical: false,
        };
        rpc.call(compact).await.expect("compactions are decided");
        if round == 0 {
            let revoke = pb::LeaseRevokeRequest { id: lease.id };
            rpc.call(revoke).await.expect("leases are revoked");
        }
        let alarms = rpc.call(pb::AlarmRequest::default()).await.expect("alarms");
        assert_eq!(alarms.alarms, [], "a full disk is no alarm");

        fs::remove_file(filler).expect("the filler");
        written = next;
        while let Err(status) = rpc.call(put(&format!("k/{written:06}"), &value())).await {
            assert_eq!(status.message(), NO_SPACE, "{}", member.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        written += 1;
        let found = rpc.call(all).await.expect("reads go on");
        assert_eq!(
            found.count,
            i64::try_from(written).expect("small") - round - 1
        );
    }
    let last = rpc.call(get(&format!("k/{:06}", written - 1))).await;
    assert_eq!(last.expect("range").kvs[0].value.len(), VALUE_BYTES);
}
