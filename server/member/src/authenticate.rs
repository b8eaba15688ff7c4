//! Who a caller is: passwords become tokens, and tokens become callers.

use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use kvorum_core::Error;
use kvorum_core::auth::{AuthEvent, AuthStore, Caller};
use zeroize::Zeroizing;

use crate::guesses::{Admission, Attempt, Guesses};
use crate::handle::Handle;
use crate::passwords::{PasswordError, Passwords};
use crate::tokens::jwt::{Claims, Unsigned};
use crate::tokens::{self, AuthOptions, Letters, TokenKind, Tokens, fingerprint};

/// Between the comparison of a password and the token, users may change; then it is compared again, so many times.
const ATTEMPTS: usize = 8;
/// Between two looks for a place among attempts that come from one source at once.
const PLACE_LOOK: Duration = Duration::from_millis(20);
/// Then others of them have no end.
const PLACE_LOOKS: usize = 250;

/// What a member needs to know callers.
#[derive(Debug)]
pub(crate) struct Authentication {
    kind: TokenKind,
    passwords: Passwords,
    guesses: Guesses,
    tokens: Tokens,
}

/// Why there is no token, or no hash.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthenticateError {
    /// The cluster refuses.
    #[error(transparent)]
    Refused(#[from] Error),
    /// The password cannot be hashed or compared.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// Too many wrong ones came from there.
    #[error("etcdserver: too many requests")]
    TooMany,
    /// This member only verifies tokens. The text is etcd's.
    #[error("auth: token signing attempted with verify-only key")]
    VerifyOnly,
    /// The key of the tokens cannot sign.
    #[error("the key of the tokens cannot sign")]
    Key,
}

impl Authentication {
    pub(crate) fn new(options: &AuthOptions) -> Self {
        Self {
            kind: options.token.clone(),
            passwords: Passwords::new(options.bcrypt_cost),
            guesses: Guesses::new(options.wrong_passwords_per_minute),
            tokens: Tokens::new(options.token_ttl),
        }
    }

    /// Follows the log. Called before the answer to the entry goes out.
    pub(crate) fn heard(&self, event: &AuthEvent, now_ms: u64) {
        match event {
            AuthEvent::TokenIssued {
                user, token_sha256, ..
            } => self
                .tokens
                .issued(*token_sha256, user.as_str().into(), now_ms),
            AuthEvent::UserForgotten(user) => self.tokens.dropped(user),
            AuthEvent::AllForgotten => self.tokens.all_dropped(),
        }
    }
}

impl Handle {
    fn authentication(&self) -> &Authentication {
        &self.shared.authentication
    }

    /// The hash of a password, to put into a change of users.
    ///
    /// # Errors
    /// It is too long, or too many are hashed now.
    pub async fn hash_password(&self, password: Zeroizing<String>) -> Result<Bytes, PasswordError> {
        let hash = self.authentication().passwords.hash(password).await?;
        Ok(hash.into_bytes().into())
    }

    /// A token for a user whose password is right. `from` is where it was said; none within this process.
    ///
    /// # Errors
    /// It is not, too many wrong ones came from there, or nobody can log in now.
    pub async fn authenticate(
        &self,
        from: Option<IpAddr>,
        user: &str,
        password: Zeroizing<String>,
    ) -> Result<String, AuthenticateError> {
        self.read_barrier().await?;
        let attempt = self.admission(from, user).await?;
        if !attempt.delay.is_zero() {
            tokio::time::sleep(attempt.delay).await;
        }
        let done = self.compare_and_issue(user, password).await;
        if !matches!(done, Err(AuthenticateError::Refused(Error::AuthFailed))) {
            attempt.forgiven();
        }
        done
    }

    /// A place among the attempts from there.
    async fn admission(
        &self,
        from: Option<IpAddr>,
        user: &str,
    ) -> Result<Attempt<'_>, AuthenticateError> {
        // Names that nobody has are one: who makes them up gets no memory for that.
        let is_user = self.auth().password_hash(user).is_ok();
        let counted = if is_user { user } else { "" };
        for _ in 0..PLACE_LOOKS {
            let now_ms = self.shared.clock.now_ms();
            match self.authentication().guesses.attempt(from, counted, now_ms) {
                Admission::Now(attempt) => return Ok(attempt),
                Admission::Later => tokio::time::sleep(PLACE_LOOK).await,
                Admission::No => return Err(AuthenticateError::TooMany),
            }
        }
        Err(AuthenticateError::TooMany)
    }

    async fn compare_and_issue(
        &self,
        user: &str,
        password: Zeroizing<String>,
    ) -> Result<String, AuthenticateError> {
        let mut last = Error::AuthOldRevision;
        for _ in 0..ATTEMPTS {
            let auth = self.auth();
            self.compare(&auth, user, password.clone()).await?;
            match self.issue(&auth, user).await {
                Err(AuthenticateError::Refused(Error::AuthOldRevision)) => {
                    // What is newer must be here before the password is compared again.
                    last = Error::AuthOldRevision;
                    self.read_barrier().await?;
                }
                done => return done,
            }
        }
        Err(last.into())
    }

    /// Compares the password; that takes as long for a user who is none.
    async fn compare(
        &self,
        auth: &AuthStore,
        user: &str,
        password: Zeroizing<String>,
    ) -> Result<(), AuthenticateError> {
        let hash = match auth.password_hash(user) {
            Ok(hash) => Some(hash.to_vec()),
            Err(Error::AuthFailed) => None,
            Err(other) => return Err(other.into()),
        };
        match self
            .authentication()
            .passwords
            .matches(password, hash)
            .await?
        {
            true => Ok(()),
            false => {
                // A name that nobody has may be a password in the wrong field.
                let known = auth.password_hash(user).is_ok();
                let user_fingerprint = fingerprint(user);
                match known {
                    true => tracing::warn!(user, "a password was wrong"),
                    false => {
                        tracing::warn!(user_fingerprint, "no such user, or one without password")
                    }
                }
                Err(Error::AuthFailed.into())
            }
        }
    }

    async fn issue(&self, auth: &AuthStore, user: &str) -> Result<String, AuthenticateError> {
        if let TokenKind::Jwt(jwt) = &self.authentication().kind {
            let claims = Claims {
                user: user.to_owned(),
                revision: auth.revision(),
            };
            return jwt
                .sign(&claims, now_unix())
                .map_err(|unsigned| match unsigned {
                    Unsigned::VerifyOnly => AuthenticateError::VerifyOnly,
                    Unsigned::Key => AuthenticateError::Key,
                });
        }
        let letters = Letters::random().map_err(|_| PasswordError::System)?;
        let issued = self.issue_token(user, letters.digest(), auth.revision());
        let reply = issued.await?;
        Ok(letters.at(reply.index))
    }

    /// Whose token this is.
    ///
    /// # Errors
    /// Nobody's, or nobody can tell now.
    pub async fn caller_of_token(&self, token: &str) -> Result<Caller, Error> {
        let caller = match &self.authentication().kind {
            TokenKind::Simple => self.caller_of_letters(token).await?,
            TokenKind::Jwt(jwt) => match jwt.verify(token, now_unix()) {
                Ok(claims) => Some(Caller::user(claims.user, claims.revision)),
                Err(refused) => {
                    tracing::debug!(%refused, "a token is refused");
                    None
                }
            },
        };
        caller.ok_or_else(|| {
            tracing::warn!(token_fingerprint = fingerprint(token), "invalid auth token");
            Error::InvalidAuthToken
        })
    }

    async fn caller_of_letters(&self, token: &str) -> Result<Option<Caller>, Error> {
        let Some((digest, index)) = tokens::parse(token) else {
            return Ok(None);
        };
        let find = || {
            let now_ms = self.shared.clock.now_ms();
            self.authentication().tokens.user(&digest, now_ms)
        };
        let mut user = find();
        if user.is_none() && index > self.shared.published.applied.load(Ordering::SeqCst) {
            // Another member gave it out. What a client holds was acknowledged: behind a barrier it is here, or it
            // never was.
            self.read_barrier().await?;
            user = find();
        }
        Ok(user.map(|user| Caller::user(user, self.auth().revision())))
    }
}

/// Seconds since 1970; tokens from elsewhere count by that.
fn now_unix() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}
