//! Which etcd this server says it is.

/// The etcd release whose behaviour is offered.
pub const SERVER_VERSION: &str = "3.6.14";
/// The cluster version: the release line, patch 0.
pub const CLUSTER_VERSION: &str = "3.6.0";
/// The storage version of that line.
pub const STORAGE_VERSION: &str = "3.6.0";
