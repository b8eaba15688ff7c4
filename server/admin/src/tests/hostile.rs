//! What no browser of ours sends: one test for each kind, with what the sender is told.

use axum::http::StatusCode;
use kvorum_api::{ErrorBody, ErrorCode};

use super::{Answer, ask, console, send};

fn refused(answer: &Answer, status: StatusCode, code: ErrorCode, message: &str) {
    assert_eq!(answer.status, status);
    let body = answer.json::<ErrorBody>();
    assert_eq!((body.code, body.message.as_str()), (code, message));
}

#[tokio::test]
async fn a_host_that_is_more_than_a_host_is_refused() {
    let console = console();
    for host in [
        "localhost:80@evil",
        "localhost@evil.example",
        "localhost:80:80",
        "localhost:x",
        "localhost/evil",
        "[::1]evil",
        "[::1",
        "local host",
        "evil.example#localhost",
    ] {
        let answer = ask(&console, "/admin/v1/overview", &[("host", host)]).await;
        let message = format!(
            "this console does not answer for host {host:?}; add it to the console's host names"
        );
        let status = StatusCode::MISDIRECTED_REQUEST;
        refused(&answer, status, ErrorCode::HostNotAllowed, &message);
    }
    let answer = ask(
        &console,
        "/",
        &[("host", "localhost"), ("host", "evil.example")],
    )
    .await;
    assert_eq!(answer.status, StatusCode::MISDIRECTED_REQUEST);
}

#[tokio::test]
async fn an_origin_that_is_not_this_console_is_refused() {
    let console = console();
    for (origin, allowed) in [
        ("http://localhost:2382", true),
        ("http://127.0.0.1:2382", true),
        ("http://console.example", true),
        ("http://evil.example", false),
        ("http://localhost.evil.example", false),
        ("http://localhost:80@evil.example", false),
        ("https://localhost:2382", false),
        ("null", false),
        ("", false),
    ] {
        let answer = ask(&console, "/admin/v1/overview", &[("origin", origin)]).await;
        if allowed {
            assert_eq!(answer.status, StatusCode::OK, "{origin}");
        } else {
            let message = "requests from other sites are refused";
            let status = StatusCode::MISDIRECTED_REQUEST;
            refused(&answer, status, ErrorCode::HostNotAllowed, message);
        }
        assert_eq!(answer.header("access-control-allow-origin"), "");
    }
}

#[tokio::test]
async fn a_route_that_does_not_exist_is_named_as_such() {
    for path in [
        "/admin/v1/nothing",
        "/admin/v2/overview",
        "/admin/",
        "/admin",
        "/admin/v1/key/history/more",
    ] {
        let answer = ask(&console(), path, &[]).await;
        let message = "no such route; the API is under /admin/v1";
        refused(&answer, StatusCode::NOT_FOUND, ErrorCode::NotFound, message);
    }
}

/// Nothing takes a body, so neither its type nor its size can matter: the method is refused first.
#[tokio::test]
async fn a_body_of_any_type_and_size_is_refused_by_its_method() {
    let types = [
        "text/plain",
        "application/json",
        "multipart/form-data",
        "\"",
        "",
    ];
    for kind in types {
        let headers = [("content-type", kind), ("content-length", "999999999999")];
        for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            let answer = send(&console(), method, "/admin/v1/keys", &headers).await;
            let message = "this route takes GET only";
            let status = StatusCode::METHOD_NOT_ALLOWED;
            refused(&answer, status, ErrorCode::MethodNotAllowed, message);
        }
        let answer = ask(&console(), "/admin/v1/keys", &[("content-type", kind)]).await;
        assert_eq!(answer.status, StatusCode::OK, "{kind}");
    }
}

#[tokio::test]
async fn a_path_cannot_leave_the_assets() {
    let page = ask(&console(), "/", &[]).await.body;
    for path in [
        "/../../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/..%2f..%2fetc%2fpasswd",
        "/assets/../../../etc/shadow",
        "//etc/passwd",
        "/index.html%00.js",
        "/..%5c..%5cwindows%5cwin.ini",
        "/Cargo.toml",
        "/.env",
    ] {
        let answer = ask(&console(), path, &[]).await;
        let is_page = answer.status == StatusCode::OK && answer.body == page;
        let is_missing = answer.status == StatusCode::NOT_FOUND && answer.body.is_empty();
        assert!(is_page || is_missing, "{path}: {:?}", answer.status);
    }
}

#[tokio::test]
async fn ranges_are_ignored_and_odd_encodings_get_plain_bytes() {
    let console = console();
    let plain = ask(&console, "/", &[]).await;
    for range in [
        "bytes=0-0",
        "bytes=-1",
        "bytes=5-1",
        "bytes=0-18446744073709551616",
        &format!("bytes=0-{}", ",0-".repeat(1000)),
    ] {
        let answer = ask(&console, "/", &[("range", range)]).await;
        assert_eq!(answer.status, StatusCode::OK, "{range}");
        assert_eq!(answer.body, plain.body);
        assert_eq!(answer.header("content-range"), "");
    }
    for encodings in [
        "identity",
        "br;q=0, gzip;q=0",
        "gzip;q=0.0",
        "bogus",
        ";;;,,,q=",
    ] {
        let answer = ask(&console, "/", &[("accept-encoding", encodings)]).await;
        assert_eq!(answer.header("content-encoding"), "", "{encodings}");
        assert_eq!(answer.body, plain.body);
    }
}

/// Cookies belong to a host, not to a port: what others on localhost set comes here, too, and means nothing here.
#[tokio::test]
async fn a_long_cookie_is_ignored() {
    let cookie = format!("session={}", "x".repeat(8 * 1024));
    let answer = ask(&console(), "/admin/v1/overview", &[("cookie", &cookie)]).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("set-cookie"), "");
}
