//! The console as it is without settings: over TLS, behind a login, opened by a link that the machine prints.

use std::process::{Command, Output};

use kvorum_tests::process::{TestDir, find_program, free_port};

use super::{Member, Place, text};

/// A member with a console, and its port.
fn with_console(place: &Place) -> (Member, u16) {
    let port = free_port();
    (
        place.start_listening(&[("--listen-console-url", port)]),
        port,
    )
}

fn curl(member: &Member, words: &[&str]) -> Output {
    let mut command = Command::new("curl");
    command
        .args(["--silent", "--show-error", "--max-time", "60", "--cacert"])
        .arg(member.pki("ca.pem"))
        .args(["--write-out", " %{http_code}"])
        .args(words);
    command.output().expect("was found before")
}

#[test]
fn the_console_speaks_tls_wants_a_login_and_is_opened_from_the_machine() {
    let dir = TestDir::new("https-console");
    let (member, port) = with_console(&Place::new(&dir, "a"));
    let url = format!("https://127.0.0.1:{port}");
    let invited = member
        .server
        .wait_log(|line| line.contains("the console has no administrator yet"));
    assert!(invited.contains(&format!("{url}/setup#")), "{invited}");
    let link = member.told(&["admin", "login-link"]);
    assert!(link.starts_with(&format!("{url}/setup#")), "{link}");
    assert!(link.contains("works once, until "), "{link}");
    let nobody = super::tool(&dir.path().join("empty"), &["admin", "login-link"]);
    assert!(
        text(&nobody).contains("no member runs on"),
        "{}",
        text(&nobody)
    );
    if find_program("curl").is_none() {
        return println!("SKIP requests to the console: curl is not installed");
    }
    let page = text(&curl(&member, &[&format!("{url}/")]));
    assert!(page.ends_with(" 200"), "{page}");
    let data = text(&curl(&member, &[&format!("{url}/admin/v1/overview")]));
    assert!(data.ends_with(" 401"), "{data}");
    let evil = format!("https://evil.example:{port}/admin/v1/overview");
    let there = format!("evil.example:{port}:127.0.0.1");
    let rebound = text(&curl(&member, &["--insecure", "--resolve", &there, &evil]));
    assert!(
        rebound.contains("evil.example") && !rebound.ends_with(" 401"),
        "{rebound}"
    );
    let plain = curl(&member, &[&format!("http://127.0.0.1:{port}/")]);
    assert!(!text(&plain).contains(" 200"), "{}", text(&plain));
    let code = link
        .split('#')
        .nth(1)
        .and_then(|rest| rest.split_whitespace().next());
    let body = format!(
        r#"{{"code":"{}","account":"ada","password":"vier gelbe Kaehne"}}"#,
        code.expect("behind #")
    );
    let origin = format!("origin: {url}");
    let set_up = curl(
        &member,
        &[
            "--header",
            "content-type: application/json",
            "--header",
            "x-kvorum: 1",
            "--header",
            &origin,
            "--data",
            &body,
            "--include",
            &format!("{url}/admin/v1/setup"),
        ],
    );
    let set_up = text(&set_up);
    assert!(set_up.ends_with(" 200"), "{set_up}");
    assert!(set_up.contains("__Host-"), "{set_up}");
}
