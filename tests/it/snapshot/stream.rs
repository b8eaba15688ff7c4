//! How a snapshot stands to what goes on around it: writes, clients that go away, and other snapshots.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kvorum_proto::etcdserverpb as pb;
use kvorum_storage::bbolt::Item;
use kvorum_tests::process::{Options, TestDir};
use tonic::Code;

use super::content::many;
use super::{read, save};
use crate::both::{op, put, refused, txn};
use crate::rpc::Rpc;

/// Values of the two keys that are always written together, newest first.
fn pair_in(items: &[Item]) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
    let value = |wanted: &str| {
        items.iter().rev().find_map(|item| match item {
            Item::Record { kv, .. } if kv.key == wanted => Some(kv.value.to_vec()),
            _ => None,
        })
    };
    (value("left"), value("right"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_is_of_one_moment_and_holds_what_was_acknowledged_before() {
    let dir = TestDir::new("snapshot-moment");
    let member = Options::new(&dir).start();
    let rpc = Rpc::connect(&member.url()).await.expect("connects");
    many(&rpc, 5000, 500).await;
    let done = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (rpc, done) = (rpc.clone(), done.clone());
        async move {
            let mut count = 0;
            while !done.load(Ordering::SeqCst) {
                let value = count.to_string();
                let both = vec![op(put("left", &value)), op(put("right", &value))];
                rpc.call(txn(both)).await.expect("txn");
                count += 1;
            }
            count
        }
    });
    for round in 0..8 {
        let mark = format!("mark/{round}");
        let written = rpc
            .call(put(&mark, ""))
            .await
            .expect("put")
            .header
            .expect("header");
        let (summary, items) = read(&save(&rpc).await.expect("a snapshot"));
        assert!(
            summary.revision >= written.revision,
            "an acknowledged write is missing"
        );
        let (left, right) = pair_in(&items);
        assert_eq!(left, right, "half a transaction");
        let marks = items
            .iter()
            .filter(|item| matches!(item, Item::Record { kv, .. } if kv.key.starts_with(b"mark/")));
        assert_eq!(marks.count(), round + 1);
    }
    done.store(true, Ordering::SeqCst);
    assert!(writer.await.expect("the writer ends") > 0);
}

#[tokio::test]
async fn clients_that_go_away_leave_nothing_behind() {
    let dir = TestDir::new("snapshot-cancel");
    let options = Options::new(&dir);
    let member = options.start();
    let rpc = Rpc::connect(&member.url()).await.expect("connects");
    // More than the windows of a connection hold, so that the work stands still until the client reads.
    many(&rpc, 20_000, 1000).await;
    // More than there may be at once: each must give its place back.
    for _ in 0..12 {
        let other = Rpc::connect(&member.url()).await.expect("connects");
        let mut stream = other.open::<pb::SnapshotRequest>();
        stream.send(pb::SnapshotRequest {}).await;
        let first = loop {
            match stream.next().await {
                Ok(first) => break first,
                // The one before has not been missed yet.
                Err(busy) if busy.code() == Code::ResourceExhausted => {
                    stream = other.open::<pb::SnapshotRequest>();
                    stream.send(pb::SnapshotRequest {}).await;
                }
                Err(other) => panic!("{other}"),
            }
        };
        assert!(first.remaining_bytes > 10 << 20);
    }
    let names: Vec<_> = std::fs::read_dir(&options.data_dir)
        .expect("the data directory can be listed")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert!(
        names
            .iter()
            .all(|name| !name.to_string_lossy().ends_with(".spool")),
        "{names:?}"
    );
    loop {
        match save(&rpc).await {
            Ok(file) => break assert!(read(&file).0.records >= 20_000),
            Err(busy) => assert_eq!(busy.code(), Code::ResourceExhausted, "{busy}"),
        }
    }
}

#[tokio::test]
async fn more_snapshots_than_the_disk_should_bear_are_refused() {
    let dir = TestDir::new("snapshot-many");
    let member = Options::new(&dir).start();
    let rpc = Rpc::connect(&member.url()).await.expect("connects");
    many(&rpc, 20_000, 1000).await;
    let mut waiting = Vec::new();
    let mut begin = async |client: Rpc| {
        let mut stream = client.open::<pb::SnapshotRequest>();
        stream.send(pb::SnapshotRequest {}).await;
        stream.next().await.expect("the first part");
        waiting.push((client, stream));
    };
    for _ in 0..3 {
        begin(Rpc::connect(&member.url()).await.expect("connects")).await;
    }
    // One client leaves one for others.
    let own = "kvorum: 3 snapshots are being sent to this client already: wait for one to end";
    refused(save(&rpc).await.map(|_| ()), Code::ResourceExhausted, own);
    let somebody_else = || async {
        let to = member.address().parse().expect("an address");
        let from = SocketAddr::from(([127, 0, 0, 2], 0));
        Rpc::connect_from(from, to).await.expect("connects")
    };
    begin(somebody_else().await).await;
    let text = "kvorum: 4 snapshots are being sent already, and each takes room on the disk; wait for one to end";
    let fifth = save(&somebody_else().await).await;
    refused(fifth.map(|_| ()), Code::ResourceExhausted, text);
    // Writes do not wait for those who do not read.
    rpc.call(put("meanwhile", "1")).await.expect("put");
}

#[tokio::test]
async fn what_a_crash_left_of_a_snapshot_is_removed_at_the_next_start() {
    let dir = TestDir::new("snapshot-left");
    let options = Options::new(&dir);
    options.start().kill();
    let left = options.data_dir.join("snapshot-7.spool");
    std::fs::write(&left, "half").expect("the data directory is writable");
    let member = options.start();
    assert!(!left.exists());
    let rpc = Rpc::connect(&member.url()).await.expect("connects");
    read(&save(&rpc).await.expect("a snapshot"));
}
