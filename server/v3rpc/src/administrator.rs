//! Who may administer the trust in this cluster, and by which name that is written down: never somebody unknown, also
//! while authentication is off.

use http::HeaderMap;
use kvorum_member::{Caller, Handle, Need};

use crate::{
    error::{Code, Status},
    identity::{came_through_gateway, has_token},
    peer::Peer,
};

/// What helps.
const HELP: &str = "use --cert and --key with pki/admin.crt and pki/admin.key of a member, or with what \
                    `kvorum cert client NAME --admin` makes";

/// The name of the administrator who calls. As everywhere, a token decides while tokens count for something; who shows
/// none is known by the connection's certificate.
///
/// # Errors
/// It is none; the text says why not, and what to do.
pub(crate) fn name(
    handle: &Handle,
    caller: &Caller,
    peer: &Peer,
    headers: &HeaderMap,
) -> Result<String, Status> {
    let auth = handle.is_auth_enabled();
    let by_token = auth && has_token(headers);
    let relayed = came_through_gateway(headers);
    if !by_token
        && !relayed
        && let Peer::Certified(certificate) = peer
        && certificate.is_administrator()
    {
        return Ok(peer.user().map(ToString::to_string).unwrap_or_default());
    }
    if let Some(user) = caller.user_name()
        && auth
        && handle.permit(caller, &[Need::Admin]).is_ok()
    {
        return Ok(user.to_owned());
    }
    let why = match (caller.user_name(), peer) {
        (Some(user), _) => {
            format!("user {user:?} has not the role root, and shows no administrator's certificate")
        }
        (None, Peer::Certified(_) | Peer::Gateway) if relayed => {
            "through a gateway, a certificate counts for nothing".to_owned()
        }
        (None, Peer::Certified(_)) => match peer.user() {
            Some(user) => format!("the certificate of {user:?} is not an administrator's"),
            None => "the certificate of this connection names nobody".to_owned(),
        },
        (None, _) => "this connection shows no certificate".to_owned(),
    };
    let root = match auth {
        true => ", or log in as a user who has the role root",
        false => "",
    };
    Err(Status::new(
        Code::PermissionDenied,
        format!("kvorum: only administrators may do this, and {why}: {HELP}{root}"),
    ))
}
