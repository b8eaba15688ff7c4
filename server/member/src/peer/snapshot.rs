//! A whole state on its way to a member that is too far behind, chunk by chunk, resumed where a connection broke.
//!
//! ```text
//! sender    offer ---> chunk 0, 1, 2 ... ---------> end
//! receiver       <--- next: 0 ... <--- next: 1 ...  <--- verdict
//! ```
//!
//! The receiver has one place; the sender offers the same transfer again after a broken connection and hears where to
//! go on. Chunks wait while more urgent messages do.

mod receive;
mod send;

use bytes::Bytes;

pub(crate) use receive::{Slot, receive};
pub(crate) use send::send;

/// A staged state, whole and durable.
pub type Staged = Box<dyn std::any::Any + Send>;

/// What is sent, chunk by chunk. Its methods may take their time: they run where they may block.
pub trait SnapshotChunks: Send {
    /// The next chunk, none behind the last.
    ///
    /// # Errors
    /// The state cannot be read: the snapshot is given up.
    fn next_chunk(&mut self) -> Result<Option<Bytes>, String>;
    /// Goes back to a chunk that was made before; false if it never was.
    fn resume(&mut self, number: u64) -> bool;
}

/// Where what comes in is put.
pub trait SnapshotStaging: Send + Sync {
    /// Makes room, throwing away what came before.
    ///
    /// # Errors
    /// There is no room, or another state is about to be installed.
    fn begin(&self) -> Result<Box<dyn SnapshotIntake>, String>;
}

/// A state that comes in. Its methods may take their time: they run where they may block.
pub trait SnapshotIntake: Send {
    /// The number of the chunk that comes next.
    fn due(&self) -> u64;
    /// Takes it.
    ///
    /// # Errors
    /// It is damaged or cannot be kept: the snapshot is given up.
    fn take(&mut self, chunk: &[u8]) -> Result<(), String>;
    /// Makes the state complete and durable.
    ///
    /// # Errors
    /// It is not whole, or cannot be kept.
    fn finish(self: Box<Self>) -> Result<Staged, String>;
}
