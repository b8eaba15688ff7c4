//! What is looked up when somebody scrapes: figures that stand in the member's state anyway.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use kvorum_core::MemberId;
use kvorum_core::watch::Hub;
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, IntGauge, Registry};

use crate::families::{gauge, gauges};
use crate::handle::{Handle, Status};
use crate::shared::Shared;

/// All figures of one moment.
struct Figures {
    status: Status,
    quota_told: i64,
    leads: bool,
    pending: usize,
    open_reads: usize,
    hubs: HubFigures,
}

/// Watchers of all I/O threads.
#[derive(Default)]
struct HubFigures {
    streams: usize,
    watchers: usize,
    unsynced: usize,
    waiting_events: usize,
}

impl HubFigures {
    fn add(&mut self, hub: &Hub) {
        self.streams += hub.streams();
        self.watchers += hub.watchers();
        self.unsynced += hub.unsynced();
        self.waiting_events += hub.waiting_events();
    }
}

type Look = fn(&Figures) -> i64;

/// Name, help, where the value is.
const LOOKED_UP: &[(&str, &str, Look)] = &[
    (
        "etcd_debugging_auth_revision",
        "Changes of users and roles, counted from 1.",
        |_| 1,
    ),
    (
        "etcd_debugging_mvcc_compact_revision",
        "The revision of the last compaction, -1 without one.",
        |f| f.status.compact_revision,
    ),
    (
        "etcd_debugging_mvcc_current_revision",
        "The revision of the store.",
        |f| f.status.revision,
    ),
    ("etcd_debugging_mvcc_keys_total", "Keys that exist.", |f| {
        signed(f.status.keys)
    }),
    (
        "etcd_debugging_mvcc_pending_events_total",
        "Events that wait to be sent to watchers.",
        |f| count(f.hubs.waiting_events),
    ),
    (
        "etcd_debugging_mvcc_slow_watcher_total",
        "Watchers that have not got everything yet.",
        |f| count(f.hubs.unsynced),
    ),
    (
        "etcd_debugging_mvcc_watch_stream_total",
        "Open watch streams.",
        |f| count(f.hubs.streams),
    ),
    (
        "etcd_debugging_mvcc_watcher_total",
        "Watchers on all streams.",
        |f| count(f.hubs.watchers),
    ),
    (
        "etcd_mvcc_db_open_read_transactions",
        "Read transactions of the state store that are open.",
        |f| count(f.open_reads),
    ),
    (
        "etcd_mvcc_db_total_size_in_bytes",
        "Size of what is stored, with what a compaction has freed.",
        |f| f.status.db_size,
    ),
    (
        "etcd_mvcc_db_total_size_in_use_in_bytes",
        "Size of what is stored and can still be read.",
        |f| f.status.db_size_in_use,
    ),
    ("etcd_server_has_leader", "1 if there is a leader.", |f| {
        i64::from(f.status.leader != 0)
    }),
    ("etcd_server_is_leader", "1 if this member leads.", |f| {
        i64::from(f.leads)
    }),
    (
        "etcd_server_is_learner",
        "1 if this member has no vote.",
        // Every member votes until learners exist.
        |_| 0,
    ),
    (
        "etcd_server_proposals_applied_total",
        "Index of the last applied entry.",
        |f| signed(f.status.applied),
    ),
    (
        "etcd_server_proposals_committed_total",
        "Index of the last committed entry.",
        |f| signed(f.status.committed),
    ),
    (
        "etcd_server_proposals_pending",
        "Proposals that wait for their answer.",
        |f| count(f.pending),
    ),
    (
        "etcd_server_quota_backend_bytes",
        "Size from which writes are refused.",
        |f| f.quota_told,
    ),
];

/// etcd's feature gates, with what holds here: remainders of leases are always kept, and transactions never copy what
/// they read.
const FEATURES: &[(&str, &str, bool)] = &[
    ("AllAlpha", "ALPHA", false),
    ("AllBeta", "BETA", false),
    ("CompactHashCheck", "ALPHA", false),
    ("InitialCorruptCheck", "ALPHA", false),
    ("LeaseCheckpoint", "ALPHA", true),
    ("LeaseCheckpointPersist", "ALPHA", true),
    ("SetMemberLocalAddr", "ALPHA", false),
    ("StopGRPCServiceOnDefrag", "ALPHA", false),
    ("TxnModeWriteWithSharedBuffer", "BETA", true),
];

/// The gauges and where their values come from.
pub(crate) struct Gauges {
    looked_up: Vec<(IntGauge, Look)>,
    cluster_version: GaugeVec,
    alarms: GaugeVec,
    known_peers: GaugeVec,
}

impl std::fmt::Debug for Gauges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gauges").finish_non_exhaustive()
    }
}

impl Gauges {
    pub(crate) fn new(r: &Registry, member: MemberId) -> Self {
        let id = format!("{:x}", member.0);
        let server_id = gauges(
            r,
            "etcd_server_id",
            "1 for this member's id.",
            &["server_id"],
        );
        server_id.with_label_values(&[&id]).set(1.0);
        let features = gauges(
            r,
            "etcd_server_feature_enabled",
            "1 for each feature of etcd that is on.",
            &["name", "stage"],
        );
        for (name, stage, on) in FEATURES {
            let value = f64::from(u8::from(*on));
            features.with_label_values(&[*name, *stage]).set(value);
        }
        let looked_up = LOOKED_UP
            .iter()
            .map(|(name, help, look)| (gauge(r, name, help), *look));
        Self {
            looked_up: looked_up.collect(),
            cluster_version: gauges(
                r,
                "etcd_cluster_version",
                "1 for the version that the cluster has agreed on.",
                &["cluster_version"],
            ),
            alarms: gauges(
                r,
                "etcd_debugging_server_alarms",
                "1 for each raised alarm.",
                &["server_id", "alarm_type"],
            ),
            known_peers: gauges(
                r,
                "etcd_network_known_peers",
                "1 for each member of the cluster.",
                &["Local", "Remote"],
            ),
        }
    }

    fn refresh(&self, shared: &Shared, figures: &Figures) {
        for (gauge, look) in &self.looked_up {
            gauge.set(look(figures));
        }
        self.cluster_version.reset();
        if let Some(version) = &figures.status.cluster_version {
            // Major and minor only.
            let line = version.rsplit_once('.').map_or(version.as_str(), |v| v.0);
            self.cluster_version.with_label_values(&[line]).set(1.0);
        }
        self.alarms.reset();
        for alarm in &figures.status.alarms {
            let member = format!("{:x}", alarm.member_id);
            let kind = alarm.alarm().as_str_name();
            self.alarms
                .with_label_values(&[member.as_str(), kind])
                .set(1.0);
        }
        self.known_peers.reset();
        let local = format!("{:x}", shared.identity.member_id.0);
        for member in &shared.view.read().members {
            let remote = format!("{:x}", member.id);
            self.known_peers
                .with_label_values(&[&local, &remote])
                .set(1.0);
        }
    }
}

impl Handle {
    /// Where an edge registers what it measures itself; `gather` gives it back with the member's own.
    #[must_use]
    pub fn registry(&self) -> &prometheus::Registry {
        &self.shared.meters.registry
    }

    /// All metrics, sorted by name, with the values of now.
    #[must_use]
    pub fn gather(&self) -> Vec<MetricFamily> {
        let mut hubs = HubFigures::default();
        for watching in self.shared.hubs.read().iter() {
            watching.look(|hub| hubs.add(hub));
        }
        let status = self.status();
        let figures = Figures {
            leads: status.leader == self.shared.identity.member_id.0,
            status,
            quota_told: self.shared.options.quota_told(),
            pending: self.shared.ports.read().iter().map(pending).sum(),
            open_reads: self.shared.state.open_reads(),
            hubs,
        };
        // Two scrapes at once must not see each other's half-set gauges.
        let gauges = self.shared.gauges.lock();
        gauges.refresh(&self.shared, &figures);
        self.shared.meters.registry.gather()
    }
}

fn pending(port: &Arc<crate::port::Port>) -> usize {
    port.proposals.load(Ordering::Relaxed)
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
