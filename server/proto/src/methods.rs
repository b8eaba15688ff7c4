//! Every RPC of the v3 surface, written out by hand: what a route or an authorisation row must exist for.

/// One RPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method {
    /// Package and service, as in `etcdserverpb.KV`.
    pub service: &'static str,
    /// Name inside the service, as in `Range`.
    pub name: &'static str,
    /// The caller sends a stream of requests.
    pub client_streaming: bool,
    /// The server answers with a stream of responses.
    pub server_streaming: bool,
}

impl Method {
    /// The path of the RPC on the wire, as in `/etcdserverpb.KV/Range`.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/{}/{}", self.service, self.name)
    }
}

const fn unary(service: &'static str, name: &'static str) -> Method {
    Method {
        service,
        name,
        client_streaming: false,
        server_streaming: false,
    }
}

const fn server_stream(service: &'static str, name: &'static str) -> Method {
    Method {
        service,
        name,
        client_streaming: false,
        server_streaming: true,
    }
}

const fn both_streams(service: &'static str, name: &'static str) -> Method {
    Method {
        service,
        name,
        client_streaming: true,
        server_streaming: true,
    }
}

const KV: &str = "etcdserverpb.KV";
const WATCH: &str = "etcdserverpb.Watch";
const LEASE: &str = "etcdserverpb.Lease";
const CLUSTER: &str = "etcdserverpb.Cluster";
const MAINTENANCE: &str = "etcdserverpb.Maintenance";
const AUTH: &str = "etcdserverpb.Auth";
const LOCK: &str = "v3lockpb.Lock";
const ELECTION: &str = "v3electionpb.Election";
const HEALTH: &str = "grpc.health.v1.Health";
const MEMBERSHIP: &str = "kvorumpb.Membership";
const TRUST: &str = "kvorumpb.Trust";

/// Every RPC of etcd 3.6 and 3.7's `RangeStream`, in the order of its services, and our own.
pub const METHODS: &[Method] = &[
    unary(KV, "Range"),
    server_stream(KV, "RangeStream"),
    unary(KV, "Put"),
    unary(KV, "DeleteRange"),
    unary(KV, "Txn"),
    unary(KV, "Compact"),
    both_streams(WATCH, "Watch"),
    unary(LEASE, "LeaseGrant"),
    unary(LEASE, "LeaseRevoke"),
    both_streams(LEASE, "LeaseKeepAlive"),
    unary(LEASE, "LeaseTimeToLive"),
    unary(LEASE, "LeaseLeases"),
    unary(CLUSTER, "MemberAdd"),
    unary(CLUSTER, "MemberRemove"),
    unary(CLUSTER, "MemberUpdate"),
    unary(CLUSTER, "MemberList"),
    unary(CLUSTER, "MemberPromote"),
    unary(MAINTENANCE, "Alarm"),
    unary(MAINTENANCE, "Status"),
    unary(MAINTENANCE, "Defragment"),
    unary(MAINTENANCE, "Hash"),
    unary(MAINTENANCE, "HashKV"),
    server_stream(MAINTENANCE, "Snapshot"),
    unary(MAINTENANCE, "MoveLeader"),
    unary(MAINTENANCE, "Downgrade"),
    unary(AUTH, "AuthEnable"),
    unary(AUTH, "AuthDisable"),
    unary(AUTH, "AuthStatus"),
    unary(AUTH, "Authenticate"),
    unary(AUTH, "UserAdd"),
    unary(AUTH, "UserGet"),
    unary(AUTH, "UserList"),
    unary(AUTH, "UserDelete"),
    unary(AUTH, "UserChangePassword"),
    unary(AUTH, "UserGrantRole"),
    unary(AUTH, "UserRevokeRole"),
    unary(AUTH, "RoleAdd"),
    unary(AUTH, "RoleGet"),
    unary(AUTH, "RoleList"),
    unary(AUTH, "RoleDelete"),
    unary(AUTH, "RoleGrantPermission"),
    unary(AUTH, "RoleRevokePermission"),
    unary(LOCK, "Lock"),
    unary(LOCK, "Unlock"),
    unary(ELECTION, "Campaign"),
    unary(ELECTION, "Proclaim"),
    unary(ELECTION, "Leader"),
    server_stream(ELECTION, "Observe"),
    unary(ELECTION, "Resign"),
    unary(HEALTH, "Check"),
    unary(HEALTH, "List"),
    server_stream(HEALTH, "Watch"),
    unary(MEMBERSHIP, "Replace"),
    unary(TRUST, "TokenCreate"),
    unary(TRUST, "TokenList"),
    unary(TRUST, "TokenRevoke"),
    unary(TRUST, "CertificateIssue"),
    unary(TRUST, "CertificateList"),
    unary(TRUST, "Revoke"),
    unary(TRUST, "Unrevoke"),
    unary(TRUST, "RotateCa"),
    unary(TRUST, "TrustStatus"),
    unary(TRUST, "RevocationList"),
];
