//! Members on loopback with real sockets, and what networks and strangers do to them.

mod lanes;
mod refusals;
mod rig;
mod snapshots;
mod strangers;
mod tls;

pub(super) use rig::{message, number_of};
