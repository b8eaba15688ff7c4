//! etcd's own file: bbolt pages, ten buckets, and a SHA-256 at the end of a snapshot. (ETCD.md 7.3, 7.4)
//!
//! Written here so that etcd's tools can read and restore what a kvorum member holds, and read so that a kvorum member
//! can take over what an etcd held. Nothing here is a database: files are written once, from the leaves up, and read
//! once, from the first key to the last.
//!
//! | module | what it knows |
//! |---|---|
//! | `page` | headers, elements, meta pages |
//! | `writer` | one bucket after the other from sorted pairs, in memory of a few pages |
//! | `reader` | the same way back, from bytes that nobody vouches for |
//! | `schema` | etcd's buckets: their names, and how their keys and values look |
//! | `export`, `import` | a whole snapshot out of a member's state, and back into entries |
//! | `digest` | the trailer of a snapshot file |

mod digest;
mod export;
mod import;
mod page;
mod reader;
mod schema;
mod source;
mod writer;

#[cfg(test)]
mod tests;

pub use digest::{DIGEST_BYTES, Sha256Digest, Trailer};
pub use export::SnapshotWriter;
pub use import::{Item, SnapshotSummary, read_snapshot};
pub use reader::{BoltFile, Bucket};
pub use schema::{ConfState, EtcdMember, SnapshotTables};
pub use source::Source;
pub use writer::BoltWriter;
