//! What is measured of peers, under etcd's names.

use kvorum_core::MemberId;
use prometheus::{GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, Registry};

use crate::families::{Doubling, counters, gauges, histograms};

/// All families.
pub(crate) struct PeerMeters {
    active: GaugeVec,
    disconnected: IntCounterVec,
    received_bytes: IntCounterVec,
    received_failures: IntCounterVec,
    sent_bytes: IntCounterVec,
    sent_failures: IntCounterVec,
    round_trip: HistogramVec,
    snapshots_sent: TransferMeters,
    snapshots_received: TransferMeters,
}

impl std::fmt::Debug for PeerMeters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeerMeters").finish_non_exhaustive()
    }
}

/// One direction of snapshots.
pub(crate) struct TransferMeters {
    success: IntCounterVec,
    failures: IntCounterVec,
    inflight: GaugeVec,
    seconds: HistogramVec,
}

/// A member id as labels have it.
pub(crate) fn label(id: MemberId) -> String {
    format!("{:x}", id.0)
}

impl PeerMeters {
    pub(crate) fn new(r: &Registry) -> Self {
        let pair = ["Local", "Remote"];
        Self {
            active: gauges(
                r,
                "etcd_network_active_peers",
                "1 while a peer is connected, 0 while it is not.",
                &pair,
            ),
            disconnected: counters(
                r,
                "etcd_network_disconnected_peers_total",
                "Times that a connected peer was lost.",
                &pair,
            ),
            received_bytes: counters(
                r,
                "etcd_network_peer_received_bytes_total",
                "Bytes received from peers.",
                &["From"],
            ),
            received_failures: counters(
                r,
                "etcd_network_peer_received_failures_total",
                "Connections from peers that ended in something unreadable.",
                &["From"],
            ),
            sent_bytes: counters(
                r,
                "etcd_network_peer_sent_bytes_total",
                "Bytes sent to peers.",
                &["To"],
            ),
            sent_failures: counters(
                r,
                "etcd_network_peer_sent_failures_total",
                "Messages to peers that were dropped.",
                &["To"],
            ),
            round_trip: histograms(
                r,
                "etcd_network_peer_round_trip_time_seconds",
                "How long a probe took to a peer and back.",
                Doubling(0.0001, 16).bounds(),
                &["To"],
            ),
            snapshots_sent: TransferMeters::new(r, "send", "To"),
            snapshots_received: TransferMeters::new(r, "receive", "From"),
        }
    }

    /// The counters of one peer.
    pub(crate) fn route(&self, to: MemberId) -> RouteMeters {
        let to = label(to);
        RouteMeters {
            sent_bytes: self.sent_bytes.with_label_values(&[&to]),
            sent_failures: self.sent_failures.with_label_values(&[&to]),
            round_trip: self.round_trip.with_label_values(&[&to]),
        }
    }

    pub(crate) fn connected(&self, local: MemberId, remote: MemberId) {
        let labels = [label(local), label(remote)];
        self.active.with_label_values(&labels).set(1.0);
    }

    pub(crate) fn disconnected(&self, local: MemberId, remote: MemberId) {
        let labels = [label(local), label(remote)];
        self.active.with_label_values(&labels).set(0.0);
        self.disconnected.with_label_values(&labels).inc();
    }

    /// Bytes from one peer.
    pub(crate) fn received(&self, from: MemberId) -> IntCounter {
        self.received_bytes.with_label_values(&[&label(from)])
    }

    pub(crate) fn unreadable(&self, from: MemberId) {
        self.received_failures
            .with_label_values(&[&label(from)])
            .inc();
    }

    /// A snapshot leaves.
    pub(crate) fn sending(&self, to: MemberId) -> Transfer<'_> {
        Transfer::begin(&self.snapshots_sent, to)
    }

    /// A snapshot comes in.
    pub(crate) fn receiving(&self, from: MemberId) -> Transfer<'_> {
        Transfer::begin(&self.snapshots_received, from)
    }
}

impl TransferMeters {
    fn new(r: &Registry, way: &str, end: &str) -> Self {
        let name = |what: &str| format!("etcd_network_snapshot_{way}_{what}");
        Self {
            success: counters(
                r,
                &name("success"),
                "Snapshots between members that arrived.",
                &[end],
            ),
            failures: counters(
                r,
                &name("failures"),
                "Snapshots between members that did not arrive.",
                &[end],
            ),
            inflight: gauges(
                r,
                &name("inflights_total"),
                "Snapshots between members on their way.",
                &[end],
            ),
            seconds: histograms(
                r,
                &name("total_duration_seconds"),
                "How long snapshots between members took.",
                Doubling(0.1, 10).bounds(),
                &[end],
            ),
        }
    }
}

/// A snapshot on its way; one that is dropped has failed.
pub(crate) struct Transfer<'a> {
    meters: &'a TransferMeters,
    end: String,
    begin: std::time::Instant,
    ok: bool,
}

impl<'a> Transfer<'a> {
    fn begin(meters: &'a TransferMeters, end: MemberId) -> Self {
        let end = label(end);
        meters.inflight.with_label_values(&[&end]).inc();
        Self {
            meters,
            end,
            begin: std::time::Instant::now(),
            ok: false,
        }
    }

    /// It arrived.
    pub(crate) fn succeeded(mut self) {
        self.ok = true;
    }
}

impl Drop for Transfer<'_> {
    fn drop(&mut self) {
        let end = [self.end.as_str()];
        self.meters.inflight.with_label_values(&end).dec();
        if self.ok {
            self.meters.success.with_label_values(&end).inc();
            let took = self.begin.elapsed().as_secs_f64();
            self.meters.seconds.with_label_values(&end).observe(took);
        } else {
            self.meters.failures.with_label_values(&end).inc();
        }
    }
}

/// The counters of one peer, looked up once.
pub(crate) struct RouteMeters {
    pub(crate) sent_bytes: IntCounter,
    pub(crate) sent_failures: IntCounter,
    pub(crate) round_trip: Histogram,
}
