//! One row for each RPC of the surface: what answers it, or that nothing does yet.
//!
//! `kvorum_proto::METHODS` is the list; a test compares. A path without a row is answered as gRPC demands.

use std::{collections::HashMap, rc::Rc};

use kvorum_proto::METHODS;

use crate::{
    error::Status,
    metrics::{EdgeMetrics, MethodMetrics},
};

/// What answers an RPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rpc {
    /// One message in, one out.
    Unary(Unary),
    /// A stream of messages out.
    Stream(Stream),
    /// Known, and not answered yet.
    NotYet,
}

/// RPCs with one message each way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unary {
    Range,
    Put,
    DeleteRange,
    Txn,
    Compact,
    LeaseGrant,
    LeaseRevoke,
    LeaseTimeToLive,
    LeaseLeases,
    MemberAdd,
    MemberRemove,
    MemberUpdate,
    MemberList,
    MemberPromote,
    MemberReplace,
    Alarm,
    Status,
    Defragment,
    Hash,
    HashKv,
    Authenticate,
    AuthEnable,
    AuthDisable,
    AuthStatus,
    MoveLeader,
    Downgrade,
    Lock,
    Unlock,
    Campaign,
    Proclaim,
    Leader,
    Resign,
    HealthCheck,
    HealthList,
}

/// RPCs that answer with a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    RangePieces,
    Watch,
    LeaseKeepAlive,
    Observe,
    HealthWatch,
    Snapshot,
}

/// The table: service, method, what answers.
const ROWS: &[(&str, &str, Rpc)] = &[
    ("etcdserverpb.KV", "Range", Rpc::Unary(Unary::Range)),
    (
        "etcdserverpb.KV",
        "RangeStream",
        Rpc::Stream(Stream::RangePieces),
    ),
    ("etcdserverpb.KV", "Put", Rpc::Unary(Unary::Put)),
    (
        "etcdserverpb.KV",
        "DeleteRange",
        Rpc::Unary(Unary::DeleteRange),
    ),
    ("etcdserverpb.KV", "Txn", Rpc::Unary(Unary::Txn)),
    ("etcdserverpb.KV", "Compact", Rpc::Unary(Unary::Compact)),
    ("etcdserverpb.Watch", "Watch", Rpc::Stream(Stream::Watch)),
    (
        "etcdserverpb.Lease",
        "LeaseGrant",
        Rpc::Unary(Unary::LeaseGrant),
    ),
    (
        "etcdserverpb.Lease",
        "LeaseRevoke",
        Rpc::Unary(Unary::LeaseRevoke),
    ),
    (
        "etcdserverpb.Lease",
        "LeaseKeepAlive",
        Rpc::Stream(Stream::LeaseKeepAlive),
    ),
    (
        "etcdserverpb.Lease",
        "LeaseTimeToLive",
        Rpc::Unary(Unary::LeaseTimeToLive),
    ),
    (
        "etcdserverpb.Lease",
        "LeaseLeases",
        Rpc::Unary(Unary::LeaseLeases),
    ),
    (
        "etcdserverpb.Cluster",
        "MemberAdd",
        Rpc::Unary(Unary::MemberAdd),
    ),
    (
        "etcdserverpb.Cluster",
        "MemberRemove",
        Rpc::Unary(Unary::MemberRemove),
    ),
    (
        "etcdserverpb.Cluster",
        "MemberUpdate",
        Rpc::Unary(Unary::MemberUpdate),
    ),
    (
        "etcdserverpb.Cluster",
        "MemberList",
        Rpc::Unary(Unary::MemberList),
    ),
    (
        "etcdserverpb.Cluster",
        "MemberPromote",
        Rpc::Unary(Unary::MemberPromote),
    ),
    (
        "etcdserverpb.Maintenance",
        "Alarm",
        Rpc::Unary(Unary::Alarm),
    ),
    (
        "etcdserverpb.Maintenance",
        "Status",
        Rpc::Unary(Unary::Status),
    ),
    (
        "etcdserverpb.Maintenance",
        "Defragment",
        Rpc::Unary(Unary::Defragment),
    ),
    ("etcdserverpb.Maintenance", "Hash", Rpc::Unary(Unary::Hash)),
    (
        "etcdserverpb.Maintenance",
        "HashKV",
        Rpc::Unary(Unary::HashKv),
    ),
    (
        "etcdserverpb.Maintenance",
        "Snapshot",
        Rpc::Stream(Stream::Snapshot),
    ),
    (
        "etcdserverpb.Maintenance",
        "MoveLeader",
        Rpc::Unary(Unary::MoveLeader),
    ),
    (
        "etcdserverpb.Maintenance",
        "Downgrade",
        Rpc::Unary(Unary::Downgrade),
    ),
    (
        "etcdserverpb.Auth",
        "AuthEnable",
        Rpc::Unary(Unary::AuthEnable),
    ),
    (
        "etcdserverpb.Auth",
        "AuthDisable",
        Rpc::Unary(Unary::AuthDisable),
    ),
    (
        "etcdserverpb.Auth",
        "AuthStatus",
        Rpc::Unary(Unary::AuthStatus),
    ),
    (
        "etcdserverpb.Auth",
        "Authenticate",
        Rpc::Unary(Unary::Authenticate),
    ),
    ("etcdserverpb.Auth", "UserAdd", Rpc::NotYet),
    ("etcdserverpb.Auth", "UserGet", Rpc::NotYet),
    ("etcdserverpb.Auth", "UserList", Rpc::NotYet),
    ("etcdserverpb.Auth", "UserDelete", Rpc::NotYet),
    ("etcdserverpb.Auth", "UserChangePassword", Rpc::NotYet),
    ("etcdserverpb.Auth", "UserGrantRole", Rpc::NotYet),
    ("etcdserverpb.Auth", "UserRevokeRole", Rpc::NotYet),
    ("etcdserverpb.Auth", "RoleAdd", Rpc::NotYet),
    ("etcdserverpb.Auth", "RoleGet", Rpc::NotYet),
    ("etcdserverpb.Auth", "RoleList", Rpc::NotYet),
    ("etcdserverpb.Auth", "RoleDelete", Rpc::NotYet),
    ("etcdserverpb.Auth", "RoleGrantPermission", Rpc::NotYet),
    ("etcdserverpb.Auth", "RoleRevokePermission", Rpc::NotYet),
    ("v3lockpb.Lock", "Lock", Rpc::Unary(Unary::Lock)),
    ("v3lockpb.Lock", "Unlock", Rpc::Unary(Unary::Unlock)),
    (
        "v3electionpb.Election",
        "Campaign",
        Rpc::Unary(Unary::Campaign),
    ),
    (
        "v3electionpb.Election",
        "Proclaim",
        Rpc::Unary(Unary::Proclaim),
    ),
    ("v3electionpb.Election", "Leader", Rpc::Unary(Unary::Leader)),
    (
        "v3electionpb.Election",
        "Observe",
        Rpc::Stream(Stream::Observe),
    ),
    ("v3electionpb.Election", "Resign", Rpc::Unary(Unary::Resign)),
    (
        "grpc.health.v1.Health",
        "Check",
        Rpc::Unary(Unary::HealthCheck),
    ),
    (
        "grpc.health.v1.Health",
        "List",
        Rpc::Unary(Unary::HealthList),
    ),
    (
        "grpc.health.v1.Health",
        "Watch",
        Rpc::Stream(Stream::HealthWatch),
    ),
    (
        "kvorumpb.Membership",
        "Replace",
        Rpc::Unary(Unary::MemberReplace),
    ),
];

/// One RPC as a connection uses it.
pub(crate) struct Route {
    pub(crate) rpc: Rpc,
    pub(crate) service: &'static str,
    pub(crate) name: &'static str,
    pub(crate) metrics: MethodMetrics,
}

/// All RPCs by path.
pub(crate) struct Routes(HashMap<String, Rc<Route>>);

impl Routes {
    /// Resolves the table, with the counters of each RPC.
    pub(crate) fn new(metrics: &EdgeMetrics) -> Self {
        let routes = METHODS.iter().filter_map(|method| route(metrics, method));
        Self(routes.collect())
    }

    /// The RPC at `path`, or why there is none.
    pub(crate) fn find(&self, path: &str) -> Result<&Rc<Route>, Status> {
        self.0.get(path).ok_or_else(|| unknown(path))
    }
}

fn route(metrics: &EdgeMetrics, method: &kvorum_proto::Method) -> Option<(String, Rc<Route>)> {
    let (_, _, rpc) = *ROWS
        .iter()
        .find(|row| row.0 == method.service && row.1 == method.name)?;
    let route = Route {
        rpc,
        service: method.service,
        name: method.name,
        metrics: MethodMetrics::of(metrics, method),
    };
    Some((method.path(), Rc::new(route)))
}

/// grpc-go's texts, which etcd's clients show.
fn unknown(path: &str) -> Status {
    let Some((service, method)) = path
        .strip_prefix('/')
        .and_then(|path| path.rsplit_once('/'))
    else {
        return Status::unimplemented(format!("malformed method name: {path:?}"));
    };
    if METHODS.iter().any(|known| known.service == service) {
        return Status::unimplemented(format!("unknown method {method} for service {service}"));
    }
    Status::unimplemented(format!("unknown service {service}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes() -> Routes {
        Routes::new(&EdgeMetrics::new(&prometheus::Registry::new(), false))
    }

    #[test]
    fn every_rpc_has_exactly_one_row() {
        let mut rows: Vec<_> = ROWS.iter().map(|row| (row.0, row.1)).collect();
        let mut methods: Vec<_> = METHODS
            .iter()
            .map(|method| (method.service, method.name))
            .collect();
        rows.sort_unstable();
        methods.sort_unstable();
        assert_eq!(rows, methods);
        assert_eq!(routes().0.len(), METHODS.len());
    }

    #[test]
    fn rows_and_methods_agree_on_what_streams() {
        for (service, name, rpc) in ROWS {
            let method = METHODS
                .iter()
                .find(|method| method.service == *service && method.name == *name)
                .expect("compared above");
            let streams = method.client_streaming || method.server_streaming;
            match rpc {
                Rpc::Unary(_) => assert!(!streams, "{name}"),
                Rpc::Stream(_) => assert!(streams, "{name}"),
                Rpc::NotYet => {}
            }
        }
    }

    #[test]
    fn unknown_paths_are_named() {
        let routes = routes();
        let text = |path| match routes.find(path) {
            Ok(_) => "found".to_owned(),
            Err(status) => status.message.into_owned(),
        };
        assert_eq!(text("/etcdserverpb.KV/Range"), "found");
        assert_eq!(
            text("/etcdserverpb.KV/RangeStreams"),
            "unknown method RangeStreams for service etcdserverpb.KV"
        );
        assert_eq!(text("/no.Such/Thing"), "unknown service no.Such");
        assert_eq!(text("Range"), "malformed method name: \"Range\"");
        assert_eq!(text("/"), "malformed method name: \"/\"");
    }
}
