//! A public certificate for the console, from pebble: the CA for tests. Skipped where it is not installed.

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kvorum_tests::process::{Options, TestDir, find_program, free_ports};
use rustls::pki_types::CertificateDer;
use serde_json::json;

use super::https::{Files, Https, certificates, shown};
use super::shown::{address, options};
use super::{PASSWORD, invitation};

const NAME: &str = "console.kvorum.test";
/// Far above what an order takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A CA and its name server, ended when dropped.
struct Pebble {
    children: Vec<Child>,
    directory_url: String,
    files: Files,
}

impl Drop for Pebble {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn quiet(command: &mut Command) -> Child {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it is installed")
}

fn listens(port: u16) {
    let begin = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(begin.elapsed() < PATIENCE, "nobody listens on port {port}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

impl Pebble {
    /// One that looks for the console on this port.
    fn start(dir: &TestDir, console_port: u16) -> Option<Self> {
        if find_program("pebble").is_none() || find_program("pebble-challtestsrv").is_none() {
            println!("SKIP: pebble is not installed (apt-get install pebble)");
            return None;
        }
        let [listen, manage, http, dns, dns_manage] = free_ports();
        let files = Files::new(dir, "pebble", &["localhost", "127.0.0.1"]);
        let config = json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{listen}"),
            "managementListenAddress": format!("127.0.0.1:{manage}"),
            "certificate": files.cert, "privateKey": files.key,
            "httpPort": http, "tlsPort": console_port,
            "ocspResponderURL": "", "externalAccountBindingRequired": false,
        }});
        let file = dir.path().join("pebble.json");
        std::fs::write(&file, config.to_string()).expect("the folder is ours");
        let dns = format!("127.0.0.1:{dns}");
        let names = quiet(Command::new("pebble-challtestsrv").args([
            "-defaultIPv4",
            "127.0.0.1",
            "-defaultIPv6",
            "",
            "-http01",
            "",
            "-https01",
            "",
            "-tlsalpn01",
            "",
            "-dns01",
            &dns,
            "-management",
            &format!("127.0.0.1:{dns_manage}"),
        ]));
        let ca = quiet(
            Command::new("pebble")
                .arg("-config")
                .arg(&file)
                .args(["-dnsserver", &dns])
                .env("PEBBLE_VA_NOSLEEP", "1")
                .env("PEBBLE_WFE_NONCEREJECT", "0"),
        );
        let pebble = Self {
            children: vec![names, ca],
            directory_url: format!("https://127.0.0.1:{listen}/dir"),
            files,
        };
        listens(dns_manage);
        listens(listen);
        Some(pebble)
    }
}

fn public_options(
    dir: &TestDir,
    own: &Files,
    port: u16,
    directory_url: &str,
    ca: &Files,
) -> Options {
    let mut options = options(dir, own)
        .flag(format!("--console-acme-names={NAME}"))
        .flag(format!("--console-acme-directory={directory_url}"))
        .flag(format!("--console-acme-ca-file={}", ca.ca.display()))
        .flag("--console-acme-email=ops@kvorum.test");
    options.console_url = format!("https://127.0.0.1:{port}");
    options
}

fn wait_for_public(address: &str, own: &CertificateDer<'_>) -> CertificateDer<'static> {
    let begin = Instant::now();
    loop {
        match shown(address, NAME) {
            Ok(leaf) if leaf != *own => return leaf,
            _ => assert!(begin.elapsed() < PATIENCE, "no public certificate in time"),
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn the_console_gets_a_public_certificate_for_that_name_only() {
    let dir = TestDir::new("console-acme");
    let [port] = free_ports();
    let Some(pebble) = Pebble::start(&dir, port) else {
        return;
    };
    let own = Files::new(&dir, "own", &["localhost", "127.0.0.1"]);
    let options = public_options(&dir, &own, port, &pebble.directory_url, &pebble.files);
    let server = options.start();
    let own_leaf = certificates(&own.cert).remove(0);
    let console = address(&server);
    let public = wait_for_public(&console, &own_leaf);
    // For the name it was made for, and for nothing else.
    assert_eq!(shown(&console, "localhost").expect("answers"), own_leaf);
    assert_eq!(shown(&console, NAME).expect("answers"), public);
    let line = server.wait_log(|line| line.contains("new public certificate"));
    assert!(!line.contains("PRIVATE KEY"), "{line}");

    let https = Https::new(&console, &own.ca, None);
    let setup = json!({"code": invitation(&server), "account": "ada", "password": PASSWORD});
    let made = https.send(
        ("POST", "/admin/v1/setup"),
        "localhost",
        "",
        &setup.to_string(),
    );
    let made = made.expect("answers");
    let cookie = made
        .cookie()
        .expect("a session")
        .replacen("__host-", "__Host-", 1);
    // Only there a browser is told to insist on TLS.
    assert!(
        !made.head.contains("strict-transport-security"),
        "{}",
        made.head
    );
    let told = https.send(("GET", "/admin/v1/authority"), "localhost", &cookie, "");
    let told = told.expect("answers").body;
    assert_eq!(told["public"]["names"], json!([NAME]), "{told}");
    assert_eq!(told["public"]["failures"], 0, "{told}");
    assert!(told["public"]["not_after_unix_s"].is_i64(), "{told}");
    let strict = strict_transport(&console);
    assert!(
        strict.contains("strict-transport-security: max-age="),
        "{strict}"
    );

    // Without the CA a start shows what was stored.
    drop(server);
    drop(pebble);
    let again = options.start();
    assert_eq!(shown(&address(&again), NAME).expect("answers"), public);
}

/// The head of an answer to a browser that believes the public name.
fn strict_transport(console: &str) -> String {
    use std::io::{Read as _, Write as _};
    let port = console.rsplit(':').next().expect("a port");
    let mut stream = super::https::anybody(console)
        .connect(NAME)
        .expect("answers");
    let request = format!(
        "GET /admin/v1/session HTTP/1.1\r\nhost: {NAME}:{port}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("is open");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).to_ascii_lowercase()
}

#[test]
fn a_ca_that_is_not_there_keeps_nothing_from_starting() {
    let dir = TestDir::new("console-no-acme");
    let [port, nobody] = free_ports();
    let own = Files::new(&dir, "own", &["localhost"]);
    let directory_url = format!("https://127.0.0.1:{nobody}/dir");
    let server = public_options(&dir, &own, port, &directory_url, &own).start();
    let own_leaf = certificates(&own.cert).remove(0);
    assert_eq!(shown(&address(&server), NAME).expect("answers"), own_leaf);
    let line = server.wait_log(|line| line.contains("no new public certificate"));
    assert!(line.contains(&format!("127.0.0.1:{nobody}")), "{line}");
    // What nobody outside vouches for is not insisted on.
    let head = strict_transport(&address(&server));
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(!head.contains("strict-transport-security"), "{head}");
}
