//! A gRPC client over TCP, or TLS, that costs so little CPU that the server is what is measured.
//!
//! One thread, non-blocking sockets, one write per connection and pass. Only what calls to an etcd v3
//! endpoint need: unary calls and bidirectional streams without compression.

mod connection;
mod frame;
mod hpack;
mod huffman;
mod pool;
mod replies;
mod request;
mod wire;

pub(crate) use connection::{Connection, Event, SlotId};
pub(crate) use pool::{ConnectionId, Load, Nanos, Pool};
pub(crate) use request::Path;
pub(crate) use wire::Dial;
#[cfg(test)]
pub(crate) use wire::Wire;
