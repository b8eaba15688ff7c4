//! HashKV: one number for the content of the store, equal to etcd's for equal content.
//! (etcd: server/storage/mvcc/hash.go; ETCD.md 2.13)

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

    /// Takes the next record in revision order. `kept` tells of a record at or below the compact revision whether it
    /// is the newest of its key there.
    pub fn record(&mut self, record: &Record, kept: bool) {
        let main = record.revision.main;
        if main > self.at || (main <= self.compact && !kept) {
            return;
        }
        if record.tombstone && main == self.compact {
            return;
        }
        self.feed(&revision_key(record.revision, record.tombstone));
        self.feed(&record.kv);
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
