//! How sessions begin: by password, by certificate, by a one-time link; and how a password is replaced.

use axum::http::HeaderMap;
use bytes::Bytes;
use kvorum_api::{ErrorCode, PasswordChange, Secret, Setup, SetupLink};
use kvorum_core::console::{Answer, Refusal, is_name};
use kvorum_proto::kvorumpb::{
    ConsoleAttempt, ConsoleClose, ConsoleEnd, ConsoleFail, ConsoleLinkUse, ConsoleOpen,
    ConsolePassword, ConsoleSession, ConsoleVia, console_op::Op,
};

use super::password::{self, Turn, normalise};
use super::{Gate, Login, SESSION_ID_BYTES, digest};
use crate::error::ApiError;
use crate::peer::Peer;

/// A session that was just opened: its id, which only the browser keeps.
pub(super) struct Opened {
    pub(super) id: String,
}

fn wrong_credentials() -> ApiError {
    ApiError::new(
        ErrorCode::WrongCredentials,
        "the name or the password is wrong",
    )
}

fn too_many(wait_ms: i64) -> ApiError {
    let seconds = u64::try_from((wait_ms + 999) / 1000).unwrap_or(1).max(1);
    let mut error = ApiError::new(
        ErrorCode::TooManyAttempts,
        format!("too many attempts; try again in {}", in_words(seconds)),
    );
    error.retry_after_s = Some(seconds);
    error
}

fn in_words(seconds: u64) -> String {
    match seconds {
        1 => "a second".to_owned(),
        2..=90 => format!("{seconds} seconds"),
        _ => format!("{} minutes", seconds.div_ceil(60)),
    }
}

pub(super) fn refused(refusal: Refusal) -> ApiError {
    let (code, advice) = match refusal {
        Refusal::NoSession => (ErrorCode::SignInRequired, "sign in again"),
        Refusal::LinkUnknown | Refusal::LinkExpired => (
            ErrorCode::LinkUnusable,
            "make a new one on the member's machine: kvorum admin login-link",
        ),
        Refusal::LinkNotNeeded => (
            ErrorCode::LinkUnusable,
            "sign in, or make a link for a new password on the member's machine: kvorum admin login-link",
        ),
        Refusal::LinkOfOther => (ErrorCode::InvalidArgument, "use the name it was made for"),
        Refusal::PasswordChanged => (ErrorCode::WrongCredentials, "try again"),
        Refusal::NoAccount => (
            ErrorCode::InvalidArgument,
            "it exists in a certificate only",
        ),
        Refusal::TooManyAccounts => (ErrorCode::InvalidArgument, "use one that exists"),
        Refusal::Malformed => (ErrorCode::InvalidArgument, "check what was sent"),
    };
    ApiError::new(code, format!("{refusal}; {advice}"))
}

/// A new session's id and its digest.
fn new_session() -> Result<(String, Bytes), ApiError> {
    use std::fmt::Write as _;
    let mut bytes = [0; SESSION_ID_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| {
        ApiError::new(
            ErrorCode::Internal,
            format!("the system gives no random numbers: {error}"),
        )
    })?;
    let id = bytes.iter().fold(String::new(), |mut id, byte| {
        let _ = write!(id, "{byte:02x}");
        id
    });
    let digest = digest(id.as_bytes());
    Ok((id, digest))
}

impl Gate {
    /// Refuses what makes no sense without a login.
    fn wanted(&self) -> Result<(), ApiError> {
        match self.login {
            Login::Required => Ok(()),
            Login::Off => Err(ApiError::invalid("this console has no login")),
        }
    }

    async fn change(&self, op: Op) -> Result<(), ApiError> {
        match self.accounts.change(op).await? {
            Answer::Done => Ok(()),
            Answer::Wait(ms) => Err(too_many(ms)),
            Answer::Refused(refusal) => Err(refused(refusal)),
        }
    }

    /// Writes down what another part has done.
    pub(crate) async fn note(&self, event: Op) -> Result<(), crate::source::Refusal> {
        self.accounts.change(event).await.map(drop)
    }

    /// The digest of the session that the browser has so far; it ends when another begins.
    fn before(&self, headers: &HeaderMap) -> Bytes {
        let id = self.cookie.read(headers);
        id.map_or_else(Bytes::new, |id| digest(id.as_bytes()))
    }

    /// Under which name tries are counted. A name that nobody has may be a password in the wrong field: only a digest
    /// of it goes into the tables.
    fn counted_name(&self, account: &str) -> String {
        if self.accounts.tables().account(account).is_some() {
            return account.to_owned();
        }
        let digest = digest(account.as_bytes());
        let short = digest.iter().take(6);
        short.fold(String::from("?"), |name, byte| format!("{name}{byte:02x}"))
    }

    /// A turn at the hash, and a try that is counted. Tries that must wait cost no turn and no entry of the log.
    async fn counted_turn(&self, account: &str, source: &str) -> Result<Turn, ApiError> {
        let now_ms = self.accounts.now_ms();
        let wait_ms = self.accounts.tables().wait_ms(account, source, now_ms);
        if wait_ms > 0 {
            return Err(too_many(wait_ms));
        }
        let turn = self.hashing.turn().await?;
        let attempt = ConsoleAttempt {
            account: account.to_owned(),
            source: source.to_owned(),
        };
        self.change(Op::Attempt(attempt)).await?;
        Ok(turn)
    }

    async fn failed(&self, account: &str, source: &str) -> ApiError {
        let fail = ConsoleFail {
            account: account.to_owned(),
            source: source.to_owned(),
        };
        match self.change(Op::Fail(fail)).await {
            Ok(()) => wrong_credentials(),
            Err(error) => error,
        }
    }

    /// Opens a session for whoever knows the password. An unknown name takes the same way, and as long.
    pub(super) async fn sign_in(
        &self,
        account: &str,
        secret: Secret,
        headers: &HeaderMap,
        peer: &Peer,
    ) -> Result<Opened, ApiError> {
        self.wanted()?;
        let password = normalise(secret);
        let (counted, source) = (self.counted_name(account), peer.source());
        let turn = self.counted_turn(&counted, &source).await?;
        let known = self.accounts.tables().account(account).cloned();
        let hash = known.as_ref().map(|account| account.hash.clone());
        let fits = turn.verify(password, hash).await?;
        let Some(known) = known.filter(|_| fits) else {
            return Err(self.failed(&counted, &source).await);
        };
        let (id, session) = new_session()?;
        let open = ConsoleOpen {
            account: known.name,
            source,
            session,
            before: self.before(headers),
            via: ConsoleVia::Password.into(),
            password_number: known.password_number,
            ..Default::default()
        };
        self.change(Op::Open(open)).await?;
        Ok(Opened { id })
    }

    /// Opens a session for the owner of the connection's certificate.
    pub(super) async fn sign_in_by_certificate(
        &self,
        headers: &HeaderMap,
        peer: &Peer,
    ) -> Result<Opened, ApiError> {
        self.wanted()?;
        let admin = peer.admin.as_ref().ok_or_else(|| {
            ApiError::new(
                ErrorCode::WrongCredentials,
                "this connection has shown no certificate of an administrator",
            )
        })?;
        let (id, session) = new_session()?;
        let open = ConsoleOpen {
            account: admin.user.clone(),
            source: peer.source(),
            session,
            before: self.before(headers),
            via: ConsoleVia::Certificate.into(),
            certificate: admin.serial.clone(),
            ..Default::default()
        };
        self.change(Op::Open(open)).await?;
        Ok(Opened { id })
    }

    /// What a link is for, if it can be used.
    pub(super) fn link(&self, code: &Secret) -> Result<SetupLink, ApiError> {
        self.wanted()?;
        let tables = self.accounts.tables();
        let link = tables.link(&digest(code.0.as_bytes()), self.accounts.now_ms());
        let link = link.map_err(refused)?;
        Ok(SetupLink {
            first_run: link.first_run,
            account: Some(link.account.clone()).filter(|account| !account.is_empty()),
            expires_unix_ms: link.expires_unix_ms,
        })
    }

    /// Sets the password of an account by a link, and opens a session for it.
    pub(super) async fn set_up(
        &self,
        setup: Setup,
        headers: &HeaderMap,
        peer: &Peer,
    ) -> Result<Opened, ApiError> {
        self.wanted()?;
        if !is_name(&setup.account) {
            return Err(ApiError::invalid(
                "the name must have 1 to 64 letters, digits or . _ - @",
            ));
        }
        let password = normalise(setup.password);
        password::check(&password, &setup.account)?;
        let source = peer.source();
        let turn = self.counted_turn("", &source).await?;
        if let Err(error) = self.link(&setup.code) {
            let told = self.failed("", &source).await;
            return Err(if told.code == ErrorCode::WrongCredentials {
                error
            } else {
                told
            });
        }
        let hash = turn.hash(password).await?;
        let (id, session) = new_session()?;
        let used = ConsoleLinkUse {
            code: digest(setup.code.0.as_bytes()),
            account: setup.account,
            hash,
            source,
            session,
            before: self.before(headers),
        };
        self.change(Op::LinkUse(used)).await?;
        Ok(Opened { id })
    }

    /// Replaces the password of whoever is signed in; all other sessions of the account end.
    pub(super) async fn change_password(
        &self,
        change: PasswordChange,
        session: &ConsoleSession,
        peer: &Peer,
    ) -> Result<Opened, ApiError> {
        let (current, new) = (normalise(change.current), normalise(change.new));
        let account = self.accounts.tables().account(&session.account).cloned();
        let account = account.ok_or_else(|| refused(Refusal::NoAccount))?;
        password::check(&new, &account.name)?;
        let source = peer.source();
        let turn = self.counted_turn(&account.name, &source).await?;
        if !turn.verify(current, Some(account.hash)).await? {
            let error = self.failed(&account.name, &source).await;
            return Err(match error.code {
                ErrorCode::WrongCredentials => {
                    ApiError::new(ErrorCode::WrongCredentials, "the current password is wrong")
                }
                _ => error,
            });
        }
        let hash = turn.hash(new).await?;
        let (id, session_after) = new_session()?;
        let change = ConsolePassword {
            session: session.digest.clone(),
            session_after,
            hash,
            password_number: account.password_number,
            source,
        };
        self.change(Op::Password(change)).await?;
        Ok(Opened { id })
    }

    /// Ends the session that a request carries, whether it still lives or not.
    pub(super) async fn sign_out(&self, headers: &HeaderMap, peer: &Peer) -> Result<(), ApiError> {
        let session = self.before(headers);
        if session.is_empty() {
            return Ok(());
        }
        let source = peer.source();
        self.change(Op::Close(ConsoleClose { session, source }))
            .await
    }

    /// Ends another session.
    pub(super) async fn end(
        &self,
        by: &ConsoleSession,
        handle: Bytes,
        peer: &Peer,
    ) -> Result<(), ApiError> {
        let end = ConsoleEnd {
            by: by.digest.clone(),
            handle,
            source: peer.source(),
        };
        self.change(Op::End(end)).await
    }
}
