//! Leases: keys that vanish together when nobody keeps them alive. (etcd: server/lease/lessor.go; ETCD.md 2.10)
//!
//! Only the leader counts time; on the others leases last for ever. Time is a number of milliseconds handed in.

mod expiry;
mod lessor;

#[cfg(test)]
mod tests;

pub use lessor::{Keys, Lessor, Renewal, TimeLeft};

/// Longest TTL a client may ask for, seconds.
pub const TTL_MAX_S: i64 = 9_000_000_000;
