//! TLS configurations: of the client listener, the console, the connections between members, and joining.
//!
//! Each is made whole and swapped whole (see [`crate::Live`]). After a handshake, [`crate::Trust::check`] on the
//! certificates of the other side says who it is, and the same call later decides whether the connection may stay: a
//! resumed session was verified when it began, not now.

mod listener;
mod peer;
mod pinned;
mod verifier;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

pub use listener::{
    ClientCerts, client_listener, console_listener, console_listener_for_admins, fixed,
    operator_listener,
};
pub use peer::{PeerTlsConfigs, Route, join_listener, peer};
pub use pinned::{PinnedCluster, PinnedRoot};

use crate::Refused;

/// What members speak to each other.
pub const PEER_PROTOCOL: &[u8] = b"kvorum-peer";
/// What a machine that joins speaks, on the same port.
pub const JOIN_PROTOCOL: &[u8] = b"kvorum-join";

pub(crate) fn provider() -> Arc<CryptoProvider> {
    // Made once: it is looked at for every chain.
    static PROVIDER: std::sync::LazyLock<Arc<CryptoProvider>> =
        std::sync::LazyLock::new(|| Arc::new(rustls::crypto::ring::default_provider()));
    Arc::clone(&PROVIDER)
}

/// Why a handshake failed, in words that say what to do.
#[must_use]
pub fn explain(error: &rustls::Error) -> String {
    use rustls::AlertDescription as Alert;
    if let Some(words) = Refused::words(error) {
        return words;
    }
    match error {
        rustls::Error::AlertReceived(Alert::CertificateRequired) => {
            "the other side demands a certificate and got none".to_owned()
        }
        rustls::Error::AlertReceived(Alert::UnknownCA) => {
            "the other side does not trust the authority of this certificate".to_owned()
        }
        rustls::Error::AlertReceived(Alert::CertificateExpired) => {
            "the other side says that this certificate is not valid now: it expired, or a clock is wrong".to_owned()
        }
        rustls::Error::AlertReceived(Alert::CertificateRevoked) => {
            "the other side says that this certificate was revoked".to_owned()
        }
        rustls::Error::AlertReceived(Alert::CertificateUnknown) => {
            "the other side does not accept this certificate; its log says why".to_owned()
        }
        rustls::Error::AlertReceived(Alert::NoApplicationProtocol)
        | rustls::Error::NoApplicationProtocol => {
            "the two sides have no protocol in common: is this the right port, and the right version?".to_owned()
        }
        rustls::Error::InvalidMessage(_) => {
            format!("it does not speak TLS ({error}): is one side http:// and the other https://?")
        }
        other => other.to_string(),
    }
}

/// The same for what an acceptor or connector gives.
#[must_use]
pub fn explain_io(error: &std::io::Error) -> String {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(inner) => explain(inner),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
