//! A console at an `https://` URL, with a certificate from files.

use kvorum_tests::process::{Options, Server, TestDir};
use serde_json::json;

use super::https::{Files, Https};
use super::{PASSWORD, invitation};

/// A member whose console shows these files.
pub(super) fn options(dir: &TestDir, files: &Files) -> Options {
    let mut options = Options::new(dir)
        .flag("--console-login=required")
        .flag(format!("--cert-file={}", files.cert.display()))
        .flag(format!("--key-file={}", files.key.display()));
    options.console_url = "https://127.0.0.1:0".to_owned();
    options
}

/// Where the console of a member is.
pub(super) fn address(server: &Server) -> String {
    let url = server.ready["console_url"].as_str().expect("has a console");
    url.strip_prefix("https://").expect("by TLS").to_owned()
}

#[test]
fn a_browser_signs_in_by_tls_and_only_under_the_names_of_the_certificate() {
    let dir = TestDir::new("console-tls");
    let files = Files::new(
        &dir,
        "own",
        &["localhost", "node1.example", "*.wild.example"],
    );
    let server = options(&dir, &files).start();
    let https = Https::new(&address(&server), &files.ca, None);
    let setup = json!({"code": invitation(&server), "account": "ada", "password": PASSWORD});
    let setup = setup.to_string();
    let made = https.send(("POST", "/admin/v1/setup"), "node1.example", "", &setup);
    let made = made.expect("answers");
    assert_eq!(made.status, 200, "{}", made.body);
    let cookie = made.cookie().expect("a session").to_owned();
    assert!(cookie.starts_with("__host-kvorum="), "{cookie}");
    let set = made
        .head
        .lines()
        .find(|line| line.starts_with("set-cookie: "));
    let set = set.expect("a session");
    assert!(
        set.ends_with("; path=/; secure; httponly; samesite=strict"),
        "{set}"
    );
    let cookie = cookie.replacen("__host-", "__Host-", 1);
    for (host, status) in [
        ("node1.example", 200),
        ("localhost", 200),
        ("any.wild.example", 200),
    ] {
        let read = https.send(("GET", "/admin/v1/overview"), host, &cookie, "");
        let read = read.expect("answers");
        assert_eq!(read.status, status, "{host}: {}", read.body);
        // Nobody outside knows this authority: a browser that was told to insist on it would keep people out.
        assert!(
            !read.head.contains("strict-transport-security"),
            "{}",
            read.head
        );
    }
    // Rebinding: the connection is fine, the name is another.
    let port = https.address.rsplit(':').next().expect("a port");
    for host in ["evil.example", "deep.any.wild.example", "10.0.0.1", "[::2]"] {
        let mut stream = https.connect("localhost").expect("is open");
        let request = format!(
            "GET /admin/v1/overview HTTP/1.1\r\nhost: {host}:{port}\r\ncookie: {cookie}\r\nconnection: close\r\n\r\n"
        );
        std::io::Write::write_all(&mut stream, request.as_bytes()).expect("is open");
        let mut answer = Vec::new();
        let _ = std::io::Read::read_to_end(&mut stream, &mut answer);
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 421 "), "{host}: {answer}");
    }
}

#[test]
fn plain_text_gets_no_answer_from_a_console_that_speaks_tls() {
    let dir = TestDir::new("console-plain");
    let files = Files::new(&dir, "own", &["localhost"]);
    let server = options(&dir, &files).start();
    let mut socket = std::net::TcpStream::connect(address(&server)).expect("listens");
    let request = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
    std::io::Write::write_all(&mut socket, request).expect("is open");
    let mut answer = Vec::new();
    let _ = std::io::Read::read_to_end(&mut socket, &mut answer);
    assert!(
        !answer.starts_with(b"HTTP"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
}
