//! One kvorum and one etcd, fresh, with the same flags and the same ids.

use kvorum_proto::etcdserverpb::{StatusRequest, StatusResponse};
use kvorum_tests::{
    process::{Options, Server, TestDir, start_etcd},
    reference,
};
use prost::Message;

use crate::{
    messages::Rpc,
    wire::{Connection, Head, framed},
};

/// Which line of etcd stands beside us. The contract is that of 3.6; what older ones do otherwise is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Reference {
    pub(crate) minor: u32,
}

impl Reference {
    pub(crate) const V3_6: Self = Self { minor: 6 };

    fn of(version: &str) -> Self {
        let minor = version
            .strip_prefix("3.")
            .and_then(|rest| rest.split('.').next());
        let minor = minor.and_then(|minor| minor.parse().ok());
        Self {
            minor: minor.unwrap_or_else(|| panic!("etcd {version} is none we know")),
        }
    }
}

/// Limits that are small enough to be met by chance.
pub(crate) const MAX_TXN_OPS: usize = 8;
/// With the election timeout below, leases get at least this.
pub(crate) const MIN_LEASE_TTL_S: i64 = 1;

/// The store of a pair that is meant to run full.
pub(crate) const TIGHT_QUOTA_BYTES: usize = 1 << 20;

/// One of the two servers.
pub(crate) struct Side {
    pub(crate) connection: Connection,
    pub(crate) term: u64,
    pub(crate) version: String,
    /// Killed when dropped.
    _server: Server,
}

impl Side {
    async fn new(server: Server) -> Self {
        let connection = Connection::open(&server.url()).await;
        let head = Head::grpc(Rpc::Status.path());
        let request = framed(&StatusRequest {}.encode_to_vec());
        let reply = connection.call(&head, request).await;
        let [message] = reply.messages.as_slice() else {
            panic!("no status: {reply:?}")
        };
        let status = StatusResponse::decode(message.clone()).expect("a status");
        Self {
            connection,
            term: status.raft_term,
            version: status.version,
            _server: server,
        }
    }
}

/// Both.
pub(crate) struct Pair {
    pub(crate) kvorum: Side,
    pub(crate) etcd: Side,
    pub(crate) reference: Reference,
    _dir: TestDir,
}

impl Pair {
    /// Starts both; `tight` gives them a small quota.
    pub(crate) async fn start(tight: bool) -> Self {
        let dir = TestDir::new("differential");
        let mut shared = vec![format!("--max-txn-ops={MAX_TXN_OPS}")];
        if tight {
            shared.push(format!("--quota-backend-bytes={TIGHT_QUOTA_BYTES}"));
        }
        let mut options = Options::new(&dir)
            .flag("--heartbeat-interval=10ms")
            .flag("--election-timeout=100ms");
        for flag in &shared {
            options = options.flag(flag);
        }
        // The ids of cluster and member come from the peer URL: with kvorum's own, both sides have the same.
        let mut flags = vec![
            "--unsafe-no-fsync",
            "--heartbeat-interval=10",
            "--election-timeout=100",
            "--initial-advertise-peer-urls=http://localhost:2380",
            "--initial-cluster=default=http://localhost:2380",
        ];
        flags.extend(shared.iter().map(String::as_str));
        let binary = reference::etcd().expect("the suite looked for it first");
        let etcd = Side::new(start_etcd(&binary, &dir, &flags)).await;
        let kvorum = Side::new(options.start()).await;
        let reference = Reference::of(&etcd.version);
        Self {
            kvorum,
            etcd,
            reference,
            _dir: dir,
        }
    }

    pub(crate) fn sides(&self) -> [&Side; 2] {
        [&self.kvorum, &self.etcd]
    }
}
