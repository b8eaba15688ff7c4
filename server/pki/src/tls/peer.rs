//! Connections between members, and the door for machines that join, on the same port.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::server::{NoServerSessionStorage, ServerConfig};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{ClientConfig, ConfigBuilder, WantsVerifier};
use rustls_pki_types::CertificateDer;

use super::verifier::TrustVerifier;
use super::{JOIN_PROTOCOL, PEER_PROTOCOL, provider};
use crate::{Bundle, PkiError, Purpose, Trust};

/// Both ends of the connections between members.
#[derive(Clone, Debug)]
pub struct PeerTlsConfigs {
    /// Of those who are dialled.
    pub server: Arc<ServerConfig>,
    /// Of those who dial. Any server name does: who answers is in the certificate, and whether it is the member that
    /// was meant is for [`Trust::check`] after the handshake.
    pub client: Arc<ClientConfig>,
}

/// What somebody on the peer port wants, by the protocol that it offers first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// A member.
    Peer,
    /// A machine that joins.
    Join,
    /// Nobody that we know.
    Other,
}

impl Route {
    /// Reads the ALPN offer of a client hello.
    #[must_use]
    pub fn of<'a>(offered: Option<impl Iterator<Item = &'a [u8]>>) -> Self {
        for name in offered.into_iter().flatten() {
            match name {
                PEER_PROTOCOL => return Self::Peer,
                JOIN_PROTOCOL => return Self::Join,
                _ => {}
            }
        }
        Self::Other
    }
}

/// Between members: TLS 1.3, both show a node's certificate of this trust domain, and no session is ever resumed.
///
/// # Errors
///
/// The certificate cannot be used.
pub fn peer(bundle: &Bundle, trust: Arc<Trust>) -> Result<PeerTlsConfigs, PkiError> {
    let verifier = Arc::new(TrustVerifier {
        trust,
        purpose: Purpose::Peer,
        mandatory: true,
        hints: Vec::new(),
    });
    let own = Arc::new(SingleCertAndKey::from(bundle.certified()?));
    let mut server = tls13_server()?
        .with_client_cert_verifier(verifier.clone())
        .with_cert_resolver(own.clone());
    never_resume(&mut server);
    server.alpn_protocols = vec![PEER_PROTOCOL.to_vec()];
    let mut client = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(own);
    client.resumption = Resumption::disabled();
    client.alpn_protocols = vec![PEER_PROTOCOL.to_vec()];
    Ok(PeerTlsConfigs {
        server: Arc::new(server),
        client: Arc::new(client),
    })
}

/// For machines that join: nobody shows a certificate but this side, whose chain goes up to the roots, so that the
/// one that the token pins can be found in it.
///
/// # Errors
///
/// The certificate cannot be used.
pub fn join_listener(
    bundle: &Bundle,
    roots: &[CertificateDer<'static>],
) -> Result<ServerConfig, PkiError> {
    let mut chain = bundle.chain().certificates().to_vec();
    chain.extend(roots.iter().cloned());
    let certified = CertifiedKey::from_der(chain, bundle.key().private_der(), &provider())?;
    let own = Arc::new(SingleCertAndKey::from(certified));
    let mut server = tls13_server()?
        .with_no_client_auth()
        .with_cert_resolver(own);
    never_resume(&mut server);
    server.alpn_protocols = vec![JOIN_PROTOCOL.to_vec()];
    Ok(server)
}

fn tls13_server() -> Result<ConfigBuilder<ServerConfig, WantsVerifier>, PkiError> {
    let builder = ServerConfig::builder_with_provider(provider());
    Ok(builder.with_protocol_versions(&[&TLS13])?)
}

/// A resumed session would outlive the identity that it was made with.
fn never_resume(server: &mut ServerConfig) {
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
}
