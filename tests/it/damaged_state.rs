//! A damaged state file ends the start with one line that names it, wherever the damage lies.

use std::fs;
use std::path::Path;

use kvorum_proto::etcdserverpb as pb;
use kvorum_tests::process::{Options, TestDir};

use crate::both::{op, put, txn};
use crate::number_from_env;
use crate::rpc::Rpc;

const PAGE_BYTES: usize = 4096;
/// The exit code of a data directory that cannot be opened.
const BAD_DATA_DIR: i32 = 3;
/// The exit code of a disk that fails under a running member.
const DISK_FAILED: i32 = 1;

/// A member's directory with a state file of some hundred pages.
async fn filled(options: &Options) {
    let mut member = options.start();
    let rpc = Rpc::connect(&member.url()).await.expect("connects");
    for round in 0..20 {
        let puts = (0..100).map(|n| op(put(&format!("k/{n:03}"), &"v".repeat(n * 3 + round))));
        rpc.call(txn(puts.collect())).await.expect("txn");
    }
    let grant = pb::LeaseGrantRequest { id: 7, ttl: 9999 };
    rpc.call(grant).await.expect("grant");
    assert!(member.terminate().success(), "{}", member.log());
}

/// Xorshift.
fn next(dice: &mut u64, end: usize) -> usize {
    *dice ^= *dice << 13;
    *dice ^= *dice >> 7;
    *dice ^= *dice << 17;
    usize::try_from(*dice % end as u64).expect("small")
}

/// Damages some bytes in places that mean something; the head of the file more often than the rest.
fn damage(bytes: &mut [u8], dice: &mut u64) {
    let used: Vec<usize> = (0..bytes.len() / PAGE_BYTES)
        .filter(|page| {
            bytes[page * PAGE_BYTES..][..PAGE_BYTES]
                .iter()
                .any(|byte| *byte != 0)
        })
        .collect();
    for _ in 0..[1, 1, 4, 40][next(dice, 4)] {
        let at = match next(dice, 5) {
            0 => next(dice, 512),
            1 | 2 => used[next(dice, used.len())] * PAGE_BYTES + next(dice, 64),
            _ => used[next(dice, used.len())] * PAGE_BYTES + next(dice, PAGE_BYTES),
        };
        bytes[at] ^= [1, 2, 16, 64, 128, 255][next(dice, 6)];
    }
}

/// Restores the files that a start may have changed.
fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else if entry.path().is_file() {
            // Not the socket that a member leaves behind.
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

#[tokio::test]
async fn no_damage_of_the_state_file_ends_in_a_raw_panic() {
    let starts = number_from_env("KVORUM_TEST_DAMAGED_STARTS", 60);
    let mut dice = number_from_env("KVORUM_TEST_DAMAGED_SEED", 0x5eed).max(1);
    let dir = TestDir::new("damaged-state");
    let mut options = Options::new(&dir);
    filled(&options).await;
    let sound = options.data_dir.clone();
    options.data_dir = dir.path().join("damaged");
    let mut refused = 0;
    for number in 0..starts {
        copy(&sound, &options.data_dir);
        let file = options.data_dir.join("state.redb");
        let mut bytes = fs::read(&file).expect("the state file");
        damage(&mut bytes, &mut dice);
        fs::write(&file, &bytes).expect("the state file");
        let (status, log) = options.start_and_stop();
        assert!(!log.contains("panic"), "start {number}: {log}");
        let told = log.contains("state.redb") && log.contains("restore this member");
        match status.code() {
            // The damage lay where nothing is kept.
            Some(0) => {}
            Some(BAD_DATA_DIR | DISK_FAILED) if told || log.contains("kvorum state store") => {
                refused += 1
            }
            _ => panic!("start {number} ended with {status}: {log}"),
        }
    }
    println!(
        "damaged state files: {refused} of {starts} refused in one line, the others not needed"
    );
    assert!(refused > starts / 4);
}
