//! Who is at the other end of a connection, as far as the connection itself can tell.

use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The other end of a connection.
#[derive(Clone, Debug, Default)]
pub(crate) enum Peer {
    /// Somebody who has shown nothing.
    #[default]
    Unknown,
    /// A client whose certificate the listener has verified.
    Certified(Arc<Certificate>),
    /// This member's own gateway. It speaks for others, so nothing it could show would speak for them: who they are,
    /// their tokens say.
    Gateway,
}

/// A verified client certificate.
#[derive(Debug)]
pub(crate) struct Certificate {
    /// The whole chain, leaf first, for whoever must look at it again while the connection is open.
    #[allow(
        dead_code,
        reason = "for trust that changes while connections are open"
    )]
    pub(crate) chain: Vec<CertificateDer<'static>>,
    /// Common name of the leaf, if it has one.
    pub(crate) common_name: Option<Arc<str>>,
}

impl Peer {
    /// What a TLS handshake has shown. rustls gives a chain only after the listener's verifier has taken it; a listener
    /// that asks for none gets none.
    pub(crate) fn of(verified: Option<&[CertificateDer<'static>]>) -> Self {
        let Some(chain @ [leaf, ..]) = verified else {
            return Self::Unknown;
        };
        Self::Certified(Arc::new(Certificate {
            chain: chain.to_vec(),
            common_name: common_name(leaf),
        }))
    }

    /// The user that a certificate names.
    pub(crate) fn common_name(&self) -> Option<&Arc<str>> {
        match self {
            Self::Certified(certificate) => certificate.common_name.as_ref(),
            Self::Unknown | Self::Gateway => None,
        }
    }
}

/// Where a name has several, Go takes the last.
fn common_name(leaf: &CertificateDer<'_>) -> Option<Arc<str>> {
    let (_, leaf) = X509Certificate::from_der(leaf).ok()?;
    let names = leaf.subject().iter_common_name();
    let last = names.last()?.as_str().ok()?;
    (!last.is_empty()).then(|| last.into())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    fn certificate(names: &[&str]) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for name in names {
            params.distinguished_name.push(DnType::CommonName, *name);
        }
        let key = KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("signs").der().clone()
    }

    #[test]
    fn the_leaf_names_the_user() {
        let chain = [certificate(&["alice"]), certificate(&["the CA"])];
        let peer = Peer::of(Some(&chain));
        assert_eq!(peer.common_name().map(|name| &**name), Some("alice"));
        let Peer::Certified(certificate) = peer else {
            panic!("not certified")
        };
        assert_eq!(certificate.chain.len(), 2);
    }

    #[test]
    fn without_a_name_there_is_no_user() {
        assert_eq!(Peer::of(None).common_name(), None);
        assert_eq!(Peer::of(Some(&[])).common_name(), None);
        assert_eq!(Peer::of(Some(&[certificate(&[])])).common_name(), None);
        assert_eq!(Peer::of(Some(&[certificate(&[""])])).common_name(), None);
        let garbage = CertificateDer::from(vec![1, 2, 3]);
        assert_eq!(Peer::of(Some(&[garbage])).common_name(), None);
    }

    /// Advisory class: CVE-2018-16886.
    #[test]
    fn the_gateway_is_nobody() {
        assert_eq!(Peer::Gateway.common_name(), None);
    }
}
