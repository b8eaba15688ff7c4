//! The state file of a member gets smaller by itself once a compaction has freed most of it, while clients write; and
//! what it holds survives `kill -9` whenever that comes.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kvorum_proto::etcdserverpb as pb;
use kvorum_tests::process::{Options, TestDir};

use crate::both::{get, put};
use crate::number_from_env;
use crate::rpc::Rpc;

/// What is written over and over; all but the last round is freed.
const KEYS: u64 = 20;
const VALUE_BYTES: usize = 1_000_000;
const MIB: u64 = 1 << 20;
/// Far above what the copy takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// The state file, wherever the data directory lies under the test's folder.
fn state_file(dir: &Path) -> PathBuf {
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.ends_with("state.redb") {
                return path;
            }
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    panic!("no state file under {}", dir.display());
}

fn mib(path: &Path) -> u64 {
    fs::metadata(path).expect("the file is there").len() / MIB
}

async fn current(rpc: &Rpc) -> i64 {
    let status = rpc.call(pb::StatusRequest {}).await.expect("status");
    status.header.expect("header").revision
}

/// Writes `total_mib` in large values, and compacts all but the newest.
async fn fill_and_compact(rpc: &Rpc, total_mib: u64) {
    for n in 0..total_mib {
        let value = format!("{n:08}").repeat(VALUE_BYTES / 8);
        rpc.call(put(&format!("big/{:02}", n % KEYS), &value))
            .await
            .expect("put");
    }
    let request = pb::CompactionRequest {
        revision: current(rpc).await,
        physical: true,
    };
    rpc.call(request).await.expect("compaction");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compaction_makes_the_file_smaller_without_a_command() {
    let total_mib = number_from_env("KVORUM_TEST_SMALLER_MIB", 300);
    let dir = TestDir::new("smaller-file");
    let options = Options::new(&dir).flag("--quota-backend-bytes=8589934592");
    let mut member = options.start();
    let rpc = Rpc::connect(&member.url()).await.expect("connects");
    fill_and_compact(&rpc, total_mib).await;
    let file = state_file(dir.path());
    let full = mib(&file);
    assert!(full * 10 > total_mib * 9, "{full} MiB of {total_mib}");
    let begun = Instant::now();
    let mut written = 0_u64;
    let mut slowest = Duration::ZERO;
    while mib(&file) > full / 3 {
        assert!(begun.elapsed() < PATIENCE, "{} MiB", mib(&file));
        let asked = Instant::now();
        let text = written.to_string();
        rpc.call(put("counter", &text)).await.expect("put");
        slowest = slowest.max(asked.elapsed());
        written += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    println!(
        "{full} MiB became {} MiB {:?} after the compaction; slowest of {written} puts {slowest:?}",
        mib(&file),
        begun.elapsed()
    );
    member.wait_log(|log| log.contains("the state file was made smaller"));
    // No stop: what is on disk must do.
    member.kill();
    let member = options.start();
    let rpc = Rpc::connect(&member.url()).await.expect("connects");
    let found = rpc.call(get("counter")).await.expect("get").kvs;
    assert_eq!(found[0].value, (written - 1).to_string().into_bytes());
    for key in 0..KEYS {
        let found = rpc.call(get(&format!("big/{key:02}"))).await.expect("get");
        let newest = (0..total_mib).rev().find(|n| n % KEYS == key);
        let wanted = format!("{:08}", newest.expect("each was written"));
        assert_eq!(&found.kvs[0].value[..8], wanted.as_bytes(), "key {key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_killed_while_the_file_is_copied_has_everything() {
    let kills = number_from_env("KVORUM_TEST_SMALLER_KILLS", 4);
    let dir = TestDir::new("smaller-killed");
    let options = Options::new(&dir).flag("--quota-backend-bytes=8589934592");
    let mut member = options.start();
    let rpc = Rpc::connect(&member.url()).await.expect("connects");
    fill_and_compact(&rpc, 120).await;
    for kill in 0..kills {
        member.wait_log(|log| log.contains("it is made smaller"));
        tokio::time::sleep(Duration::from_millis(40 * (kill + 1))).await;
        let rpc = Rpc::connect(&member.url()).await.expect("connects");
        let text = kill.to_string();
        rpc.call(put("kill", &text)).await.expect("put");
        member.kill();
        member = options.start();
        let rpc = Rpc::connect(&member.url()).await.expect("connects");
        let found = rpc.call(get("kill")).await.expect("get").kvs;
        assert_eq!(found[0].value, text.into_bytes());
        let files = fs::read_dir(state_file(dir.path()).parent().expect("a folder"));
        let names = files
            .expect("a folder")
            .map(|entry| entry.expect("entry").file_name());
        let names: Vec<String> = names.map(|n| n.to_string_lossy().into_owned()).collect();
        let incoming = names.iter().filter(|n| n.contains("incoming"));
        // A new copy may have begun already.
        assert!(incoming.count() <= 1, "{names:?}");
        let grown = mib(&state_file(dir.path()));
        if grown < 64 {
            println!("the copy was done before kill {kill}: {grown} MiB");
            break;
        }
    }
    assert!(member.terminate().success(), "{}", member.log());
}
