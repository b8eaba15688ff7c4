//! Signing in and out, and what happened.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A text that is never shown: a password, or the code of a link.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Whether the caller is signed in, as `/admin/v1/session` tells it to anybody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum SessionState {
    /// This console has no login: whoever reaches it may use it.
    Open,
    /// Nobody is signed in.
    SignedOut {
        /// True while there is no account: the first is made by the link in the member's log.
        first_run: bool,
        /// Whom the certificate of this connection stands for, if there is one that may sign in.
        certificate: Option<String>,
    },
    /// Somebody is.
    SignedIn {
        /// Who.
        account: String,
        /// False if the account exists only in a certificate.
        has_password: bool,
        /// When the session ends at the latest, milliseconds since 1970.
        ends_unix_ms: i64,
    },
}

/// The body of `POST /admin/v1/login`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// Name of the account.
    pub account: String,
    /// Its password.
    pub password: Secret,
}

/// The body of `POST /admin/v1/setup/check`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetupCheck {
    /// What stands behind `#` in the link.
    pub code: Secret,
}

/// What a usable link is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetupLink {
    /// True if it makes the first account.
    pub first_run: bool,
    /// The only account that it is for; any, if `None`.
    pub account: Option<String>,
    /// Until when, milliseconds since 1970.
    pub expires_unix_ms: i64,
}

/// The body of `POST /admin/v1/setup`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setup {
    /// What stands behind `#` in the link.
    pub code: Secret,
    /// Name of the account; one that exists gets the new password.
    pub account: String,
    /// The password from now on.
    pub password: Secret,
}

/// The body of `POST /admin/v1/password`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PasswordChange {
    /// The password until now.
    pub current: Secret,
    /// The password from now on.
    pub new: Secret,
}

/// The body of requests that say nothing but their address: `{}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// The body of `POST /admin/v1/sessions/end`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionEnd {
    /// The handle of the session, as listed.
    pub handle: String,
}

/// Who may sign in and who is, as `/admin/v1/security` tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Security {
    /// By name.
    pub accounts: Vec<AccountRow>,
    /// Newest use first.
    pub sessions: Vec<SessionRow>,
}

/// An account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountRow {
    /// Its name.
    pub name: String,
    /// When it was made, milliseconds since 1970.
    pub created_unix_ms: i64,
    /// When its password was set, milliseconds since 1970.
    pub password_unix_ms: i64,
}

/// A session that is open.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRow {
    /// Names it, and opens nothing: 16 hexadecimal digits.
    pub handle: String,
    /// Whose it is.
    pub account: String,
    /// `password`, `link` or `certificate`.
    pub via: String,
    /// An IPv4 address or the /64 of an IPv6 address.
    pub source: String,
    /// When it was opened, milliseconds since 1970.
    pub created_unix_ms: i64,
    /// When it was used last, as far as it is written down, milliseconds since 1970.
    pub seen_unix_ms: i64,
    /// True if it is the one that asks.
    pub own: bool,
}

/// A page of events, newest first, as `/admin/v1/audit` tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// The events.
    pub events: Vec<AuditEvent>,
    /// `before` of the next page; `None` if this is the last.
    pub next: Option<u64>,
}

/// Something that happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEvent {
    /// Counts up.
    pub number: u64,
    /// When, milliseconds since 1970.
    pub unix_ms: i64,
    /// Who; empty if nobody knows.
    pub who: String,
    /// From where; empty if it came through the machine itself.
    pub from: String,
    /// What was done or tried.
    pub what: String,
    /// `ok`, or why not.
    pub result: String,
    /// More of it.
    pub detail: String,
}
