//! The deterministic machine behind a kvorum member.
//!
//! Everything here is synchronous and pure: time is a number handed in, randomness is a seed handed in, and what has
//! to happen outside (append to the log, send, reply) is returned as data. The same code runs in production threads
//! and in the simulator.

pub mod alarm;
pub mod auth;
pub mod backend;
pub mod compactor;
pub mod console;
pub mod error;
pub mod lease;
pub mod log;
pub mod machine;
pub mod membership;
pub mod mutants;
pub mod mvcc;
pub mod node;
pub mod replica;
pub mod reply;
mod sessions;
pub mod trust;
pub mod types;
pub mod watch;

pub use error::Error;
pub use machine::{Applied, Context, Machine, MachineOptions};
pub use types::{ClusterId, Index, LeaseId, MemberId, RequestId, Revision, Term, WatchId};
