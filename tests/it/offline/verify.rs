//! `kvorum verify` finds what is damaged, changes nothing, and keeps away from a member that runs.

use std::fs;
use std::path::Path;

use kvorum_tests::process::{Options, TestDir};

use super::{connect, done, not_done, path, tool};
use crate::snapshot::content::{many, mixed};

/// The exit code of a directory that cannot be looked at.
const BAD_DATA_DIR: i32 = 3;

/// The largest file below a directory whose name ends so.
fn largest(dir: &Path, end: &str) -> std::path::PathBuf {
    let entries = fs::read_dir(dir).expect("a directory").flatten();
    let mut files: Vec<_> = entries
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().ends_with(end))
        .collect();
    files.sort_by_key(|path| fs::metadata(path).expect("a file").len());
    files.pop().expect("there is one")
}

#[tokio::test]
async fn damage_is_found_and_named_and_a_whole_directory_is_told_so() {
    let dir = TestDir::new("verify");
    let options = Options::new(&dir);
    let mut member = options.start();
    let rpc = connect(&member).await;
    mixed(&rpc).await;
    many(&rpc, 2000, 100).await;
    let (code, said) = tool(&["verify", "--data-dir", path(&options.data_dir)]);
    assert_eq!(code, BAD_DATA_DIR, "{said}");
    assert!(said.contains(&member.pid().to_string()), "{said}");
    assert!(member.terminate().success());

    let said = done(&["verify", "--data-dir", path(&options.data_dir)]);
    assert!(said.contains("everything is whole"), "{said}");
    let state = largest(&options.data_dir, ".redb");
    let sound = fs::read(&state).expect("the state");
    // A page that holds keys of ours, and thus something that a checksum covers.
    let at = sound.windows(5).position(|bytes| bytes == b"many/");
    let mut bytes = sound.clone();
    bytes[at.expect("the keys are there") + 2] ^= 1;
    fs::write(&state, &bytes).expect("the state");
    let said = not_done(&["verify", "--data-dir", path(&options.data_dir)]);
    assert!(
        said.contains("DAMAGED") && said.contains("state.redb"),
        "{said}"
    );
    assert!(
        fs::read(&state).expect("the state") == bytes,
        "verify wrote"
    );
    fs::write(&state, &sound).expect("the state");
    done(&["verify", "--data-dir", path(&options.data_dir)]);

    let (code, said) = tool(&["verify", "--data-dir", path(&dir.path().join("nowhere"))]);
    assert_eq!(code, BAD_DATA_DIR, "{said}");
}
