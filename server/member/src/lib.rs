//! The shell around the machine: threads, timers, proposals, reads and watch streams of one running member.

pub mod handle;

pub use handle::Handle;
pub use kvorum_core::Error;
