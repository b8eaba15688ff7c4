//! The binary as its users start it: what it prints and how it ends.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// A directory of its own for each test, removed afterwards.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("makes a scratch directory");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn kvorum(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kvorum"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("KVORUM_") {
            command.env_remove(name);
        }
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Flags of a member on free ports with data in `scratch`.
fn member(scratch: &Scratch, more: &[&str]) -> Command {
    let any = "http://127.0.0.1:0";
    let mut command = kvorum(&["--listen-metrics-urls", any, "--listen-console-url", any]);
    command.args(["--client-allow-plain=true", "--console-allow-plain=true"]);
    if !more.contains(&"--listen-client-urls") {
        command.args(["--listen-client-urls", any]);
    }
    command
        .arg("--data-dir")
        .arg(scratch.0.join("member"))
        .args(more);
    command
}

fn ended(mut command: Command) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = command.output().expect("the binary starts");
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

/// Starts a member and waits for the line that everybody waits for.
fn ready(mut command: Command) -> (Child, String) {
    let mut child = command
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let log = child.stderr.take().expect("is a pipe");
    let mut lines = BufReader::new(log).lines().map_while(Result::ok);
    let line = lines.find(|line| line.contains("ready to serve client requests"));
    std::thread::spawn(move || lines.for_each(drop));
    (child, line.expect("the member becomes ready"))
}

#[test]
fn bad_settings_end_with_2_and_a_line_that_helps() {
    for (arguments, part) in [
        (vec!["--data-dri", "x"], "--data-dir"),
        (vec!["--name"], "a value is required for '--name"),
        (vec!["start"], "unrecognized subcommand 'start'"),
        (
            vec!["--max-txn-ops", "-1"],
            "must be a whole number from 1 to 100000",
        ),
        (vec!["--config", "no/such"], "No such file"),
        (
            vec!["serve", "--data-dir", "x", "--heartbeat-interval", "1s"],
            "use more than 5s",
        ),
    ] {
        let (code, said) = ended(kvorum(&arguments));
        assert_eq!(code, Some(2), "{arguments:?}: {said}");
        assert!(
            said.contains(part),
            "{arguments:?}: {part:?} is not in {said}"
        );
    }
    let mut command = kvorum(&["--name", "a"]);
    command.env("KVORUM_NAME", "b").env("KVORUM_NMAE", "c");
    let (code, said) = ended(command);
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("flag --name says \"a\" and variable KVORUM_NAME says \"b\""),
        "{said}"
    );
    assert!(
        said.contains("unknown variable KVORUM_NMAE; did you mean KVORUM_NAME?"),
        "{said}"
    );
}

#[test]
fn a_taken_address_ends_with_4_and_names_the_flag() {
    let scratch = Scratch::new("taken");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", taken.local_addr().expect("is bound"));
    let (code, said) = ended(member(&scratch, &["--listen-client-urls", &url]));
    assert_eq!(code, Some(4), "{said}");
    assert!(
        said.contains("--listen-client-urls") && said.contains("in use"),
        "{said}"
    );
}

#[test]
fn a_member_says_where_it_is_and_ends_with_0_when_asked_to() {
    let scratch = Scratch::new("life");
    for signal in [Signal::TERM, Signal::INT] {
        let (mut child, line) = ready(member(&scratch, &[]));
        assert!(line.starts_with("{\"level\":\"info\",\"ts\":\"2"), "{line}");
        assert!(
            line.contains("\"client_urls\":[\"http://127.0.0.1:"),
            "{line}"
        );
        assert!(
            line.contains("\"console_url\":\"http://127.0.0.1:"),
            "{line}"
        );
        assert!(
            line.contains("\"metrics_urls\":[\"http://127.0.0.1:"),
            "{line}"
        );
        assert!(!line.contains(":0\""), "{line}");

        let (code, said) = ended(member(&scratch, &[]));
        assert_eq!(code, Some(3), "{said}");
        assert!(said.contains(&format!("pid {}", child.id())), "{said}");

        kill_process(Pid::from_child(&child), signal).expect("is ours");
        assert_eq!(child.wait().expect("is ours").code(), Some(0));
    }
}

#[test]
fn a_member_leaves_no_core_dump() {
    let scratch = Scratch::new("core");
    let (mut child, _) = ready(member(&scratch, &[]));
    let limits = fs::read_to_string(format!("/proc/{}/limits", child.id())).expect("it runs");
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let values: Vec<&str> = core.expect("is listed").split_whitespace().collect();
    assert_eq!(values[4..6], ["0", "0"], "{limits}");
    kill_process(Pid::from_child(&child), Signal::TERM).expect("is ours");
    assert_eq!(child.wait().expect("is ours").code(), Some(0));
}

#[test]
fn doctor_tells_each_line_of_the_benchmark_and_ends_with_1_where_one_fails() {
    let scratch = Scratch::new("doctor");
    let data_dir = scratch.0.to_string_lossy().into_owned();
    let url = "http://127.0.0.1:0";
    let settings = ["--data-dir", &data_dir, "--listen-client-urls", url];
    let mut command = kvorum(&["doctor", "--cis", "--client-allow-plain", "true"]);
    let output = command.args(settings).output().expect("the binary starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.starts_with("judged by the settings given to this command"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 13, "{said}");
    assert!(said.contains("FAIL 2.1 "), "{said}");
    assert!(said.contains("PASS 2.3 "), "{said}");
    let (code, said) = ended(kvorum(&["doctor", "--cis", "--max-txn-ops", "x"]));
    assert_eq!(code, Some(2), "{said}");
}

#[test]
fn version_and_completions_are_printed() {
    for (arguments, part) in [
        (
            vec!["version"],
            concat!("kvorum ", env!("CARGO_PKG_VERSION")),
        ),
        (vec!["completions", "bash"], "--data-dir"),
        (vec!["--help"], "Exit codes:"),
    ] {
        let output = kvorum(&arguments).output().expect("the binary starts");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success() && said.contains(part),
            "{arguments:?}: {said}"
        );
    }
}
