//! Against pebble, the CA for tests: real orders, real challenges, certificates that live for seconds, and one nonce in
//! twenty refused. Skipped where it is not installed.

use std::net::TcpListener as Ports;
use std::process::{Child, Command, Stdio};

use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::tests::{Anything, Place, options, own, server, until};
use super::*;
use crate::tls::{console_listener, provider};
use crate::{Serial, files};

/// A CA and its name server, ended when dropped.
struct Pebble {
    children: Vec<Child>,
    directory_url: String,
    ca_pem: String,
    tls_port: u16,
    http_port: u16,
}

impl Drop for Pebble {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn free_ports<const N: usize>() -> [u16; N] {
    let held = [(); N].map(|()| Ports::bind("127.0.0.1:0").expect("a free port"));
    held.map(|port| port.local_addr().expect("bound").port())
}

async fn listens(port: u16) {
    for _ in 0..600 {
        if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("nobody listens on port {port} after 30 s");
}

fn quiet(command: &mut Command) -> Child {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it is installed")
}

impl Pebble {
    /// One whose certificates live so long.
    async fn start(place: &Place, life_s: u32) -> Option<Self> {
        if Command::new("pebble").arg("-h").output().is_err() {
            eprintln!("SKIP: pebble is not installed (apt-get install pebble)");
            return None;
        }
        let [listen, manage, tls_port, http_port, dns, dns_manage] = free_ports();
        let (bundle, ca_pem) = server(&["localhost", "127.0.0.1"], 3600);
        let (cert, key) = (place.0.join("ca.crt"), place.0.join("ca.key"));
        std::fs::write(&cert, bundle.chain().to_pem()).expect("ours");
        std::fs::write(&key, bundle.key().to_pem().as_bytes()).expect("ours");
        let config = serde_json::json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{listen}"),
            "managementListenAddress": format!("127.0.0.1:{manage}"),
            "certificate": cert, "privateKey": key,
            "httpPort": http_port, "tlsPort": tls_port,
            "ocspResponderURL": "", "externalAccountBindingRequired": false,
            "certificateValidityPeriod": life_s,
        }});
        let file = place.0.join("pebble.json");
        std::fs::write(&file, config.to_string()).expect("ours");
        let names = quiet(Command::new("pebble-challtestsrv").args([
            "-defaultIPv4",
            "127.0.0.1",
            "-defaultIPv6",
            "",
            "-http01",
            "",
            "-https01",
            "",
            "-tlsalpn01",
            "",
            "-dns01",
            &format!("127.0.0.1:{dns}"),
            "-management",
            &format!("127.0.0.1:{dns_manage}"),
        ]));
        let ca = quiet(
            Command::new("pebble")
                .arg("-config")
                .arg(&file)
                .args(["-dnsserver", &format!("127.0.0.1:{dns}")])
                .env("PEBBLE_VA_NOSLEEP", "1")
                .env("PEBBLE_WFE_NONCEREJECT", "5"),
        );
        let directory_url = format!("https://127.0.0.1:{listen}/dir");
        let pebble = Self {
            children: vec![names, ca],
            directory_url,
            ca_pem,
            tls_port,
            http_port,
        };
        listens(dns_manage).await;
        listens(listen).await;
        Some(pebble)
    }

    fn options(&self, place: &Place) -> AcmeOptions {
        options(&place.0, &self.directory_url, &self.ca_pem)
    }
}

/// A console: only the handshake counts.
async fn console(port: u16, resolver: Arc<AcmeResolver>) -> tokio::task::JoinHandle<()> {
    let listener = TcpListener::bind(("127.0.0.1", port))
        .await
        .expect("a free port");
    let config = console_listener(resolver, &[b"h2", b"http/1.1", ACME_TLS_PROTOCOL]);
    let tls = TlsAcceptor::from(Arc::new(config.expect("a config")));
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let tls = tls.clone();
            tokio::spawn(async move {
                if let Ok(mut stream) = tls.accept(socket).await {
                    let _ = stream.shutdown().await;
                }
            });
        }
    })
}

async fn leaf_shown(port: u16, name: &str) -> CertificateDer<'static> {
    let mut config = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    config
        .dangerous()
        .set_certificate_verifier(Arc::new(Anything));
    let socket = TcpStream::connect(("127.0.0.1", port))
        .await
        .expect("the console");
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, socket)
        .await
        .expect("a handshake");
    let chain = stream.get_ref().1.peer_certificates().expect("a chain");
    chain.first().expect("a leaf").clone()
}

fn issuer(leaf: &CertificateDer<'_>) -> String {
    crate::chain::parsed(leaf)
        .expect("a certificate")
        .issuer()
        .to_string()
}

#[tokio::test]
async fn certificates_are_had_shown_renewed_and_kept() {
    let place = Place::new();
    let Some(pebble) = Pebble::start(&place, 9).await else {
        return;
    };
    let (own, own_leaf) = own();
    let acme = Acme::new(pebble.options(&place), own, Arc::new(LocalOnly)).expect("it can be");
    let (resolver, mut status) = (acme.resolver(), acme.status());
    let served = console(pebble.tls_port, resolver).await;
    assert_eq!(
        leaf_shown(pebble.tls_port, "a.kvorum.test").await,
        own_leaf,
        "before there is one"
    );
    let task = tokio::spawn(acme.run());
    until(&mut status, |status| status.not_after_unix.is_some()).await;
    let first = leaf_shown(pebble.tls_port, "a.kvorum.test").await;
    assert!(issuer(&first).contains("Pebble"), "{}", issuer(&first));
    assert_eq!(leaf_shown(pebble.tls_port, "b.kvorum.test").await, first);
    assert_eq!(
        leaf_shown(pebble.tls_port, "own.kvorum.test").await,
        own_leaf
    );
    let ends = status.borrow().not_after_unix;
    until(&mut status, |status| status.not_after_unix > ends).await;
    let second = leaf_shown(pebble.tls_port, "a.kvorum.test").await;
    assert_ne!(
        Serial::of(&first).expect("a serial"),
        Serial::of(&second).expect("a serial")
    );
    task.abort();
    let _ = task.await;
    // A restart shows what is stored, and the account is the one that was made at first.
    let stored = |start: &str| {
        let entries = std::fs::read_dir(place.0.join("acme")).expect("a directory");
        let mut found = entries
            .map(|entry| entry.expect("readable").path())
            .filter(|path| {
                files::check_file(path).expect("for the owner only");
                path.file_name()
                    .is_some_and(|name| name.to_string_lossy().starts_with(start))
            });
        (found.next().expect("one"), found.next())
    };
    let (account, None) = stored("account-") else {
        panic!("two accounts")
    };
    let before = std::fs::read(&account).expect("ours");
    let again = Acme::new(
        pebble.options(&place),
        super::tests::own().0,
        Arc::new(LocalOnly),
    )
    .expect("it can be");
    let mut status = again.status();
    let ends = status.borrow().not_after_unix;
    assert!(ends.is_some(), "stored");
    let resolver = again.resolver();
    served.abort();
    let _ = served.await;
    let served = console(pebble.tls_port, resolver).await;
    let task = tokio::spawn(again.run());
    until(&mut status, |status| status.not_after_unix > ends).await;
    assert_eq!(std::fs::read(&account).expect("ours"), before);
    task.abort();
    served.abort();
}

#[tokio::test]
async fn a_name_is_shown_to_be_ours_over_http() {
    let place = Place::new();
    let Some(pebble) = Pebble::start(&place, 3600).await else {
        return;
    };
    let mut options = pebble.options(&place);
    options.challenge = ChallengeKind::Http;
    let acme = Acme::new(options, own().0, Arc::new(LocalOnly)).expect("it can be");
    let (answers, mut status) = (acme.answers(), acme.status());
    let listener = TcpListener::bind(("127.0.0.1", pebble.http_port))
        .await
        .expect("a free port");
    let served = tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut head = vec![0; 4096];
            let length = socket.read(&mut head).await.unwrap_or_default();
            let head = String::from_utf8_lossy(&head[..length]).into_owned();
            let path = head.split_whitespace().nth(1).unwrap_or_default();
            let token = path
                .strip_prefix("/.well-known/acme-challenge/")
                .unwrap_or_default();
            let body = answers.http(token).unwrap_or_default();
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = socket.write_all(answer.as_bytes()).await;
        }
    });
    let task = tokio::spawn(acme.run());
    until(&mut status, |status| status.not_after_unix.is_some()).await;
    task.abort();
    served.abort();
}

#[tokio::test]
async fn a_name_that_leads_elsewhere_is_refused_with_the_port_that_counts() {
    let place = Place::new();
    // Nobody listens where the CA looks.
    let Some(pebble) = Pebble::start(&place, 3600).await else {
        return;
    };
    let acme = Acme::new(pebble.options(&place), own().0, Arc::new(LocalOnly)).expect("it can be");
    let mut status = acme.status();
    let task = tokio::spawn(acme.run());
    let failed = until(&mut status, |status| status.failures > 0).await;
    let words = failed.last_error.expect("said");
    assert!(
        words.contains("port 443") && words.contains("a.kvorum.test"),
        "{words}"
    );
    task.abort();
}

#[tokio::test]
async fn an_answer_that_others_do_not_know_is_not_asked_for() {
    struct Broken;
    impl Publish for Broken {
        fn publish(
            &self,
            _: Answer,
        ) -> std::pin::Pin<Box<dyn Future<Output = Result<(), String>> + Send>> {
            Box::pin(std::future::ready(Err("no quorum".to_owned())))
        }
        fn withdraw(&self, _: Answer) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
            Box::pin(std::future::ready(()))
        }
    }
    let place = Place::new();
    let Some(pebble) = Pebble::start(&place, 3600).await else {
        return;
    };
    let acme = Acme::new(pebble.options(&place), own().0, Arc::new(Broken)).expect("it can be");
    let (mut status, answers) = (acme.status(), acme.answers());
    let task = tokio::spawn(acme.run());
    let failed = until(&mut status, |status| {
        status.failures > 0 && !status.ordering
    })
    .await;
    let words = failed.last_error.expect("said");
    assert!(words.contains("no quorum"), "{words}");
    assert!(answers.tls("a.kvorum.test").is_none(), "withdrawn");
    task.abort();
}
