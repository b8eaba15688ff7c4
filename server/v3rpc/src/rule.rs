//! Who may call what: the rule that each RPC and each HTTP endpoint has.
//!
//! There is no default. A row without a rule does not compile, and a path without a row is answered by nobody.

use bytes::Bytes;
use kvorum_core::{Error, auth::needs};
use kvorum_member::{Caller, Handle, Need};

use crate::{error::Status, frame::decode};

/// Who may make a call while authentication is on. While it is off everybody may, except for [`Rule::Administrator`]
/// and [`Rule::RootMaker`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Anybody: probes, scrapers, and whoever is about to say a password.
    Open,
    /// Whoever says who he is.
    Authenticated,
    /// Whoever says who he is; what of it the keys behind a lease allow is decided where they are.
    AuthenticatedByNeeds,
    /// Whoever has the role root.
    Root,
    /// Whoever has the role root. That role comes with the trust in this cluster: while authentication is off, only an
    /// administrator of that trust hands it out, where the listener knows administrators.
    RootMaker,
    /// Whoever has the role root; to look is open to whoever says who he is.
    RootUnlessLooking,
    /// Whoever has permission for the keys that the request names. Decided where the request is understood, behind the
    /// member's door, and again when it is applied.
    ByNeeds,
    /// The user that the request names, or root; decided where users are.
    OwnUser,
    /// Whoever has the role that the request names, or root; decided where users are.
    OwnRole,
    /// An administrator of the trust in this cluster, also while authentication is off: never somebody unknown. Decided
    /// by what the connection shows, see `administrator`.
    Administrator,
}

impl Rule {
    /// Whether a caller may come this far with a request. What is decided where the request is understood is decided
    /// there.
    pub(crate) fn check(
        self,
        handle: &Handle,
        caller: &Caller,
        message: &Bytes,
    ) -> Result<(), Status> {
        let need = match self {
            Self::Open | Self::ByNeeds | Self::OwnUser | Self::OwnRole => return Ok(()),
            // Whoever asks here shows nothing that could make him one.
            Self::Administrator => return Err(Error::PermissionDenied.into()),
            _ if !handle.is_auth_enabled() => return Ok(()),
            Self::Authenticated | Self::AuthenticatedByNeeds => Need::Authenticated,
            Self::Root | Self::RootMaker => Need::Admin,
            Self::RootUnlessLooking => needs::alarm(&decode(message.clone())?),
        };
        Ok(handle.permit(caller, &[need])?)
    }
}
