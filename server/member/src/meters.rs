//! What a member measures while it works: etcd's metrics for scrapers (ETCD.md 5), and the figures behind the console.
//!
//! A measurement is a few relaxed atomic additions and never waits. What can be read off the member's state is not
//! kept here but looked up when somebody scrapes: `gauges`.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kvorum_core::mvcc::OpCounts;
use kvorum_storage::{AppendStats, FlushStats};
use prometheus::{Histogram, HistogramVec, IntCounter, IntGauge, Registry};

use crate::apply_meter::ApplyMeter;
use crate::families::{Doubling, counter, gauge, histogram, histograms};
use crate::room::RoomMeter;
use crate::stats::LatencyMeter;

/// Counts and latencies of everything a member does.
pub(crate) struct Meters {
    pub(crate) registry: Registry,
    pub(crate) writes: AtomicU64,
    pub(crate) reads: AtomicU64,
    pub(crate) sync: LatencyMeter,
    pub(crate) pass: LatencyMeter,
    pub(crate) apply: ApplyMeter,
    pub(crate) ops: OpMeter,
    pub(crate) disk: DiskMeter,
    pub(crate) room: RoomMeter,
    pub(crate) leases: LeaseMeter,
    pub(crate) compaction: CompactionMeter,
    range_seconds: RangeMeter,
    pub(crate) hash_seconds: Histogram,
    pub(crate) hash_rev_seconds: Histogram,
    pub(crate) proposals_failed: IntCounter,
    pub(crate) leader_changes: IntCounter,
    pub(crate) slow_read_indexes: IntCounter,
    pub(crate) read_indexes_failed: IntCounter,
    pub(crate) events: IntCounter,
}

impl std::fmt::Debug for Meters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meters").finish_non_exhaustive()
    }
}

impl Meters {
    /// In a registry that may have families of others already.
    pub(crate) fn new(registry: Registry) -> Self {
        let r = &registry;
        idle_families(r);
        Self {
            writes: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            sync: LatencyMeter::default(),
            pass: LatencyMeter::default(),
            apply: ApplyMeter::new(r),
            ops: OpMeter::new(r),
            disk: DiskMeter::new(r),
            room: RoomMeter::new(r),
            leases: LeaseMeter::new(r),
            compaction: CompactionMeter::new(r),
            range_seconds: RangeMeter::new(r),
            hash_seconds: histogram(
                r,
                "etcd_mvcc_hash_duration_seconds",
                "How long hashes of the whole store took.",
                Doubling(0.01, 15),
            ),
            hash_rev_seconds: histogram(
                r,
                "etcd_mvcc_hash_rev_duration_seconds",
                "How long hashes of the store at a revision took.",
                Doubling(0.01, 15),
            ),
            proposals_failed: counter(
                r,
                "etcd_server_proposals_failed_total",
                "Proposals that were refused or not answered in time.",
            ),
            leader_changes: counter(
                r,
                "etcd_server_leader_changes_seen_total",
                "Changes of the leader that this member has seen.",
            ),
            slow_read_indexes: counter(
                r,
                "etcd_server_slow_read_indexes_total",
                "Linearizable reads that waited long for their turn.",
            ),
            read_indexes_failed: counter(
                r,
                "etcd_server_read_indexes_failed_total",
                "Linearizable reads that never got their turn.",
            ),
            events: counter(
                r,
                "etcd_debugging_mvcc_events_total",
                "Events handed to watch streams for sending.",
            ),
            registry,
        }
    }

    pub(crate) fn wal_synced(&self, took: Duration, stats: &AppendStats) {
        self.sync.record(took);
        self.disk.wal_fsync.observe(stats.syncing.as_secs_f64());
        self.disk.wal_write.observe(stats.encoding.as_secs_f64());
        let bytes = i64::try_from(stats.bytes).unwrap_or(i64::MAX);
        self.disk.wal_bytes.add(bytes);
    }

    pub(crate) fn flushed(&self, took: Duration, stats: &FlushStats) {
        let disk = &self.disk;
        disk.commit.observe(took.as_secs_f64());
        disk.commit_spill.observe(stats.changing.as_secs_f64());
        disk.commit_write.observe(stats.committing.as_secs_f64());
    }

    /// One pass of the core thread applied so many writes.
    pub(crate) fn passed(&self, writes: u64, took: Duration) {
        self.writes.fetch_add(writes, Ordering::Relaxed);
        self.pass.record(took);
    }

    /// A range was answered or refused.
    pub(crate) fn ranged(&self, took: Duration, ok: bool) {
        self.range_seconds.record(took, ok);
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.ops.ranges.inc();
    }

    /// A transaction that only reads was answered or refused.
    pub(crate) fn read_txn(&self, ops: &OpCounts) {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.ops.add(ops);
    }
}

/// How long ranges took; a series exists from its first range on, as in etcd.
struct RangeMeter {
    family: HistogramVec,
    refused: OnceLock<Histogram>,
    answered: OnceLock<Histogram>,
}

impl RangeMeter {
    fn new(r: &Registry) -> Self {
        Self {
            family: histograms(
                r,
                "etcd_server_range_duration_seconds",
                "How long ranges took on this member, without the wait for their turn.",
                Doubling(0.0001, 20).bounds(),
                &["success"],
            ),
            refused: OnceLock::new(),
            answered: OnceLock::new(),
        }
    }

    fn record(&self, took: Duration, ok: bool) {
        let (cell, success) = if ok {
            (&self.answered, "true")
        } else {
            (&self.refused, "false")
        };
        cell.get_or_init(|| self.family.with_label_values(&[success]))
            .observe(took.as_secs_f64());
    }
}

/// Operations on the store.
pub(crate) struct OpMeter {
    ranges: IntCounter,
    puts: IntCounter,
    deletes: IntCounter,
    txns: IntCounter,
    put_bytes: IntGauge,
}

impl OpMeter {
    fn new(r: &Registry) -> Self {
        Self {
            ranges: counter(r, "etcd_mvcc_range_total", "Ranges on this member."),
            puts: counter(r, "etcd_mvcc_put_total", "Puts on this member."),
            deletes: counter(r, "etcd_mvcc_delete_total", "Deletes on this member."),
            txns: counter(
                r,
                "etcd_mvcc_txn_total",
                "Groups of more than one operation on this member.",
            ),
            put_bytes: gauge(
                r,
                "etcd_debugging_mvcc_total_put_size_in_bytes",
                "Bytes of all keys and values that were put on this member.",
            ),
        }
    }

    pub(crate) fn add(&self, ops: &OpCounts) {
        let counters = [
            (&self.ranges, ops.ranges),
            (&self.puts, ops.puts),
            (&self.deletes, ops.deletes),
            (&self.txns, ops.txns),
        ];
        for (counter, count) in counters.into_iter().filter(|(_, count)| *count > 0) {
            counter.inc_by(count);
        }
        if ops.put_bytes > 0 {
            let bytes = i64::try_from(ops.put_bytes).unwrap_or(i64::MAX);
            self.put_bytes.add(bytes);
        }
    }
}

/// The log and the state store.
pub(crate) struct DiskMeter {
    wal_fsync: Histogram,
    wal_write: Histogram,
    wal_bytes: IntGauge,
    commit: Histogram,
    commit_spill: Histogram,
    commit_write: Histogram,
    pub(crate) defrag: Histogram,
    pub(crate) snapshot: Histogram,
}

impl DiskMeter {
    fn new(r: &Registry) -> Self {
        let milliseconds = |name: &str, help: &str| histogram(r, name, help, Doubling(0.001, 14));
        Self {
            wal_fsync: milliseconds(
                "etcd_disk_wal_fsync_duration_seconds",
                "How long the log took to make what was written durable.",
            ),
            wal_write: milliseconds(
                "etcd_disk_wal_write_duration_seconds",
                "How long the log took to prepare what is written.",
            ),
            wal_bytes: gauge(
                r,
                "etcd_disk_wal_write_bytes_total",
                "Bytes written to the log.",
            ),
            commit: milliseconds(
                "etcd_disk_backend_commit_duration_seconds",
                "How long the state store took to take in what had been applied.",
            ),
            commit_spill: milliseconds(
                "etcd_debugging_disk_backend_commit_spill_duration_seconds",
                "The part of a commit that changes the tree in memory.",
            ),
            commit_write: milliseconds(
                "etcd_debugging_disk_backend_commit_write_duration_seconds",
                "The part of a commit that makes the change durable.",
            ),
            defrag: histogram(
                r,
                "etcd_disk_backend_defrag_duration_seconds",
                "How long defragmentations took.",
                Doubling(0.1, 13),
            ),
            snapshot: histogram(
                r,
                "etcd_disk_backend_snapshot_duration_seconds",
                "How long snapshots for clients took.",
                Doubling(0.01, 17),
            ),
        }
    }
}

/// Leases.
pub(crate) struct LeaseMeter {
    pub(crate) granted: IntCounter,
    pub(crate) revoked: IntCounter,
    pub(crate) renewed: IntCounter,
    pub(crate) expired: IntCounter,
    pub(crate) ttl: Histogram,
}

impl LeaseMeter {
    fn new(r: &Registry) -> Self {
        Self {
            granted: counter(r, "etcd_debugging_lease_granted_total", "Leases granted."),
            revoked: counter(
                r,
                "etcd_debugging_lease_revoked_total",
                "Leases that ended, by a request or by time.",
            ),
            renewed: counter(
                r,
                "etcd_debugging_lease_renewed_total",
                "Renewals, as seen by the leader.",
            ),
            expired: counter(
                r,
                "etcd_debugging_server_lease_expired_total",
                "Leases that ended by time.",
            ),
            ttl: histogram(
                r,
                "etcd_debugging_lease_ttl_total",
                "Times to live of granted leases, seconds.",
                Doubling(1.0, 24),
            ),
        }
    }
}

/// Compactions.
pub(crate) struct CompactionMeter {
    pub(crate) keys: IntCounter,
    pub(crate) last: IntGauge,
    pub(crate) index_pause: Histogram,
    pub(crate) db_pause: Histogram,
    pub(crate) total: Histogram,
}

impl CompactionMeter {
    fn new(r: &Registry) -> Self {
        Self {
            keys: counter(
                r,
                "etcd_debugging_mvcc_db_compaction_keys_total",
                "Records that compactions removed.",
            ),
            last: gauge(
                r,
                "etcd_debugging_mvcc_db_compaction_last",
                "When the last compaction ended, seconds since 1970.",
            ),
            index_pause: histogram(
                r,
                "etcd_debugging_mvcc_index_compaction_pause_duration_milliseconds",
                "How long a compaction kept the index to itself at a time.",
                Doubling(0.5, 14),
            ),
            db_pause: histogram(
                r,
                "etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds",
                "How long a compaction kept the state store to itself at a time.",
                Doubling(1.0, 13),
            ),
            total: histogram(
                r,
                "etcd_debugging_mvcc_db_compaction_total_duration_milliseconds",
                "How long compactions took from beginning to end.",
                Doubling(100.0, 14),
            ),
        }
    }
}

/// What etcd exposes from the start and what has not happened here: there are no peers yet, and neither snapshot files
/// nor a rebalanced tree.
fn idle_families(r: &Registry) {
    for (name, help) in [
        (
            "etcd_server_heartbeat_send_failures_total",
            "Heartbeats that left late because the leader was busy.",
        ),
        (
            "etcd_server_learner_promote_successes",
            "Learners promoted while this member led.",
        ),
    ] {
        let _zero = counter(r, name, help);
    }
    for (name, help) in [
        (
            "etcd_server_snapshot_apply_in_progress_total",
            "1 while a snapshot of the leader is being taken in.",
        ),
        (
            "etcd_disk_defrag_inflight",
            "1 while the state store is being rewritten.",
        ),
    ] {
        let _zero = gauge(r, name, help);
    }
    for (name, help, first, count) in [
        (
            "etcd_debugging_disk_backend_commit_rebalance_duration_seconds",
            "The part of a commit that rebalances the tree, where that is a part.",
            0.001,
            14,
        ),
        (
            "etcd_debugging_snap_save_marshalling_duration_seconds",
            "How long encoding a snapshot file took.",
            0.001,
            14,
        ),
        (
            "etcd_debugging_snap_save_total_duration_seconds",
            "How long saving a snapshot file took.",
            0.001,
            14,
        ),
        (
            "etcd_snap_fsync_duration_seconds",
            "How long making a snapshot file durable took.",
            0.001,
            14,
        ),
        (
            "etcd_snap_db_fsync_duration_seconds",
            "How long making a snapshot of the leader durable took.",
            0.001,
            14,
        ),
        (
            "etcd_snap_db_save_total_duration_seconds",
            "How long saving a snapshot of the leader took.",
            0.1,
            10,
        ),
    ] {
        let _zero = histogram(r, name, help, Doubling(first, count));
    }
}
