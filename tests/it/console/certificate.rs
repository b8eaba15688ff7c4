//! Administrators who come with a certificate of the cluster, and what becomes of them when it is revoked.

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use kvorum_tests::process::{Server, TestDir, free_ports, kvorum_bin};
use serde_json::{Value, json};

use super::https::{Https, Stream, certificates, shown};
use super::{PASSWORD, invitation};

const PATIENCE: Duration = Duration::from_secs(30);

/// A member that makes its own certificates.
struct Member {
    server: Server,
    data_dir: PathBuf,
    console: String,
}

fn start(dir: &TestDir) -> Member {
    let [client, peer, console] = free_ports();
    let url = |port: u16| format!("https://127.0.0.1:{port}");
    let data_dir = dir.path().join("member");
    let mut command = Command::new(kvorum_bin());
    command
        .args(["serve", "--log-format", "json", "--name", "one"])
        .arg("--data-dir")
        .arg(&data_dir)
        .args(["--console-login", "required"])
        .args(["--listen-client-urls", &url(client)])
        .args(["--listen-peer-urls", &url(peer)])
        .args(["--listen-console-url", &url(console)])
        .args(["--listen-metrics-urls", "none"]);
    let server = Server::spawn_on(command, "kvorum", client);
    assert!(server.wait_ready_or_end(), "{}", server.log());
    Member {
        server,
        data_dir,
        console: format!("127.0.0.1:{console}"),
    }
}

impl Member {
    fn pki(&self, name: &str) -> PathBuf {
        self.data_dir.join("pki").join(name)
    }

    /// A browser; with the administrator's certificate, or without any.
    fn browser(&self, certified: bool) -> Https {
        let (cert, key) = (self.pki("admin.crt"), self.pki("admin.key"));
        let own = certified.then_some((&*cert, &*key));
        Https::new(&self.console, &self.pki("ca.pem"), own)
    }

    /// The stream of events of a session, begun.
    fn follow(&self, https: &Https, session: &str) -> Stream {
        let mut stream = https.connect("localhost").expect("is let in");
        let port = self.console.rsplit(':').next().expect("a port");
        let request = format!(
            "GET /admin/v1/events HTTP/1.1\r\nhost: localhost:{port}\r\ncookie: {session}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).expect("is open");
        let mut some = [0; 4096];
        let count = stream.read(&mut some).expect("the stream begins");
        assert!(some[..count].starts_with(b"HTTP/1.1 200"));
        stream
    }
}

/// Waits for the end of a stream that brings a sample each second.
fn drain(stream: &mut Stream) {
    let begin = Instant::now();
    let some_time = Some(PATIENCE);
    stream.sock.set_read_timeout(some_time).expect("a socket");
    let mut some = [0; 4096];
    while matches!(stream.read(&mut some), Ok(count) if count > 0) {
        assert!(begin.elapsed() < PATIENCE, "the stream goes on");
    }
}

fn post(https: &Https, path: &str, cookie: &str, body: &Value) -> super::Answer {
    let answer = https.send(("POST", path), "localhost", cookie, &body.to_string());
    answer.expect("answers")
}

fn session(answer: &super::Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.body);
    let cookie = answer.cookie().expect("a session");
    cookie.replacen("__host-", "__Host-", 1)
}

/// The authority as the console tells it, once the administrator's certificate is on its list.
fn authority(https: &Https, cookie: &str) -> Value {
    let begin = Instant::now();
    loop {
        let told = https.send(("GET", "/admin/v1/authority"), "localhost", cookie, "");
        let told = told.expect("answers").body;
        let rows = told["own"]["certificates"].as_array().cloned();
        let rows = rows.unwrap_or_default();
        let kinds = ["member", "admin"];
        if kinds
            .iter()
            .all(|kind| rows.iter().any(|row| row["kind"] == **kind))
        {
            return told["own"].clone();
        }
        assert!(begin.elapsed() < PATIENCE, "{told}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn an_administrators_certificate_opens_the_console_until_it_is_revoked() {
    let dir = TestDir::new("console-certificate");
    let member = start(&dir);
    let (plain, certified) = (member.browser(false), member.browser(true));
    let setup = json!({"code": invitation(&member.server), "account": "ada", "password": PASSWORD});
    let ada = session(&post(&plain, "/admin/v1/setup", "", &setup));

    // Who shows none is asked for a password; who shows the administrator's is let in by it.
    let refused = post(&plain, "/admin/v1/login/certificate", "", &json!({}));
    assert_eq!(refused.status, 401, "{}", refused.body);
    let told = certified.send(("GET", "/admin/v1/session"), "localhost", "", "");
    assert_eq!(told.expect("answers").body["certificate"], "root");
    let root = session(&post(
        &certified,
        "/admin/v1/login/certificate",
        "",
        &json!({}),
    ));
    let reads = |https: &Https| {
        let read = https.send(("GET", "/admin/v1/overview"), "localhost", &root, "");
        read.map(|read| read.status)
    };
    assert_eq!(reads(&certified).expect("answers"), 200);
    // The session alone is worth nothing on another connection.
    assert_eq!(reads(&plain).expect("answers"), 401);

    let mut stream = member.follow(&certified, &root);

    let own = authority(&plain, &ada);
    let rows = own["certificates"].as_array().expect("rows");
    let admin = rows.iter().find(|row| row["kind"] == "admin");
    let serial = admin.expect("is listed")["serial"].clone();
    let begin = Instant::now();
    let body = json!({"serial": serial});
    assert_eq!(
        post(&plain, "/admin/v1/authority/revoke", &ada, &body).status,
        200
    );
    drain(&mut stream);
    println!("the open stream ended after {:?}", begin.elapsed());
    // No new connection, resumed or not, is let in with it; who needs none goes on.
    assert!(reads(&certified).is_err());
    println!("new connections were refused after {:?}", begin.elapsed());
    let read = plain.send(("GET", "/admin/v1/overview"), "localhost", &ada, "");
    assert_eq!(read.expect("answers").status, 200);
    let denied = &authority(&plain, &ada)["denied"];
    assert_eq!(denied[0]["serial"], serial, "{denied}");
    assert_eq!(denied[0]["denied_by"], "ada (console)", "{denied}");
    let events = plain.send(("GET", "/admin/v1/audit"), "localhost", &ada, "");
    let events = events.expect("answers").body.to_string();
    for told in ["certificate revoked", "sign in", "root"] {
        assert!(events.contains(told), "{told:?} is not in {events}");
    }

    // Taken back, it is what it was.
    assert_eq!(
        post(&plain, "/admin/v1/authority/allow", &ada, &body).status,
        200
    );
    let begin = Instant::now();
    while reads(&certified).is_err() {
        assert!(begin.elapsed() < PATIENCE, "still refused");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn wait_for_another_root(member: &Member, ada: &str, own: &Value) {
    let begin = Instant::now();
    let mut forced = false;
    loop {
        // The browser knows the old root only; while roots change it is still shown the way there.
        let browser = super::https::anybody(&member.console);
        let now = authority(&browser, ada);
        let rotated = now["rotation"].is_null() && now["roots"] != own["roots"];
        if rotated {
            break;
        }
        // The old root would stay for whoever has a copy of the administrator's certificate.
        if now["rotation"]["stage"] == "grace" && !forced {
            let force = json!({"confirm": own["domain"], "force": true});
            let answer = post(&browser, "/admin/v1/authority/rotate", ada, &force);
            assert_eq!(answer.status, 200, "{}", answer.body);
            forced = true;
        }
        assert!(begin.elapsed() < PATIENCE, "{now}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn tokens_are_made_and_the_root_changes_while_the_console_serves() {
    let dir = TestDir::new("console-authority");
    let member = start(&dir);
    let plain = member.browser(false);
    let setup = json!({"code": invitation(&member.server), "account": "ada", "password": PASSWORD});
    let ada = session(&post(&plain, "/admin/v1/setup", "", &setup));
    let made = post(
        &plain,
        "/admin/v1/authority/tokens",
        &ada,
        &json!({"role": "voter", "name": "two"}),
    );
    let token = made.body["token"].as_str().expect("a token").to_owned();
    assert!(token.starts_with("kv1."), "{}", made.body);
    let own = authority(&plain, &ada);
    assert_eq!(own["tokens"][0]["id"], made.body["id"]);
    assert!(
        !own.to_string().contains(&token),
        "the list gives tokens away"
    );
    let revoke = json!({"id": made.body["id"]});
    let path = "/admin/v1/authority/tokens/revoke";
    assert_eq!(post(&plain, path, &ada, &revoke).status, 200);
    let again = post(&plain, path, &ada, &revoke);
    assert_eq!(again.status, 400);
    assert!(
        again.body["message"].to_string().contains("unknown token"),
        "{}",
        again.body
    );

    let before = shown(&member.console, "localhost").expect("answers");
    assert_eq!(before, certificates(&member.pki("console.pem")).remove(0));
    let wrong = post(
        &plain,
        "/admin/v1/authority/rotate",
        &ada,
        &json!({"confirm": "yes"}),
    );
    assert_eq!(wrong.status, 400, "{}", wrong.body);
    let confirm = json!({"confirm": own["domain"]});
    assert_eq!(
        post(&plain, "/admin/v1/authority/rotate", &ada, &confirm).status,
        200
    );
    wait_for_another_root(&member, &ada, &own);
    let after = shown(&member.console, "localhost").expect("answers");
    assert_ne!(
        after, before,
        "the console has a certificate of the new root"
    );
    // Whoever trusts the new root is served.
    let read = member
        .browser(false)
        .send(("GET", "/admin/v1/session"), "localhost", &ada, "");
    assert_eq!(read.expect("answers").status, 200);
}

/// As `kvorum token create` makes them: what the console gives out opens the same doors.
#[test]
fn users_get_tokens_of_the_console_and_certificates_for_them() {
    let dir = TestDir::new("console-users");
    let member = start(&dir);
    let plain = member.browser(false);
    let setup = json!({"code": invitation(&member.server), "account": "ada", "password": PASSWORD});
    let ada = session(&post(&plain, "/admin/v1/setup", "", &setup));
    let path = "/admin/v1/authority/tokens";
    for (role, user, kind) in [("client", "app", "client"), ("admin", "eve", "admin")] {
        let nameless = post(&plain, path, &ada, &json!({"role": role, "name": ""}));
        assert_eq!(nameless.status, 400, "{}", nameless.body);
        let told = nameless.body["message"].to_string();
        assert!(told.contains("name of its user"), "{told}");
        let made = post(&plain, path, &ada, &json!({"role": role, "name": user}));
        let token = made.body["token"].as_str().expect("a token");
        let out = dir.path().join(user);
        let joined = Command::new(kvorum_bin())
            .args(["join", token, "--out-dir"])
            .arg(&out)
            .output()
            .expect("the binary starts");
        assert!(joined.status.success(), "{joined:?}");
        let chain = certificates(&out.join(format!("{user}.crt")));
        assert!(!chain.is_empty());
        let own = authority(&plain, &ada);
        let listed = own["certificates"].as_array().expect("a list");
        let row = listed.iter().find(|row| row["subject"] == user);
        let row = row.unwrap_or_else(|| panic!("{user} is not listed: {own}"));
        assert_eq!(row["kind"], kind, "{row}");
    }
    let files = ["eve.crt", "eve.key"].map(|name| dir.path().join("eve").join(name));
    let eve = (&*files[0], &*files[1]);
    let browser = Https::new(&member.console, &member.pki("ca.pem"), Some(eve));
    let path = "/admin/v1/login/certificate";
    assert_eq!(post(&browser, path, "", &json!({})).status, 200);
}
