//! Listeners for clients and browsers.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::ring::Ticketer;
use rustls::server::{ClientHello, ResolvesServerCert, WantsServerCert};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::provider;
use super::verifier::TrustVerifier;
use crate::{Bundle, PkiError, Purpose, Trust};

/// Whether clients show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCerts {
    /// They must.
    Required,
    /// They may; one that is shown must be good.
    Optional,
    /// They are not asked.
    Off,
}

/// The listener of etcd's clients. `protocols` are the ALPN names that it offers, the preferred one first.
///
/// # Errors
///
/// The certificate cannot be used, or certificates of clients are asked for and nobody is trusted to sign them.
pub fn client_listener(
    bundle: &Bundle,
    trust: Arc<Trust>,
    client_certs: ClientCerts,
    protocols: &[&[u8]],
) -> Result<ServerConfig, PkiError> {
    listener(fixed(bundle)?, trust, client_certs, protocols)
}

/// The same with an operator's own chain and key, of any kind that rustls takes.
///
/// # Errors
///
/// They cannot be used, or certificates of clients are asked for and nobody is trusted to sign them.
pub fn operator_listener(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    trust: Arc<Trust>,
    client_certs: ClientCerts,
    protocols: &[&[u8]],
) -> Result<ServerConfig, PkiError> {
    let certified = CertifiedKey::from_der(chain, key, &provider())?;
    listener(
        Arc::new(Fixed(Arc::new(certified))),
        trust,
        client_certs,
        protocols,
    )
}

/// The console's listener where nobody is known by a certificate: it does not ask for one.
///
/// # Errors
///
/// The system gives no random numbers.
pub fn console_listener(
    certificates: Arc<dyn ResolvesServerCert>,
    protocols: &[&[u8]],
) -> Result<ServerConfig, PkiError> {
    finish(versions()?.with_no_client_auth(), certificates, protocols)
}

/// The console's listener where administrators are known by their certificates; they may show them. Authorities of the
/// cluster are named to the browser, so that it asks its user only if that has a certificate of one of them.
///
/// # Errors
///
/// The system gives no random numbers, or there is nobody to trust.
pub fn console_listener_for_admins(
    certificates: Arc<dyn ResolvesServerCert>,
    trust: Arc<Trust>,
    protocols: &[&[u8]],
) -> Result<ServerConfig, PkiError> {
    let mut named = RootCertStore::empty();
    // One that cannot be read cannot be named; it is found out elsewhere.
    named.add_parsable_certificates(trust.roots.iter().chain(&trust.intermediates).cloned());
    let verifier = TrustVerifier {
        trust,
        purpose: Purpose::Client,
        mandatory: false,
        hints: named.subjects(),
    };
    let builder = versions()?.with_client_cert_verifier(Arc::new(verifier));
    finish(builder, certificates, protocols)
}

/// Always this certificate.
///
/// # Errors
///
/// It cannot be used.
pub fn fixed(bundle: &Bundle) -> Result<Arc<dyn ResolvesServerCert>, PkiError> {
    Ok(Arc::new(Fixed(Arc::new(bundle.certified()?))))
}

pub(super) struct Fixed(pub(super) Arc<CertifiedKey>);

impl ResolvesServerCert for Fixed {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

impl fmt::Debug for Fixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fixed")
    }
}

fn versions() -> Result<rustls::ConfigBuilder<ServerConfig, rustls::WantsVerifier>, PkiError> {
    let builder = ServerConfig::builder_with_provider(provider());
    Ok(builder.with_safe_default_protocol_versions()?)
}

fn listener(
    certificates: Arc<dyn ResolvesServerCert>,
    trust: Arc<Trust>,
    client_certs: ClientCerts,
    protocols: &[&[u8]],
) -> Result<ServerConfig, PkiError> {
    let builder = match client_certs {
        ClientCerts::Off => versions()?.with_no_client_auth(),
        ClientCerts::Required | ClientCerts::Optional => {
            if trust.is_empty() {
                return Err(PkiError::Certificate(
                    "clients are to show certificates, and there is no authority to verify them by"
                        .to_owned(),
                ));
            }
            let mandatory = client_certs == ClientCerts::Required;
            let verifier = TrustVerifier {
                trust,
                purpose: Purpose::Client,
                mandatory,
                hints: Vec::new(),
            };
            versions()?.with_client_cert_verifier(Arc::new(verifier))
        }
    };
    finish(builder, certificates, protocols)
}

fn finish(
    builder: rustls::ConfigBuilder<ServerConfig, WantsServerCert>,
    certificates: Arc<dyn ResolvesServerCert>,
    protocols: &[&[u8]],
) -> Result<ServerConfig, PkiError> {
    let mut config = builder.with_cert_resolver(certificates);
    // Sessions live in the clients, sealed with keys that live as long as this configuration. A swapped one cannot
    // open them, and has a session store of its own.
    config.ticketer = Ticketer::new()?;
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Ok(config)
}
