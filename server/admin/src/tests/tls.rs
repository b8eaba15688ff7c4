//! The listener over TLS, with real handshakes on loopback.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::login::Guarded;
use crate::{AdminIdentity, Admins, Bounds, ConsoleTls, serve_tls};

struct Authority(CertifiedIssuer<'static, KeyPair>);

type Chain = (Vec<CertificateDer<'static>>, PrivatePkcs8KeyDer<'static>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    fn sign(&self, usage: ExtendedKeyUsagePurpose) -> Chain {
        let mut params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().expect("a key");
        let leaf = params.signed_by(&key, &self.0).expect("a certificate");
        (vec![leaf.der().clone()], key.serialize_der().into())
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).expect("a root");
        Arc::new(roots)
    }

    fn listener(&self) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(self.roots(), Arc::clone(&provider))
                .allow_unauthenticated()
                .build()
                .expect("a verifier");
        let (chain, key) = self.sign(ExtendedKeyUsagePurpose::ServerAuth);
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key.into())
            .expect("a pair");
        Arc::new(config)
    }

    fn client(&self, own: Option<Chain>) -> TlsConnector {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(self.roots());
        let config = match own {
            Some((chain, key)) => builder
                .with_client_auth_cert(chain, key.into())
                .expect("a pair"),
            None => builder.with_no_client_auth(),
        };
        TlsConnector::from(Arc::new(config))
    }
}

/// Whoever shows a certificate is an administrator, until all are denied.
struct Known(watch::Receiver<bool>);

impl Admins for Known {
    fn recognise(&self, _: &[CertificateDer<'static>]) -> Option<AdminIdentity> {
        (!*self.0.borrow()).then(|| AdminIdentity {
            user: "root".into(),
            serial: "0a".into(),
        })
    }

    fn distrusted<'a>(&'a self, _: &'a [CertificateDer<'static>]) -> BoxFuture<'a, String> {
        let mut denied = self.0.clone();
        Box::pin(async move {
            denied.wait_for(|denied| *denied).await.expect("it stays");
            "denied".to_owned()
        })
    }
}

struct Served {
    address: SocketAddr,
    denied: watch::Sender<bool>,
    config: Arc<Mutex<Arc<ServerConfig>>>,
    stop: watch::Sender<bool>,
    serving: tokio::task::JoinHandle<()>,
}

async fn served(authority: &Authority) -> Served {
    let console = Guarded::with_ada().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let config = Arc::new(Mutex::new(authority.listener()));
    let denied = watch::Sender::new(false);
    let current = Arc::clone(&config);
    let tls = ConsoleTls::new(move |_| Some(current.lock().expect("no panic").clone()))
        .with_admins(Known(denied.subscribe()));
    let bounds = Bounds {
        handshake_timeout: Duration::from_millis(500),
        ..Bounds::default()
    };
    let (stop, stopping) = watch::channel(false);
    let serving = tokio::spawn(serve_tls(listener, console.router, bounds, tls, stopping));
    Served {
        address,
        denied,
        config,
        stop,
        serving,
    }
}

impl Served {
    async fn connect(&self, connector: &TlsConnector) -> std::io::Result<TlsStream<TcpStream>> {
        let socket = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from("localhost").expect("a name");
        connector.connect(name, socket).await
    }

    async fn ask(&self, connector: &TlsConnector, request: &str) -> std::io::Result<String> {
        let mut stream = self.connect(connector).await?;
        let port = self.address.port();
        let (line, rest) = request.split_once("\r\n").unwrap_or((request, ""));
        let request = format!(
            "{line} HTTP/1.1\r\nhost: localhost:{port}\r\norigin: https://localhost:{port}\r\n\
             connection: close\r\n{rest}\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        // A peer that ends without a farewell has still answered.
        let _ = stream.read_to_string(&mut answer).await;
        Ok(answer)
    }

    async fn end(self) {
        self.stop.send_replace(true);
        self.serving.await.expect("no panic");
    }
}

#[tokio::test]
async fn the_login_works_over_tls_and_a_new_certificate_serves_the_next_connection() {
    let (first, second) = (Authority::new(), Authority::new());
    let served = served(&first).await;
    let (old, new) = (first.client(None), second.client(None));
    let answer = served
        .ask(&old, "GET /admin/v1/session")
        .await
        .expect("trusted");
    assert!(answer.contains("signed_out"), "{answer}");
    assert!(served.ask(&new, "GET /").await.is_err());
    *served.config.lock().expect("no panic") = second.listener();
    assert!(served.ask(&old, "GET /").await.is_err());
    let answer = served
        .ask(&new, "GET /admin/v1/session")
        .await
        .expect("trusted");
    assert!(answer.contains("signed_out"), "{answer}");
    served.end().await;
}

#[tokio::test]
async fn a_certificate_in_the_handshake_opens_a_session_for_such_connections_only() {
    let authority = Authority::new();
    let served = served(&authority).await;
    let own = authority.sign(ExtendedKeyUsagePurpose::ClientAuth);
    let (with, without) = (authority.client(Some(own)), authority.client(None));
    let login = "POST /admin/v1/login/certificate\r\nx-kvorum: 1\r\ncontent-type: application/json\r\n\
                 content-length: 2\r\n\r\n{}";
    let refused = served.ask(&without, login).await.expect("serves");
    assert!(refused.starts_with("HTTP/1.1 401"), "{refused}");
    let opened = served.ask(&with, login).await.expect("serves");
    assert!(opened.starts_with("HTTP/1.1 200"), "{opened}");
    let cookie = opened.split("set-cookie: ").nth(1).expect("a cookie");
    let cookie = cookie.split(';').next().expect("a pair");
    let read = format!("GET /admin/v1/overview\r\ncookie: {cookie}\r\n");
    let answer = served.ask(&with, &read).await.expect("serves");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let answer = served.ask(&without, &read).await.expect("serves");
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    served.end().await;
}

#[tokio::test]
async fn connections_end_with_the_trust_in_their_certificate_and_others_stay() {
    let authority = Authority::new();
    let served = served(&authority).await;
    let own = authority.sign(ExtendedKeyUsagePurpose::ClientAuth);
    let (with, without) = (authority.client(Some(own)), authority.client(None));
    let mut open = served.connect(&with).await.expect("trusted");
    let mut nobodys = served.connect(&without).await.expect("trusted");
    let request = b"GET /admin/v1/session HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let mut told = vec![0; 4096];
    for stream in [&mut open, &mut nobodys] {
        stream.write_all(request).await.expect("open");
        assert!(stream.read(&mut told).await.expect("answers") > 0);
    }
    served.denied.send_replace(true);
    // An orderly end or a reset, without a word more.
    assert!(matches!(open.read(&mut told).await, Ok(0) | Err(_)));
    nobodys.write_all(request).await.expect("open");
    assert!(nobodys.read(&mut told).await.expect("answers") > 0);
    // Who comes back with it is sent away after the handshake, whatever the handshake made of it.
    let answer = served.ask(&with, "GET /admin/v1/session").await;
    assert!(answer.map_or(true, |answer| answer.is_empty()));
    served.end().await;
}

#[tokio::test]
async fn whoever_does_not_shake_hands_is_let_go() {
    let authority = Authority::new();
    let served = served(&authority).await;
    let mut silent = TcpStream::connect(served.address).await.expect("listening");
    let mut plain = TcpStream::connect(served.address).await.expect("listening");
    plain
        .write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .expect("open");
    for socket in [&mut silent, &mut plain] {
        let mut left = Vec::new();
        // Either an orderly end or a reset; what matters is that it ends, and without an answer in plain text.
        let _ = socket.read_to_end(&mut left).await;
        assert!(!left.starts_with(b"HTTP"));
    }
    served.end().await;
}
