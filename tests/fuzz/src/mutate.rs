//! Changes to inputs, for the tests: what libFuzzer does, without its sense of coverage.

use kvorum_tests::harness::generate::Dice;

/// Numbers that tend to matter where a length or a count is read.
const TELLING: [u8; 8] = [0, 1, 0x7f, 0x80, 0xff, 0xfe, 16, 64];

/// Some changes to `bytes`, drawn with `dice`; `other` is for splicing.
pub(crate) fn mutate(bytes: &mut Vec<u8>, other: &[u8], dice: &mut Dice) {
    for _ in 0..=dice.below(4) {
        let at = dice.index(bytes.len().max(1));
        match dice.below(8) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at.min(bytes.len()), dice.any() as u8),
            2 => {
                let until = (at + dice.index(16)).min(bytes.len());
                bytes.drain(at.min(until)..until);
            }
            3 => {
                let from = dice.index(other.len().max(1));
                let piece = other.get(from..).unwrap_or_default();
                let piece = &piece[..piece.len().min(1 + dice.index(64))];
                let at = at.min(bytes.len());
                bytes.splice(at..at, piece.iter().copied());
            }
            4 => set(bytes, at, |_| TELLING[(at ^ 3) & 7]),
            5 => set(bytes, at, |byte| byte ^ 0x80 >> (at & 7)),
            6 => set(bytes, at, |byte| byte.wrapping_add(1)),
            _ => {
                let random = dice.any() as u8;
                set(bytes, at, |_| random);
            }
        }
    }
}

fn set(bytes: &mut [u8], at: usize, change: impl Fn(u8) -> u8) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte = change(*byte);
    }
}
