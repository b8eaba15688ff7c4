//! The routes of the login and of the Security page.

use std::sync::Arc;

use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use kvorum_api::{
    AccountRow, Audit, AuditEvent, ErrorCode, Login as SignIn, Nothing, PasswordChange, Security,
    SessionEnd, SessionRow, SessionState, Setup, SetupCheck,
};
use kvorum_core::console::SESSION_LIFE_MS;
use kvorum_proto::kvorumpb::{ConsoleEvent, ConsoleSession, ConsoleVia};
use serde::Deserialize;

use super::flows::Opened;
use super::posted::Posted;
use super::{Caller, Gate};
use crate::error::ApiError;
use crate::peer::Peer;
use crate::routes::{Shared, answer};

/// Bytes of a session's digest that name it.
const HANDLE_BYTES: usize = 8;
/// Events in a page.
const EVENTS_PAGE: usize = 100;

type From = Extension<Peer>;
type By = Extension<Caller>;

/// Who calls; open to everybody, because the page asks before anybody can be signed in.
pub(crate) async fn session(
    State(console): Shared,
    Extension(peer): From,
    Extension(caller): By,
) -> Response {
    answer(&state(&console.gate, &caller, &peer))
}

fn state(gate: &Gate, caller: &Caller, peer: &Peer) -> SessionState {
    let tables = gate.accounts.tables();
    match caller {
        Caller::Anybody => SessionState::Open,
        Caller::Nobody => SessionState::SignedOut {
            first_run: !tables.has_accounts(),
            certificate: peer.admin.as_ref().map(|admin| admin.user.clone()),
        },
        Caller::SignedIn(session) => SessionState::SignedIn {
            account: session.account.clone(),
            has_password: tables.account(&session.account).is_some(),
            ends_unix_ms: session.created_unix_ms.saturating_add(SESSION_LIFE_MS),
        },
    }
}

/// Hands the new session to the browser, and tells the page what it is now.
fn opened(gate: &Arc<Gate>, opened: &Opened, peer: &Peer) -> Result<Response, ApiError> {
    let cookie = gate.cookie.set(&opened.id);
    let cookie =
        cookie.ok_or_else(|| ApiError::new(ErrorCode::Internal, "the cookie cannot be written"))?;
    let digest = super::digest(opened.id.as_bytes());
    let session = gate.live(&digest, peer);
    let session = session.ok_or_else(|| {
        ApiError::new(
            ErrorCode::SignInRequired,
            "the session has ended; sign in again",
        )
    })?;
    let mut response = answer(&state(gate, &Caller::SignedIn(session), peer));
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    Ok(response)
}

pub(crate) async fn sign_in(
    State(console): Shared,
    Extension(peer): From,
    headers: HeaderMap,
    Posted(body): Posted<SignIn>,
) -> Result<Response, ApiError> {
    let gate = &console.gate;
    let session = gate
        .sign_in(&body.account, body.password, &headers, &peer)
        .await?;
    opened(gate, &session, &peer)
}

pub(crate) async fn sign_in_by_certificate(
    State(console): Shared,
    Extension(peer): From,
    headers: HeaderMap,
    Posted(Nothing {}): Posted<Nothing>,
) -> Result<Response, ApiError> {
    let session = console.gate.sign_in_by_certificate(&headers, &peer).await?;
    opened(&console.gate, &session, &peer)
}

pub(crate) async fn set_up_check(
    State(console): Shared,
    Posted(body): Posted<SetupCheck>,
) -> Result<Response, ApiError> {
    Ok(answer(&console.gate.link(&body.code)?))
}

pub(crate) async fn set_up(
    State(console): Shared,
    Extension(peer): From,
    headers: HeaderMap,
    Posted(body): Posted<Setup>,
) -> Result<Response, ApiError> {
    let session = console.gate.set_up(body, &headers, &peer).await?;
    opened(&console.gate, &session, &peer)
}

/// Open to everybody: who is not signed in has nothing to lose by it.
pub(crate) async fn sign_out(
    State(console): Shared,
    Extension(peer): From,
    headers: HeaderMap,
    Posted(Nothing {}): Posted<Nothing>,
) -> Result<Response, ApiError> {
    console.gate.sign_out(&headers, &peer).await?;
    let caller = match console.gate.login {
        super::Login::Off => Caller::Anybody,
        super::Login::Required => Caller::Nobody,
    };
    let mut response = answer(&state(&console.gate, &caller, &peer));
    if let Some(cookie) = console.gate.cookie.clear() {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    let everything = HeaderValue::from_static("\"cache\"");
    response.headers_mut().insert("clear-site-data", everything);
    Ok(response)
}

pub(crate) async fn change_password(
    State(console): Shared,
    Extension(peer): From,
    Extension(caller): By,
    Posted(body): Posted<PasswordChange>,
) -> Result<Response, ApiError> {
    let session = own(&caller)?;
    let session = console.gate.change_password(body, session, &peer).await?;
    opened(&console.gate, &session, &peer)
}

fn own(caller: &Caller) -> Result<&ConsoleSession, ApiError> {
    let session = caller.session().map(Arc::as_ref);
    session.ok_or_else(|| ApiError::invalid("this console has no login"))
}

pub(crate) async fn end_session(
    State(console): Shared,
    Extension(peer): From,
    Extension(caller): By,
    Posted(body): Posted<SessionEnd>,
) -> Result<Response, ApiError> {
    let handle = unhex(&body.handle).filter(|handle| handle.len() == HANDLE_BYTES);
    let handle = handle.ok_or_else(|| ApiError::invalid("handle must be 16 hexadecimal digits"))?;
    console.gate.end(own(&caller)?, handle, &peer).await?;
    Ok(answer(&Nothing {}))
}

fn unhex(text: &str) -> Option<Bytes> {
    let pairs = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| {
        let digits = std::str::from_utf8(pair).ok()?;
        let is_pair = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_hexdigit());
        is_pair.then(|| u8::from_str_radix(digits, 16).ok())?
    };
    pairs
        .map(byte)
        .collect::<Option<Vec<u8>>>()
        .map(Bytes::from)
}

pub(crate) async fn security(State(console): Shared, Extension(caller): By) -> Response {
    let gate = &console.gate;
    let tables = gate.accounts.tables();
    let accounts = tables.accounts().map(|account| AccountRow {
        name: account.name.clone(),
        created_unix_ms: account.created_unix_ms,
        password_unix_ms: account.password_unix_ms,
    });
    let own = caller.session().map(|session| session.digest.clone());
    let sessions = tables.sessions(gate.accounts.now_ms());
    let mut sessions: Vec<SessionRow> = sessions
        .map(|session| row(session, own.as_ref() == Some(&session.digest)))
        .collect();
    sessions.sort_by_key(|row| std::cmp::Reverse(row.seen_unix_ms));
    answer(&Security {
        accounts: accounts.collect(),
        sessions,
    })
}

fn row(session: &ConsoleSession, own: bool) -> SessionRow {
    let via = match session.via() {
        ConsoleVia::Password => "password",
        ConsoleVia::Link => "link",
        ConsoleVia::Certificate => "certificate",
        ConsoleVia::Unknown => "",
    };
    let handle = session.digest.iter().take(HANDLE_BYTES);
    SessionRow {
        handle: handle.map(|byte| format!("{byte:02x}")).collect(),
        account: session.account.clone(),
        via: via.to_owned(),
        source: session.source.clone(),
        created_unix_ms: session.created_unix_ms,
        seen_unix_ms: session.seen_unix_ms,
        own,
    }
}

/// Parameters of `/admin/v1/audit`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuditQuery {
    before: Option<u64>,
}

pub(crate) async fn audit(
    State(console): Shared,
    query: Result<Query<AuditQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let query = query.map_err(|rejection| ApiError::invalid(rejection.body_text()))?;
    let tables = console.gate.accounts.tables();
    let mut older = tables.events(query.before.unwrap_or(u64::MAX));
    let events: Vec<AuditEvent> = older.by_ref().take(EVENTS_PAGE).map(event).collect();
    let next = older.next().and(events.last()).map(|event| event.number);
    Ok(answer(&Audit { events, next }))
}

fn event(event: &ConsoleEvent) -> AuditEvent {
    AuditEvent {
        number: event.number,
        unix_ms: event.unix_ms,
        who: event.who.clone(),
        from: event.from.clone(),
        what: event.what.clone(),
        result: event.result.clone(),
        detail: event.detail.clone(),
    }
}
