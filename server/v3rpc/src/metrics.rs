//! What the edge counts, under etcd's names, and the recorder that keeps it.
//!
//! The handles of a method are resolved once per I/O thread; a call only adds to them. All series of all methods exist
//! from the start with 0, so that rates have a first sample.

use std::{cell::RefCell, time::Duration};

use kvorum_proto::Method;
use metrics::{Counter, counter};
use metrics_exporter_prometheus::{
    BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};

use crate::error::Code;

/// Counters of one RPC.
#[derive(Clone)]
pub(crate) struct MethodMetrics {
    pub(crate) started: Counter,
    pub(crate) received: Counter,
    pub(crate) sent: Counter,
    handled: [Counter; Code::ALL.len()],
}

impl MethodMetrics {
    /// Resolves, and thereby creates, the series of one RPC.
    pub(crate) fn of(method: &Method) -> Self {
        let labels = || {
            [
                ("grpc_method", method.name),
                ("grpc_service", method.service),
                ("grpc_type", kind(method)),
            ]
        };
        let handled = Code::ALL.map(|code| {
            // Clients of the text match labels in alphabetical order.
            counter!(
                "grpc_server_handled_total",
                "grpc_code" => code.name(),
                "grpc_method" => method.name,
                "grpc_service" => method.service,
                "grpc_type" => kind(method)
            )
        });
        Self {
            started: counter!("grpc_server_started_total", &labels()),
            received: counter!("grpc_server_msg_received_total", &labels()),
            sent: counter!("grpc_server_msg_sent_total", &labels()),
            handled,
        }
    }

    /// One call ended.
    pub(crate) fn handled(&self, code: Code) {
        if let Some(counter) = self.handled.get(code as usize) {
            counter.increment(1);
        }
    }
}

const fn kind(method: &Method) -> &'static str {
    match (method.client_streaming, method.server_streaming) {
        (false, false) => "unary",
        (false, true) => "server_stream",
        (true, false) => "client_stream",
        (true, true) => "bidi_stream",
    }
}

/// Bytes of messages, all methods together.
pub(crate) struct ByteMetrics {
    pub(crate) received: Counter,
    pub(crate) sent: Counter,
}

impl ByteMetrics {
    pub(crate) fn new() -> Self {
        Self {
            received: counter!("etcd_network_client_grpc_received_bytes_total"),
            sent: counter!("etcd_network_client_grpc_sent_bytes_total"),
        }
    }
}

/// More client versions than this are counted as one: the label comes from the caller.
const CLIENT_VERSIONS_MAX: usize = 32;

/// Requests by client version.
#[derive(Default)]
pub(crate) struct ClientVersions(RefCell<Vec<ClientVersion>>);

struct ClientVersion {
    version: String,
    unary: Counter,
    stream: Counter,
}

impl ClientVersions {
    /// Counts one request of a client that says it is `version`.
    pub(crate) fn count(&self, version: &str, stream: bool) {
        let mut known = self.0.borrow_mut();
        let version = if version.len() > 64 { "other" } else { version };
        let at = match known.iter().position(|row| row.version == version) {
            Some(at) => at,
            None => Self::add(&mut known, version),
        };
        if let Some(row) = known.get(at) {
            if stream { &row.stream } else { &row.unary }.increment(1);
        }
    }

    fn add(known: &mut Vec<ClientVersion>, version: &str) -> usize {
        let version = if known.len() < CLIENT_VERSIONS_MAX {
            version
        } else {
            "other"
        };
        if let Some(at) = known.iter().position(|row| row.version == version) {
            return at;
        }
        let of = |kind: &'static str| {
            counter!(
                "etcd_server_client_requests_total",
                "client_api_version" => version.to_owned(),
                "type" => kind
            )
        };
        let row = ClientVersion {
            version: version.to_owned(),
            unary: of("unary"),
            stream: of("stream"),
        };
        known.push(row);
        known.len() - 1
    }
}

/// First bucket and number of buckets, each twice the one before, of etcd's histograms (ETCD.md §5.3).
const BUCKETS: &[(&str, f64, u32)] = &[
    (
        "etcd_debugging_disk_backend_commit_rebalance_duration_seconds",
        0.001,
        14,
    ),
    (
        "etcd_debugging_disk_backend_commit_spill_duration_seconds",
        0.001,
        14,
    ),
    (
        "etcd_debugging_disk_backend_commit_write_duration_seconds",
        0.001,
        14,
    ),
    ("etcd_debugging_lease_ttl_total", 1.0, 24),
    (
        "etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds",
        1.0,
        13,
    ),
    (
        "etcd_debugging_mvcc_db_compaction_total_duration_milliseconds",
        100.0,
        14,
    ),
    (
        "etcd_debugging_mvcc_index_compaction_pause_duration_milliseconds",
        0.5,
        14,
    ),
    (
        "etcd_debugging_snap_save_marshalling_duration_seconds",
        0.001,
        14,
    ),
    ("etcd_debugging_snap_save_total_duration_seconds", 0.001, 14),
    ("etcd_disk_backend_commit_duration_seconds", 0.001, 14),
    ("etcd_disk_backend_defrag_duration_seconds", 0.1, 13),
    ("etcd_disk_backend_snapshot_duration_seconds", 0.01, 17),
    ("etcd_disk_wal_fsync_duration_seconds", 0.001, 14),
    ("etcd_disk_wal_write_duration_seconds", 0.001, 14),
    ("etcd_mvcc_hash_duration_seconds", 0.01, 15),
    ("etcd_mvcc_hash_rev_duration_seconds", 0.01, 15),
    ("etcd_network_peer_round_trip_time_seconds", 0.0001, 16),
    (
        "etcd_network_snapshot_receive_total_duration_seconds",
        0.1,
        10,
    ),
    ("etcd_network_snapshot_send_total_duration_seconds", 0.1, 10),
    ("etcd_server_apply_duration_seconds", 0.0001, 20),
    ("etcd_server_range_duration_seconds", 0.0001, 20),
    ("etcd_snap_db_fsync_duration_seconds", 0.001, 14),
    ("etcd_snap_db_save_total_duration_seconds", 0.1, 10),
    ("etcd_snap_fsync_duration_seconds", 0.001, 14),
];

/// The buckets of every histogram that etcd leaves to Prometheus' defaults.
const DEFAULT_BUCKETS: [f64; 11] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// A recorder with etcd's bucket layouts, and the handle that renders it.
///
/// Install it with `metrics::set_global_recorder` before any other part of the server starts: counters that were
/// resolved earlier count into nothing. Let [`keep_up`] run as long as the process does.
///
/// # Errors
///
/// If a bucket layout is empty, which would be a mistake in the table above.
pub fn metrics_recorder() -> Result<(PrometheusRecorder, PrometheusHandle), BuildError> {
    let mut builder = PrometheusBuilder::new().set_buckets(&DEFAULT_BUCKETS)?;
    for (name, first, count) in BUCKETS {
        let layout: Vec<f64> = (0..*count)
            .map(|power| first * f64::from(1_u32 << power))
            .collect();
        builder = builder.set_buckets_for_metric(Matcher::Full((*name).to_owned()), &layout)?;
    }
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    Ok((recorder, handle))
}

/// Folds histogram samples into their buckets every few seconds; without it they pile up until somebody scrapes.
pub async fn keep_up(handle: PrometheusHandle) {
    let mut interval = tokio::time::interval(Duration::from_secs(5));
    loop {
        interval.tick().await;
        handle.run_upkeep();
    }
}

#[cfg(test)]
mod tests {
    use kvorum_proto::METHODS;

    use super::*;

    #[test]
    fn series_read_like_etcds() {
        let (recorder, handle) = metrics_recorder().expect("layouts");
        metrics::with_local_recorder(&recorder, || {
            let watch = METHODS
                .iter()
                .find(|method| method.name == "Watch")
                .expect("listed");
            let metrics = MethodMetrics::of(watch);
            metrics.handled(Code::Canceled);
            metrics.started.increment(2);
            ByteMetrics::new().sent.increment(7);
            metrics::histogram!("etcd_disk_wal_fsync_duration_seconds").record(0.003);
        });
        let text = handle.render();
        for line in [
            "grpc_server_handled_total{grpc_code=\"Canceled\",grpc_method=\"Watch\",\
             grpc_service=\"etcdserverpb.Watch\",grpc_type=\"bidi_stream\"} 1",
            "grpc_server_handled_total{grpc_code=\"OK\",grpc_method=\"Watch\",\
             grpc_service=\"etcdserverpb.Watch\",grpc_type=\"bidi_stream\"} 0",
            "grpc_server_started_total{grpc_method=\"Watch\",\
             grpc_service=\"etcdserverpb.Watch\",grpc_type=\"bidi_stream\"} 2",
            "# TYPE grpc_server_handled_total counter",
            "etcd_network_client_grpc_sent_bytes_total 7",
            "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"0.002\"} 0",
            "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"0.004\"} 1",
            "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"8.192\"} 1",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line}\nnot in\n{text}"
            );
        }
    }

    #[test]
    fn client_versions_are_bounded() {
        let (recorder, handle) = metrics_recorder().expect("layouts");
        metrics::with_local_recorder(&recorder, || {
            let versions = ClientVersions::default();
            for version in 0..1000 {
                versions.count(&version.to_string(), version % 2 == 0);
            }
            versions.count(&"x".repeat(1000), false);
        });
        let text = handle.render();
        let series = text
            .lines()
            .filter(|line| line.contains("client_requests_total{"))
            .count();
        assert!(series <= 2 * (CLIENT_VERSIONS_MAX + 1), "{series}");
        assert!(
            text.contains("client_api_version=\"other\",type=\"stream\"} 484"),
            "{text}"
        );
    }
}
