//! Certificate and key files, checked at the start rather than at the first connection.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::crypto::{CryptoProvider, ring};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::keys;

/// A file that cannot serve, by the key that names it.
#[derive(Debug)]
pub(crate) struct Refused {
    /// The key.
    pub(crate) key: &'static str,
    /// Why, and what to do.
    pub(crate) reason: String,
}

/// The files of one TLS listener.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Files<'a> {
    /// The chain, leaf first.
    pub(crate) cert: &'a Path,
    /// The key of the leaf.
    pub(crate) key: &'a Path,
    /// Who signs clients; without it clients show no certificate.
    pub(crate) trusted_ca: Option<&'a Path>,
}

/// Reads and checks the files.
pub(crate) fn load(files: Files<'_>) -> Result<Arc<ServerConfig>, Refused> {
    let provider = Arc::new(ring::default_provider());
    let chain = certificates(keys::CERT_FILE, files.cert)?;
    if let Some(leaf) = chain.first() {
        check_leaf(leaf).map_err(|reason| Refused {
            key: keys::CERT_FILE,
            reason,
        })?;
    }
    let key = private_key(files.key)?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| refused(keys::CERT_FILE, error))?;
    let builder = match files.trusted_ca {
        Some(path) => builder.with_client_cert_verifier(client_verifier(path, provider)?),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => refused(
            keys::KEY_FILE,
            format!(
                "this key does not belong to the certificate in {}: give the pair that was made \
                 together",
                files.cert.display()
            ),
        ),
        other => refused(keys::CERT_FILE, other),
    })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn client_verifier(
    path: &Path,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, Refused> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(keys::TRUSTED_CA_FILE, path)? {
        roots
            .add(certificate)
            .map_err(|error| refused(keys::TRUSTED_CA_FILE, error))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| refused(keys::TRUSTED_CA_FILE, error))
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Refused> {
    let pem = read(key, path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) => Err(refused(
            key,
            "holds no certificate: a PEM file has a line BEGIN CERTIFICATE",
        )),
        Err(error) => Err(refused(key, format!("is not valid PEM: {error}"))),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Refused> {
    let pem = read(keys::KEY_FILE, path)?;
    if contains(&pem, b"BEGIN ENCRYPTED PRIVATE KEY") || contains(&pem, b"Proc-Type: 4,ENCRYPTED") {
        let reason = "is encrypted, and nobody is there to type a password: give a plain key in a \
                      file of mode 0600";
        return Err(refused(keys::KEY_FILE, reason));
    }
    PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|error| refused(keys::KEY_FILE, format!("holds no private key: {error}")))
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window == word)
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, Refused> {
    std::fs::read(path).map_err(|error| refused(key, error))
}

fn refused(key: &'static str, reason: impl ToString) -> Refused {
    Refused {
        key,
        reason: reason.to_string(),
    }
}

/// What clients would refuse anyway, told to the operator first.
fn check_leaf(der: &CertificateDer<'_>) -> Result<(), String> {
    let (_, leaf) = X509Certificate::from_der(der)
        .map_err(|error| format!("is not a certificate that can be read: {error}"))?;
    let now_s = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
        });
    let validity = leaf.validity();
    if now_s > validity.not_after.timestamp() {
        return Err(format!("expired on {}: renew it", validity.not_after));
    }
    if now_s < validity.not_before.timestamp() {
        let from = validity.not_before;
        return Err(format!(
            "is valid only from {from}: check the clock of this machine"
        ));
    }
    match leaf.subject_alternative_name() {
        Ok(Some(names)) if !names.value.general_names.is_empty() => {}
        _ => {
            return Err(
                "has no subject alternative name, so no client accepts it: issue it with \
                        the DNS names and addresses that clients dial"
                    .to_owned(),
            );
        }
    }
    match leaf.extended_key_usage() {
        Ok(Some(usage)) if !usage.value.server_auth && !usage.value.any => {
            Err("is not meant for servers: its extended key usage lacks serverAuth".to_owned())
        }
        _ => Ok(()),
    }
}
