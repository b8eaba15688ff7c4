//! Who the members are, what may be changed about them, and what the cluster decides by itself because of them.
//! (ETCD.md 2.12; etcd: server/etcdserver/api/membership)
//!
//! A change is looked at three times: where it is asked for, with that member's connections (`check_connections`); by the
//! leader before it is proposed, with how far the others are (`check`); and by every member when it is applied, with what
//! is replicated (`Members::change`).

mod check;
mod contact;
mod promotion;
mod table;
mod url;
mod version;

#[cfg(test)]
mod tests;

pub use check::{Reconfiguration, check, check_connections};
pub use contact::Contacts;
pub use promotion::due as due_promotion;
pub use table::Members;
pub use url::{PeerUrl, peer_urls};
pub use version::{MIN_CLUSTER_VERSION, decide as decide_cluster_version};
