//! What needs no CA: decisions that cannot be, what a restart finds, which certificate is shown to whom, and a CA that
//! does not answer.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::*;
use crate::authority::tests::cluster_at;
use crate::tls::{console_listener, fixed, provider};
use crate::{Bundle, Subject, files};

/// A directory that goes away.
pub(super) struct Place(pub(super) PathBuf);

impl Place {
    pub(super) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("kvorum-acme-{}-{count}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        files::create_dir(&path).expect("a new directory");
        Self(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(super) const QUICK: Pace = Pace {
    first_s: 1,
    longest_s: 2,
    jitter: 0,
};

pub(super) fn options(dir: &Path, directory_url: &str, ca_pem: &str) -> AcmeOptions {
    AcmeOptions {
        directory_url: directory_url.to_owned(),
        names: vec!["B.kvorum.test".to_owned(), "a.kvorum.test".to_owned()],
        contacts: vec!["mailto:admin@kvorum.test".to_owned()],
        cache_dir: dir.join("acme"),
        directory_ca_pem: Some(ca_pem.as_bytes().to_vec()),
        challenge: ChallengeKind::TlsAlpn,
        pace: QUICK,
    }
}

/// A certificate for these names, by an authority made for it, and that authority.
pub(super) fn server(names: &[&str], life_s: i64) -> (Bundle, String) {
    let cluster = cluster_at(now_unix());
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    let bundle = cluster.bundle(
        &Subject::Console { names },
        Validity::from_now(now_unix(), life_s),
    );
    (
        bundle,
        crate::bundle_pem(std::slice::from_ref(cluster.root.certificate())),
    )
}

pub(super) fn own() -> (Arc<dyn ResolvesServerCert>, CertificateDer<'static>) {
    let (bundle, _) = server(&["own.kvorum.test"], 3600);
    (
        fixed(&bundle).expect("a pair"),
        bundle.chain().leaf().clone(),
    )
}

/// What the resolver shows to somebody who asks for this name and these protocols.
async fn shown(
    resolver: Arc<AcmeResolver>,
    name: &str,
    protocols: &[&[u8]],
) -> Option<CertificateDer<'static>> {
    let listener = console_listener(resolver, &[b"h2", ACME_TLS_PROTOCOL]).expect("a config");
    let mut client = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let seen = Arc::new(Anything);
    client.dangerous().set_certificate_verifier(seen.clone());
    client.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let (near, far) = tokio::io::duplex(64 * 1024);
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let (accepted, connected) = tokio::join!(
        TlsAcceptor::from(Arc::new(listener)).accept(far),
        TlsConnector::from(Arc::new(client)).connect(name, near),
    );
    if accepted.is_err() || connected.is_err() {
        return None;
    }
    let (_, connection) = connected.as_ref().expect("checked").get_ref();
    Some(connection.peer_certificates()?.first()?.clone())
}

/// Looks at a certificate and accepts it.
#[derive(Debug)]
pub(super) struct Anything;

impl rustls::client::danger::ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: rustls_pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

pub(super) async fn until(
    status: &mut watch::Receiver<AcmeStatus>,
    what: impl FnMut(&AcmeStatus) -> bool,
) -> AcmeStatus {
    let found = tokio::time::timeout(Duration::from_secs(120), status.wait_for(what)).await;
    found.expect("in time").expect("it runs").clone()
}

#[test]
fn what_cannot_be_is_refused_at_once() {
    let place = Place::new();
    let refused = |change: fn(&mut AcmeOptions)| {
        let mut options = options(&place.0, "https://ca.example/dir", "");
        change(&mut options);
        Acme::new(options, own().0, Arc::new(LocalOnly))
            .map(drop)
            .expect_err("refused")
            .to_string()
    };
    for name in [
        "10.0.0.1",
        "*.example.net",
        "localhost",
        "a b.example",
        "",
        "::1",
        "a.example.",
    ] {
        let mut options = options(&place.0, "https://ca.example/dir", "");
        options.names = vec![name.to_owned()];
        let refused = Acme::new(options, own().0, Arc::new(LocalOnly)).map(drop);
        assert!(matches!(refused, Err(AcmeRefused::Name(_))), "{name}");
    }
    assert!(refused(|options| options.names.clear()).contains("not 0"));
    assert!(
        refused(|options| options.directory_url = "http://ca.example".to_owned())
            .contains("https://")
    );
    assert!(refused(|options| options.contacts = vec!["admin@x".to_owned()]).contains("mailto:"));
    assert!(
        !place.0.join("acme").exists(),
        "nothing is written by a refusal"
    );
}

#[tokio::test]
async fn each_asker_is_shown_what_is_meant_for_it() {
    let place = Place::new();
    let (own, own_leaf) = own();
    let acme = Acme::new(
        options(&place.0, "https://ca.example/dir", ""),
        own,
        Arc::new(LocalOnly),
    );
    let acme = acme.expect("it can be");
    let resolver = acme.resolver();
    let h2: &[&[u8]] = &[b"h2"];
    assert_eq!(
        shown(resolver.clone(), "a.kvorum.test", h2).await,
        Some(own_leaf.clone())
    );
    let (public, _) = server(&["a.kvorum.test", "b.kvorum.test"], 3600);
    acme.show(&public).expect("a pair");
    let public_leaf = Some(public.chain().leaf().clone());
    assert_eq!(
        shown(resolver.clone(), "a.kvorum.test", h2).await,
        public_leaf
    );
    assert_eq!(
        shown(resolver.clone(), "B.Kvorum.Test", h2).await,
        public_leaf
    );
    assert_eq!(
        shown(resolver.clone(), "own.kvorum.test", h2).await,
        Some(own_leaf.clone())
    );
    assert_eq!(
        shown(resolver.clone(), "10.0.0.1", h2).await,
        Some(own_leaf.clone()),
        "no name is sent"
    );
    // A CA that asks gets an answer only if there is one, and nobody else gets it.
    let ca: &[&[u8]] = &[ACME_TLS_PROTOCOL];
    assert_eq!(shown(resolver.clone(), "a.kvorum.test", ca).await, None);
    let answer = Answer::TlsAlpn {
        name: "A.kvorum.test".to_owned(),
        digest: [7; 32],
    };
    acme.answers().insert(&answer, now_unix()).expect("room");
    let leaf = shown(resolver.clone(), "a.kvorum.test", ca)
        .await
        .expect("an answer");
    let (_, read) = X509Certificate::from_der(&leaf).expect("a certificate");
    let extension = read
        .extensions()
        .iter()
        .find(|e| e.oid.to_string() == "1.3.6.1.5.5.7.1.31");
    let extension = extension.expect("acmeIdentifier");
    assert!(extension.critical && extension.value.ends_with(&[7; 32]));
    assert_eq!(
        shown(
            resolver.clone(),
            "a.kvorum.test",
            &[ACME_TLS_PROTOCOL, b"h2"]
        )
        .await,
        public_leaf
    );
    acme.answers().remove(&answer);
    assert_eq!(shown(resolver.clone(), "a.kvorum.test", ca).await, None);
    // What is over is not shown.
    let (over, _) = server(&["a.kvorum.test"], -60);
    acme.show(&over).expect("a pair");
    assert_eq!(shown(resolver, "a.kvorum.test", h2).await, Some(own_leaf));
}

#[test]
fn answers_over_http_are_for_their_token() {
    let answers = Answers::default();
    let answer = Answer::Http {
        token: "t".to_owned(),
        key_authorization: "t.k".to_owned(),
    };
    answers.insert(&answer, now_unix()).expect("room");
    assert_eq!(answers.http("t").as_deref(), Some("t.k"));
    assert_eq!(answers.http("T"), None);
    answers.remove(&answer);
    assert_eq!(answers.http("t"), None);
    let bad = Answer::TlsAlpn {
        name: "ä".to_owned(),
        digest: [0; 32],
    };
    answers.insert(&bad, now_unix()).expect_err("no name");
}

#[tokio::test]
async fn a_restart_shows_what_was_stored_and_asks_when_it_is_due() {
    let place = Place::new();
    let options = options(&place.0, "https://ca.example/dir", "");
    let start = || Acme::new(options.clone(), own().0, Arc::new(LocalOnly)).expect("it can be");
    let first = start();
    assert_eq!(first.status().borrow().not_after_unix, None);
    assert!(
        first.status().borrow().next_attempt_unix <= now_unix(),
        "at once"
    );
    let (public, _) = server(&["a.kvorum.test", "b.kvorum.test"], 3600);
    let validity = public.chain().validity().expect("dates");
    first
        .store
        .write_certificate(&public)
        .await
        .expect("stored");
    first.store.write_next(0, 0).await.expect("stored");
    let second = start();
    let status = second.status().borrow().clone();
    assert_eq!(status.not_after_unix, Some(validity.not_after_unix));
    assert_eq!(status.next_attempt_unix, validity.renew_at_unix(0));
    let leaf = shown(second.resolver(), "a.kvorum.test", &[b"h2"]).await;
    assert_eq!(leaf.as_ref(), Some(public.chain().leaf()));
    // Attempts that failed are not forgotten by a restart, and a clock that was wrong does not put it off for years.
    second
        .store
        .write_next(now_unix() + 3000, 4)
        .await
        .expect("stored");
    assert_eq!(start().status().borrow().failures, 4);
    second.store.write_next(i64::MAX, 4).await.expect("stored");
    assert!(start().status().borrow().next_attempt_unix <= now_unix() + 8 * 24 * 3600);
    // Other names are another certificate.
    let mut others = options.clone();
    others.names.push("c.kvorum.test".to_owned());
    let third = Acme::new(others, own().0, Arc::new(LocalOnly)).expect("it can be");
    assert_eq!(third.status().borrow().not_after_unix, None);
}

#[tokio::test]
async fn what_cannot_be_read_is_said_and_an_account_is_never_replaced() {
    let place = Place::new();
    let options = options(
        &place.0,
        "https://127.0.0.1:1/dir",
        &server(&["x.test"], 60).1,
    );
    let make = || Acme::new(options.clone(), own().0, Arc::new(LocalOnly)).expect("it can be");
    let acme = make();
    files::create_dir(&options.cache_dir).expect("a directory");
    let account = std::fs::read_dir(&options.cache_dir).expect("ours").count();
    assert_eq!(account, 0);
    let mut status = acme.status();
    let (name, certificate) = ("account", "certificate");
    let path = |start: &str| {
        let names = format!("{:?}", acme.store);
        let from = names.find(&format!("{start}-")).expect("in it");
        let name: String = names[from..].chars().take_while(|c| *c != '"').collect();
        options.cache_dir.join(name)
    };
    let account = path(name);
    let dir = &options.cache_dir;
    let file_name = account
        .file_name()
        .and_then(|name| name.to_str())
        .expect("a name");
    files::write_secret(dir, file_name, b"{ half of it").expect("written");
    let certificate = path(certificate);
    let file_name = certificate
        .file_name()
        .and_then(|name| name.to_str())
        .expect("a name");
    files::write_secret(dir, file_name, b"-----BEGIN").expect("written");
    let again = make();
    let words = again.status().borrow().last_error.clone().expect("said");
    assert!(words.contains("certificate-"), "{words}");
    let task = tokio::spawn(acme.run());
    let failed = until(&mut status, |status| status.failures > 0).await;
    task.abort();
    let words = failed.last_error.expect("said");
    assert!(
        words.contains("ACME account") && words.contains("rm "),
        "{words}"
    );
    assert_eq!(std::fs::read(&account).expect("there"), b"{ half of it");
}

#[tokio::test]
async fn a_ca_that_is_down_or_is_not_who_it_should_be_stops_nothing() {
    let place = Place::new();
    let (own, own_leaf) = own();
    // Nobody listens there.
    let url = "https://127.0.0.1:1/dir";
    let acme = Acme::new(
        options(&place.0, url, &server(&["x.test"], 60).1),
        own,
        Arc::new(LocalOnly),
    );
    let acme = acme.expect("it can be");
    let (mut status, resolver) = (acme.status(), acme.resolver());
    let task = tokio::spawn(acme.run());
    let failed = until(&mut status, |status| {
        status.failures >= 2 && !status.ordering
    })
    .await;
    assert!(failed.last_error.expect("said").contains("127.0.0.1:1"));
    assert!(failed.next_attempt_unix >= now_unix());
    assert_eq!(
        shown(resolver, "a.kvorum.test", &[b"h2"]).await,
        Some(own_leaf)
    );
    task.abort();
    // Somebody listens with a certificate of another authority.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let (theirs, _) = server(&["127.0.0.1"], 3600);
    let tls = console_listener(fixed(&theirs).expect("a pair"), &[]).expect("a config");
    let tls = TlsAcceptor::from(Arc::new(tls));
    let ca = tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let _ = tls.accept(socket).await;
        }
    });
    let place = Place::new();
    let options = options(
        &place.0,
        &format!("https://127.0.0.1:{port}/dir"),
        &server(&["x.test"], 60).1,
    );
    let acme = Acme::new(options, super::tests::own().0, Arc::new(LocalOnly)).expect("it can be");
    let mut status = acme.status();
    let task = tokio::spawn(acme.run());
    let failed = until(&mut status, |status| status.failures > 0).await;
    let words = failed.last_error.expect("said");
    assert!(
        words.contains("its own certificate is not valid"),
        "{words}"
    );
    task.abort();
    ca.abort();
}

#[tokio::test]
async fn nothing_is_asked_when_nothing_can_be_stored() {
    let place = Place::new();
    let options = options(
        &place.0,
        "https://127.0.0.1:1/dir",
        &server(&["x.test"], 60).1,
    );
    std::fs::write(&options.cache_dir, "in the way").expect("ours");
    let acme = Acme::new(options, own().0, Arc::new(LocalOnly)).expect("it can be");
    let mut status = acme.status();
    let task = tokio::spawn(acme.run());
    let failed = until(&mut status, |status| status.failures > 0).await;
    let words = failed.last_error.expect("said");
    assert!(
        words.contains("nothing is asked of the CA") && words.contains("not a directory"),
        "{words}"
    );
    task.abort();
}
