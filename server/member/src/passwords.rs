//! Passwords: hashed with bcrypt before anything else sees them, and never on a thread that serves others.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// Hashes that are made at once: each takes a core for as long as it is meant to take.
const AT_ONCE: usize = 2;
/// How long one waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest password: bcrypt looks at no more.
const PASSWORD_BYTES_MAX: usize = 72;
/// Salt and hash of nobody: what a password of somebody unknown is compared with.
const NOBODY: &str = "CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";

/// Why a password is not hashed or compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Go's text, which etcd passes on.
    #[error("bcrypt: password length exceeds 72 bytes")]
    TooLong,
    /// Others guess or change passwords, too many at once.
    #[error("too many passwords at once")]
    Busy,
    /// The system gives no random numbers, or no thread.
    #[error("the system gives no random numbers or threads")]
    System,
}

/// Hashes passwords, a few at a time.
#[derive(Debug)]
pub(crate) struct Passwords {
    cost: u32,
    places: Arc<Semaphore>,
}

impl Passwords {
    /// `cost` as etcd reads it: outside 4 to 31 it is 10.
    pub(crate) fn new(cost: u32) -> Self {
        let cost = if (4..=31).contains(&cost) { cost } else { 10 };
        Self {
            cost,
            places: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// The hash of a password, as text.
    pub(crate) async fn hash(&self, password: Zeroizing<String>) -> Result<String, PasswordError> {
        if password.len() > PASSWORD_BYTES_MAX {
            return Err(PasswordError::TooLong);
        }
        let cost = self.cost;
        self.work(move || hash(password.as_bytes(), cost)).await?
    }

    /// True if a hash is of this password. Without a hash it takes as long, and is false.
    pub(crate) async fn matches(
        &self,
        password: Zeroizing<String>,
        hash: Option<Vec<u8>>,
    ) -> Result<bool, PasswordError> {
        let cost = self.cost;
        self.work(move || {
            let known = hash.and_then(|hash| String::from_utf8(hash).ok());
            let of_nobody = known.is_none();
            let hash = known.unwrap_or_else(|| format!("$2a${cost:02}${NOBODY}"));
            // A hash that is none matches nothing.
            let same = bcrypt::verify(password.as_bytes(), &hash).unwrap_or(false);
            same && !of_nobody
        })
        .await
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PasswordError> {
        let place = tokio::time::timeout(PATIENCE, self.places.clone().acquire_owned());
        let place = place
            .await
            .map_err(|_| PasswordError::Busy)?
            .map_err(|_| PasswordError::System)?;
        // The place is the work's: whoever asked may hang up, and the work goes on.
        let working = tokio::task::spawn_blocking(move || {
            let _place = place;
            work()
        });
        working.await.map_err(|_| PasswordError::System)
    }
}

fn hash(password: &[u8], cost: u32) -> Result<String, PasswordError> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(|_| PasswordError::System)?;
    let parts = bcrypt::hash_with_salt(password, cost, salt).map_err(|_| PasswordError::System)?;
    // The version that etcd's own hashes have.
    Ok(parts.format_for_version(bcrypt::Version::TwoA))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Zeroizing<String> {
        Zeroizing::new(text.to_owned())
    }

    #[tokio::test]
    async fn a_password_matches_its_hash_and_no_other() {
        let passwords = Passwords::new(4);
        let hash = passwords.hash(secret("right")).await.expect("short");
        assert!(hash.starts_with("$2a$04$"));
        assert_ne!(passwords.hash(secret("right")).await.expect("short"), hash);
        let hash = hash.into_bytes();
        for (password, hash, matches) in [
            ("right", Some(hash.clone()), true),
            ("wrong", Some(hash.clone()), false),
            ("", Some(hash), false),
            ("right", None, false),
            ("right", Some(b"right".to_vec()), false),
            ("right", Some(Vec::new()), false),
        ] {
            let same = passwords.matches(secret(password), hash).await;
            assert_eq!(same, Ok(matches), "{password}");
        }
    }

    /// A hash that etcd 3.6.14 made of "r".
    #[tokio::test]
    async fn a_hash_of_etcd_is_understood() {
        let hash = include_str!("passwords/etcd_hash.txt").trim();
        let passwords = Passwords::new(4);
        let matches = |text| passwords.matches(secret(text), Some(hash.as_bytes().to_vec()));
        assert_eq!(matches("r").await, Ok(true));
        assert_eq!(matches("r ").await, Ok(false));
    }

    #[tokio::test]
    async fn a_password_that_is_too_long_is_told() {
        let passwords = Passwords::new(4);
        let long = "x".repeat(PASSWORD_BYTES_MAX + 1);
        assert_eq!(
            passwords.hash(secret(&long)).await,
            Err(PasswordError::TooLong)
        );
        assert!(passwords.hash(secret(&long[1..])).await.is_ok());
    }

    #[test]
    fn a_cost_that_is_none_is_the_usual_one() {
        assert_eq!(
            [3, 4, 31, 32].map(|cost| Passwords::new(cost).cost),
            [10, 4, 31, 10]
        );
    }

    #[test]
    fn the_hash_of_nobody_is_one() {
        let parts: bcrypt::HashParts = format!("$2a$04${NOBODY}").parse().expect("a hash");
        assert_eq!(parts.get_cost(), 4);
    }
}
