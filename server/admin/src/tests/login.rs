//! Signing in and out as people do, through the whole router.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt;
use kvorum_api::{Audit, ErrorBody, ErrorCode, Security, SessionState};
use kvorum_core::console::Answer as Change;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::council::Council;
use super::ledger::Ledger;
use super::memory::Memory;
use super::{Answer, next_event};
use crate::{AdminIdentity, AdminOptions, Login, Peer, router_over};

pub(super) const CODE: &str = "00112233445566778899aabbccddeeff";
pub(super) const PASSWORD: &str = "vier gelbe Kähne";
const HOST: &str = "console.example:2382";
const ORIGIN: &str = "https://console.example:2382";

/// A console with a login, and the accounts behind it.
pub(super) struct Guarded {
    pub(super) router: Router,
    pub(super) ledger: Arc<Ledger>,
    pub(super) council: Arc<Council>,
}

/// A browser: it keeps its cookie, and sends what browsers send.
pub(super) struct Browser<'a> {
    console: &'a Guarded,
    pub(super) cookie: Option<String>,
    pub(super) peer: Peer,
}

impl Guarded {
    pub(super) fn new() -> Self {
        let ledger = Ledger::new();
        let options = AdminOptions {
            host_names: vec!["console.example".into()],
            login: Login::Required,
            https: true,
            ..AdminOptions::default()
        };
        let memory = Arc::new(Memory::with_some_keys());
        let accounts = Arc::clone(&ledger) as Arc<dyn crate::accounts::Accounts>;
        let council = Arc::new(Council::default());
        let authority = Arc::clone(&council) as Arc<dyn crate::authority::Authority>;
        Self {
            router: router_over(memory, accounts, authority, options),
            ledger,
            council,
        }
    }

    /// With one account, `ada`.
    pub(super) async fn with_ada() -> Self {
        let console = Self::new();
        assert_eq!(console.ledger.link(CODE, true), Change::Done);
        let mut browser = console.browser();
        let answer = browser.set_up(CODE, "ada", PASSWORD).await;
        assert_eq!(answer.status, StatusCode::OK);
        browser.post("/admin/v1/logout", json!({})).await;
        console
    }

    pub(super) fn browser(&self) -> Browser<'_> {
        Browser {
            console: self,
            cookie: None,
            peer: Peer::default(),
        }
    }

    pub(super) fn browser_at(&self, address: &str) -> Browser<'_> {
        let address: IpAddr = address.parse().expect("an address");
        Browser {
            peer: Peer {
                address,
                ..Peer::default()
            },
            ..self.browser()
        }
    }

    /// Sends a request as it is.
    pub(super) async fn send(&self, mut request: Request<Body>, peer: &Peer) -> Answer {
        request.extensions_mut().insert(peer.clone());
        let response = self.router.clone().oneshot(request).await;
        let (parts, body) = response.expect("the router cannot fail").into_parts();
        let body = body.collect().await.expect("a body in memory");
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: body.to_bytes().to_vec(),
        }
    }
}

impl Browser<'_> {
    pub(super) async fn get(&self, path: &str) -> Answer {
        let mut request = Request::get(path)
            .header("host", HOST)
            .header("sec-fetch-site", "same-origin");
        if let Some(cookie) = &self.cookie {
            request = request.header("cookie", cookie);
        }
        let request = request.body(Body::empty()).expect("a valid request");
        self.console.send(request, &self.peer).await
    }

    pub(super) async fn post(&mut self, path: &str, body: Value) -> Answer {
        let mut request = Request::post(path)
            .header("host", HOST)
            .header("origin", ORIGIN)
            .header("sec-fetch-site", "same-origin")
            .header("x-kvorum", "1")
            .header("content-type", "application/json");
        if let Some(cookie) = &self.cookie {
            request = request.header("cookie", cookie);
        }
        let request = request.body(Body::from(body.to_string()));
        let request = request.expect("a valid request");
        let answer = self.console.send(request, &self.peer).await;
        let set = answer.header("set-cookie");
        if let Some((pair, attributes)) = set.split_once("; ") {
            let gone = attributes.contains("Max-Age=0");
            self.cookie = (!gone).then(|| pair.to_owned());
        }
        answer
    }

    pub(super) async fn set_up(&mut self, code: &str, account: &str, password: &str) -> Answer {
        let body = json!({"code": code, "account": account, "password": password});
        self.post("/admin/v1/setup", body).await
    }

    pub(super) async fn sign_in(&mut self, account: &str, password: &str) -> Answer {
        let body = json!({"account": account, "password": password});
        self.post("/admin/v1/login", body).await
    }

    pub(super) async fn signed_in_as(&self) -> Option<String> {
        match self.get("/admin/v1/session").await.json() {
            SessionState::SignedIn { account, .. } => Some(account),
            _ => None,
        }
    }

    pub(super) async fn may_read(&self) -> bool {
        let answer = self.get("/admin/v1/overview").await;
        assert!(matches!(
            answer.status,
            StatusCode::OK | StatusCode::UNAUTHORIZED
        ));
        answer.status == StatusCode::OK
    }
}

pub(super) fn refused(answer: &Answer, code: ErrorCode, word: &str) {
    let body: ErrorBody = answer.json();
    assert_eq!(body.code, code, "{}", body.message);
    assert!(body.message.contains(word), "{}", body.message);
}

#[tokio::test]
async fn the_first_run_makes_an_account_and_signs_it_in() {
    let console = Guarded::new();
    let mut browser = console.browser();
    let state: SessionState = browser.get("/admin/v1/session").await.json();
    let first_run = SessionState::SignedOut {
        first_run: true,
        certificate: None,
    };
    assert_eq!(state, first_run);
    assert!(!browser.may_read().await);
    assert_eq!(console.ledger.link(CODE, true), Change::Done);
    let check = browser.post("/admin/v1/setup/check", json!({"code": CODE}));
    assert_eq!(check.await.status, StatusCode::OK);
    let answer = browser.set_up(CODE, "ada", PASSWORD).await;
    assert_eq!(answer.status, StatusCode::OK);
    let cookie = answer.header("set-cookie");
    assert!(cookie.starts_with("__Host-kvorum="), "{cookie}");
    assert!(
        cookie.ends_with("; Path=/; Secure; HttpOnly; SameSite=Strict"),
        "{cookie}"
    );
    assert_eq!(browser.signed_in_as().await.as_deref(), Some("ada"));
    assert!(browser.may_read().await);
}

#[tokio::test]
async fn a_password_opens_a_session_and_signing_out_ends_it() {
    let console = Guarded::with_ada().await;
    let mut browser = console.browser();
    assert_eq!(
        browser.sign_in("ada", PASSWORD).await.status,
        StatusCode::OK
    );
    assert!(browser.may_read().await);
    let kept = browser.cookie.clone();
    let out = browser.post("/admin/v1/logout", json!({})).await;
    assert_eq!(out.status, StatusCode::OK);
    assert!(browser.cookie.is_none());
    browser.cookie = kept;
    assert!(
        !browser.may_read().await,
        "the session lives on after signing out"
    );
}

#[tokio::test]
async fn a_new_password_ends_the_other_sessions() {
    let console = Guarded::with_ada().await;
    let (mut here, mut there) = (console.browser(), console.browser());
    here.sign_in("ada", PASSWORD).await;
    there.sign_in("ada", PASSWORD).await;
    let old = here.cookie.clone();
    let new = "fünf rote Fähren";
    let wrong = json!({"current": "not the password", "new": new});
    let answer = here.post("/admin/v1/password", wrong).await;
    refused(
        &answer,
        ErrorCode::WrongCredentials,
        "current password is wrong",
    );
    let easy = json!({"current": PASSWORD, "new": "password1234"});
    let answer = here.post("/admin/v1/password", easy).await;
    refused(
        &answer,
        ErrorCode::InvalidArgument,
        "first that are guessed",
    );
    let right = json!({"current": PASSWORD, "new": new});
    assert_eq!(
        here.post("/admin/v1/password", right).await.status,
        StatusCode::OK
    );
    assert!(here.may_read().await);
    assert!(!there.may_read().await, "a session outlived its password");
    assert_ne!(here.cookie, old, "the session's id is a new one");
    here.cookie = old;
    assert!(!here.may_read().await);
    let mut again = console.browser();
    let answer = again.sign_in("ada", PASSWORD).await;
    refused(&answer, ErrorCode::WrongCredentials, "wrong");
    assert_eq!(again.sign_in("ada", new).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_session_ends_by_silence_and_is_written_down_rarely() {
    const MINUTE: i64 = 60_000;
    let console = Guarded::with_ada().await;
    let mut browser = console.browser();
    browser.sign_in("ada", PASSWORD).await;
    let before = console.ledger.changes();
    // An hour of one request a minute: used all the time.
    for _ in 0..60 {
        console.ledger.pass(MINUTE);
        assert!(browser.may_read().await);
        tokio::task::yield_now().await;
    }
    let written = console.ledger.changes() - before;
    assert!((10..=12).contains(&written), "{written} writes in an hour");
    console.ledger.pass(30 * MINUTE);
    assert!(
        !browser.may_read().await,
        "half an hour of silence ends a session"
    );
    browser.sign_in("ada", PASSWORD).await;
    for _ in 0..12 * 60 / 20 {
        console.ledger.pass(20 * MINUTE);
        browser.may_read().await;
        tokio::task::yield_now().await;
    }
    assert!(
        !browser.may_read().await,
        "twelve hours end a session that is used"
    );
}

#[tokio::test]
async fn a_certificate_signs_in_and_its_session_needs_it() {
    let console = Guarded::with_ada().await;
    let mut browser = console.browser();
    let answer = browser.post("/admin/v1/login/certificate", json!({})).await;
    refused(&answer, ErrorCode::WrongCredentials, "no certificate");
    browser.peer.admin = Some(AdminIdentity {
        user: "root".into(),
        serial: "0a".into(),
    });
    let state: SessionState = browser.get("/admin/v1/session").await.json();
    let expected = SessionState::SignedOut {
        first_run: false,
        certificate: Some("root".into()),
    };
    assert_eq!(state, expected);
    let answer = browser.post("/admin/v1/login/certificate", json!({})).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(browser.may_read().await);
    for other in [None, Some(("root", "0b")), Some(("eve", "0a"))] {
        browser.peer.admin = other.map(|(user, serial)| AdminIdentity {
            user: user.into(),
            serial: serial.into(),
        });
        assert!(!browser.may_read().await, "{other:?} uses root's session");
    }
}

#[tokio::test]
async fn what_happened_is_told_without_secrets() {
    let console = Guarded::with_ada().await;
    let mut browser = console.browser_at("192.0.2.9");
    browser.sign_in("ada", "canary-wrong-password").await;
    browser
        .sign_in("canary-name-that-is-a-password", PASSWORD)
        .await;
    browser.sign_in("ada", PASSWORD).await;
    let answer = browser.get("/admin/v1/audit").await;
    let audit: Audit = answer.json();
    let line =
        |event: &kvorum_api::AuditEvent| format!("{} {} {}", event.who, event.what, event.result);
    let lines: Vec<String> = audit.events.iter().map(line).collect();
    assert_eq!(lines[0], "ada sign in ok");
    assert!(
        lines[1].starts_with('?') && lines[1].ends_with(" sign in refused"),
        "{}",
        lines[1]
    );
    assert_eq!(lines[2], "ada sign in refused");
    assert_eq!(audit.events[0].from, "192.0.2.9");
    assert!(lines.contains(&"ada set-up link used ok".to_owned()));
    let security: Security = browser.get("/admin/v1/security").await.json();
    assert_eq!((security.accounts.len(), security.sessions.len()), (1, 1));
    assert!(security.sessions[0].own);
    let id = browser.cookie.clone().expect("signed in");
    let id = id.split_once('=').expect("a pair").1.to_owned();
    let everything = console.ledger.told() + &String::from_utf8_lossy(&answer.body);
    for secret in ["canary", PASSWORD, CODE, &id] {
        assert!(!everything.contains(secret), "{secret} was told");
    }
}

#[tokio::test]
async fn events_come_in_pages() {
    let console = Guarded::with_ada().await;
    let mut browser = console.browser();
    browser.sign_in("ada", PASSWORD).await;
    for n in 0..250u64 {
        let event = kvorum_proto::kvorumpb::ConsoleEvent {
            what: format!("event {n}"),
            ..Default::default()
        };
        console
            .ledger
            .run(kvorum_proto::kvorumpb::console_op::Op::Audit(event));
    }
    let (mut path, mut seen) = ("/admin/v1/audit".to_owned(), Vec::new());
    loop {
        let audit: Audit = browser.get(&path).await.json();
        seen.extend(audit.events.iter().map(|event| event.number));
        let Some(next) = audit.next else { break };
        path = format!("/admin/v1/audit?before={next}");
    }
    assert_eq!(seen.len(), 254);
    assert!(seen.is_sorted_by_key(|number| std::cmp::Reverse(*number)));
}

#[tokio::test]
async fn a_session_can_be_ended_from_another() {
    let console = Guarded::with_ada().await;
    let (mut here, mut there) = (console.browser(), console.browser_at("192.0.2.9"));
    here.sign_in("ada", PASSWORD).await;
    there.sign_in("ada", PASSWORD).await;
    let security: Security = here.get("/admin/v1/security").await.json();
    let other = security.sessions.iter().find(|session| !session.own);
    let handle = other.expect("the other one").handle.clone();
    let end = json!({ "handle": handle });
    assert_eq!(
        here.post("/admin/v1/sessions/end", end).await.status,
        StatusCode::OK
    );
    assert!(here.may_read().await && !there.may_read().await);
    for handle in ["", "zz", "0011", "0011223344556677"] {
        let end = json!({ "handle": handle });
        let answer = here.post("/admin/v1/sessions/end", end).await;
        assert_ne!(answer.status, StatusCode::OK, "{handle}");
    }
}

#[tokio::test]
async fn an_open_stream_ends_with_its_session() {
    let console = Guarded::with_ada().await;
    let mut browser = console.browser();
    browser.sign_in("ada", PASSWORD).await;
    let cookie = browser.cookie.clone().expect("signed in");
    let request = Request::get("/admin/v1/events")
        .header("host", HOST)
        .header("cookie", cookie)
        .body(Body::empty());
    let request = request.expect("a valid request");
    let response = console.router.clone().oneshot(request).await;
    let response = response.expect("the router cannot fail");
    assert_eq!(response.status(), StatusCode::OK);
    let (mut body, mut rest) = (response.into_body().into_data_stream(), String::new());
    next_event(&mut body, &mut rest).await.expect("the state");
    browser.post("/admin/v1/logout", json!({})).await;
    while next_event(&mut body, &mut rest).await.is_some() {}
}

#[tokio::test]
async fn without_a_login_the_routes_of_the_login_say_so() {
    let console = super::console();
    let answer = super::ask(&console, "/admin/v1/session", &[]).await;
    assert_eq!(answer.json::<SessionState>(), SessionState::Open);
    let body = json!({"account": "ada", "password": PASSWORD}).to_string();
    let request = Request::post("/admin/v1/login")
        .header("host", "localhost:2382")
        .header("origin", "http://localhost:2382")
        .header("x-kvorum", "1")
        .header("content-type", "application/json")
        .body(Body::from(body));
    let response = console.oneshot(request.expect("a valid request")).await;
    let response = response.expect("the router cannot fail");
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
}
