//! How much room is left: on the disk, for everything that adds to it, and under the quota.
//!
//! A disk that is nearly full refuses puts while deletes, compactions and reads go on: what is left of the log's segment
//! belongs to them. It is no alarm, and ends by itself once there is room.

use std::sync::atomic::Ordering;

use prometheus::{IntGauge, Registry};

use crate::families::gauge;
use crate::handle::Handle;
use crate::shared::Shared;

/// From this share of the quota on, in percent, an operator is warned.
const SOFT_PERCENT: i64 = 80;
/// Below this one it is forgotten, so that a store at the limit does not warn all the time.
const FORGET_PERCENT: i64 = 75;

/// What is scraped of it.
#[derive(Debug)]
pub(crate) struct RoomMeter {
    soft: IntGauge,
    full: IntGauge,
}

impl RoomMeter {
    pub(crate) fn new(r: &Registry) -> Self {
        Self {
            soft: gauge(
                r,
                "kvorum_quota_warning",
                "1 from four fifths of the quota on.",
            ),
            full: gauge(
                r,
                "kvorum_disk_full",
                "1 while writes are refused because the disk has no room.",
            ),
        }
    }
}

/// Whether the store is close to its quota, with a memory of what was told.
#[derive(Debug, Default)]
pub(crate) struct SoftLimit {
    told: bool,
}

impl SoftLimit {
    /// True if this is the moment to warn.
    fn crossed(&mut self, size: i64, quota: i64) -> bool {
        let percent = i128::from(size) * 100 / i128::from(quota.max(1));
        let before = self.told;
        self.told = match before {
            false => percent >= i128::from(SOFT_PERCENT),
            true => percent >= i128::from(FORGET_PERCENT),
        };
        self.told && !before
    }

    /// Looks at the size of the store, and warns.
    pub(crate) fn look(&mut self, shared: &Shared) {
        let size = shared.store.read().size().total();
        let quota = shared.options.quota_bytes();
        if self.crossed(size, quota) {
            tracing::warn!(
                db_size_bytes = size,
                quota_bytes = quota,
                "the store has reached {SOFT_PERCENT} % of its quota: at 100 % writes are refused; compact the history \
                 (--auto-compaction-retention does it by itself), delete keys, or raise --quota-backend-bytes"
            );
        }
        shared.meters.room.soft.set(i64::from(self.told));
    }
}

impl Handle {
    /// Why this member's disk keeps it from being relied on: a write that has not ended for an election timeout.
    #[must_use]
    pub fn disk_trouble(&self) -> Option<String> {
        let published = &self.shared.published;
        let now_ms = self.shared.clock.now_ms();
        let under_way_ms = match published.log_write_since_ms.load(Ordering::Relaxed) {
            0 => 0,
            since_ms => now_ms.saturating_sub(since_ms),
        };
        let waiting_ms = published.disk_waiting_ms.load(Ordering::Relaxed);
        let waiting_ms = waiting_ms.max(under_way_ms);
        (u128::from(waiting_ms) >= self.shared.options.election_timeout.as_millis())
            .then(|| format!("the disk has not finished a write for {waiting_ms} ms"))
    }
}

/// The disk has, or has no, room for what writes would add.
pub(crate) fn tell_disk_full(shared: &Shared, full: bool) {
    if shared.published.disk_full.swap(full, Ordering::SeqCst) == full {
        return;
    }
    shared.meters.room.full.set(i64::from(full));
    if full {
        tracing::error!(
            "the disk is almost full: writes that add to it are refused, deletes and reads go on; make room on it"
        );
    } else {
        tracing::info!("the disk has room again: writes are taken");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_told_once_each_time_it_is_crossed() {
        let mut limit = SoftLimit::default();
        let told: Vec<bool> = [0, 79, 80, 99, 120, 76, 80, 74, 79, 81]
            .map(|size| limit.crossed(size, 100))
            .into();
        let expected = [2, 9].map(|at| (0..10).map(|n| n == at).collect::<Vec<bool>>());
        let expected: Vec<bool> = (0..10).map(|n| expected[0][n] || expected[1][n]).collect();
        assert_eq!(told, expected);
        assert!(!SoftLimit::default().crossed(i64::MAX / 2, i64::MAX));
    }
}
