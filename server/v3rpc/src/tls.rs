//! TLS of the client listener: what a server needs from its PEM files, and the protocols it offers.

use std::sync::Arc;

use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::{net::TcpStream, sync::watch};
use tokio_rustls::{Accept, TlsAcceptor};

/// What is wrong with a certificate, key or CA file.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate file cannot be read as PEM, or holds no certificate.
    #[error("certificate: {0}")]
    Certificate(String),
    /// The key file cannot be read as PEM, or holds no key.
    #[error("private key: {0}")]
    Key(String),
    /// The CA file for clients cannot be read as PEM, or holds no certificate.
    #[error("client CA: {0}")]
    ClientCa(String),
    /// Certificate and key do not belong together, or rustls cannot use them.
    #[error("certificate and key: {0}")]
    Pair(#[from] rustls::Error),
}

/// Builds the TLS configuration of a listener from PEM text. With `client_ca_pem`, clients must present a certificate
/// of that authority.
///
/// # Errors
///
/// Names the part that cannot be used.
pub fn server_config(
    certificate_pem: &[u8],
    key_pem: &[u8],
    client_ca_pem: Option<&[u8]>,
) -> Result<ServerConfig, TlsError> {
    let chain = certificates(certificate_pem).map_err(TlsError::Certificate)?;
    let key =
        PrivateKeyDer::from_pem_slice(key_pem).map_err(|error| TlsError::Key(error.to_string()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let builder = match client_ca_pem {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots(pem)?), provider)
                    .build()
                    .map_err(|error| TlsError::ClientCa(error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    Ok(builder.with_single_cert(chain, key)?)
}

fn roots(pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem).map_err(TlsError::ClientCa)? {
        roots
            .add(certificate)
            .map_err(|error| TlsError::ClientCa(error.to_string()))?;
    }
    Ok(roots)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| error.to_string())?;
    if chain.is_empty() {
        return Err("the file holds no certificate in PEM form".to_owned());
    }
    Ok(chain)
}

/// What a listener shows and whom it believes: as it is when a connection comes, so that certificates change while the
/// listener stays.
#[derive(Clone, Debug)]
pub struct ListenerTls(watch::Receiver<Arc<ServerConfig>>);

impl ListenerTls {
    /// One that stays; HTTP/2 and HTTP/1.1 are added to what it offers.
    #[must_use]
    pub fn fixed(config: &ServerConfig) -> Self {
        let mut config = config.clone();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self(watch::channel(Arc::new(config)).1)
    }

    /// One that somebody else replaces; each offers the protocols itself.
    #[must_use]
    pub fn live(configs: watch::Receiver<Arc<ServerConfig>>) -> Self {
        Self(configs)
    }

    pub(crate) fn accept(&self, socket: TcpStream) -> Accept<TcpStream> {
        let config = Arc::clone(&self.0.borrow());
        TlsAcceptor::from(config).accept(socket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_without_pem_are_named() {
        let refused = server_config(b"", b"", None).expect_err("no certificate");
        assert!(matches!(refused, TlsError::Certificate(_)), "{refused}");
        let refused =
            server_config(b"-----BEGIN CERTIFICATE-----\n!!\n", b"", None).expect_err("cut off");
        assert!(matches!(refused, TlsError::Certificate(_)), "{refused}");
    }
}
