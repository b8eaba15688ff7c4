//! How the tables are kept: one row of the meta table each.

use std::sync::Arc;

use bytes::Bytes;
use kvorum_proto::kvorumpb::{
    ConsoleAccount, ConsoleAttempts, ConsoleEvent, ConsoleLink, ConsoleSession,
};
use prost::Message;

use super::{Console, EVENTS_MAX, REFUSALS_MAX, SESSIONS_MAX, TEXT_BYTES_MAX, is_live};
use crate::backend::SideChange;

/// What the names of all rows begin with.
const META_CONSOLE: &str = "console/";
const ACCOUNT: &str = "account";
const SESSION: &str = "session";
const LINK: &str = "link";
const ATTEMPTS: &str = "attempt";
const EVENT: &str = "event";
const REFUSAL: &str = "refusal";

/// What has ended is no row's right to stay, but the clock that says so may be a wrong one, of whichever member had
/// something to propose: so long it is kept beyond its end. Each use is judged by the clock of where it is used.
const FORGOTTEN_AFTER_MS: i64 = 31 * 24 * 60 * 60 * 1000;

/// The tables, and the changes of their rows that are to be kept.
pub(super) struct Writing<'a> {
    pub(super) console: &'a mut Console,
    pub(super) notes: &'a mut Vec<SideChange>,
    pub(super) now_ms: i64,
}

impl Writing<'_> {
    fn keep(&mut self, table: &str, name: &str, row: &impl Message) {
        let value = row.encode_to_vec().into();
        self.notes
            .push(SideChange::MetaPut(key(table, name), value));
    }

    fn forget(&mut self, table: &str, name: &str) {
        self.notes.push(SideChange::MetaDelete(key(table, name)));
    }

    pub(super) fn put_account(&mut self, account: ConsoleAccount) {
        self.keep(ACCOUNT, &account.name, &account);
        let name = account.name.clone();
        self.console.accounts.insert(name, Arc::new(account));
    }

    pub(super) fn remove_account(&mut self, name: &str) {
        if self.console.accounts.remove(name).is_some() {
            self.forget(ACCOUNT, name);
        }
    }

    pub(super) fn put_session(&mut self, session: ConsoleSession) {
        self.keep(SESSION, &hex(&session.digest), &session);
        let digest = session.digest.clone();
        self.console.sessions.insert(digest, Arc::new(session));
        while self.console.sessions.len() > SESSIONS_MAX {
            let silent = self
                .console
                .sessions
                .values()
                .min_by_key(|s| (s.seen_unix_ms, s.digest.clone()));
            let Some(digest) = silent.map(|s| s.digest.clone()) else {
                break;
            };
            self.remove_session(&digest);
        }
    }

    pub(super) fn remove_session(&mut self, digest: &[u8]) -> Option<Arc<ConsoleSession>> {
        let removed = self.console.sessions.remove(digest)?;
        self.forget(SESSION, &hex(digest));
        Some(removed)
    }

    pub(super) fn remove_sessions_of(&mut self, account: &str) {
        let sessions = self.console.sessions.values();
        let theirs = sessions.filter(|session| session.account == account);
        let theirs: Vec<Bytes> = theirs.map(|session| session.digest.clone()).collect();
        for digest in theirs {
            self.remove_session(&digest);
        }
    }

    pub(super) fn put_link(&mut self, link: ConsoleLink) {
        self.keep(LINK, &hex(&link.digest), &link);
        let digest = link.digest.clone();
        self.console.links.insert(digest, Arc::new(link));
    }

    pub(super) fn remove_link(&mut self, digest: &[u8]) {
        if self.console.links.remove(digest).is_some() {
            self.forget(LINK, &hex(digest));
        }
    }

    pub(super) fn put_attempts(&mut self, attempts: ConsoleAttempts) {
        self.keep(ATTEMPTS, &attempts.subject, &attempts);
        let subject = attempts.subject.clone();
        self.console.attempts.insert(subject, Arc::new(attempts));
    }

    pub(super) fn remove_attempts(&mut self, subject: &str) {
        if self.console.attempts.remove(subject).is_some() {
            self.forget(ATTEMPTS, subject);
        }
    }

    /// Adds an event; the oldest makes way.
    pub(super) fn tell(&mut self, event: ConsoleEvent) {
        let event = self.numbered(event);
        self.keep(EVENT, &format!("{:016x}", event.number), &event);
        self.console.events.insert(event.number, Arc::new(event));
        while self.console.events.len() > EVENTS_MAX {
            let Some((number, _)) = self.console.events.pop_first() else {
                break;
            };
            self.forget(EVENT, &format!("{number:016x}"));
        }
    }

    /// Adds a refused attempt to sign in, for which no event makes way.
    pub(super) fn tell_refusal(&mut self, event: ConsoleEvent) {
        let event = self.numbered(event);
        self.keep(REFUSAL, &format!("{:016x}", event.number), &event);
        self.console.refusals.insert(event.number, Arc::new(event));
        while self.console.refusals.len() > REFUSALS_MAX {
            let Some((number, _)) = self.console.refusals.pop_first() else {
                break;
            };
            self.forget(REFUSAL, &format!("{number:016x}"));
        }
    }

    /// Under the next number, as of now, and not too long.
    fn numbered(&self, mut event: ConsoleEvent) -> ConsoleEvent {
        event.number = self.console.next_number();
        event.unix_ms = self.now_ms;
        for text in [
            &mut event.who,
            &mut event.from,
            &mut event.what,
            &mut event.result,
            &mut event.detail,
        ] {
            shorten(text);
        }
        event
    }

    /// Forgets what time has ended long ago. All tables have an upper bound without this.
    pub(super) fn sweep(&mut self) {
        let now_ms = self.now_ms.saturating_sub(FORGOTTEN_AFTER_MS);
        let sessions = self.console.sessions.values();
        let ended = sessions.filter(|session| !is_live(session, now_ms));
        let ended: Vec<Bytes> = ended.map(|session| session.digest.clone()).collect();
        for digest in ended {
            self.remove_session(&digest);
        }
        self.sweep_links(now_ms);
        self.sweep_attempts(now_ms);
    }
}

impl Console {
    /// Takes a row back from the state store. False if it belongs to somebody else.
    pub fn restore(&mut self, key: &str, value: &Bytes) -> bool {
        let Some(rest) = key.strip_prefix(META_CONSOLE) else {
            return false;
        };
        let (table, _) = rest.split_once('/').unwrap_or((rest, ""));
        let value = value.clone();
        match table {
            ACCOUNT => take(value, |row: ConsoleAccount| {
                self.accounts.insert(row.name.clone(), Arc::new(row));
            }),
            SESSION => take(value, |row: ConsoleSession| {
                self.sessions.insert(row.digest.clone(), Arc::new(row));
            }),
            LINK => take(value, |row: ConsoleLink| {
                self.links.insert(row.digest.clone(), Arc::new(row));
            }),
            ATTEMPTS => take(value, |row: ConsoleAttempts| {
                self.attempts.insert(row.subject.clone(), Arc::new(row));
            }),
            EVENT => take(value, |row: ConsoleEvent| {
                self.events.insert(row.number, Arc::new(row));
            }),
            REFUSAL => take(value, |row: ConsoleEvent| {
                self.refusals.insert(row.number, Arc::new(row));
            }),
            _ => {}
        }
        true
    }
}

/// A row that does not decode is of a later version; it stays where it is.
fn take<M: Message + Default>(value: Bytes, mut insert: impl FnMut(M)) {
    if let Ok(row) = M::decode(value) {
        insert(row);
    }
}

fn key(table: &str, name: &str) -> String {
    format!("{META_CONSOLE}{table}/{name}")
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    let digits = |byte: &u8| [digit(byte >> 4), digit(byte & 15)];
    bytes.iter().flat_map(digits).collect()
}

fn shorten(text: &mut String) {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
}
