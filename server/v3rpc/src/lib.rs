//! The client listener: etcd's gRPC services and HTTP endpoints on one port.
//!
//! [`Front::start`] runs one I/O thread per [`kvorum_member::Handle`]. gRPC is spoken by hand over the h2 crate: a call
//! is decoded, handed to the `Handle`, and answered inside the task of its connection, and a pass over a connection
//! ends in one write. Requests are checked behind the `Handle`; this crate only translates. `error` is the only place
//! with gRPC codes and etcd's texts, `route` the only table of RPCs.

mod accept;
mod administrator;
mod arrivals;
mod audit;
mod auth;
mod authority;
mod client;
mod cluster;
mod compression;
mod connection;
mod context;
mod crowded;
mod downgrade;
mod early;
mod election;
mod errands;
mod error;
mod follow;
mod frame;
pub mod fuzz;
pub mod gateway;
mod gather;
mod guests;
mod header_block;
mod health;
mod hpack;
mod http;
mod http2;
mod identity;
mod incoming;
mod kv;
mod large;
mod leadership;
mod learner;
mod lease;
mod lock;
mod maintenance;
mod metadata;
mod metrics;
mod options;
mod peer;
mod pings;
mod process;
mod queue;
mod range_stream;
mod route;
mod rule;
mod seats;
mod server;
mod session;
mod shares;
mod snapshot;
mod stream;
mod tls;
mod trust;
mod turned_away;
mod unary;
mod unread;
mod version;
mod watch;

pub use crate::{
    error::{Code, Status},
    gateway::Access,
    options::{Listener, Options, Scope},
    server::Front,
    tls::{ListenerTls, TlsError, server_config},
    version::{CLUSTER_VERSION, SERVER_VERSION, STORAGE_VERSION},
};
