//! Browsers that come by TLS, and certificates for them to look at.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kvorum_tests::process::TestDir;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    StreamOwned,
};

use super::Answer;

/// An authority made for a test, and what it has signed.
pub(super) struct Files {
    pub(super) ca: PathBuf,
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
}

impl Files {
    /// A certificate for these names.
    pub(super) fn new(dir: &TestDir, name: &str, names: &[&str]) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let leaf = CertificateParams::new(names).expect("names");
        let key = KeyPair::generate().expect("a key");
        let leaf = leaf.signed_by(&key, &issuer).expect("a certificate");
        let write = |kind: &str, text: &str| {
            let path = dir.path().join(format!("{name}.{kind}"));
            kvorum_tests::process::write_private(&path, text.as_bytes());
            path
        };
        Self {
            ca: write("ca", &issuer.pem()),
            cert: write("crt", &leaf.pem()),
            key: write("key", &key.serialize_pem()),
        }
    }
}

/// Where a console is, and what a browser knows about it.
#[derive(Clone)]
pub(super) struct Https {
    pub(super) address: String,
    config: Arc<ClientConfig>,
}

pub(super) type Stream = StreamOwned<ClientConnection, TcpStream>;

impl Https {
    /// One that trusts an authority, and may have a certificate of its own: chain and key.
    pub(super) fn new(address: &str, ca: &Path, own: Option<(&Path, &Path)>) -> Self {
        let mut roots = RootCertStore::empty();
        for root in certificates(ca) {
            roots.add(root).expect("a root");
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        let mut config = match own {
            Some((cert, key)) => {
                let key = PrivateKeyDer::from_pem_file(key).expect("a key");
                builder
                    .with_client_auth_cert(certificates(cert), key)
                    .expect("a pair")
            }
            None => builder.with_no_client_auth(),
        };
        // As browsers do, whatever the console speaks.
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self {
            address: address.to_owned(),
            config: Arc::new(config),
        }
    }

    /// A connection that asks for this name.
    pub(super) fn connect(&self, name: &str) -> std::io::Result<Stream> {
        let socket = TcpStream::connect(&self.address)?;
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let session = ClientConnection::new(Arc::clone(&self.config), name);
        let mut stream = StreamOwned::new(session.expect("a config"), socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(stream)
    }

    /// One request on a connection of its own. `host` is the name that the browser believes to be at.
    pub(super) fn send(
        &self,
        (method, path): (&str, &str),
        host: &str,
        cookie: &str,
        body: &str,
    ) -> std::io::Result<Answer> {
        let mut stream = self.connect(host)?;
        let port = self.address.rsplit(':').next().expect("a port");
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {host}:{port}\r\norigin: https://{host}:{port}\r\nx-kvorum: 1\r\n\
             content-type: application/json\r\ncookie: {cookie}\r\nconnection: close\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        // A peer that ends without a farewell has still answered.
        let read = stream.read_to_end(&mut answer);
        match (read, answer.is_empty()) {
            (Err(error), true) => Err(error),
            (_, true) => Err(std::io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(Answer::read(&String::from_utf8_lossy(&answer))),
        }
    }
}

pub(super) fn certificates(path: &Path) -> Vec<CertificateDer<'static>> {
    let read = CertificateDer::pem_file_iter(path).expect("the file is there");
    read.collect::<Result<_, _>>().expect("PEM")
}

/// The certificate that a listener shows to whoever asks for a name, whoever has signed it.
pub(super) fn shown(address: &str, name: &str) -> std::io::Result<CertificateDer<'static>> {
    let stream = anybody(address).connect(name)?;
    let chain = stream.conn.peer_certificates().expect("servers show one");
    Ok(chain[0].clone())
}

/// A browser that believes everybody.
pub(super) fn anybody(address: &str) -> Https {
    let provider = Arc::new(default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anything(provider)))
        .with_no_client_auth();
    Https {
        address: address.to_owned(),
        config: Arc::new(config),
    }
}

/// Believes everybody.
#[derive(Debug)]
struct Anything(Arc<CryptoProvider>);

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
