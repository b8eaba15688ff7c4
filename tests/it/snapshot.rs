//! Maintenance.Snapshot: etcd's own file, which etcd's own tools check, restore and serve.

pub(crate) mod content;
mod restore;
mod stream;

use std::path::Path;
use std::process::Command;

use bytes::{Bytes, BytesMut};
use kvorum_proto::etcdserverpb as pb;
use kvorum_storage::bbolt::{Item, SnapshotSummary, Trailer, read_snapshot};
use tonic::Status;

use crate::rpc::Rpc;

/// Takes a snapshot and checks how it arrives: etcd's clients rely on every one of these.
async fn save(rpc: &Rpc) -> Result<Bytes, Status> {
    let mut stream = rpc.open::<pb::SnapshotRequest>();
    stream.send(pb::SnapshotRequest {}).await;
    let mut file = BytesMut::new();
    let mut total = None;
    loop {
        let part = stream.next().await?;
        assert_eq!(part.header, None);
        assert_eq!(part.version, "3.6.0");
        assert!(part.blob.len() <= 32 << 10);
        let before = file.len() as u64;
        file.extend_from_slice(&part.blob);
        let total = *total.get_or_insert(part.remaining_bytes + part.blob.len() as u64);
        if before == total {
            assert_eq!((part.remaining_bytes, part.blob.len()), (0, 32));
            break;
        }
        assert_eq!(part.remaining_bytes, total - file.len() as u64);
    }
    let end = stream.next().await.expect_err("nothing follows the digest");
    assert_eq!(end.message(), "the server ended the stream");
    Ok(file.freeze())
}

/// Everything in a snapshot. The digest is checked.
fn read(file: &[u8]) -> (SnapshotSummary, Vec<Item>) {
    let mut items = Vec::new();
    let summary = read_snapshot(file, "snapshot", Trailer::Required, |item| {
        items.push(item);
        Ok(())
    });
    (summary.expect("a sound snapshot"), items)
}

/// Runs Debian's etcdctl and gives what it printed.
pub(crate) fn etcdctl(program: &Path, words: &[&str]) -> String {
    let output = Command::new(program)
        .env("ETCDCTL_API", "3")
        .args(words)
        .output();
    let output = output.expect("etcdctl starts");
    let (printed, errors) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success(),
        "etcdctl {words:?}: {printed}{errors}"
    );
    printed.into_owned()
}
