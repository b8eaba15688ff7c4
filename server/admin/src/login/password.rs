//! Passwords: which ones are taken, how they are hashed, and how they are compared.

use std::sync::Arc;

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use kvorum_api::{ErrorCode, Secret};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

use super::deny;
use crate::error::ApiError;

/// RFC 9106's second choice for argon2id, as OWASP has it: 19 MiB, two passes.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const SALT_BYTES: usize = 16;
/// Hashes computed at once; each takes the memory above and a core for a while.
const HASHES_MAX: usize = 2;
/// Requests that may wait for that.
const WAITING_MAX: usize = 32;

const BYTES_MIN: usize = 12;
const BYTES_MAX: usize = 128;

/// A hash like any other that no password fits: comparing with it takes as long as with a real one.
const NOBODYS: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// A password, normalised; wiped when dropped.
pub(super) type Password = Zeroizing<String>;

/// The same password however the keyboard composes its letters. What is longer than any password is cut off before work
/// is spent on it, at a length that none reaches.
pub(super) fn normalise(secret: Secret) -> Password {
    let given = Zeroizing::new(secret.0);
    Zeroizing::new(given.nfc().take(4 * BYTES_MAX).collect())
}

/// Whether it may become the password of an account.
///
/// # Errors
/// What is wrong with it, for people.
pub(super) fn check(password: &Password, account: &str) -> Result<(), ApiError> {
    let length = password.len();
    if length < BYTES_MIN {
        return Err(ApiError::invalid(format!(
            "the password is too short: it needs at least {BYTES_MIN} characters; a few words in a row are easy to \
             remember"
        )));
    }
    if length > BYTES_MAX {
        return Err(ApiError::invalid(format!(
            "the password is too long: {BYTES_MAX} bytes are the limit"
        )));
    }
    if deny::is_easy(password, account) {
        return Err(ApiError::invalid(
            "this password is among the first that are guessed: take one without common words, names, rows of the \
             keyboard or repetitions",
        ));
    }
    Ok(())
}

/// Places for those who hash.
pub(super) struct Hashing {
    computing: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

/// A place at the hash; whoever has one may try a password. It is kept by what is computed, too: whoever asked may hang
/// up, and the work goes on.
#[derive(Clone)]
pub(super) struct Turn {
    _place: Arc<Place>,
}

struct Place {
    _computing: OwnedSemaphorePermit,
    _waiting: OwnedSemaphorePermit,
}

impl Default for Hashing {
    fn default() -> Self {
        Self {
            computing: Arc::new(Semaphore::new(HASHES_MAX)),
            waiting: Arc::new(Semaphore::new(HASHES_MAX + WAITING_MAX)),
        }
    }
}

impl Hashing {
    /// Waits for a turn.
    ///
    /// # Errors
    /// Too many wait already.
    pub(super) async fn turn(&self) -> Result<Turn, ApiError> {
        let busy = || {
            ApiError::new(
                ErrorCode::Unavailable,
                "too many people sign in at once; try again in a moment",
            )
        };
        let waiting = Arc::clone(&self.waiting).try_acquire_owned();
        let waiting = waiting.map_err(|_| busy())?;
        let computing = Arc::clone(&self.computing).acquire_owned().await;
        let place = Place {
            _computing: computing.map_err(|_| busy())?,
            _waiting: waiting,
        };
        Ok(Turn {
            _place: Arc::new(place),
        })
    }
}

impl Turn {
    /// True if the password is the one of `hash`. Without a hash it takes as long, and is false.
    pub(super) async fn verify(
        &self,
        password: Password,
        hash: Option<String>,
    ) -> Result<bool, ApiError> {
        let turn = self.clone();
        let compared = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let known = hash.is_some();
            let hash = hash.unwrap_or_else(|| NOBODYS.to_owned());
            let parsed = PasswordHash::new(&hash).map_err(|e| broken(&e))?;
            let fits = hasher()?.verify_password(password.as_bytes(), &parsed);
            Ok(known && fits.is_ok())
        });
        compared.await.map_err(|e| broken(&e))?
    }

    /// The hash to keep, as a PHC string.
    pub(super) async fn hash(&self, password: Password) -> Result<String, ApiError> {
        let turn = self.clone();
        let hashed = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let mut salt = [0; SALT_BYTES];
            getrandom::fill(&mut salt).map_err(|e| broken(&e))?;
            let salt = SaltString::encode_b64(&salt).map_err(|e| broken(&e))?;
            let hash = hasher()?.hash_password(password.as_bytes(), &salt);
            hash.map(|hash| hash.to_string()).map_err(|e| broken(&e))
        });
        hashed.await.map_err(|e| broken(&e))?
    }
}

fn hasher() -> Result<Argon2<'static>, ApiError> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|e| broken(&e))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn broken(error: &dyn std::fmt::Display) -> ApiError {
    ApiError::new(
        ErrorCode::Internal,
        format!("the password cannot be hashed: {error}"),
    )
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;
    use std::task::{Context, Waker};

    use super::*;

    fn secret(text: &str) -> Password {
        normalise(Secret(text.into()))
    }

    #[tokio::test]
    async fn a_password_fits_its_own_hash_only() {
        let hashing = Hashing::default();
        let turn = hashing.turn().await.expect("nobody else is there");
        let hash = turn.hash(secret("Zwölf Boxkämpfer")).await.expect("hashes");
        assert!(
            hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{hash}"
        );
        for (tried, fits) in [
            ("Zwölf Boxkämpfer", true),
            // The same letters, composed otherwise.
            ("Zwo\u{308}lf Boxka\u{308}mpfer", true),
            ("zwölf boxkämpfer", false),
            ("", false),
        ] {
            let verified = turn.verify(secret(tried), Some(hash.clone())).await;
            assert_eq!(verified.expect("compares"), fits, "{tried}");
        }
        let again = turn.hash(secret("Zwölf Boxkämpfer")).await.expect("hashes");
        assert_ne!(hash, again, "the salt is new each time");
    }

    #[tokio::test]
    async fn nobodys_hash_costs_the_same_work_and_fits_nothing() {
        let parsed = PasswordHash::new(NOBODYS).expect("is a hash");
        let params = Params::try_from(&parsed).expect("has parameters");
        assert_eq!(params.m_cost(), MEMORY_KIB);
        assert_eq!((params.t_cost(), params.p_cost()), (PASSES, LANES));
        assert_eq!(parsed.hash.expect("has an output").len(), 32);
        let hashing = Hashing::default();
        let turn = hashing.turn().await.expect("nobody else is there");
        assert!(
            !turn
                .verify(secret("anything at all"), None)
                .await
                .expect("compares")
        );
    }

    #[tokio::test]
    async fn two_hash_at_once_some_wait_and_the_rest_are_told() {
        let hashing = Hashing::default();
        let mut open = Vec::new();
        for _ in 0..HASHES_MAX {
            open.push(hashing.turn().await.expect("nobody else is there"));
        }
        let mut waiting: Vec<_> = (0..WAITING_MAX).map(|_| Box::pin(hashing.turn())).collect();
        for turn in &mut waiting {
            let polled = turn.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(polled.is_pending(), "more than two hash at once");
        }
        let refused = hashing.turn().await.err().expect("no place is left");
        assert_eq!(refused.code, ErrorCode::Unavailable);
        open.pop();
        waiting.remove(0).await.expect("it is its turn");
    }

    #[test]
    fn short_long_and_easy_passwords_are_refused() {
        for (password, word) in [
            ("elevenchars", "too short"),
            ("", "too short"),
            (&*"x7".repeat(65), "too long"),
            ("Password12345", "first that are guessed"),
            ("ada-ada-ada-ada", "first that are guessed"),
        ] {
            let refused = check(&secret(password), "ada").expect_err(password);
            assert!(
                refused.message.contains(word),
                "{password}: {}",
                refused.message
            );
        }
        for fine in ["correct horse battery", "Tr0ub4dor&3xyz", "пароль-из-слов"] {
            check(&secret(fine), "ada").expect(fine);
        }
    }
}
