//! The login: who a request comes from, and how sessions begin and end.

mod cookie;
mod deny;
mod flows;
mod handlers;
mod password;
mod posted;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::HeaderMap;
use bytes::Bytes;
use kvorum_core::console::{SEEN_EVERY_MS, is_live};
use kvorum_proto::kvorumpb::{ConsoleSession, ConsoleTouch, ConsoleVia, console_op::Op};
use sha2::{Digest, Sha256};

use crate::accounts::Accounts;
use crate::peer::Peer;
use crate::source::Reader;
use cookie::Cookie;
use password::Hashing;

pub(crate) use posted::{Posted, is_json};

pub(crate) use handlers::{
    audit, change_password, end_session, security, session, set_up, set_up_check, sign_in,
    sign_in_by_certificate, sign_out,
};

/// Whether the console asks who calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Login {
    /// It does not: whoever reaches it may use it.
    #[default]
    Off,
    /// Every route but those of the login itself wants a session.
    Required,
}

/// The random name of a session, as the cookie carries it: never kept, only its digest is.
const SESSION_ID_BYTES: usize = 32;
/// Uses that are remembered here beyond those that are written down.
const SEEN_MAX: usize = 1024;

/// Who a request comes from.
#[derive(Clone, Debug)]
pub(crate) enum Caller {
    /// There is no login.
    Anybody,
    /// Nobody who is signed in.
    Nobody,
    /// The owner of this session.
    SignedIn(Arc<ConsoleSession>),
}

impl Caller {
    /// The session, if there is one.
    pub(crate) fn session(&self) -> Option<&Arc<ConsoleSession>> {
        match self {
            Self::SignedIn(session) => Some(session),
            Self::Anybody | Self::Nobody => None,
        }
    }

    /// In whose name it reads keys. Whoever has an account of the console administers the cluster.
    pub(crate) const fn reader(&self) -> Reader {
        match self {
            Self::SignedIn(_) => Reader::Administrator,
            Self::Anybody | Self::Nobody => Reader::Anybody,
        }
    }
}

/// When a session was used here, and when that was told the others.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    used_ms: i64,
    told_ms: i64,
}

/// The login of one console.
pub(crate) struct Gate {
    login: Login,
    accounts: Arc<dyn Accounts>,
    hashing: Hashing,
    cookie: Cookie,
    seen: Mutex<HashMap<Bytes, Seen>>,
}

impl Gate {
    pub(crate) fn new(login: Login, https: bool, accounts: Arc<dyn Accounts>) -> Self {
        Self {
            login,
            accounts,
            hashing: Hashing::default(),
            cookie: Cookie::new(https),
            seen: Mutex::default(),
        }
    }

    /// Who sends a request; counts as a use of the session.
    pub(crate) fn caller(self: &Arc<Self>, headers: &HeaderMap, peer: &Peer) -> Caller {
        if self.login == Login::Off {
            return Caller::Anybody;
        }
        let Some(id) = self.cookie.read(headers) else {
            return Caller::Nobody;
        };
        let digest = digest(id.as_bytes());
        match self.live(&digest, peer) {
            Some(session) => {
                self.used(&session);
                Caller::SignedIn(session)
            }
            None => Caller::Nobody,
        }
    }

    /// The session, if it can be used on this connection now.
    fn live(&self, digest: &Bytes, peer: &Peer) -> Option<Arc<ConsoleSession>> {
        let now_ms = self.accounts.now_ms();
        let mut session = self.accounts.tables().kept_session(digest)?;
        let used_ms = self.seen().get(digest).map_or(0, |seen| seen.used_ms);
        if used_ms > session.seen_unix_ms {
            Arc::make_mut(&mut session).seen_unix_ms = used_ms;
        }
        // What a certificate has opened is worth as much as the certificate: a connection with it must be there.
        let shown = peer.admin.as_ref();
        let by_certificate = session.via() == ConsoleVia::Certificate;
        let fits = !by_certificate
            || shown.is_some_and(|admin| {
                admin.user == session.account && admin.serial == session.certificate
            });
        (fits && is_live(&session, now_ms)).then_some(session)
    }

    /// True while a stream that this session opened may go on. It is no use of the session.
    pub(crate) fn may_go_on(&self, caller: &Caller, peer: &Peer) -> bool {
        match caller {
            Caller::Anybody => self.login == Login::Off,
            Caller::Nobody => false,
            Caller::SignedIn(session) => self.live(&session.digest, peer).is_some(),
        }
    }

    /// Notes a use, and tells the other members now and then.
    fn used(self: &Arc<Self>, session: &ConsoleSession) {
        let now_ms = self.accounts.now_ms();
        let mut seen = self.seen();
        if seen.len() >= SEEN_MAX {
            let tables = self.accounts.tables();
            seen.retain(|digest, _| tables.session(digest, now_ms).is_some());
        }
        let entry = seen.entry(session.digest.clone()).or_default();
        entry.used_ms = now_ms;
        let told_ms = entry.told_ms.max(session.created_unix_ms);
        let kept = self.accounts.tables().kept_session(&session.digest);
        let told_ms = kept.map_or(told_ms, |kept| told_ms.max(kept.seen_unix_ms));
        if now_ms.saturating_sub(told_ms) < SEEN_EVERY_MS {
            return;
        }
        entry.told_ms = now_ms;
        drop(seen);
        let gate = Arc::clone(self);
        let touch = Op::Touch(ConsoleTouch {
            session: session.digest.clone(),
        });
        tokio::spawn(async move {
            // Without a quorum the session goes on here by what this member remembers.
            if let Err(error) = gate.accounts.change(touch).await {
                tracing::debug!(%error, "the use of a session was not written down");
            }
        });
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, HashMap<Bytes, Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// SHA-256, under which ids and codes are known.
fn digest(secret: &[u8]) -> Bytes {
    Bytes::copy_from_slice(&Sha256::digest(secret))
}
