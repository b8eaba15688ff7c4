//! How big the store is, counted logically.
//!
//! Clients, alarms and test suites of etcd expect a size that grows with what is written and shrinks with compaction;
//! the length of our files says neither. Every record costs its bytes and what a bbolt leaf would add.

/// A fresh etcd database: five pages.
const EMPTY_BYTES: i64 = 20_480;
const PAGE_BYTES: i64 = 4096;
/// A 17-byte revision key and a 16-byte leaf header.
const RECORD_BYTES: i64 = 33;

/// Logical size of the records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SizeAccount {
    records: i64,
}

impl SizeAccount {
    /// A record with an encoded pair of `kv_bytes` was added.
    pub fn added(&mut self, kv_bytes: usize) {
        self.records += RECORD_BYTES + i64::try_from(kv_bytes).unwrap_or(i64::MAX / 2);
    }

    /// The store was read back with so many records and bytes of encoded pairs.
    pub fn restored(&mut self, records: usize, kv_bytes: usize) {
        let bytes = RECORD_BYTES.saturating_mul(i64::try_from(records).unwrap_or(i64::MAX));
        self.records = bytes.saturating_add(i64::try_from(kv_bytes).unwrap_or(i64::MAX / 2));
    }

    /// A record was removed.
    pub fn removed(&mut self, kv_bytes: usize) {
        self.records -= RECORD_BYTES + i64::try_from(kv_bytes).unwrap_or(i64::MAX / 2);
        self.records = self.records.max(0);
    }

    /// What the records need, bytes.
    #[must_use]
    pub fn in_use(&self) -> i64 {
        EMPTY_BYTES + self.records
    }

    /// The same in whole pages: what Status calls dbSize and the quota is compared with.
    #[must_use]
    pub fn total(&self) -> i64 {
        (self.in_use() + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES
    }
}
