//! The cluster's own certificate authority, as far as the console shows and moves it.

mod handlers;
mod member;
mod report;

use futures_util::future::BoxFuture;
use kvorum_api::{Denied, OwnAuthority, TokenMade, TokenWish};

use crate::source::Refusal;

pub(crate) use handlers::{allow, authority, create_token, revoke, revoke_token, rotate};
pub(crate) use member::MemberAuthority;

/// What an administrator asks of the authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A token to join with.
    CreateToken(TokenWish),
    /// A token is not to be used.
    RevokeToken(String),
    /// A certificate, or all of a user, are not accepted any more.
    Revoke(Denied),
    /// They are again.
    Allow(Denied),
    /// Another root.
    Rotate,
    /// The change of the root goes on without those who are away.
    ForceRotation,
}

/// Answers for the authority of a cluster.
pub(crate) trait Authority: Send + Sync + 'static {
    /// How it stands; none if this cluster has none.
    fn report(&self) -> Option<OwnAuthority>;

    /// Moves it; the token, if one was made. `by` is kept with it.
    fn change(
        &self,
        by: String,
        change: Change,
    ) -> BoxFuture<'_, Result<Option<TokenMade>, Refusal>>;
}

impl Change {
    /// What the events say of it, without secrets.
    fn told(&self) -> (&'static str, String) {
        let whom = |denied: &Denied| match denied {
            Denied::Serial(serial) => format!("certificate {serial}"),
            Denied::User(user) => format!("user {user}"),
        };
        match self {
            Self::CreateToken(wish) => (
                "join token made",
                match wish.name.as_str() {
                    "" => format!("for any {}", handlers::role_word(wish.role)),
                    name => format!("for {} {name}", handlers::role_word(wish.role)),
                },
            ),
            Self::RevokeToken(id) => ("join token revoked", id.clone()),
            Self::Revoke(denied) => ("certificate revoked", whom(denied)),
            Self::Allow(denied) => ("revocation taken back", whom(denied)),
            Self::Rotate => ("change of the root begun", String::new()),
            Self::ForceRotation => ("change of the root forced on", String::new()),
        }
    }
}
