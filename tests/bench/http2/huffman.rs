//! Huffman decoding of header strings (RFC 7541, Appendix B).
//!
//! The code is canonical: within a length, codes count up in symbol order. The lengths alone rebuild it.

use std::sync::LazyLock;

/// The longest code; the end-of-string symbol has it too, as the very last code.
const BITS_MAX: usize = 30;

#[rustfmt::skip]
const CODE_BITS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
     6, 10, 10, 12, 13,  6,  8, 11, 10, 10,  8, 11,  8,  6,  6,  6,
     5,  5,  5,  6,  6,  6,  6,  6,  6,  6,  7,  8, 15,  6, 12, 10,
    13,  6,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,
     7,  7,  7,  7,  7,  7,  7,  7,  8,  7,  8, 13, 19, 13, 14,  6,
    15,  5,  6,  5,  6,  5,  6,  6,  6,  5,  7,  7,  6,  6,  6,  5,
     6,  7,  6,  5,  5,  6,  7,  7,  7,  7,  7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];

/// For each length: its first code, how many codes it has, and where its symbols start.
struct Table {
    rows: [(u32, u32, usize); BITS_MAX + 1],
    symbols: Vec<u8>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut table = Table {
        rows: [(0, 0, 0); BITS_MAX + 1],
        symbols: Vec::with_capacity(256),
    };
    let mut code = 0_u32;
    for (bits, row) in table.rows.iter_mut().enumerate().skip(1) {
        let start = table.symbols.len();
        for (symbol, length) in (0_u8..=255).zip(CODE_BITS) {
            if usize::from(length) == bits {
                table.symbols.push(symbol);
            }
        }
        let count = u32::try_from(table.symbols.len() - start).unwrap_or(0);
        *row = (code, count, start);
        code = (code + count) << 1;
    }
    table
});

/// The string behind `coded`; `None` when it is not valid Huffman code.
pub(super) fn decode(coded: &[u8]) -> Option<Vec<u8>> {
    let table = &*TABLE;
    let mut out = Vec::with_capacity(coded.len() * 2);
    let (mut code, mut bits) = (0_u32, 0_usize);
    for byte in coded {
        for shift in (0..8).rev() {
            code = (code << 1) | u32::from((byte >> shift) & 1);
            bits += 1;
            let (first, count, start) = *table.rows.get(bits)?;
            if count > 0 && code >= first && code - first < count {
                out.push(*table.symbols.get(start + (code - first) as usize)?);
                (code, bits) = (0, 0);
            }
        }
    }
    // What is left is padding: fewer than eight bits, all ones.
    (bits < 8 && code == (1 << bits) - 1).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_of_the_rfc_decode() {
        let host = [
            0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff,
        ];
        assert_eq!(decode(&host).expect("valid"), b"www.example.com");
        assert_eq!(
            decode(&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf]).expect("valid"),
            b"no-cache"
        );
        let date = [
            0xd0, 0x7a, 0xbe, 0x94, 0x10, 0x54, 0xd4, 0x44, 0xa8, 0x20, 0x05, 0x95, 0x04, 0x0b,
            0x81, 0x66, 0xe0, 0x82, 0xa6, 0x2d, 0x1b, 0xff,
        ];
        assert_eq!(
            decode(&date).expect("valid"),
            b"Mon, 21 Oct 2013 20:13:21 GMT"
        );
    }

    #[test]
    fn the_code_is_complete() {
        let sum: u64 = CODE_BITS.iter().map(|bits| 1_u64 << (30 - bits)).sum();
        assert_eq!(
            sum + 1,
            1 << 30,
            "256 symbols and the end of string fill the code space"
        );
    }

    #[test]
    fn padding_that_is_not_all_ones_is_refused() {
        assert!(decode(&[0x00, 0x00]).is_none());
        assert!(
            decode(&[0xff, 0xff, 0xff, 0xff]).is_none(),
            "the end of string is no symbol"
        );
    }
}
