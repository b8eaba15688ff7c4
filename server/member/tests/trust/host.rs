//! A machine with a member on it.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use kvorum_core::MemberId;
use kvorum_core::trust::{ISSUING_KEY_AAD, ROOT_KEY_AAD};
use kvorum_member::peer::{PeerListener, PeerOptions, Peers};
use kvorum_member::trust::{JoinError, JoinOptions, Joined, Keeper, TrustOptions, join};
use kvorum_member::{Caller, Handle, Member, MemberOptions};
use kvorum_pki::seal::{SealKey, seal};
use kvorum_pki::{
    Bundle, ClientCerts, JoinToken, KeyPair, Root, Subject, TrustDomain, Validity, bundle_pem,
    files,
};
use kvorum_proto::etcdserverpb as pb;
use kvorum_proto::kvorumpb::{JoinToken as KeptToken, TokenRole, TrustInit, TrustIssuer};
use prost::Message as _;
use sha1::{Digest as _, Sha1};

/// Longer than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The world's clock.
pub(crate) fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(since.expect("after 1970").as_secs()).expect("in range")
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Asks until it is done: a cluster does not change itself while it counts on too few, as on those who have just come.
pub(crate) async fn in_the_end<T, E: std::fmt::Debug>(
    what: &str,
    ask: impl AsyncFn() -> Result<T, E>,
) -> T {
    let begin = Instant::now();
    loop {
        match ask().await {
            Ok(done) => return done,
            Err(error) => assert!(begin.elapsed() < PATIENCE, "{what}: {error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A directory that goes away.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).expect("random");
        let path =
            std::env::temp_dir().join(format!("kvorum-trust-{:x}", u64::from_be_bytes(bytes)));
        std::fs::create_dir(&path).expect("a directory");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays is in the system's directory for such things.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A machine that may run a member.
pub(crate) struct Host {
    pub(crate) dir: Scratch,
    pub(crate) name: String,
    pub(crate) port: u16,
    pub(crate) member_id: MemberId,
    node_life: Duration,
    running: Option<Running>,
}

struct Running {
    member: Member,
    handle: Handle,
}

/// A port that was free a moment ago and comes again late. It lies below those that the kernel gives to connections, which
/// could take one while its member is not running.
fn free_port() -> u16 {
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 22_000;
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    // Each process begins somewhere else.
    let begin = std::process::id().wrapping_mul(7_919);
    for _ in 0..COUNT {
        let place = begin.wrapping_add(COUNTER.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = u16::try_from(FIRST + place).expect("the range ends below 65,536");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port from {FIRST} on is free")
}

impl Host {
    /// One that runs nothing yet.
    pub(crate) fn new(name: &str, node_life: Duration) -> Self {
        Self {
            dir: Scratch::new(),
            name: name.into(),
            port: free_port(),
            member_id: MemberId(0),
            node_life,
            running: None,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.dir.0.join("data")
    }

    pub(crate) fn pki_dir(&self) -> PathBuf {
        self.data_dir().join("pki")
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.running.as_ref().expect("it runs").handle
    }

    /// Begins a cluster with an authority of its own.
    pub(crate) async fn found(name: &str, node_life: Duration) -> Self {
        let mut host = Self::new(name, node_life);
        let mut id = Sha1::new();
        id.update(host.url());
        id.update("kvorum-cluster");
        let first = <[u8; 8]>::try_from(&id.finalize()[..8]).expect("8 bytes");
        host.member_id = MemberId(u64::from_be_bytes(first));
        make_authority(&host.pki_dir(), host.member_id, name);
        host.start().await;
        let handle = host.handle().clone();
        until("the authority begins", || handle.trust().is_ready()).await;
        let id = host.member_id;
        until("it shows its own certificate", || {
            handle.trust().ack(id).is_some()
        })
        .await;
        host
    }

    /// Starts what is in the directory.
    pub(crate) async fn start(&mut self) {
        let keeper = Keeper::open(TrustOptions {
            pki_dir: self.pki_dir(),
            member_id: self.member_id,
            node_life: self.node_life,
            client_life: Duration::from_secs(3600),
            console_life: Duration::from_secs(3600),
            names: vec!["127.0.0.1".into(), "localhost".into()],
            client_certs: ClientCerts::Required,
        });
        let keeper = keeper.expect("the files are in order");
        let begin = Instant::now();
        let socket = loop {
            match TcpListener::bind(("127.0.0.1", self.port)) {
                Ok(socket) => break socket,
                Err(error) => assert!(begin.elapsed() < PATIENCE, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let peers = Peers::start(PeerOptions {
            listeners: vec![PeerListener { socket, tls: true }],
            tls: Some(keeper.peer_tls()),
            advertise_urls: vec![self.url()],
            election_timeout: Duration::from_millis(600),
            ..PeerOptions::default()
        });
        let options = MemberOptions {
            data_dir: self.data_dir(),
            name: self.name.clone(),
            peer_urls: vec![self.url()],
            client_urls: vec![format!("https://{}:2379", self.name)],
            election_timeout: Duration::from_millis(600),
            heartbeat_interval: Duration::from_millis(60),
            ..MemberOptions::default()
        };
        let peers = peers.expect("the transport starts");
        let member = Member::start(options, Some(peers)).expect("the member starts");
        keeper.run(&member).expect("a thread");
        let handle = member.handle().expect("a handle");
        tokio::spawn(handle.run());
        self.running = Some(Running { member, handle });
    }

    /// Ends it; all that it holds is free afterwards.
    pub(crate) async fn stop(&mut self) {
        let Running { member, handle } = self.running.take().expect("it runs");
        drop(handle);
        let stopped = tokio::task::spawn_blocking(move || member.stop());
        stopped.await.expect("it stops");
    }

    pub(crate) async fn restart(&mut self) {
        self.stop().await;
        self.start().await;
    }

    /// A token, as an administrator makes it.
    pub(crate) async fn token(&self, role: TokenRole, life_s: i64) -> JoinToken {
        let wanted = KeptToken {
            role: role.into(),
            name: if role == TokenRole::Client {
                "ann".into()
            } else {
                String::new()
            },
            ..KeptToken::default()
        };
        let made = self
            .handle()
            .trust_token_create("test", &wanted, life_s)
            .await;
        JoinToken::parse(&made.expect("a token").text).expect("well formed")
    }

    pub(crate) fn join_options(&self) -> JoinOptions {
        JoinOptions {
            data_dir: self.data_dir(),
            name: self.name.clone(),
            peer_urls: vec![self.url()],
            patience: PATIENCE,
        }
    }

    /// Joins with a token; nothing runs yet.
    pub(crate) async fn join(&mut self, token: &JoinToken) -> Result<Joined, JoinError> {
        let (token, options) = (token.clone(), self.join_options());
        let joined = tokio::task::spawn_blocking(move || join(&token, &options));
        let joined = joined.await.expect("no panic")?;
        self.member_id = joined.member_id;
        Ok(joined)
    }

    pub(crate) async fn put(&self, key: &str) -> Result<(), kvorum_member::Error> {
        let request = pb::PutRequest {
            key: key.to_owned().into(),
            value: "value".into(),
            ..pb::PutRequest::default()
        };
        self.handle()
            .put(&Caller::nobody(), request)
            .await
            .map(drop)
    }
}

/// A cluster of three that vote.
pub(crate) async fn three(node_life: Duration) -> [Host; 3] {
    let first = Host::found("a", node_life).await;
    let mut hosts = vec![first];
    for name in ["b", "c"] {
        let token = hosts[0].token(TokenRole::Voter, 0).await;
        let mut host = Host::new(name, node_life);
        host.join(&token).await.expect("it joins");
        host.start().await;
        hosts.push(host);
        let (handle, count) = (hosts[0].handle().clone(), hosts.len());
        until("it is promoted", || {
            let members = handle.members();
            members.len() == count && members.iter().all(|m| !m.is_learner && !m.name.is_empty())
        })
        .await;
        until("all show their own certificates", || {
            handle.trust().acks().count() == count
        })
        .await;
    }
    let Ok(three) = <[Host; 3]>::try_from(hosts) else {
        unreachable!("there are three")
    };
    three
}

/// What the first start of a founder leaves in its directory.
fn make_authority(dir: &Path, member_id: MemberId, name: &str) {
    let domain = TrustDomain::generate().expect("random");
    let root = Root::generate(&domain, now()).expect("a root");
    let issuer = root.issuing_ca(&domain, now()).expect("an issuer");
    let seal_key = SealKey::generate().expect("random");
    let key = KeyPair::generate().expect("a key");
    let subject = Subject::Node {
        member_id: member_id.0,
        member_name: name.into(),
        names: vec!["localhost".into()],
    };
    let life = Validity::from_now(now(), 3600);
    let public = key.public().expect("a key");
    let chain = issuer
        .sign(&public, &subject, &domain, life)
        .expect("signed");
    let node = Bundle::new(key, chain).expect("a pair");
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
    std::fs::create_dir_all(dir.parent().expect("a parent")).expect("a directory");
    files::create_dir(dir).expect("a directory");
    let write = |name: &str, bytes: &[u8]| files::write_secret(dir, name, bytes).expect("written");
    write(files::DOMAIN, domain.to_string().as_bytes());
    write(files::SEAL_KEY, seal_key.to_text().as_bytes());
    write(
        files::CA_PEM,
        bundle_pem(&[root.certificate().clone()]).as_bytes(),
    );
    write(files::NODE_PEM, node.to_pem().as_bytes());
    write("founding", &founding.encode_to_vec());
}
