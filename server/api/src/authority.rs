//! The cluster's own certificate authority: what it has signed, whom it refuses, and how machines join.
//!
//! Times are seconds since 1970. Nothing in here is a secret, but for the token that was just made.

use serde::{Deserialize, Serialize};

use crate::Secret;

/// How it stands, as `/admin/v1/authority` tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authority {
    /// The authority; none if this cluster's certificates come from files.
    pub own: Option<OwnAuthority>,
    /// The console's public certificate; none if none is wanted.
    pub public: Option<PublicCertificate>,
}

/// An authority that the cluster keeps itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnAuthority {
    /// The trust domain, in the URI of every certificate: 32 hexadecimal digits.
    pub domain: String,
    /// What members accept, oldest first: more than one while the root changes.
    pub roots: Vec<RootRow>,
    /// When the certificate ends that others are signed with.
    pub issuer_not_after_unix_s: i64,
    /// Of members first, then of users by name.
    pub certificates: Vec<CertificateRow>,
    /// Tokens that machines can join with, newest first; used and expired ones among them for a while.
    pub tokens: Vec<TokenRow>,
    /// Who is not accepted any more, newest first.
    pub denied: Vec<DenialRow>,
    /// The change of the root that is under way.
    pub rotation: Option<Rotation>,
}

/// A root certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootRow {
    /// SHA-256, hexadecimal.
    pub fingerprint: String,
    /// When it was added.
    pub added_unix_s: i64,
    /// When it ends.
    pub not_after_unix_s: i64,
    /// True if new certificates end in it.
    pub signs: bool,
}

/// What a certificate is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateFor {
    /// A member: for others, for clients and for browsers.
    #[default]
    Member,
    /// A user.
    Client,
    /// An administrator.
    Admin,
}

/// A certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateRow {
    /// Hexadecimal.
    pub serial: String,
    /// What it is for.
    pub kind: CertificateFor,
    /// The user or the member's name.
    pub subject: String,
    /// The member's id, for one.
    pub member_id: Option<String>,
    /// When it ends.
    pub not_after_unix_s: i64,
    /// Who had it signed; empty for a member, which signs its own.
    pub issued_by: String,
    /// False if it ends in a root that is on its way out.
    pub of_newest_root: bool,
    /// True if it, or its user, is not accepted any more.
    pub denied: bool,
}

/// What a token is good for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenFor {
    /// A member that votes as soon as it has caught up.
    #[default]
    Voter,
    /// A member that does not vote.
    Learner,
    /// A client certificate.
    Client,
    /// Another certificate for a member whose own has expired.
    Rejoin,
    /// A client certificate that may administer the authority.
    Admin,
}

impl TokenFor {
    /// What is typed before a token, on the machine that it is for. Files of a user come to lie where it is run.
    #[must_use]
    pub const fn command(self) -> &'static str {
        match self {
            Self::Voter | Self::Learner => "kvorum join",
            Self::Rejoin => "kvorum rejoin",
            Self::Client | Self::Admin => "kvorum join --out-dir .",
        }
    }

    /// True if it is for a user, whose name must be said, and not for a member.
    #[must_use]
    pub const fn is_for_a_user(self) -> bool {
        matches!(self, Self::Client | Self::Admin)
    }
}

/// How a token stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenState {
    /// It can be used.
    #[default]
    Open,
    /// It was.
    Used,
    /// Its time is up.
    Expired,
}

/// A token, without its secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRow {
    /// Its public part, as it stands in the token.
    pub id: String,
    /// What it is good for.
    pub role: TokenFor,
    /// The member's name or the user's; empty for any.
    pub name: String,
    /// Who made it.
    pub created_by: String,
    /// How it stands.
    pub state: TokenState,
    /// When its time is up.
    pub expires_unix_s: i64,
}

/// Who is not accepted any more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DenialRow {
    /// What.
    #[serde(flatten)]
    pub whom: Denied,
    /// Since when.
    pub since_unix_s: i64,
    /// By whose word.
    pub denied_by: String,
}

/// One certificate, or all of a user. The body of `POST /admin/v1/authority/revoke` and of its opposite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Denied {
    /// The number of a certificate, hexadecimal.
    Serial(String),
    /// A user.
    User(String),
}

impl Default for Denied {
    fn default() -> Self {
        Self::User(String::new())
    }
}

/// What the change of the root waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RotationStage {
    /// Members learn to trust the new root.
    #[default]
    Bundle,
    /// The next issuing certificate is of the new root.
    Issuer,
    /// Members get certificates of the new root.
    Reissue,
    /// Clients get theirs, or the grace period ends.
    Grace,
    /// The old root goes.
    Drop,
}

/// A change of the root.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    /// How far it is.
    pub stage: RotationStage,
    /// Who began it.
    pub begun_by: String,
    /// When.
    pub begun_unix_s: i64,
    /// Names of members that the stage waits for.
    pub waits_for: Vec<String>,
    /// Names of members that cannot be reached now: the old root stays as long as there is one.
    pub unreached: Vec<String>,
    /// Users whose certificates are of the old root only.
    pub old_users: Vec<String>,
    /// When the grace period ends; 0 before it begins.
    pub grace_until_unix_s: i64,
}

/// A certificate of an authority that browsers know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicCertificate {
    /// What it is for.
    pub names: Vec<String>,
    /// Where it comes from.
    pub directory_url: String,
    /// True while it is being asked for.
    pub ordering: bool,
    /// When the one that is shown ends; none before the first.
    pub not_after_unix_s: Option<i64>,
    /// When it is asked for next.
    pub next_attempt_unix_s: i64,
    /// Attempts that failed since one succeeded.
    pub failures: u32,
    /// Why the last one failed.
    pub last_error: Option<String>,
}

/// The body of `POST /admin/v1/authority/tokens`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenWish {
    /// What it is good for.
    pub role: TokenFor,
    /// The member's name or the user's; empty for any.
    #[serde(default)]
    pub name: String,
    /// How long it can be used, seconds; 0 for half an hour, and for ten minutes where it makes an administrator.
    #[serde(default)]
    pub life_s: i64,
}

/// A token that was just made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenMade {
    /// The whole of it, which is shown once.
    pub token: Secret,
    /// Its public part.
    pub id: String,
    /// When its time is up.
    pub expires_unix_s: i64,
}

/// The body of `POST /admin/v1/authority/tokens/revoke`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRevoke {
    /// The public part of the token.
    pub id: String,
}

/// The body of `POST /admin/v1/authority/rotate`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotate {
    /// True to go on without members that are away and without the rest of the grace period.
    #[serde(default)]
    pub force: bool,
    /// The trust domain, typed by whoever means it.
    pub confirm: String,
}
