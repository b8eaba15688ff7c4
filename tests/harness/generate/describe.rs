//! Operations as a reader wants to see them: what is set, and nothing else.

use std::fmt;

use bytes::Bytes;
use kvorum_proto::etcdserverpb as pb;
use pb::compare::TargetUnion;
use pb::request_op::Request;
use pb::watch_request::RequestUnion;

use super::Operation;

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Range(request) => range(request),
            Self::Put(request) => put(request),
            Self::DeleteRange(request) => delete(request),
            Self::Txn(request) => txn(request, "  "),
            Self::Watch(stream, request) => format!("stream {stream}: {}", watch(request)),
            Self::Compact(request) => format!("compact {}", request.revision),
            Self::LeaseGrant(request) => {
                format!("grant lease {} for {} s", request.id, request.ttl)
            }
            Self::LeaseRevoke(request) => format!("revoke lease {}", request.id),
            Self::LeaseKeepAlive(request) => format!("keep lease {} alive", request.id),
            Self::LeaseTimeToLive(request) => {
                Line::new("time to live")
                    .number("lease", request.id)
                    .flag("keys", request.keys)
                    .0
            }
            Self::LeaseLeases => "list leases".to_owned(),
            Self::Alarm(request) => format!("alarm {request:?}"),
            Self::HashKv(request) => format!("hash at {}", request.revision),
            Self::Reconnect(stream) => format!("stream {stream}: reconnect"),
            Self::Deliver(stream) => format!("stream {stream}: deliver"),
            Self::Pass(ms) => format!("{ms} ms pass"),
            Self::Flush => "flush".to_owned(),
            Self::Restart => "restart".to_owned(),
        };
        f.write_str(&text)
    }
}

/// A line that grows by what differs from its default.
struct Line(String);

impl Line {
    fn new(verb: &str) -> Self {
        Self(verb.to_owned())
    }

    fn number(mut self, name: &str, value: impl Into<i64>) -> Self {
        let value: i64 = value.into();
        if value != 0 {
            self.0.push_str(&format!(" {name} {value}"));
        }
        self
    }

    fn flag(mut self, name: &str, value: bool) -> Self {
        if value {
            self.0.push_str(&format!(" {name}"));
        }
        self
    }

    fn interval(mut self, key: &Bytes, range_end: &Bytes) -> Self {
        self.0.push_str(&format!(" {key:?}"));
        if !range_end.is_empty() {
            self.0.push_str(&format!("..{range_end:?}"));
        }
        self
    }
}

fn range(request: &pb::RangeRequest) -> String {
    Line::new("range")
        .interval(&request.key, &request.range_end)
        .number("revision", request.revision)
        .number("limit", request.limit)
        .number("order", request.sort_order)
        .number("by", request.sort_target)
        .flag("keys_only", request.keys_only)
        .flag("count_only", request.count_only)
        .number("min_mod", request.min_mod_revision)
        .number("max_mod", request.max_mod_revision)
        .number("min_create", request.min_create_revision)
        .number("max_create", request.max_create_revision)
        .0
}

fn put(request: &pb::PutRequest) -> String {
    let shown = request.value.slice(..request.value.len().min(20));
    let mut line = Line::new("put").interval(&request.key, &Bytes::new());
    line.0.push_str(&format!(" = {shown:?}"));
    line.number("lease", request.lease)
        .flag("prev_kv", request.prev_kv)
        .flag("ignore_value", request.ignore_value)
        .flag("ignore_lease", request.ignore_lease)
        .0
}

fn delete(request: &pb::DeleteRangeRequest) -> String {
    Line::new("delete")
        .interval(&request.key, &request.range_end)
        .flag("prev_kv", request.prev_kv)
        .0
}

fn compare(compare: &pb::Compare) -> String {
    const TARGETS: [&str; 5] = ["version", "create", "mod", "value", "lease"];
    const RESULTS: [&str; 4] = ["=", ">", "<", "!="];
    let name = |names: &[&'static str], at: i32| {
        usize::try_from(at)
            .ok()
            .and_then(|at| names.get(at).copied())
            .unwrap_or("unknown")
    };
    let operand = match &compare.target_union {
        None => "nothing".to_owned(),
        Some(TargetUnion::Version(number)) => format!("version {number}"),
        Some(TargetUnion::CreateRevision(number)) => format!("create {number}"),
        Some(TargetUnion::ModRevision(number)) => format!("mod {number}"),
        Some(TargetUnion::Lease(number)) => format!("lease {number}"),
        Some(TargetUnion::Value(value)) => format!("value {value:?}"),
    };
    let line = Line::new(name(&TARGETS, compare.target))
        .interval(&compare.key, &compare.range_end)
        .0;
    format!("{line} {} {operand}", name(&RESULTS, compare.result))
}

fn txn(request: &pb::TxnRequest, indent: &str) -> String {
    let mut text = "txn".to_owned();
    let deeper = format!("{indent}    ");
    for one in &request.compare {
        text.push_str(&format!("\n{indent}if {}", compare(one)));
    }
    for (branch, ops) in [("then", &request.success), ("else", &request.failure)] {
        for op in ops {
            let op = match &op.request {
                None => "nothing".to_owned(),
                Some(Request::RequestRange(request)) => range(request),
                Some(Request::RequestPut(request)) => put(request),
                Some(Request::RequestDeleteRange(request)) => delete(request),
                Some(Request::RequestTxn(request)) => txn(request, &deeper),
            };
            text.push_str(&format!("\n{indent}{branch} {op}"));
        }
    }
    text
}

fn watch(request: &pb::WatchRequest) -> String {
    match &request.request_union {
        None => "nothing".to_owned(),
        Some(RequestUnion::CancelRequest(cancel)) => format!("cancel {}", cancel.watch_id),
        Some(RequestUnion::ProgressRequest(_)) => "progress".to_owned(),
        Some(RequestUnion::CreateRequest(create)) => {
            let line = Line::new("watch")
                .interval(&create.key, &create.range_end)
                .number("id", create.watch_id)
                .number("from", create.start_revision)
                .flag("prev_kv", create.prev_kv)
                .flag("fragment", create.fragment)
                .flag("progress_notify", create.progress_notify);
            format!("{} filters {:?}", line.0, create.filters)
        }
    }
}
