//! What a member measures: etcd's metric names for scrapers, and the figures behind the console.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics::{Counter, Histogram, counter, histogram};

use crate::stats::LatencyMeter;

/// Counts and latencies of the hot paths. Names and types are etcd's (ETCD.md 5).
pub(crate) struct Meters {
    pub(crate) puts: AtomicU64,
    pub(crate) gets: AtomicU64,
    pub(crate) sync: LatencyMeter,
    pub(crate) apply: LatencyMeter,
    put_total: Counter,
    delete_total: Counter,
    txn_total: Counter,
    range_total: Counter,
    fsync_seconds: Histogram,
    commit_seconds: Histogram,
    wal_bytes: Counter,
    pub(crate) proposals_failed: Counter,
    pub(crate) events_total: Counter,
}

impl std::fmt::Debug for Meters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meters").finish_non_exhaustive()
    }
}

impl Meters {
    /// Registers with the recorder that the binary has installed.
    pub(crate) fn new() -> Self {
        Self {
            puts: AtomicU64::new(0),
            gets: AtomicU64::new(0),
            sync: LatencyMeter::default(),
            apply: LatencyMeter::default(),
            put_total: counter!("etcd_mvcc_put_total"),
            delete_total: counter!("etcd_mvcc_delete_total"),
            txn_total: counter!("etcd_mvcc_txn_total"),
            range_total: counter!("etcd_mvcc_range_total"),
            fsync_seconds: histogram!("etcd_disk_wal_fsync_duration_seconds"),
            commit_seconds: histogram!("etcd_disk_backend_commit_duration_seconds"),
            wal_bytes: counter!("etcd_disk_wal_write_bytes_total"),
            proposals_failed: counter!("etcd_server_proposals_failed_total"),
            events_total: counter!("etcd_debugging_mvcc_events_total"),
        }
    }

    pub(crate) fn wal_synced(&self, took: Duration, bytes: u64) {
        self.sync.record(took);
        self.fsync_seconds.record(took.as_secs_f64());
        self.wal_bytes.increment(bytes);
    }

    pub(crate) fn flushed(&self, took: Duration) {
        self.commit_seconds.record(took.as_secs_f64());
    }

    /// One pass of the core thread applied these.
    pub(crate) fn applied(&self, counts: Counts, took: Duration) {
        self.puts.fetch_add(
            counts.puts + counts.deletes + counts.txns,
            Ordering::Relaxed,
        );
        self.put_total.increment(counts.puts);
        self.delete_total.increment(counts.deletes);
        self.txn_total.increment(counts.txns);
        self.events_total.increment(counts.events);
        self.apply.record(took);
    }

    pub(crate) fn ranged(&self) {
        self.gets.fetch_add(1, Ordering::Relaxed);
        self.range_total.increment(1);
    }
}

/// What one pass applied.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) puts: u64,
    pub(crate) deletes: u64,
    pub(crate) txns: u64,
    pub(crate) events: u64,
}
