//! The client listener over real sockets, in front of a real member.

mod authority;
mod client;
mod endpoints;
mod hostile;
mod queues;
mod range_stream;
mod served;
mod streams;
mod unary;
