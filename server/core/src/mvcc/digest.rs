//! A rolling digest: one number that stands for everything the log has done to the state so far. Members compare it at
//! the same entry (see `replica`), so one whose machine went another way is found.

use crate::backend::{Record, SideChange};

/// The digest so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Digest(u64);

impl Digest {
    pub(super) fn new(value: u64) -> Self {
        Self(value)
    }

    pub(super) fn value(self) -> u64 {
        self.0
    }

    pub(super) fn record(&mut self, record: &Record) {
        self.word(record.revision.main.cast_unsigned());
        self.word(u64::from(record.revision.sub) << 1 | u64::from(record.tombstone));
        self.bytes(&record.kv);
    }

    pub(super) fn side(&mut self, change: &SideChange) {
        match change {
            SideChange::LeasePut(id, lease) => {
                self.word(1);
                self.word(id.0.cast_unsigned());
                self.bytes(lease);
            }
            SideChange::LeaseDelete(id) => {
                self.word(2);
                self.word(id.0.cast_unsigned());
            }
            SideChange::MetaPut(name, value) => {
                self.word(3);
                self.bytes(name.as_bytes());
                self.bytes(value);
            }
            SideChange::MetaDelete(name) => {
                self.word(4);
                self.bytes(name.as_bytes());
            }
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|w| self.word(u64::from_le_bytes(*w)));
        let mut last = [0; 8];
        last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        self.word(u64::from_le_bytes(last));
    }

    /// Folds a word in: the two halves of a 128-bit product, as wyhash does.
    fn word(&mut self, word: u64) {
        let product = u128::from(self.0 ^ 0xa076_1d64_78bd_642f ^ word)
            * u128::from(self.0.rotate_left(32) ^ 0xe703_7ed1_a0b4_28db);
        let (low, high) = (product & u128::from(u64::MAX), product >> 64);
        self.0 = self.0.rotate_left(17)
            ^ u64::try_from(low).unwrap_or(0)
            ^ u64::try_from(high).unwrap_or(0)
            ^ word.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_borders_count() {
        let digest = |parts: &[&[u8]]| {
            let mut digest = Digest::default();
            parts.iter().for_each(|p| digest.bytes(p));
            digest.value()
        };
        assert_ne!(digest(&[b"ab", b"c"]), digest(&[b"a", b"bc"]));
        assert_ne!(digest(&[b"a", b"b"]), digest(&[b"b", b"a"]));
        assert_ne!(digest(&[b"a\0"]), digest(&[b"a"]));
        assert_eq!(digest(&[b"a", b"b"]), digest(&[b"a", b"b"]));
    }
}
