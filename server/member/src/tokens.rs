//! Tokens: what a client shows instead of its password.
//!
//! A simple token is known to the members only by its digest, which came through the log; a JWT carries its own proof
//! ([`jwt`]). Neither is ever written to a log line or an error: a [`fingerprint`] stands for it.

pub mod jwt;
mod keys;
pub mod setting;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use jwt::Jwt;

/// Letters of a simple token.
const LETTERS: usize = 16;
/// What the letters are taken from.
const ALPHABET: &[u8; 52] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
/// Tokens whose time is up are looked for once so many were added.
const SWEEP_EVERY: usize = 64;

/// SHA-256 of the letters of a simple token.
pub(crate) type TokenDigest = [u8; 32];

/// Which tokens a member hands out and takes.
#[derive(Clone, Debug, Default)]
pub enum TokenKind {
    /// Random letters that the members remember.
    #[default]
    Simple,
    /// Signed statements.
    Jwt(Arc<Jwt>),
}

/// How users prove who they are.
#[derive(Clone, Debug)]
pub struct AuthOptions {
    /// Which tokens are handed out and taken (`--auth-token`).
    pub token: TokenKind,
    /// How long an unused simple token lives (`--auth-token-ttl`).
    pub token_ttl: Duration,
    /// Work that a guess of a password costs, as a power of two, 4 to 31 (`--bcrypt-cost`).
    pub bcrypt_cost: u32,
    /// Wrong passwords from one address that are looked at, 1 to 60,000 (`--wrong-passwords-per-minute`); etcd has no
    /// limit.
    pub wrong_passwords_per_minute: u64,
}

impl Default for AuthOptions {
    /// etcd's defaults, where it has some.
    fn default() -> Self {
        Self {
            token: TokenKind::Simple,
            token_ttl: Duration::from_secs(300),
            bcrypt_cost: 10,
            wrong_passwords_per_minute: 20,
        }
    }
}

/// Stands for a token where people read: enough to tell two apart, nothing to use.
#[must_use]
pub fn fingerprint(token: &str) -> String {
    let digest = Sha256::digest(token.as_bytes());
    digest[..6]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// A simple token before its index is known.
pub(crate) struct Letters(String);

impl fmt::Debug for Letters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Letters(..)")
    }
}

impl Letters {
    /// Letters that nobody can guess.
    pub(crate) fn random() -> Result<Self, getrandom::Error> {
        let mut letters = String::with_capacity(LETTERS);
        while letters.len() < LETTERS {
            let mut bytes = [0; 2 * LETTERS];
            getrandom::fill(&mut bytes)?;
            // Of 64 values 52 are letters; the others are drawn again, so that all letters are equally likely.
            let drawn = bytes.iter().filter_map(|byte| {
                let letter = ALPHABET.get(usize::from(byte & 63))?;
                Some(char::from(*letter))
            });
            letters.extend(drawn.take(LETTERS - letters.len()));
        }
        Ok(Self(letters))
    }

    /// What the log may know.
    pub(crate) fn digest(&self) -> TokenDigest {
        digest(&self.0)
    }

    /// The token, with the index that a member must have applied to know it.
    pub(crate) fn at(&self, index: u64) -> String {
        format!("{}.{index}", self.0)
    }
}

fn digest(letters: &str) -> TokenDigest {
    Sha256::digest(letters.as_bytes()).into()
}

/// What a simple token says, if it has the form of one: digest of its letters, and the index to wait for.
pub(crate) fn parse(token: &str) -> Option<(TokenDigest, u64)> {
    let (letters, index) = token.split_once('.')?;
    // A sign is no digit, although Rust would take a plus.
    if index.is_empty() || !index.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((digest(letters), index.parse().ok()?))
}

#[derive(Debug)]
struct Known {
    user: Arc<str>,
    ends_ms: u64,
}

#[derive(Debug, Default)]
struct Table {
    known: HashMap<TokenDigest, Known>,
    added: usize,
}

/// The simple tokens that this member knows.
#[derive(Debug)]
pub(crate) struct Tokens {
    ttl_ms: u64,
    table: Mutex<Table>,
}

impl Tokens {
    pub(crate) fn new(ttl: Duration) -> Self {
        Self {
            ttl_ms: u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX),
            table: Mutex::default(),
        }
    }

    /// A token was given to a user.
    pub(crate) fn issued(&self, token: TokenDigest, user: Arc<str>, now_ms: u64) {
        let ends_ms = now_ms.saturating_add(self.ttl_ms);
        let mut table = self.table.lock();
        table.known.insert(token, Known { user, ends_ms });
        table.added += 1;
        if table.added >= SWEEP_EVERY {
            table.added = 0;
            table.known.retain(|_, known| known.ends_ms > now_ms);
        }
    }

    /// The user is gone, or has another password.
    pub(crate) fn dropped(&self, user: &str) {
        self.table
            .lock()
            .known
            .retain(|_, known| &*known.user != user);
    }

    /// Nobody is known any more.
    pub(crate) fn all_dropped(&self) {
        self.table.lock().known.clear();
    }

    /// Whose token this is. It lives on from here.
    pub(crate) fn user(&self, token: &TokenDigest, now_ms: u64) -> Option<Arc<str>> {
        let mut table = self.table.lock();
        let known = table.known.get_mut(token)?;
        if known.ends_ms <= now_ms {
            table.known.remove(token);
            return None;
        }
        known.ends_ms = now_ms.saturating_add(self.ttl_ms);
        Some(known.user.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_sixteen_letters_and_an_index() {
        let letters = Letters::random().expect("random numbers");
        let token = letters.at(77);
        let (random, index) = token.split_once('.').expect("two parts");
        assert_eq!((random.len(), index), (16, "77"));
        assert!(random.bytes().all(|byte| byte.is_ascii_alphabetic()));
        assert_eq!(parse(&token), Some((letters.digest(), 77)));
        let other = Letters::random().expect("random numbers");
        assert_ne!(letters.digest(), other.digest());
        assert_eq!(format!("{letters:?}"), "Letters(..)");
    }

    #[test]
    fn what_is_no_token_is_none() {
        for text in [
            "",
            ".",
            "a",
            "a.",
            "a.b",
            "a.1.2",
            "a.+1",
            "a.-1",
            "a.99999999999999999999",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_token_lives_as_long_as_it_is_used() {
        let tokens = Tokens::new(Duration::from_millis(10));
        let digest = digest("a");
        tokens.issued(digest, "alice".into(), 100);
        assert_eq!(tokens.user(&digest, 109).as_deref(), Some("alice"));
        assert_eq!(tokens.user(&digest, 118).as_deref(), Some("alice"));
        assert_eq!(tokens.user(&digest, 128), None);
        assert_eq!(tokens.user(&digest, 128), None);
    }

    #[test]
    fn a_user_who_is_dropped_takes_the_tokens_along() {
        let tokens = Tokens::new(Duration::from_secs(1));
        for (token, user) in [("a", "alice"), ("b", "alice"), ("c", "carol")] {
            tokens.issued(digest(token), user.into(), 0);
        }
        tokens.dropped("alice");
        assert_eq!(tokens.user(&digest("a"), 1), None);
        assert_eq!(tokens.user(&digest("b"), 1), None);
        assert_eq!(tokens.user(&digest("c"), 1).as_deref(), Some("carol"));
        tokens.all_dropped();
        assert_eq!(tokens.user(&digest("c"), 1), None);
    }

    #[test]
    fn tokens_whose_time_is_up_are_forgotten() {
        let tokens = Tokens::new(Duration::from_millis(1));
        for number in 0..10 * SWEEP_EVERY as u64 {
            tokens.issued(digest(&number.to_string()), "u".into(), number);
        }
        assert!(tokens.table.lock().known.len() <= SWEEP_EVERY);
    }

    #[test]
    fn a_fingerprint_shows_nothing_of_the_token() {
        let shown = fingerprint("abcdefghijklmnop.7");
        assert_eq!(shown.len(), 12);
        assert!(!"abcdefghijklmnop.7".contains(&shown));
        assert_ne!(shown, fingerprint("abcdefghijklmnop.8"));
    }
}
