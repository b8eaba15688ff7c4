//! What somebody else's page, somebody who guesses, and somebody with an old cookie or link may try.
//!
//! Where each line of SECURITY.md 3.6 is tested:
//!
//! | line | tests |
//! |---|---|
//! | first run | `a_link_is_refused_…`, `a_weak_password_does_not_burn_the_link`; at the machine: `tests/it/console.rs` |
//! | password | `login/password.rs`, `an_unknown_name_is_answered_like_a_known_one` |
//! | session | `a_planted_session_id_…`, `login.rs` (signed out, new password, silence); another member: `tests/it/console/several.rs` |
//! | store | `login.rs`: `a_session_ends_by_silence_and_is_written_down_rarely` |
//! | CSRF | `only_the_consoles_own_page_signs_in`; a browser's own word: `tests/browser/login.mjs` |
//! | rebinding | `hostile.rs`, `guard.rs`; by TLS: `tests/it/console/shown.rs` |
//! | headers | `tests.rs`, `a_browser_insists_on_tls_…`; the page under them: `tests/browser` |
//! | rate limit | `ten_thousand_guesses_…`, `codes_of_links_…`; replicated: `core/src/console/tests.rs` |
//! | mTLS login | `login.rs`; revoked while a connection is open: `tls.rs` |
//! | audit | `login.rs`: `what_happened_is_told_without_secrets`; `council.rs` |

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use kvorum_api::{ErrorBody, ErrorCode};
use kvorum_core::console::Answer as Change;
use kvorum_pki::acme::AcmeStatus;
use serde_json::json;
use tokio::sync::watch;

use super::ask;
use super::council::Council;
use super::ledger::Ledger;
use super::login::{CODE, Guarded, PASSWORD, refused};
use super::memory::Memory;
use crate::login::Caller;
use crate::rules::{Access, RULES, Verdict, judge};
use crate::{AdminOptions, Peer, PublicCertificate, router_over};

/// A sign-in with these headers beside the host; what is not given is as the page itself sends it.
async fn sign_in_with(
    console: &Guarded,
    method: &str,
    changed: &[(&str, Option<&str>)],
) -> ErrorBody {
    let mut headers = vec![
        ("host", "console.example:2382"),
        ("origin", "https://console.example:2382"),
        ("sec-fetch-site", "same-origin"),
        ("x-kvorum", "1"),
        ("content-type", "application/json"),
    ];
    for (name, value) in changed {
        headers.retain(|(known, _)| known != name);
        headers.extend(value.map(|value| (*name, value)));
    }
    let mut request = Request::builder().method(method).uri("/admin/v1/login");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let body = json!({"account": "ada", "password": PASSWORD}).to_string();
    let request = request.body(Body::from(body)).expect("a valid request");
    let answer = console.send(request, &Peer::default()).await;
    if answer.status == StatusCode::OK {
        return ErrorBody {
            code: ErrorCode::Internal,
            message: "signed in".into(),
            request_id: String::new(),
        };
    }
    assert_eq!(answer.header("set-cookie"), "");
    answer.json()
}

#[tokio::test]
async fn only_the_consoles_own_page_signs_in() {
    let console = Guarded::with_ada().await;
    let fine = sign_in_with(&console, "POST", &[]).await;
    assert_eq!(fine.message, "signed in");
    let older_browser = sign_in_with(&console, "POST", &[("sec-fetch-site", None)]).await;
    assert_eq!(older_browser.message, "signed in");
    let before = console.ledger.changes();
    use ErrorCode::{Forbidden, HostNotAllowed, MethodNotAllowed, NotJson};
    for (header, value, code) in [
        ("x-kvorum", None, Forbidden),
        ("x-kvorum", Some("true"), Forbidden),
        ("origin", None, Forbidden),
        ("origin", Some("null"), HostNotAllowed),
        ("origin", Some("https://evil.example"), HostNotAllowed),
        (
            "origin",
            Some("http://console.example:2382"),
            HostNotAllowed,
        ),
        // Another port of this host is another origin.
        ("origin", Some("https://console.example"), Forbidden),
        ("origin", Some("https://localhost:2382"), Forbidden),
        ("sec-fetch-site", Some("cross-site"), HostNotAllowed),
        ("sec-fetch-site", Some("same-site"), HostNotAllowed),
        ("sec-fetch-site", Some("none"), Forbidden),
        ("content-type", None, NotJson),
        ("content-type", Some("text/plain"), NotJson),
        (
            "content-type",
            Some("application/x-www-form-urlencoded"),
            NotJson,
        ),
        (
            "content-type",
            Some("multipart/form-data; boundary=x"),
            NotJson,
        ),
        (
            "content-type",
            Some("text/plain; application/json"),
            NotJson,
        ),
        ("content-type", Some("application/jsonp"), NotJson),
        ("host", Some("evil.example"), HostNotAllowed),
        ("host", Some("console.example.evil.example"), HostNotAllowed),
    ] {
        let answer = sign_in_with(&console, "POST", &[(header, value)]).await;
        assert_eq!(answer.code, code, "{header}: {value:?}: {}", answer.message);
    }
    for method in ["PUT", "PATCH", "DELETE"] {
        let answer = sign_in_with(&console, method, &[]).await;
        // Who is not signed in does not even learn that there is a route.
        assert_eq!(answer.code, ErrorCode::SignInRequired, "{method}");
    }
    let read = sign_in_with(&console, "GET", &[]).await;
    assert!(matches!(
        read.code,
        ErrorCode::SignInRequired | MethodNotAllowed
    ));
    assert_eq!(console.ledger.changes(), before, "nothing was tried");
}

#[tokio::test]
async fn every_route_is_in_the_table_and_strangers_get_the_login_only() {
    let console = Guarded::with_ada().await;
    let open: Vec<&str> = RULES
        .iter()
        .filter(|rule| rule.access == Access::Public)
        .map(|rule| rule.path)
        .collect();
    let login = [
        "/admin/v1/session",
        "/admin/v1/login",
        "/admin/v1/login/certificate",
        "/admin/v1/setup/check",
        "/admin/v1/setup",
        "/admin/v1/logout",
    ];
    assert_eq!(open, login);
    let mut browser = console.browser();
    for rule in RULES.iter().filter(|rule| rule.access != Access::Public) {
        let answer = match rule.method.is_safe() {
            true => browser.get(rule.path).await,
            false => browser.post(rule.path, json!({})).await,
        };
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{}", rule.path);
        refused(&answer, ErrorCode::SignInRequired, "sign in");
    }
    for path in [
        "/admin",
        "/admin/",
        "/admin/v1",
        "/admin/v1/secret",
        "/admin/v1/overview/",
        "/admin/v1/../v1/overview",
        "/admin//v1/overview",
    ] {
        assert_eq!(
            browser.get(path).await.status,
            StatusCode::UNAUTHORIZED,
            "{path}"
        );
    }
    browser.sign_in("ada", PASSWORD).await;
    for path in [
        "/admin",
        "/admin/",
        "/admin/v1/secret",
        "/admin/v1/overview/",
    ] {
        assert_eq!(
            browser.get(path).await.status,
            StatusCode::NOT_FOUND,
            "{path}"
        );
    }
}

/// The router is made from the table in one place; a route that is added elsewhere is refused by the guard all the same.
#[test]
fn a_route_outside_the_table_is_refused() {
    let routes = include_str!("../routes.rs");
    assert_eq!(routes.matches(".route(").count(), 1);
    for file in [include_str!("../lib.rs"), include_str!("../serve.rs")] {
        let product = file.split("#[cfg(test)]").next().unwrap_or_default();
        assert!(!product.contains(".route("));
    }
    let method = axum::http::Method::GET;
    let verdict = judge(&method, "/admin/v1/backdoor", &Caller::Nobody);
    assert_eq!(verdict, Verdict::SignInFirst);
    let verdict = judge(&method, "/admin/v1/backdoor", &Caller::Anybody);
    assert_eq!(verdict, Verdict::NoRoute);
}

#[tokio::test]
async fn another_spelling_of_a_path_is_no_way_around_the_table() {
    let console = Guarded::with_ada().await;
    let browser = console.browser();
    let page = browser.get("/").await.body;
    for path in [
        "/%61dmin/v1/overview",
        "/ADMIN/v1/overview",
        "//admin/v1/overview",
        "/./admin/v1/overview",
        "/x/../admin/v1/overview",
        "/admin%2fv1/overview",
    ] {
        let answer = browser.get(path).await;
        let is_page = answer.status == StatusCode::OK && answer.body == page;
        let is_refused = matches!(
            answer.status,
            StatusCode::NOT_FOUND | StatusCode::UNAUTHORIZED
        );
        assert!(is_page || is_refused, "{path}: {}", answer.status);
    }
}

#[tokio::test]
async fn a_planted_session_id_is_never_taken_over() {
    let console = Guarded::with_ada().await;
    let planted = format!("__Host-kvorum={}", "ab".repeat(32));
    let mut victim = console.browser();
    victim.cookie = Some(planted.clone());
    assert!(!victim.may_read().await);
    victim.sign_in("ada", PASSWORD).await;
    assert!(victim.may_read().await);
    assert_ne!(victim.cookie.as_deref(), Some(&*planted));
    let mut attacker = console.browser();
    attacker.cookie = Some(planted);
    assert!(!attacker.may_read().await);
    // Signing in again gives another id, and ends the one before.
    let first = victim.cookie.clone();
    victim.sign_in("ada", PASSWORD).await;
    attacker.cookie = first;
    assert!(!attacker.may_read().await);
    assert!(victim.may_read().await);
}

#[tokio::test]
async fn ten_thousand_guesses_try_a_handful_of_passwords() {
    let console = Guarded::with_ada().await;
    let mut guesser = console.browser_at("203.0.113.7");
    let before = console.ledger.changes();
    let (mut tried, mut held) = (0, 0);
    for guess in 0..10_000 {
        let answer = guesser
            .sign_in("ada", &format!("guess number {guess}"))
            .await;
        match answer.json::<ErrorBody>().code {
            ErrorCode::WrongCredentials => tried += 1,
            ErrorCode::TooManyAttempts => {
                let seconds: u64 = answer.header("retry-after").parse().expect("a number");
                assert!((1..=900).contains(&seconds));
                held += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((tried, held), (6, 9994));
    // What was held back cost no entry of the log: two for each password that was looked at.
    assert_eq!(console.ledger.changes() - before, 2 * 6);
    // Strangers do not keep the owner out, who comes from where she was before.
    let mut ada = console.browser();
    assert_eq!(ada.sign_in("ada", PASSWORD).await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_right_password_is_not_looked_at_while_a_guesser_must_wait() {
    let console = Guarded::with_ada().await;
    let mut guesser = console.browser_at("203.0.113.7");
    for guess in 0..6 {
        guesser
            .sign_in("ada", &format!("guess number {guess}"))
            .await;
    }
    let answer = guesser.sign_in("ada", PASSWORD).await;
    refused(&answer, ErrorCode::TooManyAttempts, "try again in a second");
    console.ledger.pass(1000);
    assert_eq!(
        guesser.sign_in("ada", PASSWORD).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn an_unknown_name_is_answered_like_a_known_one() {
    let console = Guarded::with_ada().await;
    let told = |name: &'static str, address: &'static str| {
        let console = &console;
        async move {
            let mut browser = console.browser_at(address);
            let mut answers = Vec::new();
            for _ in 0..8 {
                let answer = browser.sign_in(name, "no such password").await;
                let body: ErrorBody = answer.json();
                answers.push((answer.status, body.code, body.message));
            }
            answers
        }
    };
    let known = told("ada", "203.0.113.7").await;
    let unknown = told("nobody", "203.0.113.8").await;
    assert_eq!(known, unknown);
    let odd = told("no name at all \u{0} ' OR 1=1", "203.0.113.9").await;
    assert_eq!(known, odd);
}

#[tokio::test]
async fn a_link_is_refused_when_used_twice_late_or_not_needed() {
    let console = Guarded::new();
    let mut browser = console.browser();
    let answer = browser.set_up(CODE, "ada", PASSWORD).await;
    refused(&answer, ErrorCode::LinkUnusable, "kvorum admin login-link");
    assert_eq!(console.ledger.link(CODE, true), Change::Done);
    assert_eq!(console.ledger.link("another", true), Change::Done);
    console.ledger.pass(15 * 60 * 1000);
    let answer = browser.set_up(CODE, "ada", PASSWORD).await;
    refused(&answer, ErrorCode::LinkUnusable, "expired");
    assert_eq!(console.ledger.link("third", true), Change::Done);
    assert_eq!(console.ledger.link("fourth", true), Change::Done);
    assert_eq!(
        browser.set_up("third", "ada", PASSWORD).await.status,
        StatusCode::OK
    );
    let mut thief = console.browser_at("203.0.113.7");
    let answer = thief.set_up("third", "eve", PASSWORD).await;
    refused(&answer, ErrorCode::LinkUnusable, "used already");
    let answer = thief.set_up("fourth", "eve", PASSWORD).await;
    refused(&answer, ErrorCode::LinkUnusable, "there is one already");
    assert!(!thief.may_read().await && thief.cookie.is_none());
}

#[tokio::test]
async fn codes_of_links_cannot_be_guessed_at_speed() {
    let console = Guarded::with_ada().await;
    let mut guesser = console.browser_at("203.0.113.7");
    let mut held = 0;
    for guess in 0..100 {
        let answer = guesser
            .set_up(&format!("{guess:032x}"), "eve", PASSWORD)
            .await;
        held += u32::from(answer.json::<ErrorBody>().code == ErrorCode::TooManyAttempts);
    }
    assert_eq!(held, 94);
}

#[tokio::test]
async fn a_weak_password_does_not_burn_the_link() {
    let console = Guarded::new();
    assert_eq!(console.ledger.link(CODE, true), Change::Done);
    let mut browser = console.browser();
    for (name, password) in [
        ("ada", "short"),
        ("ada", "password1234"),
        ("", PASSWORD),
        ("two words", PASSWORD),
    ] {
        let answer = browser.set_up(CODE, name, password).await;
        assert_eq!(
            answer.status,
            StatusCode::BAD_REQUEST,
            "{name:?} {password}"
        );
    }
    assert_eq!(
        browser.set_up(CODE, "ada", PASSWORD).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_body_that_is_none_is_refused_and_never_quoted() {
    let console = Guarded::with_ada().await;
    for body in [
        "",
        "null",
        "[]",
        "{\"account\":\"ada\"}",
        "{\"account\":\"ada\",\"password\":[\"canary\"]}",
        "{\"account\":\"ada\",\"password\":\"canary\",\"more\":1}",
        &"x".repeat(17 * 1024),
    ] {
        let request = Request::post("/admin/v1/login")
            .header("host", "console.example:2382")
            .header("origin", "https://console.example:2382")
            .header("x-kvorum", "1")
            .header("content-type", "application/json; charset=utf-8")
            .body(Body::from(body.to_owned()));
        let request = request.expect("a valid request");
        let answer = console.send(request, &Peer::default()).await;
        let told: ErrorBody = answer.json();
        assert!(matches!(
            told.code,
            ErrorCode::InvalidArgument | ErrorCode::TooLarge
        ));
        assert!(!told.message.contains("canary"), "{}", told.message);
    }
}

#[tokio::test]
async fn a_browser_insists_on_tls_only_where_the_certificate_is_a_public_one() {
    let (status, seen) = watch::channel(AcmeStatus::default());
    let options = AdminOptions {
        https: true,
        host_names: vec!["node1.example".into()],
        public: Some(PublicCertificate {
            names: vec!["console.example".into()],
            directory_url: "https://ca.example/dir".into(),
            status: seen,
        }),
        ..AdminOptions::default()
    };
    let console = router_over(
        Arc::new(Memory::with_some_keys()),
        Ledger::new(),
        Arc::new(Council::default()),
        options,
    );
    let told = async |host: &str| {
        let answer = ask(&console, "/", &[("host", host)]).await;
        assert_eq!(answer.status, StatusCode::OK, "{host}");
        answer.header("strict-transport-security").to_owned()
    };
    assert_eq!(told("console.example").await, "");
    let shown = |not_after_unix| AcmeStatus {
        not_after_unix,
        ..AcmeStatus::default()
    };
    status.send_replace(shown(Some(i64::MAX)));
    assert_eq!(told("Console.Example:2382").await, "max-age=2592000");
    assert_eq!(told("node1.example").await, "");
    assert_eq!(told("localhost").await, "");
    status.send_replace(shown(Some(1)));
    assert_eq!(told("console.example").await, "");
}
