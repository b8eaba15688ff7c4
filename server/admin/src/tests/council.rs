//! An authority that only writes down what is asked of it, and the rules that stand before it.

use std::sync::{Arc, Mutex};

use axum::http::StatusCode;
use futures_util::future::{BoxFuture, ready};
use kvorum_api::{
    Audit, Authority as Told, Denied, ErrorCode, OwnAuthority, Secret, TokenMade, TokenWish,
};
use serde_json::json;

use super::ledger::Ledger;
use super::login::{Guarded, PASSWORD, refused};
use super::memory::Memory;
use crate::authority::{Authority, Change};
use crate::source::Refusal;
use crate::{AdminOptions, router_over};

pub(super) const DOMAIN: &str = "0123456789abcdef0123456789abcdef";
const TOKEN: &str = "kv1.the-canary-token@localhost:2380";

/// What was asked for, and by whom.
#[derive(Default)]
pub(super) struct Council(Mutex<Vec<(String, Change)>>);

impl Council {
    fn heard(&self) -> Vec<(String, Change)> {
        self.0.lock().expect("no panic under it").clone()
    }
}

impl Authority for Council {
    fn report(&self) -> Option<OwnAuthority> {
        Some(OwnAuthority {
            domain: DOMAIN.to_owned(),
            ..OwnAuthority::default()
        })
    }

    fn change(
        &self,
        by: String,
        change: Change,
    ) -> BoxFuture<'_, Result<Option<TokenMade>, Refusal>> {
        let made = match &change {
            Change::CreateToken(_) => Ok(Some(TokenMade {
                token: Secret(TOKEN.to_owned()),
                id: "id".to_owned(),
                expires_unix_s: 1,
            })),
            Change::Allow(_) => Err(Refusal::Invalid("there is no such denial".to_owned())),
            _ => Ok(None),
        };
        self.0.lock().expect("no panic under it").push((by, change));
        Box::pin(ready(made))
    }
}

fn changes() -> [(&'static str, serde_json::Value); 6] {
    [
        ("/admin/v1/authority/tokens", json!({"role": "voter"})),
        ("/admin/v1/authority/tokens/revoke", json!({"id": "x"})),
        ("/admin/v1/authority/revoke", json!({"user": "eve"})),
        ("/admin/v1/authority/allow", json!({"serial": "0a"})),
        ("/admin/v1/authority/rotate", json!({"confirm": DOMAIN})),
        (
            "/admin/v1/authority/rotate",
            json!({"confirm": DOMAIN, "force": true}),
        ),
    ]
}

#[tokio::test]
async fn an_administrator_moves_the_authority_and_each_move_is_an_event() {
    let console = Guarded::with_ada().await;
    let mut browser = console.browser();
    browser.sign_in("ada", PASSWORD).await;
    let told: Told = browser.get("/admin/v1/authority").await.json();
    assert_eq!(told.own.expect("there is one").domain, DOMAIN);
    assert_eq!(told.public, None);
    for (path, body) in changes() {
        let answer = browser.post(path, body).await;
        let expected = match path.ends_with("/allow") {
            true => StatusCode::BAD_REQUEST,
            false => StatusCode::OK,
        };
        assert_eq!(answer.status, expected, "{path}");
        let shown = String::from_utf8_lossy(&answer.body).contains(TOKEN);
        assert_eq!(shown, path.ends_with("/tokens"), "{path}");
    }
    let expected = [
        Change::CreateToken(TokenWish::default()),
        Change::RevokeToken("x".to_owned()),
        Change::Revoke(Denied::User("eve".to_owned())),
        Change::Allow(Denied::Serial("0a".to_owned())),
        Change::Rotate,
        Change::ForceRotation,
    ];
    let heard = console.council.heard();
    assert!(heard.iter().all(|(by, _)| by == "ada (console)"));
    let heard: Vec<Change> = heard.into_iter().map(|(_, change)| change).collect();
    assert_eq!(heard, expected);
    let audit: Audit = browser.get("/admin/v1/audit").await.json();
    for (what, result) in [
        ("join token made", "ok"),
        ("join token revoked", "ok"),
        ("certificate revoked", "ok"),
        ("revocation taken back", "there is no such denial"),
        ("change of the root begun", "ok"),
        ("change of the root forced on", "ok"),
    ] {
        let event = audit.events.iter().find(|event| event.what == what);
        let event = event.unwrap_or_else(|| panic!("{what}: {:?}", audit.events));
        assert_eq!((&*event.who, &*event.result), ("ada", result), "{what}");
    }
    assert!(!console.ledger.told().contains(TOKEN), "a token was kept");
}

#[tokio::test]
async fn nobody_moves_the_authority_without_a_name() {
    let console = Guarded::with_ada().await;
    let mut stranger = console.browser();
    let council = Arc::new(Council::default());
    let open = Guarded {
        router: router_over(
            Arc::new(Memory::with_some_keys()),
            Ledger::new(),
            Arc::clone(&council) as Arc<dyn Authority>,
            AdminOptions {
                host_names: vec!["console.example".into()],
                https: true,
                ..AdminOptions::default()
            },
        ),
        ledger: Ledger::new(),
        council,
    };
    let mut anybody = open.browser();
    assert_eq!(
        anybody.get("/admin/v1/authority").await.status,
        StatusCode::OK
    );
    for (path, body) in changes() {
        let answer = stranger.post(path, body.clone()).await;
        refused(&answer, ErrorCode::SignInRequired, "sign in");
        let answer = anybody.post(path, body).await;
        refused(&answer, ErrorCode::Forbidden, "no login");
    }
    assert!(console.council.heard().is_empty() && open.council.heard().is_empty());
}

#[tokio::test]
async fn the_root_changes_only_for_whoever_names_the_cluster() {
    let console = Guarded::with_ada().await;
    let mut browser = console.browser();
    browser.sign_in("ada", PASSWORD).await;
    for body in [
        json!({"confirm": ""}),
        json!({"confirm": "yes", "force": true}),
        json!({}),
        json!({"confirm": DOMAIN, "grace_s": 0}),
    ] {
        let answer = browser.post("/admin/v1/authority/rotate", body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    }
    assert!(console.council.heard().is_empty());
}
