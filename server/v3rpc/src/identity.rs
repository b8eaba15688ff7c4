//! Whose call it is: by its token, else by its connection's certificate.

use std::{future::pending, net::IpAddr, sync::Arc};

use http::{HeaderMap, HeaderValue};
use kvorum_core::Error;
use kvorum_member::{Caller, Handle};

use crate::{connection::Entry, context::IoContext, peer::Peer};

/// Where a token may stand, in etcd's order.
const TOKEN_KEYS: [&str; 2] = ["token", "authorization"];
/// What may stand before a token.
const BEARER: &str = "Bearer ";
/// What a call carries that came through a gateway.
const GATEWAY_MARK: &str = "grpcgateway-accept";

/// Where a call came from that this member's own gateway passes on. From anybody else it says nothing.
pub(crate) const SOURCE: &str = "kvorum-source";

/// Where a call comes from; none if that is within this process.
pub(crate) fn source(entry: &Entry, headers: &HeaderMap) -> Option<IpAddr> {
    match entry.peer {
        Peer::Gateway => headers.get(SOURCE)?.to_str().ok()?.parse().ok(),
        _ => entry.from,
    }
}

/// True if a call shows a token.
pub(crate) fn has_token(headers: &HeaderMap) -> bool {
    TOKEN_KEYS.iter().any(|key| headers.contains_key(*key))
}

/// True if a call came through a gateway, ours or another's: the certificate would be the gateway's.
pub(crate) fn came_through_gateway(headers: &HeaderMap) -> bool {
    headers.contains_key(GATEWAY_MARK)
}

/// What a call shows of its caller. Kept by calls that live long, whose caller is looked at again with all they do.
#[derive(Clone, Default)]
pub(crate) struct Credentials {
    token: Option<HeaderValue>,
    /// The user whom the connection's certificate names.
    certified: Option<Arc<str>>,
}

impl Credentials {
    /// Reads the head of a call.
    pub(crate) fn read(cx: &IoContext, peer: &Peer, headers: &HeaderMap) -> Self {
        let token = TOKEN_KEYS.iter().find_map(|key| headers.get(*key)).cloned();
        let counts = cx.options.certificate_users && !came_through_gateway(headers);
        let certified = peer.user().filter(|_| counts).cloned();
        Self { token, certified }
    }

    /// Who calls. A token decides, also a bad one; who has none may be known by a certificate.
    pub(crate) async fn caller(&self, handle: &Handle) -> Result<Caller, Error> {
        if !handle.is_auth_enabled() {
            return Ok(Caller::nobody());
        }
        if let Some(token) = &self.token {
            let text = token.to_str().map_err(|_| Error::InvalidAuthToken)?;
            let text = text.strip_prefix(BEARER).unwrap_or(text);
            // Boxed: without authentication no call needs room for it.
            let caller = Box::pin(handle.caller_of_token(text)).await?;
            handle.trust_accepts(&caller)?;
            return Ok(caller);
        }
        let Some(name) = &self.certified else {
            return Ok(Caller::nobody());
        };
        let caller = Caller::user(name.clone(), handle.auth().revision());
        handle.trust_accepts(&caller)?;
        Ok(caller)
    }

    /// Returns once the user is not accepted any more.
    pub(crate) async fn denied(&self, handle: &Handle) -> Error {
        if self.token.is_none() && self.certified.is_none() {
            return pending().await;
        }
        let mut changes = handle.trust_changes();
        // An error means that the member is gone.
        while changes.changed().await.is_ok() {
            // A token that is too old by now is another matter, and not for whoever waits here.
            if let Err(refused @ Error::Trust(_)) = self.caller(handle).await {
                return refused;
            }
        }
        pending().await
    }
}
