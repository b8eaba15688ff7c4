//! A certificate with what leads from it to a root, and bundles of roots.

use ring::digest::{SHA256, digest};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{PkiError, Serial, Validity, pem};

pub(crate) const PEM_LABEL: &str = "CERTIFICATE";

/// A leaf, then the certificates of the issuing CA, never the root.
///
/// While roots change, the issuing CA has a certificate of each: first the old root's, for those who know only that,
/// then the new one's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    certificates: Vec<CertificateDer<'static>>,
}

impl Chain {
    /// From DER, leaf first.
    ///
    /// # Errors
    ///
    /// There is none, or one cannot be read.
    pub fn new(certificates: Vec<CertificateDer<'static>>) -> Result<Self, PkiError> {
        if certificates.is_empty() {
            return Err(PkiError::Certificate("there is none".to_owned()));
        }
        for certificate in &certificates {
            parsed(certificate)?;
        }
        Ok(Self { certificates })
    }

    /// From PEM; other blocks are passed over.
    ///
    /// # Errors
    ///
    /// There is no certificate, or one cannot be read.
    pub fn from_pem(text: &[u8]) -> Result<Self, PkiError> {
        Self::new(parse_bundle_pem(text)?)
    }

    /// As PEM, leaf first.
    #[must_use]
    pub fn to_pem(&self) -> String {
        bundle_pem(&self.certificates)
    }

    /// All of it, leaf first.
    #[must_use]
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }

    /// The leaf.
    #[must_use]
    pub fn leaf(&self) -> &CertificateDer<'static> {
        self.certificates
            .first()
            .expect("a chain has a leaf, checked when it was made")
    }

    /// The leaf's.
    ///
    /// # Errors
    ///
    /// None: it was read when the chain was made.
    pub fn serial(&self) -> Result<Serial, PkiError> {
        Serial::of(self.leaf())
    }

    /// The leaf's.
    ///
    /// # Errors
    ///
    /// None: it was read when the chain was made.
    pub fn validity(&self) -> Result<Validity, PkiError> {
        Validity::of(self.leaf())
    }
}

/// One certificate, and nothing after it.
pub(crate) fn parsed<'a>(
    certificate: &'a CertificateDer<'_>,
) -> Result<X509Certificate<'a>, PkiError> {
    let (rest, parsed) = X509Certificate::from_der(certificate.as_ref())
        .map_err(|error| PkiError::Certificate(error.to_string()))?;
    if !rest.is_empty() {
        return Err(PkiError::Certificate("something follows it".to_owned()));
    }
    Ok(parsed)
}

/// What a certificate is known by: SHA-256 over all of it.
#[must_use]
pub fn fingerprint(certificate: &CertificateDer<'_>) -> [u8; 32] {
    sha256(certificate)
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

/// What a key is known by: SHA-256 over its SubjectPublicKeyInfo. It stays when a certificate is renewed for the same
/// key.
///
/// # Errors
///
/// The certificate cannot be read.
pub fn spki_sha256(certificate: &CertificateDer<'_>) -> Result<[u8; 32], PkiError> {
    Ok(sha256(parsed(certificate)?.public_key().raw))
}

/// Certificates as PEM, in this order.
#[must_use]
pub fn bundle_pem(certificates: &[CertificateDer<'_>]) -> String {
    certificates
        .iter()
        .map(|certificate| pem::encode(PEM_LABEL, certificate))
        .collect()
}

/// The certificates of a PEM text; other blocks are passed over.
///
/// # Errors
///
/// A block is damaged.
pub fn parse_bundle_pem(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, PkiError> {
    CertificateDer::pem_slice_iter(text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| PkiError::Pem(pem::pem_fault(&error)))
}
