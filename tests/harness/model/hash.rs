//! HashKV. (etcd: server/storage/mvcc/hash.go)

use kvorum_proto::etcdserverpb::{HashKvRequest, HashKvResponse};
use kvorum_proto::mvccpb::KeyValue;
use prost::Message as _;

use super::{Model, ModelError, Outcome, Record, header};

impl Model {
    /// Answers HashKV; revision 0 asks for the current one.
    ///
    /// # Errors
    /// The revision is compacted or in the future.
    pub fn hash_kv(&self, request: &HashKvRequest) -> Outcome<HashKvResponse> {
        if request.revision > 0 && request.revision < self.compact_revision {
            return Err(ModelError::Compacted);
        }
        if request.revision > self.revision {
            return Err(ModelError::FutureRevision);
        }
        let revision = if request.revision == 0 {
            self.revision
        } else {
            request.revision
        };
        let mut crc = Crc32c::default();
        crc.update(b"key");
        for (key, record) in self.hashed(revision) {
            crc.update(&stored_key(record));
            let deleted = KeyValue {
                key: key.clone(),
                ..KeyValue::default()
            };
            crc.update(&record.kv.clone().unwrap_or(deleted).encode_to_vec());
        }
        Ok(HashKvResponse {
            header: header(self.revision),
            hash: crc.value(),
            compact_revision: self.compact_revision,
            hash_revision: revision,
        })
    }

    /// The records that count, in revision order.
    fn hashed(&self, revision: i64) -> Vec<(&bytes::Bytes, &Record)> {
        let nothing_lives = self
            .history
            .keys()
            .all(|key| self.at(key, revision).is_none());
        let mut hashed: Vec<_> = self
            .history
            .iter()
            .flat_map(|(key, records)| records.iter().map(move |record| (key, record)))
            .filter(|(key, record)| self.survives(key, record) && record.main <= revision)
            .filter(|(key, record)| {
                record.main > self.compact_revision || self.is_newest(key, record)
            })
            .filter(|(key, record)| {
                // Below the mark, what a compaction at `revision` would drop does not count, unless it would drop all.
                let newest = self.at(key, revision);
                let kept = newest.is_some() && newest == record.kv.as_ref();
                record.main > self.compact_revision || nothing_lives || kept
            })
            .filter(|(_, record)| record.main != self.compact_revision || record.kv.is_some())
            .collect();
        hashed.sort_by_key(|(_, record)| (record.main, record.sub));
        hashed
    }

    /// True if nothing supersedes `record` at the compact revision.
    fn is_newest(&self, key: &[u8], record: &Record) -> bool {
        let records = self.history.get(key).map_or(&[][..], Vec::as_slice);
        records
            .iter()
            .rev()
            .find(|other| other.main <= self.compact_revision)
            == Some(record)
    }
}

/// The key under which etcd's backend keeps a record.
fn stored_key(record: &Record) -> Vec<u8> {
    let mut key = record.main.to_be_bytes().to_vec();
    key.push(b'_');
    key.extend_from_slice(&u64::from(record.sub).to_be_bytes());
    if record.kv.is_none() {
        key.push(b't');
    }
    key
}

/// CRC-32 with Castagnoli's polynomial, bit by bit.
struct Crc32c(u32);

impl Default for Crc32c {
    fn default() -> Self {
        Self(u32::MAX)
    }
}

impl Crc32c {
    fn update(&mut self, bytes: &[u8]) {
        const REVERSED_POLYNOMIAL: u32 = 0x82F6_3B78;
        for byte in bytes {
            self.0 ^= u32::from(*byte);
            for _ in 0..8 {
                let carry = if self.0 & 1 == 1 {
                    REVERSED_POLYNOMIAL
                } else {
                    0
                };
                self.0 = (self.0 >> 1) ^ carry;
            }
        }
    }

    fn value(&self) -> u32 {
        !self.0
    }
}

#[cfg(test)]
mod tests {
    use super::Crc32c;

    #[test]
    fn the_checksum_is_crc_32c() {
        let mut crc = Crc32c::default();
        crc.update(b"123456789");
        assert_eq!(crc.value(), 0xE306_9283);
    }
}
