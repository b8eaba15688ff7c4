//! Who is at the other end of a client's connection, by its certificate, and for how long.

use std::sync::Arc;

use kvorum_core::Error;
use kvorum_core::auth::Caller;
use kvorum_core::trust::{Trust as Replicated, TrustRefused};
use kvorum_pki::{IdentityKind, Purpose, Trust};
use rustls_pki_types::CertificateDer;
use tokio::sync::watch;

use super::seen::Seen;
use crate::clock::unix_s;
use crate::handle::Handle;

/// Who is at the other end of a client's connection, by its certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdentity {
    /// The user it acts as; none for a certificate that names nobody.
    pub user: Option<String>,
    /// It may administer the cluster.
    pub is_admin: bool,
    /// What a revocation names.
    pub serial: Vec<u8>,
    /// When the first certificate on the way to the root ends.
    pub not_after_unix_s: i64,
}

impl ClientIdentity {
    /// Why it is not accepted any more by what is replicated, if so. This is known before [`ClientTrust`] follows.
    #[must_use]
    pub fn denied(&self, replicated: &Replicated) -> Option<&'static str> {
        let user = self.user.as_deref();
        if replicated.is_evicted(&self.serial) {
            return Some(
                "the certificate of this connection was made by a member for itself, and that member was removed from \
                 the cluster: show pki/admin.* of one that is left, or a certificate made by `kvorum cert client`",
            );
        }
        if replicated.denies_serial(&self.serial) {
            return Some("the certificate of this connection was revoked");
        }
        user.is_some_and(|user| replicated.denies_user(user))
            .then_some("the user of this connection was revoked")
    }

    /// Why it is not accepted any more by the clock, if so.
    #[must_use]
    pub fn expired(&self) -> Option<&'static str> {
        (self.not_after_unix_s < unix_s()).then_some("the certificate of this connection expired")
    }
}

/// Judges the certificates of clients, at the handshake and for as long as a connection is open.
#[derive(Clone, Debug)]
pub struct ClientTrust {
    trust: watch::Receiver<Arc<Trust>>,
    seen: Seen,
}

impl ClientTrust {
    pub(crate) const fn new(trust: watch::Receiver<Arc<Trust>>, seen: Seen) -> Self {
        Self { trust, seen }
    }

    /// Notes that a client is here still. While the root changes, it is waited for.
    pub fn note(&self, identity: &ClientIdentity) {
        self.seen.note(&identity.serial);
    }

    /// Who shows this chain now.
    ///
    /// # Errors
    /// It is not accepted, or not any more; in words for the log.
    pub fn identify(&self, chain: &[CertificateDer<'static>]) -> Result<ClientIdentity, String> {
        let trust = self.trust.borrow().clone();
        let identity = trust.check(chain, Purpose::Client, unix_s());
        let identity = identity.map_err(|refused| refused.to_string())?;
        if let IdentityKind::Node(_) = identity.kind {
            // A machine that was a member once has such a certificate long after it was removed.
            return Err(format!(
                "{} is for connections between members: show a client's, as `kvorum cert client NAME` makes it",
                identity.describe()
            ));
        }
        self.seen.note(identity.serial.as_bytes());
        Ok(ClientIdentity {
            user: identity.user().map(str::to_owned),
            is_admin: identity.is_admin(),
            serial: identity.serial.as_bytes().to_vec(),
            not_after_unix_s: identity.not_after_unix,
        })
    }

    /// Returns when something else is trusted than before. False if that happens no more.
    pub async fn changed(&mut self) -> bool {
        self.trust.changed().await.is_ok()
    }
}

impl Handle {
    /// Tells of every change of what is replicated about trust, as soon as it is applied here.
    #[must_use]
    pub fn trust_changes(&self) -> watch::Receiver<Arc<Replicated>> {
        self.shared.trust.subscribe()
    }

    /// Whether a caller's user is still accepted, whatever shows who it is.
    ///
    /// # Errors
    /// It was revoked.
    pub fn trust_accepts(&self, caller: &Caller) -> Result<(), Error> {
        let Some(user) = caller.user_name() else {
            return Ok(());
        };
        match self.shared.trust.borrow().denies_user(user) {
            true => Err(TrustRefused::UserDenied.into()),
            false => Ok(()),
        }
    }
}
