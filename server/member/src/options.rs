//! How a member runs.

use std::path::PathBuf;
use std::time::Duration;

use crate::tokens::AuthOptions;

/// Whether a member with an empty directory founds a cluster or joins one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClusterState {
    /// It founds one, with all members of the initial cluster.
    #[default]
    New,
    /// It was added to one that runs.
    Existing,
}

/// A member as the settings of a first start name it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InitialMember {
    /// Its name.
    pub name: String,
    /// Where it is reached by the others.
    pub peer_urls: Vec<String>,
}

/// How a member runs. The defaults are etcd's where etcd has them.
#[derive(Clone, Debug)]
pub struct MemberOptions {
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// The member's name, for people.
    pub name: String,
    /// Where peers reach it; the ids of a new cluster are made of these.
    pub peer_urls: Vec<String>,
    /// Where clients reach it, as `MemberList` tells them.
    pub client_urls: Vec<String>,
    /// Keeps the ids of two clusters with equal URLs apart.
    pub cluster_token: String,
    /// All members at the first start; empty for this one alone.
    pub initial_cluster: Vec<InitialMember>,
    /// What an empty directory means.
    pub cluster_state: ClusterState,
    /// Changes of the members that could cost the quorum are refused.
    pub strict_reconfig_check: bool,
    /// Learners that the cluster may have at once.
    pub learners_max: usize,
    /// As a learner, this member asks to be promoted as soon as it has caught up.
    pub auto_promote: bool,
    /// Logical bytes from which puts are refused: 0 for 2 GiB, negative for no quota.
    pub quota_backend_bytes: i64,
    /// Operations allowed in one transaction.
    pub max_txn_ops: usize,
    /// Longest encoded request, bytes.
    pub max_request_bytes: usize,
    /// Between two heartbeats; also the length of a tick.
    pub heartbeat_interval: Duration,
    /// Without a leader for this long, a member campaigns.
    pub election_timeout: Duration,
    /// Between two progress notifications of a quiet watcher.
    pub watch_progress_interval: Duration,
    /// Memory for values beside the index, bytes: three quarters for the newest records, the rest for pages of the state
    /// store.
    pub value_cache_bytes: usize,
    /// Memory for large replies and for requests that are being received, bytes.
    pub large_request_bytes: usize,
    /// What may wait for the state store beyond the cache before proposals wait too, bytes.
    pub unflushed_bytes_max: usize,
    /// Size of a log segment, bytes.
    pub log_segment_bytes: u64,
    /// Between two rounds in which everything that is stored is read back; zero for never.
    pub scrub_interval: Duration,
    /// How users prove who they are.
    pub auth: AuthOptions,
}

impl Default for MemberOptions {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("default.kvorum"),
            name: "default".into(),
            peer_urls: vec!["http://localhost:2380".into()],
            client_urls: vec!["http://localhost:2379".into()],
            cluster_token: "kvorum-cluster".into(),
            initial_cluster: Vec::new(),
            cluster_state: ClusterState::New,
            strict_reconfig_check: true,
            learners_max: 1,
            auto_promote: false,
            quota_backend_bytes: 0,
            max_txn_ops: 128,
            max_request_bytes: 1_572_864,
            heartbeat_interval: Duration::from_millis(100),
            election_timeout: Duration::from_millis(1000),
            watch_progress_interval: Duration::from_secs(600),
            value_cache_bytes: 128 << 20,
            large_request_bytes: 1 << 30,
            unflushed_bytes_max: 128 << 20,
            log_segment_bytes: 64 << 20,
            scrub_interval: Duration::from_secs(3600),
            auth: AuthOptions::default(),
        }
    }
}

/// etcd's default quota.
const QUOTA_BYTES: i64 = 2 << 30;

impl MemberOptions {
    /// The quota in force, bytes.
    #[must_use]
    pub fn quota_bytes(&self) -> i64 {
        match self.quota_backend_bytes {
            0 => QUOTA_BYTES,
            n if n < 0 => i64::MAX,
            n => n,
        }
    }

    /// The quota as it is reported: negative if there is none, as etcd does.
    pub(crate) fn quota_told(&self) -> i64 {
        match self.quota_bytes() {
            i64::MAX => -1,
            n => n,
        }
    }

    /// Election timeout in ticks of one heartbeat interval, at least 2.
    pub(crate) fn election_ticks(&self) -> usize {
        let ticks = self.election_timeout.as_millis() / self.heartbeat_interval.as_millis().max(1);
        usize::try_from(ticks).unwrap_or(10).max(2)
    }

    /// Shortest lease: what survives an election, in whole seconds. (etcd: minLeaseTTL)
    pub(crate) fn lease_ttl_min_s(&self) -> i64 {
        let ms = self.election_timeout.as_millis() * 3 / 2;
        i64::try_from(ms.div_ceil(1000)).unwrap_or(2)
    }

    /// How long a large request waits for memory.
    pub(crate) const LARGE_REQUEST_PATIENCE: Duration = Duration::from_secs(20);

    /// How long a proposal may take: 5 s for the disk and the network, and two elections.
    pub(crate) fn request_timeout(&self) -> Duration {
        Duration::from_secs(5) + 2 * self.election_timeout
    }
}
