//! The console of a cluster: accounts and sessions are everybody's.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use kvorum_tests::process::{Server, TestDir, free_ports, kvorum_bin};
use serde_json::json;

use super::{Browser, PASSWORD, ask_at_the_machine, code_of};

struct Member {
    server: Server,
    data_dir: PathBuf,
    console: String,
}

fn start(dir: &TestDir) -> Vec<Member> {
    let ports = [(); 3].map(|()| free_ports::<3>());
    let named = ports.iter().enumerate();
    let initial: Vec<String> = named
        .map(|(place, [_, peer, _])| format!("m{place}=http://127.0.0.1:{peer}"))
        .collect();
    let initial = initial.join(",");
    let members = ports.iter().enumerate();
    let members = members.map(|(place, [client, peer, console])| {
        let url = |port: &u16| format!("http://127.0.0.1:{port}");
        let data_dir = dir.path().join(format!("m{place}"));
        let mut command = Command::new(kvorum_bin());
        command
            .args([
                "serve",
                "--log-format",
                "json",
                "--console-login",
                "required",
            ])
            .args([
                "--name",
                &format!("m{place}"),
                "--initial-cluster",
                &initial,
            ])
            .arg("--data-dir")
            .arg(&data_dir)
            .args([
                "--listen-client-urls",
                &url(client),
                "--client-allow-plain",
                "true",
            ])
            .args([
                "--listen-peer-urls",
                &url(peer),
                "--peer-allow-plain",
                "true",
            ])
            .args([
                "--listen-console-url",
                &url(console),
                "--console-allow-plain",
                "true",
            ])
            .args(["--listen-metrics-urls", "none"]);
        Member {
            server: Server::spawn_on(command, "kvorum", *client),
            data_dir,
            console: format!("127.0.0.1:{console}"),
        }
    });
    let members: Vec<Member> = members.collect();
    for member in &members {
        assert!(member.server.wait_ready_or_end(), "{}", member.server.log());
    }
    members
}

impl Member {
    fn browser(&self, cookie: &str) -> Browser {
        Browser {
            host: self.console.clone(),
            cookie: cookie.to_owned(),
        }
    }

    /// Waits for the answer that must come soon.
    fn reads(&self, cookie: &str, status: u16) {
        let begin = Instant::now();
        loop {
            let told = self.browser(cookie).get("/admin/v1/overview").status;
            if told == status {
                return;
            }
            assert!(
                begin.elapsed() < Duration::from_secs(30),
                "{told}, not {status}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn a_session_goes_on_at_the_other_members_when_its_own_dies() {
    let dir = TestDir::new("console-several");
    let mut members = start(&dir);
    let begin = Instant::now();
    let code = loop {
        let answer = ask_at_the_machine(&members[0].data_dir, &json!({"do": "login_link"}));
        match answer["link"]["url"].as_str() {
            Some(link) => break code_of(link),
            None => assert!(begin.elapsed() < Duration::from_secs(30), "{answer}"),
        }
    };
    let mut browser = members[0].browser("");
    let setup = json!({"code": code, "account": "ada", "password": PASSWORD});
    assert_eq!(browser.post("/admin/v1/setup", &setup).status, 200);
    let cookie = browser.cookie.clone();
    for member in &members {
        member.reads(&cookie, 200);
    }
    members[0].server.kill();
    for member in &members[1..] {
        member.reads(&cookie, 200);
    }
    // Signing out at one of those that are left is signing out at both.
    let begin = Instant::now();
    let mut other = members[1].browser(&cookie);
    while other.post("/admin/v1/logout", &json!({})).status != 200 {
        assert!(begin.elapsed() < Duration::from_secs(30), "nobody leads");
        other.cookie.clone_from(&cookie);
    }
    for member in &members[1..] {
        member.reads(&cookie, 401);
    }
}
