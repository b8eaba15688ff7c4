//! The client listener over real sockets, in front of a real member.

mod authority;
mod client;
mod crowd;
mod endpoints;
mod headers;
mod hostile;
mod pings;
mod queues;
mod range_stream;
mod served;
mod streams;
mod transport;
mod unary;
