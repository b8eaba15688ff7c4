//! Who asks.

use std::sync::Arc;

use kvorum_proto::kvorumpb;

/// Who asks for something, as far as the member that took the request could tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Own,
    Nobody,
    User(Arc<str>, u64),
}

impl Caller {
    /// A client that did not say who it is. While authentication is on it may do nothing.
    #[must_use]
    pub const fn nobody() -> Self {
        Self(Kind::Nobody)
    }

    /// The member itself: what no client asked for.
    #[must_use]
    pub const fn own() -> Self {
        Self(Kind::Own)
    }

    /// A user whose proof is good for this revision of users and roles. An empty name is nobody.
    #[must_use]
    pub fn user(name: impl Into<Arc<str>>, auth_revision: u64) -> Self {
        let name = name.into();
        match name.is_empty() {
            true => Self::nobody(),
            false => Self(Kind::User(name, auth_revision)),
        }
    }

    /// The user's name, if it is one.
    #[must_use]
    pub fn user_name(&self) -> Option<&str> {
        match &self.0 {
            Kind::User(name, _) => Some(name),
            Kind::Own | Kind::Nobody => None,
        }
    }

    /// The revision that the user's proof is good for, 0 for whoever is no user.
    #[must_use]
    pub const fn auth_revision(&self) -> u64 {
        match &self.0 {
            Kind::User(_, revision) => *revision,
            Kind::Own | Kind::Nobody => 0,
        }
    }

    /// True for the member itself.
    #[must_use]
    pub const fn is_own(&self) -> bool {
        matches!(self.0, Kind::Own)
    }

    /// True for a client that did not say who it is.
    #[must_use]
    pub const fn is_nobody(&self) -> bool {
        matches!(self.0, Kind::Nobody)
    }

    /// As it travels in the log and between members; none for the cluster's own doing.
    #[must_use]
    pub fn to_wire(&self) -> Option<kvorumpb::Caller> {
        match &self.0 {
            Kind::Own => None,
            Kind::Nobody => Some(kvorumpb::Caller::default()),
            Kind::User(name, auth_revision) => Some(kvorumpb::Caller {
                user: name.to_string(),
                auth_revision: *auth_revision,
            }),
        }
    }

    /// Back from the log or from another member.
    #[must_use]
    pub fn from_wire(wire: Option<&kvorumpb::Caller>) -> Self {
        wire.map_or_else(Self::own, |c| Self::user(c.user.as_str(), c.auth_revision))
    }
}
