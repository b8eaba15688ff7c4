//! TLS between members: both sides show a certificate of the same authority, the dialled one also the right name.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::own_tls::{Came, OwnTls, Shown};
use super::wire::AnyStream;

/// What both sides must agree on, so that no other protocol can be talked into this one.
const PROTOCOL_NAME: &[u8] = b"kvorum-peer";

/// The files of peer TLS, as PEM text, and whom else to refuse.
#[derive(Clone, Default)]
pub struct PeerTlsOptions {
    /// The chain, leaf first; shown to those who dial and to those who are dialled.
    pub certificate_pem: Vec<u8>,
    /// The key of the leaf.
    pub key_pem: Vec<u8>,
    /// The authority of all members.
    pub trusted_ca_pem: Vec<u8>,
    /// If not empty, only certificates with one of these common names are members'.
    pub allowed_cns: Vec<String>,
    /// If not empty, only certificates that are valid for one of these names are members'.
    pub allowed_hostnames: Vec<String>,
}

impl std::fmt::Debug for PeerTlsOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeerTlsOptions").finish_non_exhaustive()
    }
}

/// Which of the files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PeerTlsError {
    /// The certificate chain.
    #[error("peer certificate: {0}")]
    Certificate(String),
    /// The key.
    #[error("peer key: {0}")]
    Key(String),
    /// The authority.
    #[error("peer CA: {0}")]
    TrustedCa(String),
    /// Certificate and key do not belong together, or cannot be used.
    #[error("peer certificate and key: {0}")]
    Pair(rustls::Error),
}

/// TLS of the peer connections, ready to use.
#[derive(Clone)]
pub struct PeerTls(Kind);

#[derive(Clone)]
enum Kind {
    Files(Files),
    Own(OwnTls),
}

/// TLS from files that an operator gives.
#[derive(Clone)]
struct Files {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
    allowed: Arc<Allowed>,
}

impl std::fmt::Debug for PeerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeerTls").finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Allowed {
    cns: Vec<String>,
    hostnames: Vec<String>,
}

impl PeerTls {
    /// Reads the files.
    ///
    /// # Errors
    /// Names the one that cannot be used.
    pub fn new(options: &PeerTlsOptions) -> Result<Self, PeerTlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chain = certificates(&options.certificate_pem).map_err(PeerTlsError::Certificate)?;
        let key = || {
            PrivateKeyDer::from_pem_slice(&options.key_pem)
                .map_err(|error| PeerTlsError::Key(error.to_string()))
        };
        let roots = Arc::new(roots(&options.trusted_ca_pem).map_err(PeerTlsError::TrustedCa)?);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
            .build()
            .map_err(|error| PeerTlsError::TrustedCa(error.to_string()))?;
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13])
            .map_err(PeerTlsError::Pair)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key()?)
            .map_err(PeerTlsError::Pair)?;
        // A resumed session would outlive the identity that it was made with.
        server.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        server.alpn_protocols = vec![PROTOCOL_NAME.to_vec()];
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(PeerTlsError::Pair)?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key()?)
            .map_err(PeerTlsError::Pair)?;
        client.resumption = rustls::client::Resumption::disabled();
        client.alpn_protocols = vec![PROTOCOL_NAME.to_vec()];
        Ok(Self(Kind::Files(Files {
            acceptor: TlsAcceptor::from(Arc::new(server)),
            connector: TlsConnector::from(Arc::new(client)),
            allowed: Arc::new(Allowed {
                cns: options.allowed_cns.clone(),
                hostnames: options.allowed_hostnames.clone(),
            }),
        })))
    }

    /// TLS by certificates of the cluster's own authority.
    pub(crate) fn own(tls: OwnTls) -> Self {
        Self(Kind::Own(tls))
    }

    /// Where certificates of the cluster's own authority come from; none with files.
    pub(crate) fn as_own(&self) -> Option<&OwnTls> {
        match &self.0 {
            Kind::Files(_) => None,
            Kind::Own(own) => Some(own),
        }
    }

    /// The side that was dialled.
    pub(crate) async fn accept(&self, socket: TcpStream) -> Result<Came, String> {
        match &self.0 {
            Kind::Files(files) => Ok(Came::Member(files.accept(socket).await?, None)),
            Kind::Own(own) => own.accept(socket).await,
        }
    }

    /// The side that dials.
    pub(crate) async fn connect(
        &self,
        host: &str,
        socket: TcpStream,
    ) -> Result<(AnyStream, Option<Shown>), String> {
        match &self.0 {
            Kind::Files(files) => Ok((files.connect(host, socket).await?, None)),
            Kind::Own(own) => {
                let (stream, shown) = own.connect(host, socket).await?;
                Ok((stream, Some(shown)))
            }
        }
    }
}

impl Files {
    async fn accept(&self, socket: TcpStream) -> Result<AnyStream, String> {
        let stream = self.acceptor.accept(socket).await;
        let stream = stream.map_err(|error| words(&error))?;
        self.allowed.check(stream.get_ref().1.peer_certificates())?;
        Ok(Box::new(stream))
    }

    async fn connect(&self, host: &str, socket: TcpStream) -> Result<AnyStream, String> {
        let name = match host.parse::<IpAddr>() {
            Ok(ip) => ServerName::from(ip),
            Err(_) => ServerName::try_from(host.to_owned())
                .map_err(|_| format!("{host:?} is no name that a certificate can have"))?,
        };
        let stream = self.connector.connect(name, socket).await;
        let stream = stream.map_err(|error| words(&error))?;
        self.allowed.check(stream.get_ref().1.peer_certificates())?;
        Ok(Box::new(stream))
    }
}

/// What rustls says, and what it means where that is not plain.
pub(super) fn words(error: &std::io::Error) -> String {
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::NoCertificatesPresented) => {
            "client certificate authentication failed: it shows no certificate".into()
        }
        Some(rustls::Error::InvalidMessage(_)) => {
            format!("it does not speak TLS ({error}): is one side http:// and the other https://?")
        }
        _ => error.to_string(),
    }
}

/// The same for the side that dials: whom it dials is a member, so that it is known what helps.
pub(super) fn dial_words(error: &std::io::Error) -> String {
    use rustls::AlertDescription as Alert;
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::AlertReceived(Alert::CertificateRevoked)) => format!(
            "the other side says that the certificate of this member was revoked: unless this member was removed, \
             {REJOIN}"
        ),
        Some(rustls::Error::AlertReceived(Alert::UnknownCA)) => format!(
            "the other side does not know the root of this member's certificate: if the root was changed while this \
             member was down, {REJOIN}"
        ),
        Some(rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer)) => {
            format!(
                "this member does not know the root of the other side's certificate: if the root was changed while this \
             member was down, {REJOIN}"
            )
        }
        _ => words(error),
    }
}

/// What helps a member that is one still and shows the wrong certificate.
const REJOIN: &str = "run `kvorum token create --role rejoin --member ID` on another member, and `kvorum rejoin TOKEN` \
                      here; where the certificates are your own, look at them";

impl Allowed {
    fn check(&self, chain: Option<&[CertificateDer<'_>]>) -> Result<(), String> {
        if self.cns.is_empty() && self.hostnames.is_empty() {
            return Ok(());
        }
        let refused = "client certificate authentication failed";
        let leaf = chain
            .and_then(<[_]>::first)
            .ok_or_else(|| format!("{refused}: it shows no certificate"))?;
        let (_, leaf) = X509Certificate::from_der(leaf)
            .map_err(|error| format!("{refused}: its certificate cannot be read: {error}"))?;
        if !self.cns.is_empty() && !self.has_cn(&leaf) {
            return Err(format!(
                "{refused}: the common name of its certificate is not allowed"
            ));
        }
        if !self.hostnames.is_empty() && !self.has_hostname(&leaf) {
            return Err(format!(
                "{refused}: its certificate has none of the allowed names"
            ));
        }
        Ok(())
    }

    fn has_cn(&self, leaf: &X509Certificate<'_>) -> bool {
        leaf.subject()
            .iter_common_name()
            .filter_map(|name| name.as_str().ok())
            .any(|name| self.cns.iter().any(|allowed| allowed == name))
    }

    fn has_hostname(&self, leaf: &X509Certificate<'_>) -> bool {
        let Ok(Some(names)) = leaf.subject_alternative_name() else {
            return false;
        };
        names.value.general_names.iter().any(|name| match name {
            GeneralName::DNSName(name) => self
                .hostnames
                .iter()
                .any(|allowed| allowed.eq_ignore_ascii_case(name)),
            GeneralName::IPAddress(bytes) => {
                let ip = match *bytes {
                    [a, b, c, d] => Some(IpAddr::from([*a, *b, *c, *d])),
                    _ => <[u8; 16]>::try_from(*bytes).ok().map(IpAddr::from),
                };
                ip.is_some_and(|ip| {
                    self.hostnames
                        .iter()
                        .any(|allowed| allowed.parse() == Ok(ip))
                })
            }
            _ => false,
        })
    }
}

fn roots(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    Ok(roots)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| error.to_string())?;
    if chain.is_empty() {
        return Err("holds no certificate in PEM form".to_owned());
    }
    Ok(chain)
}
