//! One row for each path of the gateway: the RPC behind it and its messages.
//!
//! Which of them stream is told by `kvorum_proto::METHODS`. A test compares the rows with that list.

use std::{collections::HashMap, sync::LazyLock};

use kvorum_proto::{
    METHODS,
    shape::{self, MessageShape},
};

const KV: &str = "etcdserverpb.KV";
const WATCH: &str = "etcdserverpb.Watch";
const LEASE: &str = "etcdserverpb.Lease";
const CLUSTER: &str = "etcdserverpb.Cluster";
const MAINTENANCE: &str = "etcdserverpb.Maintenance";
const AUTH: &str = "etcdserverpb.Auth";
const LOCK: &str = "v3lockpb.Lock";
const ELECTION: &str = "v3electionpb.Election";

/// Path, service, method, request, response.
type Row = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

#[rustfmt::skip]
const ROWS: &[Row] = &[
    ("/v3/kv/range", KV, "Range", "RangeRequest", "RangeResponse"),
    ("/v3/kv/put", KV, "Put", "PutRequest", "PutResponse"),
    ("/v3/kv/deleterange", KV, "DeleteRange", "DeleteRangeRequest", "DeleteRangeResponse"),
    ("/v3/kv/txn", KV, "Txn", "TxnRequest", "TxnResponse"),
    ("/v3/kv/compaction", KV, "Compact", "CompactionRequest", "CompactionResponse"),
    ("/v3/watch", WATCH, "Watch", "WatchRequest", "WatchResponse"),
    ("/v3/lease/grant", LEASE, "LeaseGrant", "LeaseGrantRequest", "LeaseGrantResponse"),
    ("/v3/lease/revoke", LEASE, "LeaseRevoke", "LeaseRevokeRequest", "LeaseRevokeResponse"),
    ("/v3/kv/lease/revoke", LEASE, "LeaseRevoke", "LeaseRevokeRequest", "LeaseRevokeResponse"),
    ("/v3/lease/keepalive", LEASE, "LeaseKeepAlive", "LeaseKeepAliveRequest", "LeaseKeepAliveResponse"),
    ("/v3/lease/timetolive", LEASE, "LeaseTimeToLive", "LeaseTimeToLiveRequest", "LeaseTimeToLiveResponse"),
    ("/v3/kv/lease/timetolive", LEASE, "LeaseTimeToLive", "LeaseTimeToLiveRequest", "LeaseTimeToLiveResponse"),
    ("/v3/lease/leases", LEASE, "LeaseLeases", "LeaseLeasesRequest", "LeaseLeasesResponse"),
    ("/v3/kv/lease/leases", LEASE, "LeaseLeases", "LeaseLeasesRequest", "LeaseLeasesResponse"),
    ("/v3/cluster/member/add", CLUSTER, "MemberAdd", "MemberAddRequest", "MemberAddResponse"),
    ("/v3/cluster/member/remove", CLUSTER, "MemberRemove", "MemberRemoveRequest", "MemberRemoveResponse"),
    ("/v3/cluster/member/update", CLUSTER, "MemberUpdate", "MemberUpdateRequest", "MemberUpdateResponse"),
    ("/v3/cluster/member/list", CLUSTER, "MemberList", "MemberListRequest", "MemberListResponse"),
    ("/v3/cluster/member/promote", CLUSTER, "MemberPromote", "MemberPromoteRequest", "MemberPromoteResponse"),
    ("/v3/maintenance/alarm", MAINTENANCE, "Alarm", "AlarmRequest", "AlarmResponse"),
    ("/v3/maintenance/status", MAINTENANCE, "Status", "StatusRequest", "StatusResponse"),
    ("/v3/maintenance/defragment", MAINTENANCE, "Defragment", "DefragmentRequest", "DefragmentResponse"),
    ("/v3/maintenance/hash", MAINTENANCE, "Hash", "HashRequest", "HashResponse"),
    ("/v3/maintenance/hashkv", MAINTENANCE, "HashKV", "HashKVRequest", "HashKVResponse"),
    ("/v3/maintenance/snapshot", MAINTENANCE, "Snapshot", "SnapshotRequest", "SnapshotResponse"),
    ("/v3/maintenance/transfer-leadership", MAINTENANCE, "MoveLeader", "MoveLeaderRequest", "MoveLeaderResponse"),
    ("/v3/maintenance/downgrade", MAINTENANCE, "Downgrade", "DowngradeRequest", "DowngradeResponse"),
    ("/v3/auth/enable", AUTH, "AuthEnable", "AuthEnableRequest", "AuthEnableResponse"),
    ("/v3/auth/disable", AUTH, "AuthDisable", "AuthDisableRequest", "AuthDisableResponse"),
    ("/v3/auth/status", AUTH, "AuthStatus", "AuthStatusRequest", "AuthStatusResponse"),
    ("/v3/auth/authenticate", AUTH, "Authenticate", "AuthenticateRequest", "AuthenticateResponse"),
    ("/v3/auth/user/add", AUTH, "UserAdd", "AuthUserAddRequest", "AuthUserAddResponse"),
    ("/v3/auth/user/get", AUTH, "UserGet", "AuthUserGetRequest", "AuthUserGetResponse"),
    ("/v3/auth/user/list", AUTH, "UserList", "AuthUserListRequest", "AuthUserListResponse"),
    ("/v3/auth/user/delete", AUTH, "UserDelete", "AuthUserDeleteRequest", "AuthUserDeleteResponse"),
    ("/v3/auth/user/changepw", AUTH, "UserChangePassword", "AuthUserChangePasswordRequest", "AuthUserChangePasswordResponse"),
    ("/v3/auth/user/grant", AUTH, "UserGrantRole", "AuthUserGrantRoleRequest", "AuthUserGrantRoleResponse"),
    ("/v3/auth/user/revoke", AUTH, "UserRevokeRole", "AuthUserRevokeRoleRequest", "AuthUserRevokeRoleResponse"),
    ("/v3/auth/role/add", AUTH, "RoleAdd", "AuthRoleAddRequest", "AuthRoleAddResponse"),
    ("/v3/auth/role/get", AUTH, "RoleGet", "AuthRoleGetRequest", "AuthRoleGetResponse"),
    ("/v3/auth/role/list", AUTH, "RoleList", "AuthRoleListRequest", "AuthRoleListResponse"),
    ("/v3/auth/role/delete", AUTH, "RoleDelete", "AuthRoleDeleteRequest", "AuthRoleDeleteResponse"),
    ("/v3/auth/role/grant", AUTH, "RoleGrantPermission", "AuthRoleGrantPermissionRequest", "AuthRoleGrantPermissionResponse"),
    ("/v3/auth/role/revoke", AUTH, "RoleRevokePermission", "AuthRoleRevokePermissionRequest", "AuthRoleRevokePermissionResponse"),
    ("/v3/lock/lock", LOCK, "Lock", "LockRequest", "LockResponse"),
    ("/v3/lock/unlock", LOCK, "Unlock", "UnlockRequest", "UnlockResponse"),
    ("/v3/election/campaign", ELECTION, "Campaign", "CampaignRequest", "CampaignResponse"),
    ("/v3/election/proclaim", ELECTION, "Proclaim", "ProclaimRequest", "ProclaimResponse"),
    ("/v3/election/leader", ELECTION, "Leader", "LeaderRequest", "LeaderResponse"),
    ("/v3/election/observe", ELECTION, "Observe", "LeaderRequest", "LeaderResponse"),
    ("/v3/election/resign", ELECTION, "Resign", "ResignRequest", "ResignResponse"),
];

/// One path of the gateway.
#[derive(Debug)]
pub(super) struct Route {
    /// The path of the RPC on the wire.
    pub(super) rpc: String,
    pub(super) request: &'static MessageShape,
    pub(super) response: &'static MessageShape,
    pub(super) kind: Kind,
}

/// Who sends more than one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Unary,
    ServerStream,
    BothStreams,
}

/// The route of a path.
pub(super) fn find(path: &str) -> Option<&'static Route> {
    static ROUTES: LazyLock<HashMap<&'static str, Route>> =
        LazyLock::new(|| ROWS.iter().filter_map(route).collect());
    ROUTES.get(path)
}

fn route(row: &Row) -> Option<(&'static str, Route)> {
    let (path, service, name, request, response) = *row;
    let method = METHODS
        .iter()
        .find(|method| method.service == service && method.name == name)?;
    let (package, _) = service.split_once('.')?;
    let kind = match (method.client_streaming, method.server_streaming) {
        (true, _) => Kind::BothStreams,
        (false, true) => Kind::ServerStream,
        (false, false) => Kind::Unary,
    };
    let route = Route {
        rpc: method.path(),
        request: shape::find(&format!("{package}.{request}"))?,
        response: shape::find(&format!("{package}.{response}"))?,
        kind,
    };
    Some((path, route))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{metrics::EdgeMetrics, route::Routes};

    #[test]
    fn every_row_resolves() {
        for row in ROWS {
            assert!(find(row.0).is_some(), "{row:?}");
        }
    }

    #[test]
    fn every_rpc_but_the_health_check_has_a_path() {
        for method in METHODS {
            let paths = ROWS
                .iter()
                .filter(|row| (row.1, row.2) == (method.service, method.name));
            let expected = match (method.service, method.name) {
                // Health checks and streamed ranges are for gRPC only, as in etcd; so is what etcd has not.
                ("grpc.health.v1.Health" | "kvorumpb.Membership" | "kvorumpb.Trust", _)
                | (KV, "RangeStream") => 0,
                (LEASE, "LeaseRevoke" | "LeaseTimeToLive" | "LeaseLeases") => 2,
                _ => 1,
            };
            assert_eq!(paths.count(), expected, "{}", method.path());
        }
    }

    /// A request of the gateway is a call of the same table: it can have no other rule.
    #[test]
    fn every_path_leads_to_a_row_of_the_table_of_calls() {
        let metrics = EdgeMetrics::new(&prometheus::Registry::new(), false);
        let calls = Routes::new(&metrics);
        for row in ROWS {
            let route = find(row.0).expect("compared above");
            let call = calls.find(&route.rpc).map_err(|status| status.message);
            let call = call.unwrap_or_else(|why| panic!("{}: {why}", row.0));
            assert_eq!((call.service, call.name), (row.1, row.2));
        }
    }

    #[test]
    fn streams_are_told_apart() {
        let kind = |path| find(path).map(|route| route.kind);
        assert_eq!(kind("/v3/kv/range"), Some(Kind::Unary));
        assert_eq!(kind("/v3/watch"), Some(Kind::BothStreams));
        assert_eq!(kind("/v3/lease/keepalive"), Some(Kind::BothStreams));
        assert_eq!(kind("/v3/maintenance/snapshot"), Some(Kind::ServerStream));
        assert_eq!(kind("/v3/election/observe"), Some(Kind::ServerStream));
        assert_eq!(kind("/v3/kv"), None);
    }
}
