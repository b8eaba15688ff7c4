//! The cluster's own authority and everything that is TLS: keys, certificates, who a certificate stands for, join
//! tokens, secrets at rest, the configurations of every listener, and public certificates by ACME.
//!
//! A cluster has a *trust domain*, which never changes, a *root CA* whose key is used a few times a year, and an
//! *issuing CA* that signs everything else. Who somebody is stands in the one `kvorum://` URI of the certificate and
//! nowhere else; its key comes from a verified request and nothing else does.
//!
//! The crate knows neither the replicated state nor the network: the clock is handed in, files are touched in
//! [`files`] only, and nothing here waits, except [`acme`].

pub mod acme;
pub mod csr;
pub mod files;
pub mod proof;
pub mod seal;
pub mod tls;

mod authority;
mod base32;
mod bundle;
mod chain;
mod crl;
mod domain;
mod error;
mod hex;
mod identity;
mod key;
mod live;
mod pem;
mod refused;
mod serial;
mod shell;
mod subject;
mod token;
mod trust;
mod validity;

pub use authority::{Issuer, Root};
pub use bundle::Bundle;
pub use chain::{Chain, bundle_pem, fingerprint, parse_bundle_pem, spki_sha256};
pub use crl::RevokedCertificate;
pub use domain::TrustDomain;
pub use error::PkiError;
pub use identity::{Identity, IdentityKind, identity_of};
pub use key::{KeyPair, SubjectPublicKey};
pub use live::{Live, LiveTls};
pub use pem::pem_fault;
pub use refused::Refused;
pub use serial::Serial;
pub use shell::{shell_word, steers_terminal};
pub use subject::{Subject, check_name};
pub use tls::ClientCerts;
pub use token::{JoinToken, RootPin, TokenId, TokenTypo};
pub use trust::{Purpose, Trust};
pub use validity::{
    CLIENT_LIFE_S, CONSOLE_LIFE_S, EXPIRED_GRACE_S, ISSUING_LIFE_S, ISSUING_RENEW_S, NODE_LIFE_S,
    ROOT_LIFE_S, Validity,
};
