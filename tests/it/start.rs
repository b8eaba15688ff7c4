//! Starts that must not succeed, and restarts that must find everything.

use std::{
    fs,
    path::{Path, PathBuf},
};

use kvorum_proto::etcdserverpb as pb;
use kvorum_tests::process::{Options, TestDir};

use crate::{
    both::{get, put, range},
    rpc::Rpc,
};

async fn connect(url: &str) -> Rpc {
    Rpc::connect(url)
        .await
        .expect("a ready server accepts connections")
}

#[test]
fn a_second_process_on_one_directory_is_refused_with_the_pid_of_the_first() {
    let dir = TestDir::new("two-processes");
    let options = Options::new(&dir);
    let first = options.start();
    let (status, log) = options.start_refused();
    assert!(!status.success(), "{log}");
    assert!(log.contains(&first.pid().to_string()), "{log}");
}

#[tokio::test]
async fn a_restart_finds_keys_history_leases_and_identity() {
    let dir = TestDir::new("restart");
    let options = Options::new(&dir);
    let mut server = options.start();
    let rpc = connect(&server.url()).await;
    let before = rpc
        .call(put("k", "old"))
        .await
        .expect("put")
        .header
        .expect("header");
    let lease = rpc
        .call(pb::LeaseGrantRequest { ttl: 1000, id: 77 })
        .await
        .expect("grant");
    let leased = pb::PutRequest {
        lease: lease.id,
        ..put("k", "new")
    };
    rpc.call(leased).await.expect("put");
    assert!(server.terminate().success(), "{}", server.log());

    let server = options.start();
    let rpc = connect(&server.url()).await;
    let now = rpc.call(get("k")).await.expect("range");
    let header = now.header.expect("header");
    assert_eq!(
        (header.cluster_id, header.member_id),
        (before.cluster_id, before.member_id)
    );
    assert_eq!(header.revision, before.revision + 1);
    assert_eq!(
        (now.kvs[0].value.as_ref(), now.kvs[0].lease),
        (&b"new"[..], 77)
    );
    let old = pb::RangeRequest {
        revision: before.revision,
        ..get("k")
    };
    assert_eq!(rpc.call(old).await.expect("history").kvs[0].value, "old");
    let left = rpc
        .call(pb::LeaseTimeToLiveRequest { id: 77, keys: true })
        .await
        .expect("lease");
    assert_eq!((left.granted_ttl, left.keys.len()), (1000, 1));
    assert!((900..=1001).contains(&left.ttl), "{}", left.ttl);
}

/// Files below `dir` that hold these bytes.
fn files_with(dir: &Path, wanted: &[u8]) -> Vec<(PathBuf, usize)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("the data directory can be listed") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files_with(&path, wanted));
        } else if let Ok(bytes) = fs::read(&path) {
            let place = bytes
                .windows(wanted.len())
                .position(|window| window == wanted);
            found.extend(place.map(|place| (path, place)));
        }
    }
    found
}

#[tokio::test]
async fn a_damaged_byte_in_the_middle_of_the_log_is_refused_with_file_and_offset() {
    let dir = TestDir::new("damaged-log");
    let options = Options::new(&dir);
    let mut server = options.start();
    let rpc = connect(&server.url()).await;
    for number in 0..200 {
        rpc.call(put(&format!("damaged/{number:03}"), "value"))
            .await
            .expect("put");
    }
    server.kill();
    let holders = files_with(&options.data_dir, b"damaged/190");
    let log = holders
        .iter()
        .find(|(path, _)| path.extension().is_none_or(|end| end != "redb"));
    let (path, place) = log.expect("the log holds the last writes");
    let mut bytes = fs::read(path).expect("the log can be read");
    bytes[*place] ^= 1;
    fs::write(path, &bytes).expect("the log can be written");

    let (status, log) = options.start_refused();
    assert!(!status.success(), "{log}");
    let name = path
        .file_name()
        .expect("a file")
        .to_string_lossy()
        .into_owned();
    assert!(log.contains(&name), "names {name}: {log}");
    assert!(log.contains("at byte "), "names the offset: {log}");

    // With the byte mended everything is there: the refusal changed nothing.
    bytes[*place] ^= 1;
    fs::write(path, &bytes).expect("the log can be written");
    let server = options.start();
    let rpc = connect(&server.url()).await;
    assert_eq!(
        rpc.call(range("damaged/", "damaged0"))
            .await
            .expect("range")
            .count,
        200
    );
}
