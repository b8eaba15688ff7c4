//! What the edge counts, under etcd's names.
//!
//! Families are made once, series are resolved once per I/O thread; a call only adds to them. All series of etcd's own
//! methods exist from the start with 0, so that rates have a first sample. Lock and Election are, as in etcd, services
//! beside it: their series begin with the first call.

pub(crate) mod text;

use std::{
    borrow::Cow,
    cell::{OnceCell, RefCell},
    time::Instant,
};

use kvorum_member::families::{counter, counters, gauge, gauges, histograms};
use kvorum_proto::Method;
use prometheus::{
    GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, Registry,
};

use crate::{error::Code, process::ProcessCollector, version::SERVER_VERSION};

/// The buckets of every histogram that etcd leaves to Prometheus' defaults.
const DEFAULT_BUCKETS: [f64; 11] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Families of the client listener; all its I/O threads count into the same ones.
pub(crate) struct EdgeMetrics {
    started: IntCounterVec,
    handled: IntCounterVec,
    received: IntCounterVec,
    sent: IntCounterVec,
    /// Only if they were asked for (`--metrics=extensive`).
    handling_seconds: Option<HistogramVec>,
    client_requests: IntCounterVec,
    received_bytes: IntCounterVec,
    sent_bytes: IntCounterVec,
    stream_failures: IntCounterVec,
    pub(crate) health: HealthMetrics,
    pub(crate) scrapes: ScrapeMetrics,
}

impl EdgeMetrics {
    /// Registers everything; once for a registry.
    pub(crate) fn new(r: &Registry, extensive: bool) -> Self {
        let version = gauges(
            r,
            "etcd_server_version",
            "1 for the release of etcd that this server behaves like.",
            &["server_version"],
        );
        version.with_label_values(&[SERVER_VERSION]).set(1.0);
        r.register(Box::new(ProcessCollector::new()))
            .expect("once for a registry");
        let calls = |name: &str, help: &str| counters(r, name, help, &METHOD_LABELS);
        Self {
            started: calls("grpc_server_started_total", "Calls that began."),
            handled: counters(
                r,
                "grpc_server_handled_total",
                "Calls that ended, by how they did.",
                &["grpc_code", "grpc_method", "grpc_service", "grpc_type"],
            ),
            received: calls("grpc_server_msg_received_total", "Messages of clients."),
            sent: calls("grpc_server_msg_sent_total", "Messages to clients."),
            handling_seconds: extensive.then(|| {
                histograms(
                    r,
                    "grpc_server_handling_seconds",
                    "How long calls took.",
                    DEFAULT_BUCKETS.to_vec(),
                    &METHOD_LABELS,
                )
            }),
            client_requests: counters(
                r,
                "etcd_server_client_requests_total",
                "Calls by what clients say of themselves.",
                &["type", "client_api_version"],
            ),
            received_bytes: counters(
                r,
                "etcd_network_client_grpc_received_bytes_total",
                "Bytes of messages of clients.",
                &[],
            ),
            sent_bytes: counters(
                r,
                "etcd_network_client_grpc_sent_bytes_total",
                "Bytes of messages to clients.",
                &[],
            ),
            stream_failures: counters(
                r,
                "etcd_network_server_stream_failures_total",
                "Streams of clients that broke.",
                &["Type", "API"],
            ),
            health: HealthMetrics::new(r),
            scrapes: ScrapeMetrics::new(r),
        }
    }
}

impl EdgeMetrics {
    /// What came on a stream of a client could not be read.
    pub(crate) fn stream_broken(&self, api: &str) {
        self.stream_failures
            .with_label_values(&["receive", api])
            .inc();
    }
}

const METHOD_LABELS: [&str; 3] = ["grpc_method", "grpc_service", "grpc_type"];

/// A series that begins when it is first needed.
pub(crate) struct Counter {
    family: IntCounterVec,
    labels: Vec<Cow<'static, str>>,
    series: OnceCell<IntCounter>,
}

impl Counter {
    fn new(family: &IntCounterVec, labels: &[&'static str]) -> Self {
        Self {
            family: family.clone(),
            labels: labels.iter().map(|label| Cow::Borrowed(*label)).collect(),
            series: OnceCell::new(),
        }
    }

    /// Adds to it.
    pub(crate) fn increment(&self, count: u64) {
        self.series
            .get_or_init(|| self.family.with_label_values(&self.labels))
            .inc_by(count);
    }
}

/// Counters of one RPC.
pub(crate) struct MethodMetrics {
    pub(crate) started: Counter,
    pub(crate) received: Counter,
    pub(crate) sent: Counter,
    handled: [Counter; Code::ALL.len()],
    handling_seconds: Option<Lazy>,
}

/// A histogram that begins when it is first needed.
struct Lazy {
    family: HistogramVec,
    labels: [&'static str; 3],
    series: OnceCell<Histogram>,
}

impl Lazy {
    fn get(&self) -> &Histogram {
        self.series
            .get_or_init(|| self.family.with_label_values(&self.labels))
    }
}

impl MethodMetrics {
    /// Resolves the series of one RPC, and creates those that etcd creates.
    pub(crate) fn of(edge: &EdgeMetrics, method: &Method) -> Self {
        let labels = [method.name, method.service, kind(method)];
        let of = |family| Counter::new(family, &labels);
        let metrics = Self {
            started: of(&edge.started),
            received: of(&edge.received),
            sent: of(&edge.sent),
            handled: Code::ALL.map(|code| {
                let [name, service, kind] = labels;
                Counter::new(&edge.handled, &[code.name(), name, service, kind])
            }),
            handling_seconds: edge.handling_seconds.as_ref().map(|family| Lazy {
                family: family.clone(),
                labels,
                series: OnceCell::new(),
            }),
        };
        if !matches!(method.service, "v3lockpb.Lock" | "v3electionpb.Election") {
            let of_calls = [&metrics.started, &metrics.received, &metrics.sent];
            for counter in of_calls.into_iter().chain(&metrics.handled) {
                counter.increment(0);
            }
            metrics.handling_seconds.as_ref().map(Lazy::get);
        }
        metrics
    }

    /// One call ended.
    pub(crate) fn handled(&self, code: Code) {
        if let Some(counter) = self.handled.get(code as usize) {
            counter.increment(1);
        }
    }

    /// When a call began, if anybody wants to know how long it takes.
    pub(crate) fn begin(&self) -> Option<Instant> {
        self.handling_seconds.as_ref().map(|_| Instant::now())
    }

    /// A call that began then has ended.
    pub(crate) fn took(&self, begun: Option<Instant>) {
        if let (Some(histogram), Some(begun)) = (&self.handling_seconds, begun) {
            histogram.get().observe(begun.elapsed().as_secs_f64());
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
    pub(crate) fn new(edge: &EdgeMetrics) -> Self {
        let [received, sent] = [&edge.received_bytes, &edge.sent_bytes].map(|family| {
            let counter = Counter::new(family, &[]);
            counter.increment(0);
            counter
        });
        Self { received, sent }
    }
}

/// What probes found.
pub(crate) struct HealthMetrics {
    pub(crate) successes: IntCounter,
    pub(crate) failures: IntCounter,
    checks: IntCounterVec,
    last: GaugeVec,
}

impl HealthMetrics {
    fn new(r: &Registry) -> Self {
        Self {
            successes: counter(
                r,
                "etcd_server_health_success",
                "Requests of /health that found the member healthy.",
            ),
            failures: counter(
                r,
                "etcd_server_health_failures",
                "Requests of /health that did not.",
            ),
            checks: counters(
                r,
                "etcd_server_healthchecks_total",
                "Checks of /livez and /readyz by their outcome.",
                &["type", "name", "status"],
            ),
            last: gauges(
                r,
                "etcd_server_healthcheck",
                "1 if the last check of this kind succeeded.",
                &["type", "name"],
            ),
        }
    }

    pub(crate) fn checked(&self, probe: &str, name: &str, ok: bool) {
        let value = f64::from(u8::from(ok));
        self.last.with_label_values(&[probe, name]).set(value);
        let status = if ok { "success" } else { "error" };
        self.checks.with_label_values(&[probe, name, status]).inc();
    }
}

/// What scrapers asked for.
pub(crate) struct ScrapeMetrics {
    done: IntCounterVec,
    pub(crate) in_flight: IntGauge,
}

impl ScrapeMetrics {
    fn new(r: &Registry) -> Self {
        let done = counters(
            r,
            "promhttp_metric_handler_requests_total",
            "Scrapes by the status of their answer.",
            &["code"],
        );
        for code in ["200", "500", "503"] {
            done.with_label_values(&[code]).inc_by(0);
        }
        let in_flight = gauge(
            r,
            "promhttp_metric_handler_requests_in_flight",
            "Scrapes under way.",
        );
        Self { done, in_flight }
    }

    pub(crate) fn done(&self, code: &str) {
        self.done.with_label_values(&[code]).inc();
    }
}

/// More client versions than this are counted as one: the label comes from the caller.
const CLIENT_VERSIONS_MAX: usize = 32;

/// Requests by client version.
pub(crate) struct ClientVersions {
    family: IntCounterVec,
    known: RefCell<Vec<ClientVersion>>,
}

struct ClientVersion {
    version: String,
    unary: Counter,
    stream: Counter,
}

impl ClientVersions {
    pub(crate) fn new(edge: &EdgeMetrics) -> Self {
        Self {
            family: edge.client_requests.clone(),
            known: RefCell::default(),
        }
    }

    /// Counts one request of a client that says it is `version`.
    pub(crate) fn count(&self, version: &str, stream: bool) {
        let mut known = self.known.borrow_mut();
        let version = if version.len() > 64 { "other" } else { version };
        let at = match known.iter().position(|row| row.version == version) {
            Some(at) => at,
            None => self.add(&mut known, version),
        };
        if let Some(row) = known.get(at) {
            if stream { &row.stream } else { &row.unary }.increment(1);
        }
    }

    fn add(&self, known: &mut Vec<ClientVersion>, version: &str) -> usize {
        let version = if known.len() < CLIENT_VERSIONS_MAX {
            version
        } else {
            "other"
        };
        if let Some(at) = known.iter().position(|row| row.version == version) {
            return at;
        }
        let of = |kind| Counter {
            family: self.family.clone(),
            labels: vec![Cow::Borrowed(kind), Cow::Owned(version.to_owned())],
            series: OnceCell::new(),
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

#[cfg(test)]
mod tests {
    use kvorum_proto::METHODS;

    use super::*;

    fn method(service: &str, name: &str) -> &'static Method {
        METHODS
            .iter()
            .find(|method| (method.service, method.name) == (service, name))
            .expect("listed")
    }

    fn has(text: &str, line: &str) -> bool {
        text.lines().any(|found| found == line)
    }

    #[test]
    fn series_read_like_etcds() {
        let registry = Registry::new();
        let edge = EdgeMetrics::new(&registry, true);
        let watch = MethodMetrics::of(&edge, method("etcdserverpb.Watch", "Watch"));
        watch.handled(Code::Canceled);
        watch.started.increment(2);
        watch.took(watch.begin());
        ByteMetrics::new(&edge).sent.increment(7);
        let text = text::render(&registry.gather());
        let labels =
            "grpc_method=\"Watch\",grpc_service=\"etcdserverpb.Watch\",grpc_type=\"bidi_stream\"";
        for line in [
            &format!("grpc_server_handled_total{{grpc_code=\"Canceled\",{labels}}} 1"),
            &format!("grpc_server_handled_total{{grpc_code=\"OK\",{labels}}} 0"),
            &format!("grpc_server_started_total{{{labels}}} 2"),
            &format!("grpc_server_handling_seconds_bucket{{{labels},le=\"0.005\"}} 1"),
            &format!("grpc_server_handling_seconds_bucket{{{labels},le=\"+Inf\"}} 1"),
            "# TYPE grpc_server_handled_total counter",
            "etcd_network_client_grpc_sent_bytes_total 7",
            "etcd_network_client_grpc_received_bytes_total 0",
        ] {
            assert!(has(&text, line), "{line}\nnot in\n{text}");
        }
    }

    #[test]
    fn services_beside_etcds_own_begin_with_their_first_call() {
        let registry = Registry::new();
        let edge = EdgeMetrics::new(&registry, false);
        let lock = MethodMetrics::of(&edge, method("v3lockpb.Lock", "Lock"));
        let text = || text::render(&registry.gather());
        assert!(!text().contains("v3lockpb"), "{}", text());
        lock.started.increment(1);
        lock.handled(Code::Ok);
        assert_eq!(text().matches("v3lockpb").count(), 2, "{}", text());
        assert!(!text().contains("handling_seconds"));
    }

    #[test]
    fn client_versions_are_bounded() {
        let registry = Registry::new();
        let versions = ClientVersions::new(&EdgeMetrics::new(&registry, false));
        for version in 0..1000 {
            versions.count(&version.to_string(), version % 2 == 0);
        }
        versions.count(&"x".repeat(1000), false);
        let text = text::render(&registry.gather());
        let series = text
            .lines()
            .filter(|line| line.contains("client_requests_total{"))
            .count();
        assert!(series <= CLIENT_VERSIONS_MAX + 2, "{series}");
        let other = "client_api_version=\"other\",type=\"stream\"} 484";
        assert!(text.contains(other), "{text}");
    }
}
