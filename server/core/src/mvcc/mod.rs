//! Multi-version concurrency control: every change of every key, addressable by revision.

pub mod check;
pub mod children;
pub mod compare;
mod digest;
pub mod encoding;
pub mod flush;
pub mod hash;
pub mod interval;
pub mod key_index;
pub mod ops;
pub mod range;
pub mod read_txn;
pub mod recent;
pub mod restore;
pub mod size;
pub mod store;
pub mod txn;

#[cfg(test)]
mod tests;

pub use flush::{CompactCursor, FlushPlan};
pub use interval::Interval;
pub use ops::OpCounts;
pub use range::{ReadError, Reading};
pub use read_txn::ReadTxn;
pub use restore::Restore;
pub use store::{Event, Store};
pub use txn::Writing;
