//! The client listener of a member whose cluster has an authority of its own: who administers it, and what becomes of
//! connections whose certificate or user is not accepted any more. All in one process, so that it is known when a change
//! is applied.
#![allow(clippy::print_stdout, reason = "figures are told in the output")]

mod administrators;
mod cluster;
mod revoked;
#[path = "../it/rpc.rs"]
#[allow(dead_code, reason = "others need more of it")]
mod rpc;
mod sessions;
mod switched_off;
mod tokens;
mod variables;
