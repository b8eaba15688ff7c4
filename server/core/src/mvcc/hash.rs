//! HashKV: one number for the content of the store, equal to etcd's for equal content.
//! (etcd: server/storage/mvcc/hash.go; ETCD.md 2.13)

use super::encoding::{key_field, key_of};
use super::store::Store;
use crate::backend::Record;
use crate::types::Revision;

/// A CRC-32C being fed.
#[derive(Clone, Copy, Debug)]
pub struct KvHasher {
    crc: u32,
    compact: i64,
    at: i64,
}

impl KvHasher {
    /// A hash of the records up to main revision `at` of a store that was compacted at `compact`.
    #[must_use]
    pub fn new(compact: i64, at: i64) -> Self {
        let mut hasher = Self {
            crc: u32::MAX,
            compact,
            at,
        };
        hasher.feed(b"key");
        hasher
    }

    /// Takes the next record in revision order. `kept` tells of a record at or below the compact revision whether the
    /// hash holds it: see `Store::hashes`.
    pub fn record(&mut self, record: &Record, kept: bool) {
        let main = record.revision.main;
        if main > self.at || (main <= self.compact && !kept) {
            return;
        }
        if record.tombstone && main == self.compact {
            return;
        }
        self.feed(&revision_key(record.revision, record.tombstone));
        // etcd stores nothing but the key of a deletion; ours has the revision behind it.
        let stored = if record.tombstone {
            key_field(&record.kv)
        } else {
            &record.kv
        };
        self.feed(stored);
    }

    fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let place = usize::from(self.crc.to_be_bytes()[3] ^ byte);
            self.crc = TABLE.get(place).copied().unwrap_or_default() ^ (self.crc >> 8);
        }
    }

    /// The hash.
    #[must_use]
    pub fn finish(self) -> u32 {
        !self.crc
    }
}

/// A revision as etcd's bucket has it: main, `_`, sub, and `t` for a tombstone.
fn revision_key(revision: Revision, tombstone: bool) -> Vec<u8> {
    let mut key = Vec::with_capacity(18);
    key.extend_from_slice(&revision.main.to_be_bytes());
    key.push(b'_');
    key.extend_from_slice(&i64::from(revision.sub).to_be_bytes());
    if tombstone {
        key.push(b't');
    }
    key
}

const TABLE: [u32; 256] = table();

/// Castagnoli's polynomial, reflected.
const fn table() -> [u32; 256] {
    let mut table = [0u32; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = i as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                0x82f6_3b78 ^ (crc >> 1)
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
}

impl Store {
    /// True if a hash at main revision `at` holds a record at or below the compact revision: the newest of its key at
    /// `at`. If no key exists at `at`, etcd skips nothing that is still stored: what a read at the compact revision
    /// sees. (Keep in server/storage/mvcc/index.go, and `len(h.keep) > 0`)
    #[must_use]
    pub fn hashes(&self, record: &Record, at: i64, any_key: bool) -> bool {
        let seen_from = if any_key { at } else { self.compacted() };
        self.revision_at(key_of(&record.kv), seen_from) == Some(record.revision)
    }

    /// True if some key exists at main revision `at`.
    #[must_use]
    pub fn any_key_at(&self, at: i64) -> bool {
        self.index.values().any(|k| k.at(at).is_some())
    }
}
