//! What is answered when a CA asks whether a name is ours.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use rcgen::{CertificateParams, CustomExtension, DistinguishedName, SanType};
use rustls::sign::CertifiedKey;

use crate::tls::provider;
use crate::validity::moment;
use crate::{KeyPair, PkiError};

/// More would be somebody else's.
const ANSWERS_MAX: usize = 256;

/// One answer, as it can be told to other members, which a CA may ask instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// In the handshake.
    TlsAlpn {
        /// For which name.
        name: String,
        /// The digest of the key authorization.
        digest: [u8; 32],
    },
    /// Over HTTP.
    Http {
        /// What the path ends with.
        token: String,
        /// What the body is.
        key_authorization: String,
    },
}

/// Tells other members.
pub trait Publish: Send + Sync {
    /// Returns when whoever the CA may ask knows the answer.
    fn publish(&self, answer: Answer) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

    /// It is no longer needed.
    fn withdraw(&self, answer: Answer) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// For names that lead to this machine alone.
#[derive(Clone, Copy, Debug)]
pub struct LocalOnly;

impl Publish for LocalOnly {
    fn publish(&self, _answer: Answer) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn withdraw(&self, _answer: Answer) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::ready(()))
    }
}

/// The answers that this process gives.
#[derive(Default)]
pub struct Answers {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    tls: BTreeMap<String, Arc<CertifiedKey>>,
    http: BTreeMap<String, String>,
}

impl Answers {
    /// Gives this one from now on.
    ///
    /// # Errors
    ///
    /// The name cannot be part of a certificate, or there are too many.
    pub fn insert(&self, answer: &Answer, now_unix: i64) -> Result<(), PkiError> {
        let certificate = match answer {
            Answer::TlsAlpn { name, digest } => Some(challenge(name, digest, now_unix)?),
            Answer::Http { .. } => None,
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.tls.len() + known.http.len() >= ANSWERS_MAX {
            return Err(PkiError::Name("too many answers".to_owned()));
        }
        match (answer, certificate) {
            (Answer::TlsAlpn { name, .. }, Some(certificate)) => {
                known
                    .tls
                    .insert(name.to_ascii_lowercase(), Arc::new(certificate));
            }
            (
                Answer::Http {
                    token,
                    key_authorization,
                },
                _,
            ) => {
                known.http.insert(token.clone(), key_authorization.clone());
            }
            (Answer::TlsAlpn { .. }, None) => {}
        }
        Ok(())
    }

    /// Gives it no longer.
    pub fn remove(&self, answer: &Answer) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match answer {
            Answer::TlsAlpn { name, .. } => drop(known.tls.remove(&name.to_ascii_lowercase())),
            Answer::Http { token, .. } => drop(known.http.remove(token)),
        }
    }

    /// The body for `/.well-known/acme-challenge/<token>`.
    #[must_use]
    pub fn http(&self, token: &str) -> Option<String> {
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .http
            .get(token)
            .cloned()
    }

    pub(super) fn tls(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.tls.get(&name.to_ascii_lowercase()).cloned()
    }
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = (known.tls.len(), known.http.len());
        f.debug_struct("Answers")
            .field("tls, http", &counts)
            .finish()
    }
}

/// The certificate of RFC 8737: of no worth but as an answer.
fn challenge(name: &str, digest: &[u8; 32], now_unix: i64) -> Result<CertifiedKey, PkiError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.not_before = moment(now_unix.saturating_sub(3600))?;
    params.not_after = moment(now_unix.saturating_add(24 * 3600))?;
    params.subject_alt_names = vec![SanType::DnsName(name.try_into()?)];
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let certificate = params.self_signed(key.signing())?.der().clone();
    // Not `from_der`: it does not know the extension, which must be critical.
    let signing = provider()
        .key_provider
        .load_private_key(key.private_der())?;
    Ok(CertifiedKey::new(vec![certificate], signing))
}
