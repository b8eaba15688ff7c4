//! A cluster of three of which two are gone: the survivor with the longest log goes on, the others are refused.

use std::path::{Path, PathBuf};

use kvorum_core::log::{Append, Entry, EntryKind, HardState};
use kvorum_proto::etcdserverpb as pb;
use kvorum_proto::kvorumpb::{Command, EntryBatch, command::Op};
use kvorum_storage::{Disk, Log, LogOptions, RealDisk};
use kvorum_tests::process::{Options, TestDir};
use prost::Message;
use std::sync::Arc;

use super::{connect, done, not_done, path};
use crate::both::{get, put};
use crate::snapshot::content::everything;

const CLUSTER: &str = "a=http://127.0.0.1:1,b=http://127.0.0.1:2,c=http://127.0.0.1:3";

/// Files of the three members of a new cluster.
async fn three(dir: &TestDir) -> Vec<PathBuf> {
    let member = Options::new(dir).start();
    let rpc = connect(&member).await;
    rpc.call(put("first", "1")).await.expect("put");
    let file = dir.path().join("saved.db");
    done(&[
        "snapshot",
        "save",
        path(&file),
        "--endpoints",
        &member.address(),
    ]);
    let names = [("a", "1"), ("b", "2"), ("c", "3")];
    let restore = |(name, port): (&str, &str)| {
        let data = dir.path().join(name);
        let url = format!("http://127.0.0.1:{port}");
        done(&[
            "snapshot",
            "restore",
            path(&file),
            "--data-dir",
            path(&data),
            "--name",
            name,
            "--initial-cluster",
            CLUSTER,
            "--initial-advertise-peer-urls",
            &url,
        ]);
        data
    };
    names.map(restore).into()
}

/// Appends puts to a log as a leader of term 3 would: entries 2 to `last`, known to be committed up to `commit`.
fn append(data: &Path, last: u64, commit: u64) {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new(data.join("log")));
    let behind_first_state = LogOptions {
        must_reach: Some(1),
        base: Some((1, 1)),
        ..LogOptions::default()
    };
    let (mut log, _) = Log::open(disk, behind_first_state).expect("opens");
    let entries = (2..=last).map(|index| {
        let command = Command {
            request_id: 1 << 44 | index,
            stamp: None,
            caller: None,
            op: Some(Op::Put(put(&format!("tail/{index}"), "v"))),
        };
        let batch = EntryBatch {
            commands: vec![command],
        };
        Entry {
            term: 3,
            index,
            kind: EntryKind::Normal,
            data: batch.encode_to_vec().into(),
        }
    });
    let hard_state = HardState {
        term: 3,
        vote: 0,
        commit,
    };
    let group = Append {
        number: 1,
        entries: entries.collect(),
        hard_state: Some(hard_state),
    };
    log.append(&[group]).expect("appends");
    log.settle().expect("settles");
}

/// What is typed to go on with one member.
fn force<'a>(data: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let words = ["recover", "--force-single", "--data-dir", path(data)];
    words.iter().chain(more).copied().collect()
}

#[tokio::test]
async fn the_longest_log_goes_on_alone_and_loses_nothing() {
    let dir = TestDir::new("recover");
    let data = three(&dir).await;
    append(&data[0], 12, 9);
    append(&data[1], 20, 9);
    let lines: Vec<String> = data[..2]
        .iter()
        .map(|data| done(&["recover", "inspect", "--data-dir", path(data)]))
        .collect();
    assert!(
        lines[0].contains("last=12.3 commit=9 applied=1"),
        "{lines:?}"
    );
    assert!(
        lines[1].contains("last=20.3 commit=9 applied=1"),
        "{lines:?}"
    );

    // By its line, by its directory, and by its bare figures.
    for known in [lines[1].trim(), path(&data[1]), "20.3", "2.4"] {
        let said = not_done(&force(&data[0], &["--known-last", known]));
        assert!(said.contains("another survivor is further"), "{said}");
    }
    let said = not_done(&force(&data[1], &[]));
    assert!(said.contains("--sole-survivor"), "{said}");

    let printed = done(&force(&data[1], &["--known-last", lines[0].trim()]));
    assert!(
        printed.contains("11 entries of it not known to be committed"),
        "{printed}"
    );
    let line = done(&["recover", "inspect", "--data-dir", path(&data[1])]);
    assert!(line.contains("applied=20"), "{line}");

    let options = Options {
        data_dir: data[1].clone(),
        ..Options::new(&dir)
    };
    let mut member = options.start();
    let rpc = connect(&member).await;
    let (revision, pairs) = everything(&rpc, 0).await;
    assert_eq!(pairs.len(), 20);
    assert_eq!(revision, 21 + 1_000_000_000);
    let members = rpc
        .call(pb::MemberListRequest::default())
        .await
        .expect("members");
    assert_eq!(members.members.len(), 1);
    let written = rpc.call(put("after", "1")).await.expect("put");
    assert_eq!(written.header.expect("header").revision, revision + 1);
    assert!(member.terminate().success());
    let said = not_done(&force(&data[1], &["--sole-survivor"]));
    assert!(said.contains("only voter"), "{said}");
    let member = options.start();
    let rpc = connect(&member).await;
    assert_eq!(rpc.call(get("after")).await.expect("range").count, 1);
}

#[tokio::test]
async fn a_member_that_runs_and_a_directory_without_one_are_refused() {
    let dir = TestDir::new("recover-refused");
    let options = Options::new(&dir);
    let member = options.start();
    let said = not_done(&["recover", "inspect", "--data-dir", path(&options.data_dir)]);
    assert!(said.contains(&format!("pid {}", member.pid())), "{said}");
    let nothing = dir.path().join("nothing");
    let said = not_done(&["recover", "inspect", "--data-dir", path(&nothing)]);
    assert!(
        said.contains("holds no member") && !nothing.exists(),
        "{said}"
    );
}
