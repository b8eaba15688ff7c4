//! The console's accounts, sessions, set-up links, login attempts and events: replicated, so that any member serves them.
//!
//! Pure tables: passwords come as argon2id hashes, session ids and link codes as SHA-256 digests, time as the clock of
//! the member that proposed. Whoever reads these tables can open nothing.

mod apply;
mod attempts;
mod links;
mod rows;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use kvorum_proto::kvorumpb::{
    ConsoleAccount, ConsoleAttempts, ConsoleEvent, ConsoleLink, ConsoleSession,
};

pub use attempts::{ATTEMPTS_FREE, DELAY_MAX_MS};

/// A session ends when nobody used it for so long.
pub const SESSION_IDLE_MS: i64 = 30 * 60 * 1000;
/// A session ends so long after it was opened, used or not.
pub const SESSION_LIFE_MS: i64 = 12 * 60 * 60 * 1000;
/// Uses of a session are written down this often at most.
pub const SEEN_EVERY_MS: i64 = 5 * 60 * 1000;
/// Events that are kept; the oldest make way.
pub const EVENTS_MAX: usize = 1000;
/// Refused attempts to sign in that are kept, apart from the events: strangers make as many as they like, and must not
/// wash away what somebody else did.
pub const REFUSALS_MAX: usize = 500;
/// Accounts there can be.
pub const ACCOUNTS_MAX: usize = 64;
/// Sessions there can be; who was silent longest makes way.
const SESSIONS_MAX: usize = 256;
/// Longest name of an account, bytes.
const NAME_BYTES_MAX: usize = 64;
/// Longest text in an event, bytes.
const TEXT_BYTES_MAX: usize = 256;
/// SHA-256.
const DIGEST_BYTES: usize = 32;

/// What was asked for could not be, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A name, digest or hash that is none; or an operation that only a later version knows.
    #[error("the console does not know what is meant")]
    Malformed,
    /// The session has ended, or never was.
    #[error("the session has ended")]
    NoSession,
    /// The password was changed while the old one was looked at.
    #[error("the password has just been changed")]
    PasswordChanged,
    /// There is no such account.
    #[error("there is no such account")]
    NoAccount,
    /// There are as many accounts as there can be.
    #[error("there are too many accounts")]
    TooManyAccounts,
    /// The link was used, or never was.
    #[error("the link is unknown: it was used already, or it is not complete")]
    LinkUnknown,
    /// The link came too late.
    #[error("the link has expired")]
    LinkExpired,
    /// The link was for the first account, and there is one.
    #[error("the link was for the first account, and there is one already")]
    LinkNotNeeded,
    /// The link is for another account.
    #[error("the link is for another account")]
    LinkOfOther,
}

/// What the tables answer to a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is done.
    Done,
    /// Too many wrong passwords: not before so many milliseconds.
    Wait(i64),
    /// It is not done.
    Refused(Refusal),
}

/// The tables. Rows are shared, so that a copy for readers is cheap.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Console {
    accounts: BTreeMap<String, Arc<ConsoleAccount>>,
    /// By the digest of their id.
    sessions: BTreeMap<Bytes, Arc<ConsoleSession>>,
    /// By the digest of their code.
    links: BTreeMap<Bytes, Arc<ConsoleLink>>,
    attempts: BTreeMap<String, Arc<ConsoleAttempts>>,
    /// By number, so by age.
    events: BTreeMap<u64, Arc<ConsoleEvent>>,
    /// Refused attempts to sign in, by numbers of the same row.
    refusals: BTreeMap<u64, Arc<ConsoleEvent>>,
}

impl Console {
    /// True once somebody can sign in by password.
    #[must_use]
    pub fn has_accounts(&self) -> bool {
        !self.accounts.is_empty()
    }

    /// The accounts, by name.
    pub fn accounts(&self) -> impl Iterator<Item = &ConsoleAccount> {
        self.accounts.values().map(Arc::as_ref)
    }

    /// An account.
    #[must_use]
    pub fn account(&self, name: &str) -> Option<&ConsoleAccount> {
        self.accounts.get(name).map(Arc::as_ref)
    }

    /// A session that can be used now, by the digest of its id.
    #[must_use]
    pub fn session(&self, digest: &[u8], now_ms: i64) -> Option<&ConsoleSession> {
        let session = self.sessions.get(digest)?;
        is_live(session, now_ms).then_some(session)
    }

    /// A session as it is kept, whether it can be used or not.
    #[must_use]
    pub fn kept_session(&self, digest: &[u8]) -> Option<Arc<ConsoleSession>> {
        self.sessions.get(digest).cloned()
    }

    /// The sessions that can be used now.
    pub fn sessions(&self, now_ms: i64) -> impl Iterator<Item = &ConsoleSession> {
        let live = move |session: &&Arc<ConsoleSession>| is_live(session, now_ms);
        self.sessions.values().filter(live).map(Arc::as_ref)
    }

    /// Events before `before`, newest first, refused attempts to sign in among them.
    pub fn events(&self, before: u64) -> impl Iterator<Item = &ConsoleEvent> {
        let mut events = self.events.range(..before).rev().peekable();
        let mut refusals = self.refusals.range(..before).rev().peekable();
        std::iter::from_fn(move || {
            let event = events.peek().map(|(number, _)| **number);
            let next = match refusals.peek() {
                Some((number, _)) if Some(**number) > event => refusals.next(),
                _ => events.next(),
            };
            next.map(|(_, event)| event.as_ref())
        })
    }

    /// The number of the next event.
    fn next_number(&self) -> u64 {
        let newest = [&self.events, &self.refusals].map(|ring| ring.last_key_value());
        let newest = newest.into_iter().flatten().map(|(number, _)| *number);
        newest.max().unwrap_or(0).saturating_add(1)
    }
}

/// True while a session can be used. A clock that runs behind the one that opened it changes nothing.
#[must_use]
pub fn is_live(session: &ConsoleSession, now_ms: i64) -> bool {
    now_ms.saturating_sub(session.seen_unix_ms) < SESSION_IDLE_MS
        && now_ms.saturating_sub(session.created_unix_ms) < SESSION_LIFE_MS
}

/// True for what can be the name of an account: letters, digits and `. _ - @`, 1 to 64 of them.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let of_names = |byte: u8| byte.is_ascii_alphanumeric() || b"._-@".contains(&byte);
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(of_names)
}
