//! Work on files while no member runs: snapshots saved, shown and restored; clusters that lost their majority.

mod recover;
mod restore;
mod users;
mod verify;

use std::path::Path;
use std::process::Command;

use kvorum_tests::process::{Server, kvorum_bin};

use crate::rpc::Rpc;

/// The exit code of a tool that did not do its work.
const FAILED: i32 = 7;

/// Runs the binary as a tool and gives its exit code and what it printed, errors behind.
fn tool(words: &[&str]) -> (i32, String) {
    let output = Command::new(kvorum_bin()).args(words).output();
    let output = output.expect("the binary starts");
    let printed = [output.stdout, output.stderr].concat();
    let code = output.status.code().expect("it ends by itself");
    (code, String::from_utf8_lossy(&printed).into_owned())
}

/// The same where it must work.
fn done(words: &[&str]) -> String {
    let (code, printed) = tool(words);
    assert_eq!(code, 0, "kvorum {words:?}: {printed}");
    printed
}

/// The same where it must not.
fn not_done(words: &[&str]) -> String {
    let (code, printed) = tool(words);
    assert_eq!(code, FAILED, "kvorum {words:?}: {printed}");
    printed
}

fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

async fn connect(server: &Server) -> Rpc {
    Rpc::connect(&server.url())
        .await
        .expect("a ready server accepts connections")
}
