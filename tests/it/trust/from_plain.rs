//! From plain text to TLS: a cluster of three gets an authority and certificates one member after the other, and somebody
//! writes all the while.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kvorum_tests::process::{Server, TestDir, free_ports, kvorum_bin};
use tokio::task::JoinHandle;

use super::tls_client::Files;
use super::{Member, text, tool};
use crate::both::{get, put};
use crate::rpc::Rpc;

/// Far above what a restart of one member costs.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a member speaks.
#[derive(Clone, Copy)]
enum Speaks {
    Plain,
    Both,
    Tls,
}

/// One of the three, and its ports: clients, members in plain, members by TLS.
struct Site {
    name: &'static str,
    member: Member,
    ports: [u16; 3],
}

impl Site {
    fn peer_url(&self, speaks: Speaks) -> String {
        let [_, plain, tls] = self.ports;
        match speaks {
            Speaks::Plain => format!("http://127.0.0.1:{plain}"),
            Speaks::Both => format!("http://127.0.0.1:{plain},https://127.0.0.1:{tls}"),
            Speaks::Tls => format!("https://127.0.0.1:{tls}"),
        }
    }

    /// The flags of the server, and of the commands that get it certificates.
    fn settings(&self, speaks: Speaks) -> Vec<String> {
        let port = self.ports[0];
        let (clients, plain) = match speaks {
            Speaks::Plain => (format!("http://127.0.0.1:{port}"), true),
            Speaks::Both => (
                format!("http://127.0.0.1:{port},https://127.0.0.1:{port}"),
                true,
            ),
            Speaks::Tls => (format!("https://127.0.0.1:{port}"), false),
        };
        let peers = self.peer_url(speaks);
        let mut words = vec!["--data-dir", self.member.data_dir.to_str().expect("UTF-8")];
        words.extend(["--name", self.name, "--listen-client-urls", &clients]);
        words.extend(["--listen-peer-urls", &peers]);
        words.extend([
            "--listen-metrics-urls",
            "none",
            "--listen-console-url",
            "none",
        ]);
        words.extend(
            plain
                .then_some(["--client-allow-plain", "--peer-allow-plain"])
                .iter()
                .flatten(),
        );
        words.into_iter().map(str::to_owned).collect()
    }

    /// Starts, or starts anew, and waits until it serves.
    fn start(&mut self, speaks: Speaks, more: &[String]) {
        let mut command = Command::new(kvorum_bin());
        command.arg("serve").args(self.settings(speaks)).args(more);
        let server = Server::spawn_on(command, "kvorum", self.ports[0]);
        self.member.server = server;
    }

    fn is_served(&self) {
        assert!(
            self.member.server.wait_ready_or_end(),
            "{}",
            self.member.server.log()
        );
    }

    fn restart(&mut self, speaks: Speaks) {
        assert!(self.member.server.terminate().success());
        self.start(speaks, &[]);
        self.is_served();
    }

    /// A command with the member's own settings, which must succeed.
    fn run(&self, words: &[&str]) -> String {
        let mut command = Command::new(kvorum_bin());
        let output = command
            .args(words)
            .args(self.settings(Speaks::Both))
            .output()
            .expect("starts");
        assert!(output.status.success(), "{words:?}: {}", text(&output));
        text(&output)
    }
}

/// A cluster as etcd's are started, without certificates.
fn plain_three(dir: &TestDir) -> Vec<Site> {
    let mut sites: Vec<Site> = ["m1", "m2", "m3"]
        .into_iter()
        .map(|name| Site {
            name,
            member: Member {
                // In its place comes the server, once the ports of all are known.
                server: Server::spawn_on(Command::new("true"), "nothing yet", 0),
                data_dir: dir.path().join(name),
                client_url: String::new(),
            },
            ports: free_ports(),
        })
        .collect();
    let all: Vec<String> = sites
        .iter()
        .map(|site| format!("{}={}", site.name, site.peer_url(Speaks::Plain)))
        .collect();
    let founding = ["--initial-cluster".to_owned(), all.join(",")];
    for site in &mut sites {
        site.start(Speaks::Plain, &founding);
    }
    sites.iter().for_each(Site::is_served);
    sites
}

/// Somebody who writes in plain text, to whoever of the three serves.
struct Writer {
    task: JoinHandle<()>,
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
}

impl Writer {
    fn start(urls: Vec<String>) -> Self {
        let (stop, written) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let (stopped, count) = (stop.clone(), written.clone());
        let task = tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                let value = count.load(Ordering::Relaxed) + 1;
                write(&urls, &value.to_string()).await;
                count.store(value, Ordering::Relaxed);
            }
        });
        Self {
            task,
            stop,
            written,
        }
    }

    /// Waits for a write that began after now.
    async fn goes_on(&self) {
        let (begin, before) = (Instant::now(), self.written.load(Ordering::Relaxed));
        while self.written.load(Ordering::Relaxed) < before + 2 {
            assert!(
                begin.elapsed() < PATIENCE && !self.task.is_finished(),
                "nobody writes any more"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("every write was taken");
        self.written.load(Ordering::Relaxed)
    }
}

async fn write(urls: &[String], value: &str) {
    let begin = Instant::now();
    for url in urls.iter().cycle() {
        if let Ok(rpc) = Rpc::connect(url).await
            && rpc.call(put("k", value)).await.is_ok()
        {
            return;
        }
        assert!(begin.elapsed() < PATIENCE, "no member takes a write");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn is_served_in_plain(port: u16) -> bool {
    match Rpc::connect(&format!("http://127.0.0.1:{port}")).await {
        Ok(rpc) => rpc.call(get("k")).await.is_ok(),
        Err(_) => false,
    }
}

/// The id of a member, as the commands take it.
fn id(of: &Member, name: &str) -> String {
    let list = text(&tool(&of.data_dir, &["member", "list"]));
    let line = list
        .lines()
        .find(|line| line.contains(&format!(", {name}, ")));
    let line = line.unwrap_or_else(|| panic!("{name} is not in {list}"));
    line.split(',').next().expect("an id").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_cluster_gets_an_authority_and_tls_while_it_serves() {
    let dir = TestDir::new("from-plain");
    let mut sites = plain_three(&dir);
    let urls = sites
        .iter()
        .map(|site| format!("http://127.0.0.1:{}", site.ports[0]));
    let writer = Writer::start(urls.collect());
    writer.goes_on().await;

    // The first one makes the authority.
    assert!(sites[0].member.server.terminate().success());
    let refused = tool(&dir.path().join("nobody"), &["ca", "create"]);
    assert!(
        text(&refused).contains("holds no member"),
        "{}",
        text(&refused)
    );
    let said = sites[0].run(&["ca", "create"]);
    assert!(said.contains("made the authority"), "{said}");
    sites[0].start(Speaks::Both, &[]);
    sites[0].is_served();
    update(&sites, 0, Speaks::Both);
    writer.goes_on().await;

    // The others get their certificates from it.
    for index in [1, 2] {
        let first = &sites[0].member;
        let id = id(first, sites[index].name);
        let line = first.told(&["token", "create", "--role", "rejoin", "--member", &id]);
        let token = line
            .trim()
            .strip_prefix("kvorum rejoin ")
            .expect("a line to paste");
        assert!(sites[index].member.server.terminate().success());
        sites[index].run(&["rejoin", token]);
        sites[index].start(Speaks::Both, &[]);
        sites[index].is_served();
        update(&sites, index, Speaks::Both);
        writer.goes_on().await;
    }
    let written = writer.end().await;

    leave_plain(&mut sites, &written.to_string()).await;
}

/// Tells the cluster where a member is reached from now on.
fn update(sites: &[Site], index: usize, speaks: Speaks) {
    let (first, site) = (&sites[0].member, &sites[index]);
    let (id, urls) = (id(first, site.name), site.peer_url(speaks));
    first.told(&["member", "update", &id, "--peer-urls", &urls]);
}

/// Then nobody needs plain text any more.
async fn leave_plain(sites: &mut [Site], written: &str) {
    for index in 0..3 {
        update(sites, index, Speaks::Tls);
    }
    for index in 0..3 {
        sites[index].restart(Speaks::Tls);
        let port = sites[index].ports[0];
        let files = Files::admin(&sites[0].member);
        let rpc = files
            .connect(([127, 0, 0, 1], port).into())
            .await
            .expect("TLS");
        let found = rpc.call(get("k")).await.expect("served");
        assert_eq!(found.kvs[0].value, written.as_bytes());
        assert!(!is_served_in_plain(port).await);
    }
    // A member tells what it shows a moment after it serves.
    let begin = Instant::now();
    loop {
        let status = text(&sites[0].member.tool(&["ca", "status"]));
        let certified = status.lines().filter(|line| line.starts_with("member "));
        if certified.count() == 3 {
            break;
        }
        assert!(begin.elapsed() < PATIENCE, "{status}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
