//! The TLS of every listener, replaced as a whole when a certificate or the trust changes.

use std::sync::Arc;

use kvorum_pki::{
    Bundle, ClientCerts, Issuer, KeyPair, LiveTls, Subject, Trust, TrustDomain, Validity, tls,
};
use tokio::sync::watch;

use super::TrustError;
use super::clients::ClientTrust;
use super::seen::Seen;
use crate::clock::unix_s;
use crate::peer::{OwnConfig, OwnTls};

/// What clients may speak.
const CLIENT_PROTOCOLS: &[&[u8]] = &[b"h2", b"http/1.1"];
/// What browsers may speak.
const CONSOLE_PROTOCOLS: &[&[u8]] = &[b"http/1.1"];

/// Everything that listens.
pub(crate) struct Listeners {
    pub(crate) client: LiveTls,
    pub(crate) console: LiveTls,
    pub(crate) peer: OwnTls,
    trust: watch::Sender<Arc<Trust>>,
    pub(crate) seen: Seen,
    client_certs: ClientCerts,
    number: u64,
}

/// What is shown.
pub(crate) struct Shows<'a> {
    pub(crate) node: &'a Bundle,
    /// What browsers see; the member's own if it has no other yet.
    pub(crate) console: Option<&'a Bundle>,
    /// For the listener of those who join; none as long as nothing can be signed here.
    pub(crate) join: Option<&'a Bundle>,
}

fn failed(error: kvorum_pki::PkiError) -> TrustError {
    TrustError::pki("TLS")(error)
}

impl Listeners {
    pub(crate) fn new(
        shows: &Shows<'_>,
        trust: Arc<Trust>,
        client_certs: ClientCerts,
    ) -> Result<Self, TrustError> {
        let client =
            tls::client_listener(shows.node, trust.clone(), client_certs, CLIENT_PROTOCOLS);
        let console = console_config(shows, &trust)?;
        let mut listeners = Self {
            client: LiveTls::new(client.map_err(failed)?),
            console: LiveTls::new(console),
            peer: OwnTls::default(),
            trust: watch::channel(trust.clone()).0,
            seen: Seen::default(),
            client_certs,
            number: 0,
        };
        listeners.replace_peer(shows, &trust)?;
        Ok(listeners)
    }

    pub(crate) fn client_trust(&self) -> ClientTrust {
        ClientTrust::new(self.trust.subscribe(), self.seen.clone())
    }

    pub(crate) fn trusted(&self) -> Arc<Trust> {
        self.trust.borrow().clone()
    }

    /// From now on this is shown and trusted; who is connected and not trusted any more is sent away.
    pub(crate) fn replace(
        &mut self,
        shows: &Shows<'_>,
        trust: &Arc<Trust>,
        has_new_certificate: bool,
    ) -> Result<(), TrustError> {
        let client = tls::client_listener(
            shows.node,
            trust.clone(),
            self.client_certs,
            CLIENT_PROTOCOLS,
        );
        self.client.swap(client.map_err(failed)?);
        self.console.swap(console_config(shows, trust)?);
        self.number += u64::from(has_new_certificate);
        self.replace_peer(shows, trust)?;
        // Last: who reads this may dial again at once.
        self.trust.send_replace(trust.clone());
        Ok(())
    }

    fn replace_peer(&mut self, shows: &Shows<'_>, trust: &Arc<Trust>) -> Result<(), TrustError> {
        let peer = tls::peer(shows.node, trust.clone()).map_err(failed)?;
        let join = shows
            .join
            .map(|bundle| tls::join_listener(bundle, &trust.roots));
        let join = join.transpose().map_err(failed)?;
        self.peer.set(OwnConfig {
            number: self.number,
            server: peer.server,
            join: join.map(Arc::new),
            client: peer.client,
            trust: trust.clone(),
        });
        Ok(())
    }
}

/// A member that has just joined has no certificate for browsers until it has the authority's key: the moment between is
/// short, and its own certificate carries the same names.
fn console_config(
    shows: &Shows<'_>,
    trust: &Arc<Trust>,
) -> Result<rustls::ServerConfig, TrustError> {
    let shown = tls::fixed(shows.console.unwrap_or(shows.node)).map_err(failed)?;
    tls::console_listener_for_admins(shown, trust.clone(), CONSOLE_PROTOCOLS).map_err(failed)
}

/// A certificate for the listener of those who join, in memory only.
pub(crate) fn join_bundle(
    issuer: &Issuer,
    domain: &TrustDomain,
    life_s: i64,
) -> Result<Bundle, TrustError> {
    let key = KeyPair::generate().map_err(failed)?;
    signed(issuer, key, &Subject::Join, domain, life_s)
}

/// A new certificate for a key.
pub(crate) fn signed(
    issuer: &Issuer,
    key: KeyPair,
    subject: &Subject,
    domain: &TrustDomain,
    life_s: i64,
) -> Result<Bundle, TrustError> {
    let sign = || {
        let validity = Validity::from_now(unix_s(), life_s);
        let chain = issuer.sign(&key.public()?, subject, domain, validity)?;
        Bundle::new(key, chain)
    };
    sign().map_err(TrustError::pki("a certificate cannot be signed"))
}

/// True if a handshake failed because of the certificate of the other side, and not because nobody was there.
pub(crate) fn is_refusal(error: &std::io::Error) -> bool {
    let inner = error.get_ref();
    let tls = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(tls, Some(rustls::Error::InvalidCertificate(_)))
}

/// True if it failed because the other side's certificate does not hold now: one of the clocks is wrong.
pub(crate) fn is_about_time(error: &std::io::Error) -> bool {
    use rustls::CertificateError::{ExpiredContext, NotValidYetContext};
    let inner = error.get_ref();
    let tls = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(
        tls,
        Some(rustls::Error::InvalidCertificate(
            ExpiredContext { .. } | NotValidYetContext { .. }
        ))
    )
}
