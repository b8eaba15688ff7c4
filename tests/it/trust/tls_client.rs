//! A client with a certificate out of files, as any client of a cluster has one; it remembers what servers have shown it.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kvorum_pki::Serial;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::Member;
use crate::rpc::Rpc;

/// Who renews a pair may stand still between its two files.
const PATIENCE: Duration = Duration::from_secs(60);

/// The serial numbers of the certificates that one server has shown, each handshake again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen(Arc<Mutex<BTreeSet<String>>>);

impl Seen {
    fn note(&self, leaf: &CertificateDer<'_>) {
        let serial = Serial::of(leaf).expect("a certificate").to_string();
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert(serial);
    }

    pub(crate) fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// Where a client's certificate, its key and the roots that it trusts are.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) roots: PathBuf,
}

impl Files {
    /// What `kvorum cert client USER --out-dir DIR` has made.
    pub(crate) fn of(dir: &Path, user: &str) -> Self {
        Self {
            cert: dir.join(format!("{user}.crt")),
            key: dir.join(format!("{user}.key")),
            roots: dir.join("ca.crt"),
        }
    }

    /// Has them made.
    pub(crate) fn make(member: &Member, dir: &Path, user: &str, more: &[&str]) -> Self {
        let out = dir.to_string_lossy();
        let words = ["cert", "client", user, "--out-dir", &*out];
        member.told(&[&words[..], more].concat());
        Self::of(dir, user)
    }

    /// The administrator's on the machine of a member.
    pub(crate) fn admin(member: &Member) -> Self {
        Self {
            cert: member.pki("admin.crt"),
            key: member.pki("admin.key"),
            roots: member.pki("ca.pem"),
        }
    }

    /// Changes whenever the certificate does.
    pub(crate) fn state(&self) -> Vec<u8> {
        fs::read(&self.cert).unwrap_or_default()
    }

    /// Reads them anew. Key and certificate are two files: whoever reads between the two looks again.
    pub(crate) async fn config_soon(&self, seen: &Seen) -> Arc<ClientConfig> {
        let begin = Instant::now();
        loop {
            match self.config(seen) {
                Ok(config) => return config,
                Err(error) => assert!(begin.elapsed() < PATIENCE, "no pair: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn config(&self, seen: &Seen) -> Result<Arc<ClientConfig>, rustls::Error> {
        let mut roots = RootCertStore::empty();
        for root in certificates(&self.roots) {
            roots.add(root).expect("a root");
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let verifier = Arc::new(Noting {
            inner: inner.build().expect("roots"),
            seen: seen.clone(),
        });
        let key = PrivateKeyDer::from_pem_file(&self.key).expect("a key");
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the usual versions")
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_auth_cert(certificates(&self.cert), key)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }

    pub(crate) async fn connect(
        &self,
        address: SocketAddr,
    ) -> Result<Rpc, tonic::transport::Error> {
        let config = self.config_soon(&Seen::default()).await;
        Rpc::connect_tls(address, config).await
    }
}

pub(crate) fn certificates(path: &Path) -> Vec<CertificateDer<'static>> {
    let read = CertificateDer::pem_file_iter(path).expect("a file");
    read.map(|c| c.expect("a certificate")).collect()
}

/// Where a member serves clients.
pub(crate) fn address(member: &Member) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], member.server.port()))
}

/// Verifies as everybody does, and notes whom.
#[derive(Debug)]
struct Noting {
    inner: Arc<WebPkiServerVerifier>,
    seen: Seen,
}

impl ServerCertVerifier for Noting {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self
            .inner
            .verify_server_cert(leaf, above, name, ocsp, now)?;
        self.seen.note(leaf);
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, leaf, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, leaf, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// One request by HTTP/1, and the whole answer.
pub(crate) async fn http_get(at: SocketAddr, files: &Files, path: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let config = files.config_soon(&Seen::default()).await;
    let mut config = ClientConfig::clone(&config);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let socket = tokio::net::TcpStream::connect(at)
        .await
        .expect("it listens");
    let name = ServerName::from(at.ip());
    let mut stream = connector.connect(name, socket).await.expect("accepted");
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    // An end without TLS's goodbye is an end as well.
    let _ended = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}
