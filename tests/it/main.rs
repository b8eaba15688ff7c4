//! Real processes on loopback: the shipped server with real clients, beside a real etcd.

mod bad_input;
mod both;
mod rpc;
