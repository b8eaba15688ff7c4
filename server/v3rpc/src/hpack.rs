//! As much of HPACK (RFC 7541) as it takes to find `:authority` in the first header block of a connection.
//!
//! Nothing is decoded but that one value, and there is no dynamic table: an index into it is skipped like any other.

use std::{borrow::Cow, ops::Range};

const AUTHORITY: &[u8] = b":authority";
/// `:authority` in the static table.
const AUTHORITY_INDEX: usize = 1;
/// Integers of more bytes than this are not from a client that means well.
const INTEGER_BYTES_MAX: usize = 4;
/// Set in the first byte of a string that is Huffman-coded.
const HUFFMAN: u8 = 0x80;

/// The value of `:authority`, spelled out in a header block.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Authority<'a> {
    /// Where the string stands in the block, its length included.
    pub(crate) place: Range<usize>,
    pub(crate) value: Cow<'a, [u8]>,
}

/// Finds `:authority`. `None` if it is absent, only referred to by index, cut off, or not readable: whoever decodes the
/// block in earnest has the say on that.
pub(crate) fn find_authority(block: &[u8]) -> Option<Authority<'_>> {
    let mut cursor = Cursor { block, at: 0 };
    loop {
        let prefix_bits = match *block.get(cursor.at)? {
            // An indexed field: name and value are elsewhere.
            0x80.. => {
                cursor.integer(7)?;
                continue;
            }
            // A literal that enters the dynamic table.
            0x40.. => 6,
            // A change of the size of the dynamic table.
            0x20.. => {
                cursor.integer(5)?;
                continue;
            }
            // Literals that do not enter it, and such that never may.
            _ => 4,
        };
        let is_authority = match cursor.integer(prefix_bits)? {
            0 => cursor.string()?.decoded().as_deref() == Some(AUTHORITY),
            index => index == AUTHORITY_INDEX,
        };
        let start = cursor.at;
        let value = cursor.string()?;
        if is_authority {
            return Some(Authority {
                place: start..cursor.at,
                value: value.decoded()?,
            });
        }
    }
}

/// Appends `value` as a string that is not Huffman-coded.
pub(crate) fn put_string(block: &mut Vec<u8>, value: &[u8]) {
    const PREFIX_MAX: usize = 0x7f;
    let Some(mut rest) = value.len().checked_sub(PREFIX_MAX) else {
        // Fits the prefix.
        block.push(value.len() as u8);
        block.extend_from_slice(value);
        return;
    };
    block.push(PREFIX_MAX as u8);
    while rest >= 0x80 {
        block.push(0x80 | (rest & 0x7f) as u8);
        rest >>= 7;
    }
    block.push(rest as u8);
    block.extend_from_slice(value);
}

/// A string as it stands in the block.
struct Literal<'a> {
    huffman: bool,
    bytes: &'a [u8],
}

impl<'a> Literal<'a> {
    fn decoded(&self) -> Option<Cow<'a, [u8]>> {
        if self.huffman {
            huffman(self.bytes).map(Cow::Owned)
        } else {
            Some(Cow::Borrowed(self.bytes))
        }
    }
}

struct Cursor<'a> {
    block: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn byte(&mut self) -> Option<u8> {
        let byte = *self.block.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    /// An integer whose first part is in the low `prefix_bits` of the next byte.
    fn integer(&mut self, prefix_bits: u32) -> Option<usize> {
        let mask = (1_usize << prefix_bits) - 1;
        let mut value = usize::from(self.byte()?) & mask;
        if value < mask {
            return Some(value);
        }
        for position in 0..INTEGER_BYTES_MAX {
            let byte = self.byte()?;
            value += usize::from(byte & 0x7f) << (7 * position);
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn string(&mut self) -> Option<Literal<'a>> {
        let huffman = self.block.get(self.at)? & HUFFMAN != 0;
        let length = self.integer(7)?;
        let bytes = self.block.get(self.at..)?.get(..length)?;
        self.at += length;
        Some(Literal { huffman, bytes })
    }
}

/// Appendix B of the RFC up to 15 bits, which is all of printable ASCII but the backslash: length of the code, and the
/// symbols of that length. The code is canonical: codes of one length are consecutive in the order of the symbols, and
/// the next length goes on where the last one ended.
const CODES: [(u32, &[u8]); 10] = [
    (5, b"012aceiost"),
    (6, b" %-./3456789=A_bdfghlmnpru"),
    (7, b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz"),
    (8, b"&*,;XZ"),
    (10, b"!\"()?"),
    (11, b"'+|"),
    (12, b"#>"),
    (13, b"\0$@[]~"),
    (14, b"^}"),
    (15, b"<`{"),
];

/// Padding is shorter than this.
const PADDING_BITS_MAX: u32 = 7;

/// The text behind a Huffman code; `None` if it is not valid or has letters that no authority has.
fn huffman(coded: &[u8]) -> Option<Vec<u8>> {
    // The shortest code has five bits.
    let mut text = Vec::with_capacity(coded.len() * 8 / 5);
    let mut bits: u32 = 0;
    let mut count: u32 = 0;
    for byte in coded {
        bits = bits << 8 | u32::from(*byte);
        count += 8;
        while let Some((symbol, length)) = first_symbol(bits, count) {
            text.push(symbol);
            count -= length;
            bits &= (1 << count) - 1;
        }
        // Longer than any known code, and still not one.
        if count > 15 {
            return None;
        }
    }
    // The rest is the start of the code for the end, all ones.
    (count <= PADDING_BITS_MAX && bits == (1 << count) - 1).then_some(text)
}

/// The symbol that the first of `count` bits make, and how many of them.
fn first_symbol(bits: u32, count: u32) -> Option<(u8, u32)> {
    let mut first_code = 0;
    let mut last_length = 0;
    for (length, symbols) in CODES {
        if length > count {
            return None;
        }
        first_code <<= length - last_length;
        let offset = (bits >> (count - length)).checked_sub(first_code)?;
        if let Some(symbol) = symbols.get(offset as usize) {
            return Some((*symbol, length));
        }
        first_code += symbols.len() as u32;
        last_length = length;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes from hexadecimal digits.
    fn hex(digits: &str) -> Vec<u8> {
        let digits: Vec<_> = digits
            .chars()
            .filter(|digit| !digit.is_whitespace())
            .collect();
        digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(&String::from_iter(pair), 16).expect("a byte"))
            .collect()
    }

    #[test]
    fn huffman_codes_of_the_rfc_are_read() {
        for (coded, text) in [
            ("f1e3 c2e5 f23a 6ba0 ab90 f4ff", "www.example.com"),
            ("a8eb 1064 9cbf", "no-cache"),
            ("25a8 49e9 5ba9 7d7f", "custom-key"),
            ("6402", "302"),
            (
                "d07a be94 1054 d444 a820 0595 040b 8166 e082 a62d 1bff",
                "Mon, 21 Oct 2013 20:13:21 GMT",
            ),
            (
                "9d29 ad17 1863 c78f 0b97 c8e9 ae82 ae43 d3",
                "https://www.example.com",
            ),
            // A cookie: letters of 8 to 13 bits, such as [ and ;.
            (
                "94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 \
                 3160 65c0 03ed 4ee5 b106 3d50 07",
                "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
            ),
            ("", ""),
        ] {
            assert_eq!(
                huffman(&hex(coded)).as_deref(),
                Some(text.as_bytes()),
                "{text}"
            );
        }
    }

    #[test]
    fn codes_fill_the_room_that_the_rfc_gives_them() {
        // The code after the last one of 15 bits is 0x7fff, which starts all the longer ones.
        let used: u32 = CODES
            .iter()
            .map(|(length, symbols)| (symbols.len() as u32) << (15 - length))
            .sum();
        assert_eq!(used, 0x7fff);
        let printable = CODES.iter().flat_map(|(_, symbols)| *symbols).count();
        // 95 printable ones without the backslash, and NUL.
        assert_eq!(printable, 95);
    }

    #[test]
    fn broken_huffman_codes_are_refused() {
        for coded in [
            // Padding of zeros, padding of eight bits, and a code longer than the known ones.
            "00",
            "6402 ff",
            "ffff ffff ffff",
        ] {
            assert_eq!(huffman(&hex(coded)), None, "{coded}");
        }
    }

    fn value(block: &[u8]) -> Option<String> {
        let found = find_authority(block)?;
        Some(String::from_utf8_lossy(&found.value).into_owned())
    }

    #[test]
    fn an_authority_is_found_however_it_is_written() {
        for name in ["41", "01", "11"] {
            let block = hex(&format!("8386 {name} 03 612f62 88"));
            let found = find_authority(&block).expect("present");
            assert_eq!((&*found.value, found.place), (&b"a/b"[..], 3..7));
        }
        // By its name, raw and Huffman-coded; behind a table size and other literals.
        let named = b"\x3f\xe1\x1f\x83\x44\x02/x\x40\x01q\x01v\x40\x0a:authority\x01a";
        assert_eq!(value(named).as_deref(), Some("a"));
        let coded = hex("8340 88 b83b 5339 ec32 7d7f 8264 02");
        assert_eq!(value(&coded).as_deref(), Some("302"));
        let mut block = vec![0x41];
        put_string(&mut block, &[b'h'; 300]);
        assert_eq!(block[1..4], [0x7f, 0xad, 0x01]);
        assert_eq!(value(&block), Some("h".repeat(300)));
        for length in [0, 126, 127, 128, 254, 255] {
            let mut block = vec![0x01];
            put_string(&mut block, &vec![b'h'; length]);
            assert_eq!(value(&block), Some("h".repeat(length)));
        }
    }

    #[test]
    fn no_authority_is_none() {
        for block in [
            "",
            "83 86",
            "81",
            "8386 44 01 61",
            "3fff ffff ffff",
            "41 05 61",
            "41 7f",
        ] {
            assert_eq!(find_authority(&hex(block)), None, "{block}");
        }
    }
}
