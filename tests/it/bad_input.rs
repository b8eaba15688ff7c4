//! What every gRPC client may send by mistake: refused early, with etcd's own text and code, and nothing breaks.
//!
//! Each check also runs against a real etcd 3.6 where one can be had, so the expectations are etcd's, not ours.
//! `entries.rs` says which mistake is checked where.

mod entries;
mod kv;
mod lease;
mod transport;
mod txn;
mod watch;
