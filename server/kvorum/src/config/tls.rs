//! Certificate and key files, checked at the start rather than at the first connection.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use kvorum_member::peer::{PeerTls, PeerTlsError, PeerTlsOptions};
use kvorum_v3rpc::{TlsError, server_config};
use rustls::ServerConfig;
use x509_parser::pem::Pem;
use x509_parser::prelude::{GeneralName, X509Certificate};

use super::{keys, private};

/// A file that cannot serve, by the key that names it.
#[derive(Debug)]
pub(crate) struct Refused {
    /// The key.
    pub(crate) key: &'static str,
    /// Why, and what to do.
    pub(crate) reason: String,
}

/// Files that were named, for those who look at them once more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    /// The chain, leaf first.
    pub(crate) cert: PathBuf,
    /// The key of the leaf.
    pub(crate) key: PathBuf,
    /// Who signs the other side.
    pub(crate) trusted_ca: Option<PathBuf>,
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
    let cert = read(keys::CERT_FILE, files.cert)?;
    private::check(files.key).map_err(|reason| refused(keys::KEY_FILE, reason))?;
    let key = read(keys::KEY_FILE, files.key)?;
    let trusted_ca = files
        .trusted_ca
        .map(|path| read(keys::TRUSTED_CA_FILE, path))
        .transpose()?;
    check_key(keys::KEY_FILE, &key)?;
    let config =
        server_config(&cert, &key, trusted_ca.as_deref()).map_err(|error| match error {
            TlsError::Certificate(reason) => refused(keys::CERT_FILE, reason),
            TlsError::Key(reason) => {
                refused(keys::KEY_FILE, format!("holds no private key: {reason}"))
            }
            TlsError::ClientCa(reason) => refused(keys::TRUSTED_CA_FILE, reason),
            TlsError::Pair(rustls::Error::InconsistentKeys(_)) => {
                refused(keys::KEY_FILE, unrelated(files.cert))
            }
            TlsError::Pair(other) => refused(keys::CERT_FILE, other),
        })?;
    check_leaf(&cert, false).map_err(|reason| refused(keys::CERT_FILE, reason))?;
    Ok(Arc::new(config))
}

/// Reads and checks the files of the transport between members.
pub(crate) fn load_peers(
    cert: &Path,
    key: &Path,
    trusted_ca: &Path,
    complete: impl FnOnce(PeerTlsOptions) -> PeerTlsOptions,
) -> Result<PeerTls, Refused> {
    let cert_path = cert;
    private::check(key).map_err(|reason| refused(keys::PEER_KEY_FILE, reason))?;
    let options = complete(PeerTlsOptions {
        certificate_pem: read(keys::PEER_CERT_FILE, cert)?,
        key_pem: read(keys::PEER_KEY_FILE, key)?,
        trusted_ca_pem: read(keys::PEER_TRUSTED_CA_FILE, trusted_ca)?,
        ..PeerTlsOptions::default()
    });
    check_key(keys::PEER_KEY_FILE, &options.key_pem)?;
    let tls = PeerTls::new(&options).map_err(|error| match error {
        PeerTlsError::Certificate(reason) => refused(keys::PEER_CERT_FILE, reason),
        PeerTlsError::Key(reason) => refused(
            keys::PEER_KEY_FILE,
            format!("holds no private key: {reason}"),
        ),
        PeerTlsError::TrustedCa(reason) => refused(keys::PEER_TRUSTED_CA_FILE, reason),
        PeerTlsError::Pair(rustls::Error::InconsistentKeys(_)) => {
            refused(keys::PEER_KEY_FILE, unrelated(cert_path))
        }
        PeerTlsError::Pair(other) => refused(keys::PEER_CERT_FILE, other),
    })?;
    check_leaf(&options.certificate_pem, true)
        .map_err(|reason| refused(keys::PEER_CERT_FILE, reason))?;
    Ok(tls)
}

fn check_key(key: &'static str, pem: &[u8]) -> Result<(), Refused> {
    if contains(pem, b"BEGIN ENCRYPTED PRIVATE KEY") || contains(pem, b"Proc-Type: 4,ENCRYPTED") {
        let reason = "is encrypted, and nobody is there to type a password: give a plain key in a \
                      file of mode 0600";
        return Err(refused(key, reason));
    }
    Ok(())
}

fn unrelated(cert: &Path) -> String {
    format!(
        "this key does not belong to the certificate in {}: give the pair that was made together",
        cert.display()
    )
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

/// What the other side would refuse anyway, told to the operator first. Members dial as well as being dialled.
pub(crate) fn check_leaf(pem: &[u8], dials: bool) -> Result<(), String> {
    let unreadable = |reason: String| format!("is not a certificate that can be read: {reason}");
    let leaf = Pem::iter_from_buffer(pem)
        .find(|block| {
            block
                .as_ref()
                .is_ok_and(|block| block.label == "CERTIFICATE")
        })
        .ok_or_else(|| unreadable("no certificate".to_owned()))?
        .map_err(|error| unreadable(error.to_string()))?;
    let leaf = leaf
        .parse_x509()
        .map_err(|error| unreadable(error.to_string()))?;
    check_validity(&leaf)?;
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
        Ok(Some(usage)) if dials && !usage.value.client_auth && !usage.value.any => Err(
            "is not meant for members, which dial each other: its extended key usage lacks \
             clientAuth"
                .to_owned(),
        ),
        _ => Ok(()),
    }
}

/// The names and addresses that the first certificate is for.
pub(crate) fn names_in(pem: &[u8]) -> Result<Vec<String>, String> {
    let mut blocks = Pem::iter_from_buffer(pem).filter_map(Result::ok);
    let leaf = blocks.find(|block| block.label == "CERTIFICATE");
    let leaf = leaf.ok_or_else(|| "no certificate".to_owned())?;
    let leaf = leaf.parse_x509().map_err(|error| error.to_string())?;
    let names = leaf.subject_alternative_name();
    let names = names.map_err(|error| error.to_string())?;
    let names = names.iter().flat_map(|names| &names.value.general_names);
    let names = names.filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
        _ => None,
    });
    Ok(names.collect())
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let sixteen = <[u8; 16]>::try_from(bytes).map(IpAddr::from);
    four.or(sixteen).ok()
}

fn check_validity(leaf: &X509Certificate<'_>) -> Result<(), String> {
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
    Ok(())
}
