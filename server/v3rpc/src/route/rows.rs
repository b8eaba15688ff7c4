//! The table of RPCs: service, method, what answers it, and who may call it.
//!
//! `kvorum_proto::METHODS` is the list. A method of it without a row here does not compile.

use kvorum_proto::METHODS;

use super::{Rpc, Stream, Unary};
use crate::auth::Auth;
use crate::rule::Rule::{
    self, Administrator, Authenticated, AuthenticatedByNeeds, ByNeeds, Open, OwnRole, OwnUser,
    Root, RootMaker, RootUnlessLooking,
};
use crate::trust::Trust;

const KV: &str = "etcdserverpb.KV";
const WATCH: &str = "etcdserverpb.Watch";
const LEASE: &str = "etcdserverpb.Lease";
const CLUSTER: &str = "etcdserverpb.Cluster";
const MAINTENANCE: &str = "etcdserverpb.Maintenance";
const AUTH: &str = "etcdserverpb.Auth";
pub(super) const LOCK: &str = "v3lockpb.Lock";
pub(super) const ELECTION: &str = "v3electionpb.Election";
const HEALTH: &str = "grpc.health.v1.Health";
const MEMBERSHIP: &str = "kvorumpb.Membership";
const TRUST: &str = "kvorumpb.Trust";

/// One RPC.
pub(super) struct Row {
    pub(super) service: &'static str,
    pub(super) name: &'static str,
    pub(super) rpc: Rpc,
    pub(super) rule: Rule,
}

const fn unary(service: &'static str, name: &'static str, rpc: Unary, rule: Rule) -> Row {
    let rpc = Rpc::Unary(rpc);
    Row {
        service,
        name,
        rpc,
        rule,
    }
}

const fn stream(service: &'static str, name: &'static str, rpc: Stream, rule: Rule) -> Row {
    let rpc = Rpc::Stream(rpc);
    Row {
        service,
        name,
        rpc,
        rule,
    }
}

const fn auth(name: &'static str, rpc: Auth, rule: Rule) -> Row {
    unary(AUTH, name, Unary::Auth(rpc), rule)
}

const fn trust(name: &'static str, rpc: Trust) -> Row {
    unary(TRUST, name, Unary::Trust(rpc), Administrator)
}

/// The table.
#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    unary(KV, "Range", Unary::Range, ByNeeds),
    stream(KV, "RangeStream", Stream::RangePieces, ByNeeds),
    unary(KV, "Put", Unary::Put, ByNeeds),
    unary(KV, "DeleteRange", Unary::DeleteRange, ByNeeds),
    unary(KV, "Txn", Unary::Txn, ByNeeds),
    unary(KV, "Compact", Unary::Compact, Root),
    stream(WATCH, "Watch", Stream::Watch, ByNeeds),
    unary(LEASE, "LeaseGrant", Unary::LeaseGrant, Authenticated),
    unary(LEASE, "LeaseRevoke", Unary::LeaseRevoke, AuthenticatedByNeeds),
    // A stream may be open to whoever has nothing to renew; each renewal is looked at.
    stream(LEASE, "LeaseKeepAlive", Stream::LeaseKeepAlive, ByNeeds),
    unary(LEASE, "LeaseTimeToLive", Unary::LeaseTimeToLive, AuthenticatedByNeeds),
    unary(LEASE, "LeaseLeases", Unary::LeaseLeases, AuthenticatedByNeeds),
    unary(CLUSTER, "MemberAdd", Unary::MemberAdd, Root),
    unary(CLUSTER, "MemberRemove", Unary::MemberRemove, Root),
    unary(CLUSTER, "MemberUpdate", Unary::MemberUpdate, Root),
    unary(CLUSTER, "MemberList", Unary::MemberList, Authenticated),
    unary(CLUSTER, "MemberPromote", Unary::MemberPromote, Root),
    unary(MAINTENANCE, "Alarm", Unary::Alarm, RootUnlessLooking),
    unary(MAINTENANCE, "Status", Unary::Status, Authenticated),
    unary(MAINTENANCE, "Defragment", Unary::Defragment, Root),
    unary(MAINTENANCE, "Hash", Unary::Hash, Root),
    unary(MAINTENANCE, "HashKV", Unary::HashKv, Root),
    stream(MAINTENANCE, "Snapshot", Stream::Snapshot, Root),
    unary(MAINTENANCE, "MoveLeader", Unary::MoveLeader, Root),
    unary(MAINTENANCE, "Downgrade", Unary::Downgrade, Root),
    auth("AuthEnable", Auth::Enable, RootMaker),
    auth("AuthDisable", Auth::Disable, RootMaker),
    auth("AuthStatus", Auth::Status, Root),
    auth("Authenticate", Auth::Authenticate, Open),
    auth("UserAdd", Auth::UserAdd, RootMaker),
    auth("UserGet", Auth::UserGet, OwnUser),
    auth("UserList", Auth::UserList, Root),
    auth("UserDelete", Auth::UserDelete, RootMaker),
    auth("UserChangePassword", Auth::UserChangePassword, RootMaker),
    auth("UserGrantRole", Auth::UserGrantRole, RootMaker),
    auth("UserRevokeRole", Auth::UserRevokeRole, RootMaker),
    auth("RoleAdd", Auth::RoleAdd, RootMaker),
    auth("RoleGet", Auth::RoleGet, OwnRole),
    auth("RoleList", Auth::RoleList, Root),
    auth("RoleDelete", Auth::RoleDelete, RootMaker),
    auth("RoleGrantPermission", Auth::RoleGrantPermission, RootMaker),
    auth("RoleRevokePermission", Auth::RoleRevokePermission, RootMaker),
    unary(LOCK, "Lock", Unary::Lock, ByNeeds),
    unary(LOCK, "Unlock", Unary::Unlock, ByNeeds),
    unary(ELECTION, "Campaign", Unary::Campaign, ByNeeds),
    unary(ELECTION, "Proclaim", Unary::Proclaim, ByNeeds),
    unary(ELECTION, "Leader", Unary::Leader, ByNeeds),
    stream(ELECTION, "Observe", Stream::Observe, ByNeeds),
    unary(ELECTION, "Resign", Unary::Resign, ByNeeds),
    unary(HEALTH, "Check", Unary::HealthCheck, Open),
    unary(HEALTH, "List", Unary::HealthList, Open),
    stream(HEALTH, "Watch", Stream::HealthWatch, Open),
    unary(MEMBERSHIP, "Replace", Unary::MemberReplace, Root),
    trust("TokenCreate", Trust::TokenCreate),
    trust("TokenList", Trust::TokenList),
    trust("TokenRevoke", Trust::TokenRevoke),
    trust("CertificateIssue", Trust::CertificateIssue),
    trust("CertificateList", Trust::CertificateList),
    trust("Revoke", Trust::Revoke),
    trust("Unrevoke", Trust::Unrevoke),
    trust("RotateCa", Trust::RotateCa),
    trust("TrustStatus", Trust::Status),
    trust("RevocationList", Trust::RevocationList),
];

const _: () = assert!(
    ROWS.len() == METHODS.len(),
    "each RPC has exactly one row: what answers it, and who may call it"
);
const _: () = {
    let mut at = 0;
    while at < METHODS.len() {
        assert!(
            has_row(METHODS[at].service, METHODS[at].name),
            "each RPC has a row: what answers it, and who may call it"
        );
        at += 1;
    }
};

const fn has_row(service: &str, name: &str) -> bool {
    let mut at = 0;
    while at < ROWS.len() {
        if same(ROWS[at].service, service) && same(ROWS[at].name, name) {
            return true;
        }
        at += 1;
    }
    false
}

const fn same(left: &str, right: &str) -> bool {
    let (left, right) = (left.as_bytes(), right.as_bytes());
    if left.len() != right.len() {
        return false;
    }
    let mut at = 0;
    while at < left.len() {
        if left[at] != right[at] {
            return false;
        }
        at += 1;
    }
    true
}
