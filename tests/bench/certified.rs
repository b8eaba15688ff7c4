//! Certificates for one server and its clients, made anew for each.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use std::io::Write as _;

use anyhow::{Context as _, Result};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer},
};

/// The files that a server is given, and what its clients show.
#[derive(Clone, Debug)]
pub(crate) struct Certified {
    folder: PathBuf,
    pub(crate) client: Arc<ClientConfig>,
}

const CHAIN: &str = "server.crt";
const KEY: &str = "server.key";
const AUTHORITY: &str = "ca.crt";

impl Certified {
    /// An authority, a certificate for 127.0.0.1 and one for clients: P-256, as both servers would make them.
    pub(crate) fn make(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
        let mut params = CertificateParams::new([])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let signed = || -> Result<(String, CertificateDer<'static>, KeyPair)> {
            let mut params = CertificateParams::new([])?;
            let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
            params.subject_alt_names = vec![SanType::IpAddress(address)];
            let key = KeyPair::generate()?;
            let leaf = params.signed_by(&key, &authority)?;
            Ok((leaf.pem(), leaf.der().clone(), key))
        };
        let (server_pem, _, server_key) = signed()?;
        let (_, client_der, client_key) = signed()?;
        write(&folder.join(CHAIN), &server_pem)?;
        write(&folder.join(KEY), &server_key.serialize_pem())?;
        write(&folder.join(AUTHORITY), &authority.pem())?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone())?;
        let key = PrivateKeyDer::try_from(client_key.serialize_der());
        let key = key.map_err(|reason| anyhow::anyhow!("the client's key: {reason}"))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![client_der], key)?;
        client.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self {
            folder: folder.to_path_buf(),
            client: Arc::new(client),
        })
    }

    /// The flags that both servers know.
    pub(crate) fn flags(&self) -> [(&'static str, String); 3] {
        let path = |name| self.folder.join(name).display().to_string();
        [
            ("--cert-file", path(CHAIN)),
            ("--key-file", path(KEY)),
            ("--trusted-ca-file", path(AUTHORITY)),
        ]
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    let file = fs::File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::time::{Duration, Instant};

    use rustls::{
        ServerConfig, ServerConnection, Stream, pki_types::pem::PemObject as _,
        server::WebPkiClientVerifier,
    };

    use super::*;
    use crate::http2::{Dial, Wire};

    /// A server that wants certificates, as the two real ones are told to; it says back what it hears.
    fn echo(made: &Certified, listener: TcpListener) {
        let pem = |name| made.folder.join(name);
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_file(pem(AUTHORITY)).expect("a certificate");
        roots.add(root).expect("a root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let chain = vec![CertificateDer::from_pem_file(pem(CHAIN)).expect("a certificate")];
        let key = PrivateKeyDer::from_pem_file(pem(KEY)).expect("a key");
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the usual versions")
            .with_client_cert_verifier(clients.build().expect("roots"))
            .with_single_cert(chain, key)
            .expect("a pair");
        let (mut socket, _) = listener.accept().expect("a client");
        let mut tls = ServerConnection::new(Arc::new(config)).expect("a configuration");
        let mut stream = Stream::new(&mut tls, &mut socket);
        let mut heard = [0; 4];
        stream.read_exact(&mut heard).expect("four bytes");
        stream.write_all(&heard).expect("written");
        assert!(tls.peer_certificates().is_some(), "the client showed none");
    }

    #[test]
    fn a_wire_by_tls_carries_bytes_both_ways_and_shows_a_certificate() {
        let folder = std::env::temp_dir().join(format!("kvorum-bench-tls-{}", std::process::id()));
        let made = Certified::make(&folder).expect("a folder of its own");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let dial = Dial {
            address: listener.local_addr().expect("bound"),
            tls: Some(made.client.clone()),
        };
        let server = made.clone();
        let server = std::thread::spawn(move || echo(&server, listener));
        let mut wire = Wire::open(&dial).expect("accepted");
        assert_eq!(wire.write(b"ping").expect("room"), 4);
        let (mut heard, begin) = (Vec::new(), Instant::now());
        while heard.len() < 4 {
            assert!(begin.elapsed() < Duration::from_secs(60), "no answer");
            wire.flush().expect("written");
            let mut bytes = [0; 1 << 15];
            match wire.read(&mut bytes) {
                Ok(count) => heard.extend_from_slice(&bytes[..count]),
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "{error}"),
            }
        }
        assert_eq!(heard, b"ping");
        server.join().expect("it checked the client");
        fs::remove_dir_all(&folder).expect("own folder");
    }
}
