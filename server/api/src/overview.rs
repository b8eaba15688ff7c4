//! The state of one member: who it is, where raft stands, what the store holds, how fast it goes.

use serde::{Deserialize, Serialize};

/// Everything the Overview page shows, except the curves.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Overview {
    /// Who answers.
    pub identity: Identity,
    /// Where raft stands.
    pub raft: Raft,
    /// Raised alarms; empty when all is well.
    pub alarms: Vec<Alarm>,
    /// The figures of this second.
    pub now: Sample,
}

/// Who answers: fixed while the process lives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Name of the cluster, as configured.
    pub cluster_name: String,
    /// Cluster id, 16 hexadecimal digits.
    pub cluster_id: String,
    /// Member id, 16 hexadecimal digits.
    pub member_id: String,
    /// Name of the member, as configured.
    pub member_name: String,
    /// Version of the server.
    pub version: String,
    /// When the process started, milliseconds since 1970.
    pub started_unix_ms: u64,
}

/// Where raft stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Raft {
    /// Leader, 16 hexadecimal digits; empty while there is none.
    pub leader_id: String,
    /// The leader's name; empty while there is none.
    pub leader_name: String,
    /// True if the member that answers leads.
    pub is_leader: bool,
    /// Current term.
    pub term: u64,
    /// Members that vote.
    pub voters: u32,
    /// Members that only follow.
    pub learners: u32,
}

/// A raised alarm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    /// etcd's name of it: `NOSPACE` or `CORRUPT`.
    pub kind: String,
    /// The member that raised it, 16 hexadecimal digits.
    pub member_id: String,
}

/// The figures of one second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// When it was taken, milliseconds since 1970.
    pub unix_ms: u64,
    /// What the store holds.
    pub store: Store,
    /// Committed index.
    pub committed: u64,
    /// Applied index.
    pub applied: u64,
    /// Puts applied during the second.
    pub puts_per_s: f64,
    /// Ranges answered during the second.
    pub gets_per_s: f64,
    /// Watchers open.
    pub watchers: u64,
    /// Leases that exist.
    pub leases: u64,
    /// How long a sync of the log took; `None` if there was none in this second.
    pub sync: Option<Quantiles>,
    /// How long an entry took from commit to applied; `None` if there was none in this second.
    pub apply: Option<Quantiles>,
}

/// What the store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Store {
    /// Newest revision.
    pub revision: i64,
    /// Revisions up to this one are compacted; −1 if none is.
    pub compact_revision: i64,
    /// Keys that exist.
    pub keys: u64,
    /// Logical size, bytes.
    pub db_size: u64,
    /// The part of it that is in use, bytes.
    pub db_size_in_use: u64,
    /// Size at which writes are refused, bytes; 0 if there is no limit.
    pub quota: u64,
}

/// Two points of a distribution, milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// Half are faster.
    pub p50_ms: f64,
    /// One in a hundred is slower.
    pub p99_ms: f64,
}
