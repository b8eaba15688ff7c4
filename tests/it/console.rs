//! The console's login in a running member: from the link in its log over a restart to a reset at the machine.

mod certificate;
mod https;
mod keys;
mod public;
mod several;
mod shown;

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use kvorum_tests::process::{Options, Server, TestDir, kvorum_bin};
use serde_json::{Value, json};

const PASSWORD: &str = "vier gelbe Kaehne";
const INVITED: &str = "the console has no administrator yet";

/// A browser as far as the wire goes.
struct Browser {
    host: String,
    cookie: String,
}

/// An answer, as it came.
struct Answer {
    status: u16,
    head: String,
    body: Value,
}

impl Answer {
    fn read(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
        Self {
            status: status.expect("a status"),
            head: head.to_ascii_lowercase(),
            body: serde_json::from_str(body).unwrap_or(Value::Null),
        }
    }

    /// The cookie that it sets, if it sets one.
    fn cookie(&self) -> Option<&str> {
        let lines = self.head.lines();
        let set = lines.filter_map(|line| line.strip_prefix("set-cookie: "));
        set.filter_map(|set| set.split(';').next()).next()
    }
}

impl Browser {
    fn of(server: &Server) -> Self {
        let url = server.ready["console_url"].as_str().expect("has a console");
        let host = url.strip_prefix("http://").expect("is plain");
        Self {
            host: host.to_owned(),
            cookie: String::new(),
        }
    }

    fn send(&mut self, method: &str, path: &str, body: &str) -> Answer {
        let mut socket = TcpStream::connect(&self.host).expect("the console listens");
        let host = &self.host;
        let cookie = &self.cookie;
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\norigin: http://{host}\r\nx-kvorum: 1\r\n\
             content-type: application/json\r\ncookie: {cookie}\r\nconnection: close\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        socket.write_all(request.as_bytes()).expect("is open");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("answers in text");
        let answer = Answer::read(&answer);
        if let Some(cookie) = answer.cookie() {
            self.cookie = cookie.to_owned();
        }
        answer
    }

    fn post(&mut self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &body.to_string())
    }

    fn get(&mut self, path: &str) -> Answer {
        self.send("GET", path, "")
    }
}

fn options(dir: &TestDir) -> Options {
    Options::new(dir).flag("--console-login=required")
}

/// The code in the link that the member has logged.
fn invitation(server: &Server) -> String {
    let line = server.wait_log(|line| line.contains(INVITED));
    code_of(
        line.split('"')
            .find(|word| word.contains("/setup#"))
            .expect("a link"),
    )
}

fn code_of(link: &str) -> String {
    link.split_once("/setup#").expect("a link").1.to_owned()
}

fn ask_at_the_machine(data_dir: &Path, request: &Value) -> Value {
    // A socket's address holds 107 bytes, fewer than the path of a checkout may have.
    let directory = File::open(data_dir).expect("is there");
    let address = format!("/proc/self/fd/{}/admin.sock", directory.as_raw_fd());
    let mut socket = UnixStream::connect(address).expect("the member listens");
    socket
        .write_all(format!("{request}\n").as_bytes())
        .expect("is open");
    let mut line = String::new();
    BufReader::new(socket)
        .read_line(&mut line)
        .expect("answers");
    serde_json::from_str(&line).expect("an answer in JSON")
}

/// True if any file below `dir` holds these bytes.
fn is_stored(dir: &Path, wanted: &str) -> bool {
    let entries = std::fs::read_dir(dir).expect("can be listed");
    entries
        .map(|entry| entry.expect("an entry").path())
        .any(|path| {
            if path.is_dir() {
                return is_stored(&path, wanted);
            }
            let bytes = std::fs::read(&path).unwrap_or_default();
            bytes
                .windows(wanted.len())
                .any(|window| window == wanted.as_bytes())
        })
}

#[test]
fn an_administrator_signs_in_survives_a_crash_and_is_reset_at_the_machine() {
    let dir = TestDir::new("console-login");
    let options = options(&dir);
    let mut server = options.start();
    let code = invitation(&server);
    let mut browser = Browser::of(&server);
    assert_eq!(browser.get("/admin/v1/overview").status, 401);
    let setup = json!({"code": code, "account": "ada", "password": PASSWORD});
    assert_eq!(browser.post("/admin/v1/setup", &setup).status, 200);
    assert_eq!(browser.get("/admin/v1/overview").status, 200);
    let again = browser.post("/admin/v1/setup", &setup);
    assert_eq!(
        (again.status, again.body["code"].as_str()),
        (410, Some("link_unusable"))
    );

    // The session is in the log: a crash does not end it.
    server.kill();
    let server = options.start();
    let mut after = Browser::of(&server);
    after.cookie.clone_from(&browser.cookie);
    assert_eq!(after.get("/admin/v1/overview").status, 200);
    assert!(!server.log().contains(INVITED), "there is an administrator");
    let id = after.cookie.split_once('=').expect("a pair").1;
    for secret in [PASSWORD, code.as_str(), id] {
        assert!(
            !is_stored(&options.data_dir, secret),
            "a secret is on the disk"
        );
    }

    // Whoever has the machine gets in again, and all sessions end.
    let socket = options.data_dir.join("admin.sock");
    let mode = std::fs::metadata(socket)
        .expect("is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let reset = ask_at_the_machine(&options.data_dir, &json!({"do": "reset"}));
    let link = reset["link"]["url"].as_str().expect("a link");
    assert_eq!(after.get("/admin/v1/overview").status, 401);
    let login = json!({"account": "ada", "password": PASSWORD});
    assert_eq!(after.post("/admin/v1/login", &login).status, 401);
    let setup = json!({"code": code_of(link), "account": "bob", "password": "neun blaue Segel"});
    assert_eq!(after.post("/admin/v1/setup", &setup).status, 200);
    let audit = after.get("/admin/v1/audit").body;
    let told: Vec<_> = audit["events"].as_array().expect("events").iter().collect();
    assert!(
        told.iter().any(|event| event["what"] == "console reset"),
        "{audit}"
    );
}

#[test]
fn a_lost_password_is_replaced_by_a_link_for_that_account_only() {
    let dir = TestDir::new("console-link");
    let options = options(&dir);
    let server = options.start();
    let mut browser = Browser::of(&server);
    let setup = json!({"code": invitation(&server), "account": "ada", "password": PASSWORD});
    assert_eq!(browser.post("/admin/v1/setup", &setup).status, 200);
    let request = json!({"do": "login_link", "account": "ada"});
    let answer = ask_at_the_machine(&options.data_dir, &request);
    let code = code_of(answer["link"]["url"].as_str().expect("a link"));
    let new = "neun blaue Segel";
    let other = json!({"code": code, "account": "eve", "password": new});
    assert_eq!(
        Browser::of(&server).post("/admin/v1/setup", &other).status,
        400
    );
    let own = json!({"code": code, "account": "ada", "password": new});
    assert_eq!(
        Browser::of(&server).post("/admin/v1/setup", &own).status,
        200
    );
    assert_eq!(
        browser.get("/admin/v1/overview").status,
        401,
        "the old session lives on"
    );
    for request in [
        json!({"do": "login_link", "account": "no name"}),
        json!({"do": "more"}),
    ] {
        let answer = ask_at_the_machine(&options.data_dir, &request);
        assert!(answer["refused"].is_string(), "{answer}");
    }
}

/// The same by the command that people type, on a data directory whose path is longer than a socket's address may be.
#[test]
fn the_command_of_the_machine_prints_a_link_and_says_where_no_member_runs() {
    let dir = TestDir::new("console-command");
    let mut options = options(&dir);
    options.data_dir = dir.path().join("long".repeat(30)).join("member");
    std::fs::create_dir(dir.path().join("long".repeat(30))).expect("can be made");
    let server = options.start();
    let ask = |words: &[&str], data_dir: &Path| {
        let mut command = Command::new(kvorum_bin());
        command.args(words).arg("--data-dir").arg(data_dir);
        command.output().expect("the binary starts")
    };
    let url = server.ready["console_url"].as_str().expect("has a console");
    for words in [&["admin", "login-link"][..], &["admin", "reset"]] {
        let output = ask(words, &options.data_dir);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{output:?}");
        assert!(said.starts_with(&format!("{url}/setup#")), "{said}");
        assert!(said.contains("\nworks once, until "), "{said}");
    }
    let nobody = ask(&["admin", "login-link"], &dir.path().join("empty"));
    let said = String::from_utf8_lossy(&nobody.stderr);
    assert_eq!(nobody.status.code(), Some(7), "{said}");
    assert!(said.contains("no member runs on"), "{said}");
}
