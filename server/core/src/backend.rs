//! What the machine asks of the state store, and what it gives it to keep.

use bytes::Bytes;

use crate::types::{Index, LeaseId, Revision, Term};

/// One change of one key, as stored: the unit of the revision table, of watches and of reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it stands in history.
    pub revision: Revision,
    /// True for a deletion; `kv` then holds the key and `mod_revision` only.
    pub tombstone: bool,
    /// The change as an encoded `mvccpb.KeyValue` in canonical form (fields in number order, zero fields left out).
    pub kv: Bytes,
}

/// A store that could not be read or written. It ends the process: applying never fails.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct BackendError(pub String);

/// Read access to the durable records. Safe to call from many threads; every call sees all finished flushes.
pub trait Records: Send + Sync {
    /// The record at `revision`, if it was flushed and not compacted.
    ///
    /// # Errors
    /// The disk failed, or the record's checksum does not match.
    fn get(&self, revision: Revision) -> Result<Option<Record>, BackendError>;

    /// The records at `revisions`, in that order.
    ///
    /// # Errors
    /// As `get`.
    fn get_many(&self, revisions: &[Revision]) -> Result<Vec<Option<Record>>, BackendError> {
        revisions.iter().map(|r| self.get(*r)).collect()
    }

    /// Up to `limit` records with `from <= revision <= to`, in order.
    ///
    /// # Errors
    /// As `get`.
    fn scan(&self, from: Revision, to: Revision, limit: usize)
    -> Result<Vec<Record>, BackendError>;
}

/// A change to a small table beside the records; kept in the same transaction as the applied index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SideChange {
    /// Insert or replace a lease: encoded `leasepb.Lease`.
    LeasePut(LeaseId, Bytes),
    /// Remove a lease.
    LeaseDelete(LeaseId),
    /// Insert or replace one entry of the meta table (compaction marks, alarms, members, cluster version, conf state).
    MetaPut(String, Bytes),
    /// Remove one entry of the meta table.
    MetaDelete(String),
}

/// Everything one flush makes durable, in one transaction: all effects of the log up to `applied`.
#[derive(Clone, Debug, Default)]
pub struct FlushMark {
    /// Last applied entry whose effects are in this flush.
    pub applied: Index,
    /// Its term.
    pub term: Term,
    /// Side-table changes since the previous flush, in order.
    pub side: Vec<SideChange>,
}

/// What the state store held when it was opened.
#[derive(Clone, Debug, Default)]
pub struct Restored {
    /// Last applied entry whose effects are in the store.
    pub applied: Index,
    /// Its term.
    pub term: Term,
    /// The lease table.
    pub leases: Vec<(LeaseId, Bytes)>,
    /// The meta table.
    pub meta: Vec<(String, Bytes)>,
}
