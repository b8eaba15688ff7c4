//! The only HTTP of the console: one typed function per route, and the event stream.

use std::cell::{Cell, RefCell};

use gloo_net::http::{Request, Response};
use kvorum_api::{
    Audit, Authority, Denied, ErrorBody, ErrorCode, Event, KeyHistory, KeyListing, KeyView, Login,
    Nothing, PasswordChange, Rotate, Secret, Security, SessionEnd, SessionState, Setup, SetupCheck,
    SetupLink, TokenMade, TokenRevoke, TokenWish, base64,
};
use leptos::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use wasm_bindgen::JsCast;
use wasm_bindgen::closure::Closure;
use web_sys::{EventSource, MessageEvent};

use crate::address::{self, DELIMITER, KeysAddress};
use crate::live::Live;

/// Lines of a page of a listing.
const PAGE_LINES: u32 = 100;
/// After a connection that the browser has given up.
const REOPEN_AFTER: std::time::Duration = std::time::Duration::from_secs(2);

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// `None` if the server was not reached at all.
    pub(crate) code: Option<ErrorCode>,
    pub(crate) message: String,
    pub(crate) request_id: Option<String>,
}

impl Failure {
    fn unreachable(cause: &gloo_net::Error) -> Self {
        Self {
            code: None,
            message: format!("The member does not answer ({cause})."),
            request_id: None,
        }
    }
}

/// A page of keys as it is answered.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub(crate) struct Listed {
    /// The page.
    #[serde(flatten)]
    pub(crate) page: KeyListing,
    /// True if counting the keys under the prefix stopped early: there are at least `page.count`.
    pub(crate) count_capped: bool,
}

/// A page of keys.
pub(crate) async fn keys(at: &KeysAddress) -> Result<Listed, Failure> {
    let mut url = format!(
        "/admin/v1/keys?limit={PAGE_LINES}&prefix64={}",
        base64::encode_url(&at.prefix)
    );
    if !at.flat {
        url += &format!("&delimiter={}", char::from(DELIMITER));
    }
    if let Some(cursor) = &at.cursor {
        url += &format!("&cursor={}", address::escape(cursor));
    }
    if let Some(revision) = at.revision {
        url += &format!("&revision={revision}");
    }
    get(&url).await
}

/// One key.
pub(crate) async fn key(key: &[u8], revision: Option<i64>) -> Result<KeyView, Failure> {
    let revision = revision.unwrap_or_default();
    get(&format!(
        "/admin/v1/key?key={}&revision={revision}",
        base64::encode_url(key)
    ))
    .await
}

/// One key's past.
pub(crate) async fn history(key: &[u8]) -> Result<KeyHistory, Failure> {
    get(&format!(
        "/admin/v1/key/history?key={}",
        base64::encode_url(key)
    ))
    .await
}

/// Who is signed in; counts as a use of the session.
pub(crate) async fn session() -> Result<SessionState, Failure> {
    get("/admin/v1/session").await
}

/// Opens a session by name and password.
pub(crate) async fn sign_in(account: &str, password: &str) -> Result<SessionState, Failure> {
    let login = Login {
        account: account.to_owned(),
        password: Secret(password.to_owned()),
    };
    post("/admin/v1/login", &login).await
}

/// Opens a session for the certificate of this connection.
pub(crate) async fn sign_in_by_certificate() -> Result<SessionState, Failure> {
    post("/admin/v1/login/certificate", &Nothing {}).await
}

/// Ends the session.
pub(crate) async fn sign_out() -> Result<SessionState, Failure> {
    post("/admin/v1/logout", &Nothing {}).await
}

/// The cluster's certificate authority.
pub(crate) async fn authority() -> Result<Authority, Failure> {
    get("/admin/v1/authority").await
}

/// A token to join with; its text is told once.
pub(crate) async fn create_token(wish: &TokenWish) -> Result<TokenMade, Failure> {
    post("/admin/v1/authority/tokens", wish).await
}

/// Takes a token back.
pub(crate) async fn revoke_token(id: &str) -> Result<Nothing, Failure> {
    let id = id.to_owned();
    post("/admin/v1/authority/tokens/revoke", &TokenRevoke { id }).await
}

/// Accepts a certificate, or all of a user, no more.
pub(crate) async fn revoke(denied: &Denied) -> Result<Nothing, Failure> {
    post("/admin/v1/authority/revoke", denied).await
}

/// Accepts them again.
pub(crate) async fn allow(denied: &Denied) -> Result<Nothing, Failure> {
    post("/admin/v1/authority/allow", denied).await
}

/// Another root; or, by force, without those that are away.
pub(crate) async fn rotate(domain: &str, force: bool) -> Result<Nothing, Failure> {
    let confirm = domain.to_owned();
    post("/admin/v1/authority/rotate", &Rotate { force, confirm }).await
}

/// What a set-up link is for.
pub(crate) async fn set_up_check(code: &str) -> Result<SetupLink, Failure> {
    let code = Secret(code.to_owned());
    post("/admin/v1/setup/check", &SetupCheck { code }).await
}

/// Makes an account by a set-up link, or gives it a new password.
pub(crate) async fn set_up(
    code: &str,
    account: &str,
    password: &str,
) -> Result<SessionState, Failure> {
    let setup = Setup {
        code: Secret(code.to_owned()),
        account: account.to_owned(),
        password: Secret(password.to_owned()),
    };
    post("/admin/v1/setup", &setup).await
}

/// Replaces the own password.
pub(crate) async fn change_password(current: &str, new: &str) -> Result<SessionState, Failure> {
    let change = PasswordChange {
        current: Secret(current.to_owned()),
        new: Secret(new.to_owned()),
    };
    post("/admin/v1/password", &change).await
}

/// Who may sign in, and who is.
pub(crate) async fn security() -> Result<Security, Failure> {
    get("/admin/v1/security").await
}

/// Ends a session.
pub(crate) async fn end_session(handle: &str) -> Result<Nothing, Failure> {
    let handle = handle.to_owned();
    post("/admin/v1/sessions/end", &SessionEnd { handle }).await
}

/// A page of events.
pub(crate) async fn audit(before: Option<u64>) -> Result<Audit, Failure> {
    let query = before.map_or(String::new(), |before| format!("?before={before}"));
    get(&format!("/admin/v1/audit{query}")).await
}

thread_local! {
    /// Called when a request is refused because nobody is signed in.
    static SIGNED_OUT: RefCell<Option<Box<dyn Fn()>>> = const { RefCell::new(None) };
    /// The event stream, if one is open.
    static STREAM: RefCell<Option<EventSource>> = const { RefCell::new(None) };
    /// True while there should be one.
    static FOLLOWING: Cell<bool> = const { Cell::new(false) };
}

/// Calls `then` whenever a request is refused because nobody is signed in.
pub(crate) fn when_signed_out(then: impl Fn() + 'static) {
    SIGNED_OUT.with_borrow_mut(|call| *call = Some(Box::new(then)));
}

async fn get<T: DeserializeOwned>(url: &str) -> Result<T, Failure> {
    let response = Request::get(url).send().await;
    read(response.map_err(|cause| Failure::unreachable(&cause))?).await
}

/// A change; the header is what tells it from a form of another site.
async fn post<T: DeserializeOwned>(url: &str, body: &impl Serialize) -> Result<T, Failure> {
    let unreachable = |cause| Failure::unreachable(&cause);
    let request = Request::post(url).header("X-Kvorum", "1").json(body);
    let response = request.map_err(unreachable)?.send().await;
    read(response.map_err(unreachable)?).await
}

async fn read<T: DeserializeOwned>(response: Response) -> Result<T, Failure> {
    let unreachable = |cause| Failure::unreachable(&cause);
    if response.ok() {
        return response.json().await.map_err(unreachable);
    }
    let body: Result<ErrorBody, _> = response.json().await;
    let code = body.as_ref().ok().map(|body| body.code);
    if code == Some(ErrorCode::SignInRequired) {
        SIGNED_OUT.with_borrow(|call| call.iter().for_each(|call| call()));
    }
    Err(match body {
        Ok(body) => Failure {
            code: Some(body.code),
            message: body.message,
            request_id: Some(body.request_id),
        },
        Err(_) => Failure {
            code: Some(ErrorCode::Internal),
            message: format!("The member answered with status {}.", response.status()),
            request_id: response.headers().get("x-request-id"),
        },
    })
}

/// Keeps `live` up to date until `unfollow`.
pub(crate) fn follow(live: RwSignal<Live>) {
    FOLLOWING.set(true);
    open(live);
}

/// Ends the event stream.
pub(crate) fn unfollow() {
    FOLLOWING.set(false);
    if let Some(stream) = STREAM.take() {
        stream.close();
    }
}

fn open(live: RwSignal<Live>) {
    if !FOLLOWING.get() {
        return;
    }
    let Ok(source) = EventSource::new("/admin/v1/events") else {
        // Only a malformed address fails here, and this one is fixed.
        return;
    };
    let on_message = Closure::<dyn FnMut(MessageEvent)>::new(move |message: MessageEvent| {
        let text = message.data().as_string().unwrap_or_default();
        match serde_json::from_str::<Event>(&text) {
            Ok(event) => live.update(|live| live.apply(event, now_ms())),
            Err(error) => leptos::logging::error!("event stream: {error}"),
        }
    });
    let failed = source.clone();
    let on_error = Closure::<dyn FnMut()>::new(move || {
        live.update(|live| live.connected = false);
        // The browser reconnects by itself unless the server refused.
        if failed.ready_state() == EventSource::CLOSED {
            // Refused may mean that the session has ended; asking tells, and whoever listens acts on it.
            leptos::task::spawn_local(async move {
                if matches!(session().await, Ok(SessionState::SignedOut { .. })) {
                    SIGNED_OUT.with_borrow(|call| call.iter().for_each(|call| call()));
                }
            });
            set_timeout(move || open(live), REOPEN_AFTER);
        }
    });
    source.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
    source.set_onerror(Some(on_error.as_ref().unchecked_ref()));
    // The callbacks live as long as the page: there is one pair for each time the stream was opened.
    on_message.forget();
    on_error.forget();
    if let Some(before) = STREAM.replace(Some(source)) {
        before.close();
    }
}

/// The browser's clock.
pub(crate) fn now_ms() -> u64 {
    js_sys::Date::now() as u64
}
