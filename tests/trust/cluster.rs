//! A member with an authority of its own, and clients with its certificates.

use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use kvorum_core::trust::{ISSUING_KEY_AAD, ROOT_KEY_AAD};
use kvorum_member::{
    Handle, Member, MemberOptions,
    trust::{Keeper, TrustOptions},
};
use kvorum_pki::{
    Bundle, ClientCerts, KeyPair, Root, Subject, TrustDomain, Validity, bundle_pem, csr, files,
    seal::{SealKey, seal},
};
use kvorum_proto::kvorumpb::{
    CertificateIssueRequest, CertificateKind, TrustDenial, TrustInit, TrustIssuer,
    trust_denial::Subject as Denied,
};
use kvorum_v3rpc::{Front, Listener, ListenerTls, Options, Scope};
use prost::Message as _;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::rpc::Rpc;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// What is promised of revocations. (SECURITY.md, S7)
pub(crate) const PROMISED: Duration = Duration::from_secs(5);

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(since.expect("after 1970").as_secs()).expect("in range")
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits for something that ends.
pub(crate) async fn ends<T>(what: &str, future: impl Future<Output = T>) -> T {
    let ended = tokio::time::timeout(PATIENCE, future).await;
    ended.unwrap_or_else(|_| panic!("{what} goes on"))
}

/// What a client shows.
pub(crate) struct Badge {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    pub(crate) serial: Vec<u8>,
}

/// A member; it ends with the test.
pub(crate) struct Cluster {
    pub(crate) address: SocketAddr,
    /// Listeners that serve less than clients use.
    pub(crate) others: [SocketAddr; 2],
    pub(crate) handle: Handle,
    pki_dir: PathBuf,
    directory: PathBuf,
    front: Option<Front>,
    member: Option<Member>,
}

impl Cluster {
    /// One that serves clients without certificates as well.
    pub(crate) async fn start() -> Self {
        let mut name = [0; 8];
        getrandom::fill(&mut name).expect("random");
        let name = format!("kvorum-revoked-{:x}", u64::from_be_bytes(name));
        let directory = std::env::temp_dir().join(name);
        let pki_dir = directory.join("pki");
        let options = MemberOptions {
            data_dir: directory.clone(),
            log_segment_bytes: 1 << 20,
            ..MemberOptions::default()
        };
        let member = Member::start(options, None).expect("a member starts");
        let handle = member.handle().expect("a port");
        make_authority(&pki_dir, handle.identity().member_id.0);
        let keeper = Keeper::open(TrustOptions {
            pki_dir: pki_dir.clone(),
            member_id: handle.identity().member_id,
            node_life: Duration::from_secs(3600),
            client_life: Duration::from_secs(3600),
            console_life: Duration::from_secs(3600),
            names: vec!["127.0.0.1".into()],
            client_certs: ClientCerts::Optional,
        });
        let keeper = keeper.expect("the files are in order");
        let mut addresses = Vec::new();
        let listeners = [Scope::Client, Scope::Http, Scope::Metrics].map(|scope| {
            let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
            addresses.push(socket.local_addr().expect("bound"));
            Listener {
                socket,
                tls: Some(ListenerTls::live(keeper.client_tls().subscribe())),
                allow_plain: false,
                scope,
            }
        });
        let options = Options {
            trust: Some(keeper.client_trust()),
            ..Options::default()
        };
        keeper.run(&member).expect("a thread");
        let handles = (0..2).map(|_| member.handle().expect("a port")).collect();
        let front = Front::start(listeners.into(), handles, options).expect("threads");
        tokio::spawn(handle.run());
        member.ready().await;
        let known = handle.clone();
        let id = handle.identity().member_id;
        until("the authority begins", || known.trust().ack(id).is_some()).await;
        Self {
            address: addresses[0],
            others: [addresses[1], addresses[2]],
            handle,
            pki_dir,
            directory,
            front: Some(front),
            member: Some(member),
        }
    }

    /// A certificate that lives for so long; 0 for as long as usual.
    pub(crate) async fn badge(&self, kind: CertificateKind, user: &str, life_s: i64) -> Badge {
        let key = KeyPair::generate().expect("a key");
        let csr = csr::create(&key).expect("a request");
        let request = CertificateIssueRequest {
            csr_der: csr.into(),
            kind: kind.into(),
            user: user.to_owned(),
            ttl_s: life_s,
            ..CertificateIssueRequest::default()
        };
        let issued = self.handle.trust_issue("test", &request).await;
        let issued = issued.expect("signed");
        let key = PrivateKeyDer::try_from(key.pkcs8().to_vec()).expect("a key");
        Badge {
            chain: issued.chain,
            key,
            serial: issued.serial,
        }
    }

    pub(crate) async fn client(&self, user: &str) -> Badge {
        self.badge(CertificateKind::Client, user, 0).await
    }

    /// The member's own.
    pub(crate) fn node(&self) -> Badge {
        let pem = std::fs::read(self.pki_dir.join(files::NODE_PEM)).expect("readable");
        let chain = CertificateDer::pem_slice_iter(&pem).map(|c| c.expect("readable"));
        Badge {
            chain: chain.collect(),
            key: PrivateKeyDer::from_pem_slice(&pem).expect("a key"),
            serial: Vec::new(),
        }
    }

    pub(crate) fn tls(&self, badge: Option<&Badge>, protocol: &[u8]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        for root in self.handle.trust().roots() {
            let root = CertificateDer::from(root.der.to_vec());
            roots.add(root).expect("a root");
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the usual versions")
            .with_root_certificates(roots);
        let mut config = match badge {
            None => config.with_no_client_auth(),
            Some(badge) => config
                .with_client_auth_cert(badge.chain.clone(), badge.key.clone_key())
                .expect("a pair"),
        };
        config.alpn_protocols = vec![protocol.to_vec()];
        Arc::new(config)
    }

    /// A connection that is known to be open.
    pub(crate) async fn rpc(&self, badge: Option<&Badge>) -> Rpc {
        let tls = self.tls(badge, b"h2");
        Rpc::connect_tls(self.address, tls).await.expect("let in")
    }

    /// A connection over which anything may be sent.
    pub(crate) async fn raw(
        &self,
        config: Arc<ClientConfig>,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        Self::raw_at(self.address, config).await
    }

    pub(crate) async fn raw_at(
        address: SocketAddr,
        config: Arc<ClientConfig>,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let socket = TcpStream::connect(address).await?;
        let name = ServerName::from(address.ip());
        TlsConnector::from(config).connect(name, socket).await
    }

    pub(crate) async fn deny(&self, subject: Denied) {
        let denial = TrustDenial {
            subject: Some(subject),
            ..TrustDenial::default()
        };
        self.handle.trust_deny(denial).await.expect("denied");
    }

    pub(crate) async fn deny_badge(&self, badge: &Badge) {
        self.deny(Denied::Serial(badge.serial.clone().into())).await;
    }

    pub(crate) async fn deny_user(&self, user: &str) {
        self.deny(Denied::User(user.into())).await;
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(front) = self.front.take() {
            front.stop();
            front.join();
        }
        if let Some(member) = self.member.take() {
            member.stop();
        }
        // What stays is in the system's directory for such things.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// What the first start of a founder leaves in its directory.
fn make_authority(dir: &Path, member_id: u64) {
    let domain = TrustDomain::generate().expect("random");
    let root = Root::generate(&domain, now()).expect("a root");
    let issuer = root.issuing_ca(&domain, now()).expect("an issuer");
    let seal_key = SealKey::generate().expect("random");
    let key = KeyPair::generate().expect("a key");
    let subject = Subject::Node {
        member_id,
        member_name: "a".into(),
        names: vec!["127.0.0.1".into()],
    };
    let life = Validity::from_now(now(), 3600);
    let public = key.public().expect("a key");
    let chain = issuer.sign(&public, &subject, &domain, life);
    let node = Bundle::new(key, chain.expect("signed")).expect("a pair");
    let sealed = |key: &KeyPair, aad| seal(&seal_key, key.pkcs8(), aad).expect("sealed").into();
    let validity = Validity::of(issuer.certificate()).expect("a certificate");
    let founding = TrustInit {
        domain: domain.as_bytes().to_vec().into(),
        root_der: root.certificate().to_vec().into(),
        sealed_root_key: sealed(root.key(), ROOT_KEY_AAD),
        issuer: Some(TrustIssuer {
            der: issuer.certificate().to_vec().into(),
            sealed_key: sealed(issuer.key(), ISSUING_KEY_AAD),
            not_before_unix_s: validity.not_before_unix,
            not_after_unix_s: validity.not_after_unix,
            ..TrustIssuer::default()
        }),
    };
    files::create_dir(dir).expect("a directory");
    let write = |name: &str, bytes: &[u8]| files::write_secret(dir, name, bytes).expect("written");
    write(files::DOMAIN, domain.to_string().as_bytes());
    write(files::SEAL_KEY, seal_key.to_text().as_bytes());
    let roots = [root.certificate().clone()];
    write(files::CA_PEM, bundle_pem(&roots).as_bytes());
    write(files::NODE_PEM, node.to_pem().as_bytes());
    write("founding", &founding.encode_to_vec());
}
