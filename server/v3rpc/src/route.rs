//! One row for each RPC of the surface ([`rows`]): what answers it, and who may call it.
//!
//! A path without a row is answered as gRPC demands.

mod rows;

use std::{collections::HashMap, rc::Rc};

use kvorum_core::Error;
use kvorum_proto::METHODS;

use crate::{
    auth::Auth,
    error::Status,
    metrics::{EdgeMetrics, MethodMetrics},
    rule::Rule,
    trust::Trust,
};
use rows::ROWS;

/// What answers an RPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rpc {
    /// One message in, one out.
    Unary(Unary),
    /// A stream of messages out.
    Stream(Stream),
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
    Auth(Auth),
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
    Trust(Trust),
}

impl Unary {
    /// True if it waits for other callers, for as long as they like.
    pub(crate) const fn waits(self) -> bool {
        matches!(self, Self::Lock | Self::Campaign)
    }
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

/// One RPC as a connection uses it.
pub(crate) struct Route {
    pub(crate) rpc: Rpc,
    pub(crate) rule: Rule,
    pub(crate) service: &'static str,
    pub(crate) name: &'static str,
    pub(crate) metrics: MethodMetrics,
}

impl Route {
    /// A refusal of whoever calls. What lies behind locks and elections is told without its code, as in etcd, whose own
    /// client passes it on.
    pub(crate) fn refusal(&self, refused: Error) -> Status {
        match self.service {
            rows::LOCK | rows::ELECTION => Status::relayed(refused),
            _ => refused.into(),
        }
    }
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
    let row = ROWS
        .iter()
        .find(|row| row.service == method.service && row.name == method.name)?;
    let route = Route {
        rpc: row.rpc,
        rule: row.rule,
        service: method.service,
        name: method.name,
        metrics: MethodMetrics::of(metrics, method),
    };
    Some((method.path(), Rc::new(route)))
}

/// What answers a method with one message each way.
#[cfg(test)]
pub(crate) fn unary_of(method: &kvorum_proto::Method) -> Option<Unary> {
    let row = ROWS
        .iter()
        .find(|row| row.service == method.service && row.name == method.name)?;
    match row.rpc {
        Rpc::Unary(rpc) => Some(rpc),
        Rpc::Stream(_) => None,
    }
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
        let mut rows: Vec<_> = ROWS.iter().map(|row| (row.service, row.name)).collect();
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
        for row in ROWS {
            let name = row.name;
            let method = METHODS
                .iter()
                .find(|method| method.service == row.service && method.name == name)
                .expect("compared above");
            let streams = method.client_streaming || method.server_streaming;
            match row.rpc {
                Rpc::Unary(_) => assert!(!streams, "{name}"),
                Rpc::Stream(_) => assert!(streams, "{name}"),
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

    /// A rule that is looked up by one spelling of a path, while another one is served, guards nothing. Here the rule
    /// and what answers are the same row.
    #[test]
    fn cve_2026_33186_a_path_without_its_slash_leads_nowhere() {
        let routes = routes();
        for method in METHODS {
            let path = method.path();
            assert!(routes.find(&path).is_ok());
            for odd in [path[1..].to_owned(), format!("/{path}"), format!("{path}/")] {
                assert!(routes.find(&odd).is_err(), "{odd}");
            }
        }
    }
}
