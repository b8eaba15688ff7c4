//! How long commands take to apply, by what they are and how they end.

use std::sync::OnceLock;
use std::time::Duration;

use kvorum_proto::kvorumpb::{auth_op, command::Op};
use prometheus::{Histogram, HistogramVec, IntCounter, Registry};

use crate::families::{Doubling, counter, histograms};

/// Commands that take longer are counted as slow. (etcd: --warning-apply-duration)
const SLOW: Duration = Duration::from_millis(100);

/// etcd's names of what a command does.
const NAMES: [&str; 26] = [
    "Put",
    "DeleteRange",
    "Txn",
    "Compaction",
    "LeaseGrant",
    "LeaseRevoke",
    "LeaseCheckpoint",
    "Alarm",
    "ClusterMemberAttrSet",
    "ClusterVersionSet",
    "ClusterMemberUpdate",
    "DigestCheck",
    "AuthEnable",
    "AuthDisable",
    "AuthUserAdd",
    "AuthUserDelete",
    "AuthUserChangePassword",
    "AuthUserGrantRole",
    "AuthUserRevokeRole",
    "AuthRoleAdd",
    "AuthRoleDelete",
    "AuthRoleGrantPermission",
    "AuthRoleRevokePermission",
    "Authenticate",
    "Trust",
    "Console",
];

/// The histograms; a series exists from its first command on, as in etcd.
pub(crate) struct ApplyMeter {
    family: HistogramVec,
    series: [[OnceLock<Histogram>; 2]; NAMES.len()],
    slow: IntCounter,
}

const fn place(op: &Op) -> usize {
    match op {
        Op::Put(_) => 0,
        Op::DeleteRange(_) => 1,
        Op::Txn(_) => 2,
        Op::Compaction(_) => 3,
        Op::LeaseGrant(_) => 4,
        Op::LeaseRevoke(_) | Op::LeaseExpire(_) => 5,
        Op::LeaseCheckpoint(_) => 6,
        Op::Alarm(_) => 7,
        Op::Publish(_) => 8,
        Op::ClusterVersion(_) => 9,
        Op::MemberUpdate(_) => 10,
        Op::DigestCheck(_) => 11,
        Op::Auth(op) => 12 + auth_place(op.op.as_ref()),
        Op::Trust(_) => 24,
        Op::Console(_) => 25,
    }
}

/// Among the changes of users and roles; what only a later version knows counts as the last.
const fn auth_place(op: Option<&auth_op::Op>) -> usize {
    match op {
        Some(auth_op::Op::Enable(_)) => 0,
        Some(auth_op::Op::Disable(_)) => 1,
        Some(auth_op::Op::UserAdd(_)) => 2,
        Some(auth_op::Op::UserDelete(_)) => 3,
        Some(auth_op::Op::UserChangePassword(_)) => 4,
        Some(auth_op::Op::UserGrantRole(_)) => 5,
        Some(auth_op::Op::UserRevokeRole(_)) => 6,
        Some(auth_op::Op::RoleAdd(_)) => 7,
        Some(auth_op::Op::RoleDelete(_)) => 8,
        Some(auth_op::Op::RoleGrantPermission(_)) => 9,
        Some(auth_op::Op::RoleRevokePermission(_)) => 10,
        Some(auth_op::Op::TokenIssued(_)) | None => 11,
    }
}

impl ApplyMeter {
    pub(crate) fn new(r: &Registry) -> Self {
        Self {
            family: histograms(
                r,
                "etcd_server_apply_duration_seconds",
                "How long commands took to apply.",
                Doubling(0.0001, 20).bounds(),
                &["version", "op", "success"],
            ),
            series: Default::default(),
            slow: counter(
                r,
                "etcd_server_slow_apply_total",
                "Commands and reads that took longer than 100 ms.",
            ),
        }
    }

    pub(crate) fn record(&self, op: &Op, ok: bool, took: Duration) {
        let place = place(op);
        let (Some(series), Some(name)) = (self.series.get(place), NAMES.get(place)) else {
            return;
        };
        let [failed, succeeded] = series;
        let cell = if ok { succeeded } else { failed };
        let histogram = cell.get_or_init(|| {
            let success = if ok { "true" } else { "false" };
            self.family.with_label_values(&["v3", name, success])
        });
        histogram.observe(took.as_secs_f64());
        self.look_at(took);
    }

    /// Counts what was slow.
    pub(crate) fn look_at(&self, took: Duration) {
        if took > SLOW {
            self.slow.inc();
        }
    }
}
