//! The keys and values of a run: fixed sizes, seeded choice, values that do not compress.

/// Every key of the bench starts with this.
pub(crate) const PREFIX: &[u8; 10] = b"bench/key/";
pub(crate) const KEY_BYTES: usize = 36;
const POOL_BYTES: usize = 1 << 16;

/// SplitMix64: short, seeded, and good enough to spread keys.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }
}

/// One key's place in the keyspace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KeyNumber(pub(crate) u64);

impl KeyNumber {
    /// The key: the prefix and the number in 26 digits, so that byte order is number order.
    pub(crate) fn key(self) -> [u8; KEY_BYTES] {
        let mut key = [b'0'; KEY_BYTES];
        let (prefix, digits) = key.split_at_mut(PREFIX.len());
        prefix.copy_from_slice(PREFIX);
        let mut rest = self.0;
        for digit in digits.iter_mut().rev() {
            if rest == 0 {
                break;
            }
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        key
    }

    pub(crate) fn plus(self, count: u64) -> Self {
        Self(self.0 + count)
    }
}

/// Random bytes that values are cut from.
pub(crate) struct Values {
    pool: Vec<u8>,
    value_bytes: usize,
}

impl Values {
    pub(crate) fn new(value_bytes: usize, random: &mut Random) -> Self {
        let words = (POOL_BYTES + value_bytes).div_ceil(8);
        let pool = (0..words)
            .flat_map(|_| random.next().to_be_bytes())
            .collect();
        Self { pool, value_bytes }
    }

    /// The bytes of one value, from a random place.
    pub(crate) fn pick(&self, random: &mut Random) -> &[u8] {
        let at = random.below(POOL_BYTES as u64) as usize;
        &self.pool[at..at + self.value_bytes]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_one_size_and_sort_by_number() {
        let keys: Vec<_> = [0, 9, 10, 99_999, 100_000, 1_000_000]
            .map(|n| KeyNumber(n).key())
            .into();
        assert!(keys.is_sorted_by(|a, b| a < b));
        assert_eq!(&keys[3][..], b"bench/key/00000000000000000000099999");
    }

    #[test]
    fn one_seed_gives_one_sequence_within_bounds() {
        let (mut a, mut b) = (Random::new(7), Random::new(7));
        let values = Values::new(256, &mut Random::new(1));
        for _ in 0..10_000 {
            let number = a.below(1000);
            assert!(number < 1000);
            assert_eq!(number, b.below(1000));
            assert_eq!(values.pick(&mut a).len(), 256);
            b.below(POOL_BYTES as u64);
        }
    }
}
