//! Debian's etcdctl, one script on kvorum and on Debian's etcd: what it prints must be the same.

mod normal;
mod script;
mod users;

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use kvorum_tests::{
    process::{Options, Server, TestDir, find_program, start_etcd},
    reference,
};
use normal::Normal;
use script::{SCRIPT, Step};
use users::USERS;

#[test]
fn etcdctl_prints_the_same_for_kvorum_and_etcd() {
    prints_the_same("etcdctl", SCRIPT);
}

#[test]
fn etcdctl_prints_the_same_of_users_and_roles() {
    prints_the_same("etcdctl-users", USERS);
}

fn prints_the_same(name: &str, script: &[Step]) {
    let (Some(etcdctl), Some(etcd)) = (find_program("etcdctl"), reference::installed()) else {
        println!("SKIP {name}: not installed");
        return;
    };
    let dir = TestDir::new(name);
    let member = Options::new(&dir).start();
    let kvorum = run(&etcdctl, &member, script);
    drop(member);
    let etcd = start_etcd(&etcd, &dir, &["--unsafe-no-fsync"]);
    let etcd = run(&etcdctl, &etcd, script);
    let differences: Vec<String> = script
        .iter()
        .zip(kvorum.iter().zip(&etcd))
        .filter(|(_, (kvorum, etcd))| kvorum != etcd)
        .map(|(step, (kvorum, etcd))| format!("{step:?}\nkvorum: {kvorum}\netcd:   {etcd}"))
        .collect();
    let count = differences.len();
    assert!(
        count == 0,
        "{count} of {} steps differ:\n{}",
        script.len(),
        differences.join("\n\n")
    );
    println!("{name}: {} steps print the same on both", script.len());
}

/// Runs the whole script and returns what each step printed, with what must differ made the same.
fn run(etcdctl: &Path, server: &Server, script: &[Step]) -> Vec<String> {
    let mut shell = Shell {
        etcdctl: etcdctl.to_owned(),
        endpoint: server.address(),
        normal: Normal::default(),
    };
    script.iter().map(|step| shell.step(step)).collect()
}

struct Shell {
    etcdctl: PathBuf,
    endpoint: String,
    normal: Normal,
}

impl Shell {
    fn step(&mut self, step: &Step) -> String {
        match *step {
            Step::Run(words) => self.run(words, ""),
            Step::Input(words, input) => self.run(words, input),
            Step::Fields(words, fields) => {
                let printed = self.run(words, "");
                let all: Vec<&str> = printed.split(", ").collect();
                fields
                    .iter()
                    .map(|field| *all.get(*field).unwrap_or(&"none"))
                    .collect::<Vec<_>>()
                    .join(", ")
            }
            Step::Watch(words, changes, lines) => self.watch(words, changes, lines),
        }
    }

    fn command(&self, words: &str) -> Command {
        let mut command = Command::new(&self.etcdctl);
        command
            .env("ETCDCTL_API", "3")
            .args(["--endpoints", &self.endpoint]);
        command.args(words.split(' ').map(|word| self.normal.fill_in(word)));
        command
    }

    fn run(&mut self, words: &str, input: &str) -> String {
        let mut command = self.command(words);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("etcdctl starts");
        let mut stdin = child.stdin.take().expect("piped");
        // A command that reads nothing may be gone already.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        let output = child.wait_with_output().expect("etcdctl ends");
        let stdout = String::from_utf8_lossy(&output.stdout);
        let stderr = String::from_utf8_lossy(&output.stderr);
        let errors: Vec<&str> = stderr
            .lines()
            .filter(|line| line.starts_with("Error: "))
            .collect();
        let code = output.status.code().unwrap_or(-1);
        let printed = format!("{code} {}{}", stdout, errors.join("\n"));
        self.normal.normalise(&printed)
    }

    /// Starts a watch, makes the changes, and reads so many lines from the watch.
    fn watch(&mut self, words: &str, changes: &[&str], lines: usize) -> String {
        let mut command = self.command(words);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("etcdctl starts");
        let stdout = child.stdout.take().expect("piped");
        let (sender, printed) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        for change in changes {
            self.run(change, "");
        }
        let mut text = String::new();
        for _ in 0..lines {
            match printed.recv_timeout(Duration::from_secs(30)) {
                Ok(line) => text.push_str(&line),
                Err(_) => {
                    text.push_str("(nothing more came)");
                    break;
                }
            }
            text.push('\n');
        }
        child.kill().expect("an own child can be killed");
        child.wait().expect("an own child can be waited for");
        self.normal.normalise(&text)
    }
}
