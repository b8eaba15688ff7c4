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

    /// Eight bytes at a time: a hash reads the whole store while its client waits.
    fn feed(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        let table = |n: usize, byte: u8| TABLES[n][usize::from(byte)];
        for [a, b, c, d, e, f, g, h] in words {
            let [w, x, y, z] = (self.crc ^ u32::from_le_bytes([*a, *b, *c, *d])).to_le_bytes();
            let low = table(7, w) ^ table(6, x) ^ table(5, y) ^ table(4, z);
            self.crc = low ^ table(3, *e) ^ table(2, *f) ^ table(1, *g) ^ table(0, *h);
        }
        for byte in rest {
            let [low, ..] = self.crc.to_le_bytes();
            self.crc = table(0, low ^ byte) ^ (self.crc >> 8);
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

/// Castagnoli's polynomial, reflected: table `n` moves a byte past `n` more bytes.
static TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0u32; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut n = 0;
        while n < 8 {
            let mut bit = 0;
            while bit < 8 {
                crc = if crc & 1 == 1 {
                    0x82f6_3b78 ^ (crc >> 1)
                } else {
                    crc >> 1
                };
                bit += 1;
            }
            tables[n][byte] = crc;
            n += 1;
        }
        byte += 1;
    }
    tables
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_in_any_pieces_have_the_checksum_that_everybody_computes() {
        let bytes: Vec<u8> = (0..100u8).map(|n| n.wrapping_mul(37)).collect();
        let bitwise = |bytes: &[u8]| {
            let mut crc = u32::MAX;
            for byte in bytes {
                crc ^= u32::from(*byte);
                for _ in 0..8 {
                    crc = (crc >> 1) ^ (0x82f6_3b78 * (crc & 1));
                }
            }
            !crc
        };
        // The check value of CRC-32C.
        assert_eq!(bitwise(b"123456789"), 0xe306_9283);
        for cut in 0..bytes.len() {
            let mut hasher = KvHasher::new(-1, 1);
            let (left, right) = bytes.split_at(cut);
            hasher.feed(left);
            hasher.feed(right);
            let whole = [b"key".as_slice(), &bytes].concat();
            assert_eq!(hasher.finish(), bitwise(&whole), "cut at {cut}");
        }
    }
}
