//! The certificates that a cluster makes for itself: from the first start to a cluster of three, as an administrator sees
//! it.

mod attacks;
mod authority;
mod canaries;
mod clients;
mod clocks;
mod console;
mod enrol;
mod evicted;
mod files;
mod first_start;
mod foreign;
mod from_plain;
mod healed;
mod load;
mod mistyped;
mod namespaces;
mod outside;
mod renewal;
mod restored;
mod revocation;
mod rotation;
mod secrets;
mod strict_chain;
mod three;
mod tls_client;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use kvorum_tests::process::{Server, TestDir, find_program, free_ports, kvorum_bin};
use serde_json::Value;

/// A member with certificates of its own cluster, on loopback.
pub(crate) struct Member {
    pub(crate) server: Server,
    pub(crate) data_dir: PathBuf,
    pub(crate) client_url: String,
}

/// The flags of a member that is to be one.
pub(crate) struct Place {
    pub(crate) data_dir: PathBuf,
    pub(crate) name: String,
    pub(crate) client_port: u16,
    pub(crate) peer_port: u16,
    /// Beyond the usual ones.
    pub(crate) flags: Vec<String>,
}

impl Place {
    pub(crate) fn new(dir: &TestDir, name: &str) -> Self {
        let [client_port, peer_port] = free_ports();
        Self {
            data_dir: dir.path().join(name),
            name: name.to_owned(),
            client_port,
            peer_port,
            flags: Vec::new(),
        }
    }

    /// The settings that both `join` and the server get.
    pub(crate) fn settings(&self) -> Vec<String> {
        let client = format!("https://127.0.0.1:{}", self.client_port);
        let peer = format!("https://127.0.0.1:{}", self.peer_port);
        let usual = [
            "--data-dir",
            &self.data_dir.to_string_lossy(),
            "--name",
            &self.name,
            "--listen-client-urls",
            &client,
            "--listen-peer-urls",
            &peer,
            "--listen-metrics-urls",
            "none",
            "--listen-console-url",
            "none",
        ];
        let usual = usual.into_iter().map(str::to_owned);
        usual.chain(self.flags.iter().cloned()).collect()
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(kvorum_bin());
        command
            .args(["serve", "--log-format", "json"])
            .args(self.settings());
        command
    }

    /// Starts, and waits until it serves.
    pub(crate) fn start(&self) -> Member {
        self.start_with(&[])
    }

    /// The same, with more flags.
    pub(crate) fn start_with(&self, flags: &[&str]) -> Member {
        let mut command = self.command();
        command.args(flags);
        let server = Server::spawn_on(command, "kvorum", self.client_port);
        assert!(server.wait_ready_or_end(), "{}", server.log());
        Member {
            server,
            data_dir: self.data_dir.clone(),
            client_url: format!("https://127.0.0.1:{}", self.client_port),
        }
    }

    /// Starts with listeners that the usual settings leave out, by TLS on these ports.
    pub(crate) fn start_listening(&self, listeners: &[(&str, u16)]) -> Member {
        let mut settings = self.settings();
        for (flag, port) in listeners {
            let at = settings.iter().position(|known| known == flag);
            settings[at.expect("is said") + 1] = format!("https://127.0.0.1:{port}");
        }
        let mut command = Command::new(kvorum_bin());
        command
            .args(["serve", "--log-format", "json"])
            .args(settings);
        let server = Server::spawn_on(command, "kvorum", self.client_port);
        assert!(server.wait_ready_or_end(), "{}", server.log());
        Member {
            server,
            data_dir: self.data_dir.clone(),
            client_url: format!("https://127.0.0.1:{}", self.client_port),
        }
    }

    /// Starts where it is to refuse: how it ends, and what it says.
    pub(crate) fn refused(&self) -> (Option<i32>, String) {
        let mut server = Server::spawn_on(self.command(), "kvorum", self.client_port);
        let status = server.wait_exit();
        (status.code(), server.log())
    }
}

impl Member {
    /// A file of its keys and certificates.
    pub(crate) fn pki(&self, name: &str) -> PathBuf {
        self.data_dir.join("pki").join(name)
    }

    /// Waits until the authority that this member has made is its cluster's. It serves clients a moment before that;
    /// then it lets machines join, and its files stay as they are.
    pub(crate) fn founded(&self) {
        let begin = Instant::now();
        while self.pki("founding").exists() {
            assert!(
                begin.elapsed() < Duration::from_secs(60),
                "no authority begins\n{}",
                self.server.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A tool of the binary, with the certificate of the administrator on this machine.
    pub(crate) fn tool(&self, words: &[&str]) -> Output {
        tool(&self.data_dir, words)
    }

    /// The same, where it must succeed: what it prints.
    pub(crate) fn told(&self, words: &[&str]) -> String {
        let output = self.tool(words);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{words:?}: {said}\n{}",
            self.server.log()
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// etcdctl with these files; nothing where it is not installed.
    pub(crate) fn etcdctl(&self, cert: &Path, key: &Path, words: &[&str]) -> Option<Output> {
        let mut command = Command::new(find_program("etcdctl")?);
        command
            .env("ETCDCTL_API", "3")
            .arg(format!("--endpoints={}", self.client_url))
            .arg(format!("--cacert={}", self.pki("ca.pem").display()))
            .arg(format!("--cert={}", cert.display()))
            .arg(format!("--key={}", key.display()))
            .args(words);
        Some(command.output().expect("etcdctl starts"))
    }
}

/// A tool of the binary that speaks to the member in a data directory.
pub(crate) fn tool(data_dir: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(kvorum_bin());
    command.args(words).arg("--data-dir").arg(data_dir);
    command.output().expect("the binary starts")
}

/// Joins with a token, and gives what was said.
pub(crate) fn join(token: &str, place: &Place) -> Output {
    let mut command = Command::new(kvorum_bin());
    command.arg("join").arg(token).args(place.settings());
    command.output().expect("the binary starts")
}

/// The token of the line that `token create` prints.
pub(crate) fn token_of(line: &str) -> &str {
    let token = line.trim().strip_prefix("kvorum join ");
    token.unwrap_or_else(|| panic!("no line to paste: {line:?}"))
}

pub(crate) fn text(output: &Output) -> String {
    let parts = [&output.stdout, &output.stderr];
    parts
        .map(|part| String::from_utf8_lossy(part).into_owned())
        .concat()
}

/// Members that vote and have started, of `etcdctl member list -w json`.
pub(crate) fn voters(list: &Output) -> usize {
    let list: Value = serde_json::from_slice(&list.stdout).unwrap_or_default();
    let members = list["members"].as_array().cloned().unwrap_or_default();
    let votes = |member: &&Value| {
        member["isLearner"] != Value::Bool(true) && member["clientURLs"].is_array()
    };
    members.iter().filter(votes).count()
}
