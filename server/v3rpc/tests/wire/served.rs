//! A member with its client listener, in a directory of its own.

use std::{
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use kvorum_member::{Caller, Member, MemberOptions};
use kvorum_proto::{etcdserverpb::RangeRequest, mvccpb::KeyValue};
use kvorum_v3rpc::{Front, Listener, ListenerTls, Options, Scope, server_config};
use prost::Message;

static DIRECTORIES: AtomicU32 = AtomicU32::new(0);

/// What a test changes about the listener.
pub(crate) struct Shape {
    pub(crate) tls: bool,
    pub(crate) plain: bool,
    pub(crate) scope: Scope,
    pub(crate) header_timeout: Duration,
    pub(crate) handshake_timeout: Duration,
    pub(crate) body_timeout: Duration,
    /// Memory for large requests and replies.
    pub(crate) large_request_bytes: usize,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            tls: false,
            plain: true,
            scope: Scope::Client,
            header_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(20),
            large_request_bytes: 64 << 20,
        }
    }
}

/// Runs until it is dropped.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    /// The certificate, if TLS is on.
    pub(crate) certificate: Option<rustls::pki_types::CertificateDer<'static>>,
    front: Option<Front>,
    member: Option<Member>,
    directory: PathBuf,
}

/// A member that is ready, behind a plain listener.
pub(crate) async fn served() -> Served {
    Served::start(Shape::default()).await
}

impl Served {
    pub(crate) async fn start(shape: Shape) -> Self {
        let number = DIRECTORIES.fetch_add(1, Ordering::Relaxed);
        let name = format!("kvorum-wire-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        let options = MemberOptions {
            data_dir: directory.clone(),
            log_segment_bytes: 1 << 20,
            large_request_bytes: shape.large_request_bytes,
            ..Default::default()
        };
        let member = Member::start(options, None).expect("a member starts in an empty directory");
        let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = socket.local_addr().expect("bound");
        let mut certificate = None;
        let tls = shape.tls.then(|| {
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])
                .expect("a certificate");
            certificate = Some(made.cert.der().clone());
            let key = made.signing_key.serialize_pem();
            let config = server_config(made.cert.pem().as_bytes(), key.as_bytes(), None);
            ListenerTls::fixed(&config.expect("a usable pair"))
        });
        let listener = Listener {
            socket,
            tls,
            allow_plain: shape.plain,
            scope: shape.scope,
        };
        let options = Options {
            header_timeout: shape.header_timeout,
            handshake_timeout: shape.handshake_timeout,
            body_timeout: shape.body_timeout,
            max_request_bytes: 64 * 1024,
            ..Options::default()
        };
        let handles = (0..2).map(|_| member.handle().expect("a port")).collect();
        let front = Front::start(vec![listener], handles, options).expect("threads");
        member.ready().await;
        Self {
            address,
            certificate,
            front: Some(front),
            member: Some(member),
            directory,
        }
    }

    /// Keys of an interval, read from the member itself.
    pub(crate) async fn range(&self, key: &'static str, range_end: &'static str) -> Vec<String> {
        let member = self.member.as_ref().expect("runs until the drop");
        let request = RangeRequest {
            key: key.into(),
            range_end: range_end.into(),
            ..Default::default()
        };
        let reply = member
            .handle()
            .expect("a port")
            .range(&Caller::own(), request)
            .await;
        let pairs = reply.expect("readable").kvs.into_iter();
        pairs
            .map(|pair| {
                let pair = KeyValue::decode(pair).expect("encoded by the member");
                String::from_utf8(pair.key.to_vec()).expect("text")
            })
            .collect()
    }

    /// Stops the listener, not the member.
    pub(crate) fn stop_front(&mut self) {
        let front = self.front.take().expect("stopped once");
        front.stop();
        front.join();
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(front) = self.front.take() {
            front.stop();
            front.join();
        }
        if let Some(member) = self.member.take() {
            member.stop();
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
