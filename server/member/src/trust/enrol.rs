//! A client that gets its certificate by a token: it trusts nobody but the root that the token pins, and is no member.

use std::path::PathBuf;
use std::time::Duration;

use kvorum_pki::{Bundle, Chain, JoinToken, KeyPair, csr};
use kvorum_proto::kvorumpb::TokenRole;
use rustls_pki_types::CertificateDer;

use super::TrustError;
use super::authority::der;
use super::join::{Attempt, JoinError, JoinOptions, ask, unusable};

/// What a client asks with. The same one may come again where the answer was lost: keep it before asking.
#[derive(Debug)]
pub struct Enrolment {
    /// Its key, which never leaves the machine.
    pub key: KeyPair,
    /// The request for a certificate of that key.
    pub csr_der: Vec<u8>,
}

/// A client with a certificate.
#[derive(Debug)]
pub struct Enrolled {
    /// Whom it speaks for; the token says so.
    pub user: String,
    /// The key and its chain.
    pub bundle: Bundle,
    /// The roots to trust.
    pub roots: Vec<CertificateDer<'static>>,
    /// Where the members that run serve clients.
    pub client_urls: Vec<String>,
}

impl Enrolment {
    /// For a new key.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn new() -> Result<Self, JoinError> {
        let key = KeyPair::generate().map_err(TrustError::pki("a new key"))?;
        let csr_der = csr::create(&key);
        let csr_der = csr_der.map_err(TrustError::pki("a request for a certificate"))?;
        Ok(Self { key, csr_der })
    }
}

/// Gets the certificate that a token is good for; `user` may be empty, else the token must be for this one. Blocks.
///
/// # Errors
/// The token is not good for it, or nobody answers.
pub fn enrol(
    token: &JoinToken,
    enrolment: Enrolment,
    user: &str,
    patience: Duration,
) -> Result<Enrolled, JoinError> {
    let options = JoinOptions {
        data_dir: PathBuf::new(),
        name: user.to_owned(),
        peer_urls: Vec::new(),
        patience,
    };
    let Enrolment { key, csr_der } = enrolment;
    let attempt = Attempt { key, csr_der };
    let granted = ask(token, &options, TokenRole::Client, &attempt)?;
    let wrong = |error: kvorum_pki::PkiError| unusable(&error.to_string());
    let all = |ders: &[bytes::Bytes]| ders.iter().map(der).collect::<Vec<_>>();
    let chain = Chain::new(all(&granted.chain_der)).map_err(wrong)?;
    let bundle = Bundle::new(attempt.key, chain).map_err(wrong)?;
    if granted.name.is_empty() || granted.bundle_der.is_empty() {
        return Err(unusable("it lacks what a client needs"));
    }
    let members = granted.members.iter();
    let running = members.filter(|member| !member.is_learner);
    Ok(Enrolled {
        user: granted.name.clone(),
        bundle,
        roots: all(&granted.bundle_der),
        client_urls: running
            .flat_map(|m| m.client_ur_ls.iter().cloned())
            .collect(),
    })
}
