//! The joining machine's side: it trusts nobody but the root whose key the token names.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::version::TLS13;
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::EndEntityCert;

use super::verifier::{schemes, seconds, signature12, signature13};
use super::{JOIN_PROTOCOL, provider};
use crate::authority::domain_of_root;
use crate::{PkiError, Purpose, Refused, RootPin, Trust, TrustDomain};

/// Accepts a chain only if the pinned root is in it, has signed it, and the certificate is a join listener's.
#[derive(Clone, Copy, Debug)]
pub struct PinnedRoot(RootPin);

/// The cluster that answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinnedCluster {
    /// Its trust domain.
    pub domain: TrustDomain,
    /// Its root.
    pub root: CertificateDer<'static>,
}

impl PinnedRoot {
    /// By the pin of a token.
    #[must_use]
    pub fn new(pin: RootPin) -> Self {
        Self(pin)
    }

    /// What the machine dials with. Any server name does; none is sent.
    ///
    /// # Errors
    ///
    /// None that is known; the library's word is not taken for it.
    pub fn client_config(self) -> Result<ClientConfig, PkiError> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(self))
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        config.enable_sni = false;
        config.alpn_protocols = vec![JOIN_PROTOCOL.to_vec()];
        Ok(config)
    }

    /// Verifies a chain and says which cluster it is: after the handshake, with the certificates of the other side.
    ///
    /// # Errors
    ///
    /// Not the pinned cluster's, not a join listener's, or not valid now.
    pub fn verify(
        &self,
        chain: &[CertificateDer<'_>],
        now_unix: i64,
    ) -> Result<PinnedCluster, Refused> {
        let pinned = |certificate: &&CertificateDer<'_>| {
            RootPin::of(certificate).is_ok_and(|pin| pin == self.0)
        };
        let root = chain
            .iter()
            .skip(1)
            .find(pinned)
            .ok_or(Refused::NotPinned)?;
        let root = root.clone().into_owned();
        let domain =
            domain_of_root(&root).ok_or(Refused::NoIdentity("its root names no trust domain"))?;
        let trust = Trust {
            domain: Some(domain),
            roots: vec![root.clone()],
            ..Trust::default()
        };
        // The roots in the chain are no part of the way.
        trust.check(chain, Purpose::Server, now_unix)?;
        let leaf = chain.first().ok_or(Refused::NoCertificate)?;
        check_name(leaf, &domain)?;
        Ok(PinnedCluster { domain, root })
    }
}

fn check_name(leaf: &CertificateDer<'_>, domain: &TrustDomain) -> Result<(), Refused> {
    let name = domain.join_name();
    let wrong = |what: String| Refused::WrongUse {
        used_as: "letting machines join",
        what,
    };
    let expected = ServerName::try_from(name.as_str()).map_err(|error| wrong(error.to_string()))?;
    let leaf =
        EndEntityCert::try_from(leaf).map_err(|error| Refused::Unreadable(error.to_string()))?;
    leaf.verify_is_valid_for_subject_name(&expected)
        .map_err(|_| wrong(format!("it does not have the name {name}")))
}

impl ServerCertVerifier for PinnedRoot {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let mut chain = vec![end_entity.clone()];
        chain.extend(intermediates.iter().cloned());
        match self.verify(&chain, seconds(now)) {
            Ok(_) => Ok(ServerCertVerified::assertion()),
            Err(refused) => Err(refused.into_tls()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        signature12(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        signature13(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        schemes()
    }
}
