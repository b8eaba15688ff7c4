//! Header blocks: written as plain literals, read without a dynamic table.
//!
//! The client announces a header table of size zero, so a peer's blocks never depend on earlier ones
//! and equal bytes mean equal headers. A reference to a dynamic entry is therefore a peer's error.

use anyhow::{Result, bail, ensure};

use super::huffman;

#[rustfmt::skip]
const STATIC_TABLE: [(&str, &str); 61] = [
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"),
    (":path", "/index.html"), (":scheme", "http"), (":scheme", "https"), (":status", "200"),
    (":status", "204"), (":status", "206"), (":status", "304"), (":status", "400"),
    (":status", "404"), (":status", "500"), ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""),
    ("accept", ""), ("access-control-allow-origin", ""), ("age", ""), ("allow", ""),
    ("authorization", ""), ("cache-control", ""), ("content-disposition", ""),
    ("content-encoding", ""), ("content-language", ""), ("content-length", ""),
    ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""),
    ("date", ""), ("etag", ""), ("expect", ""), ("expires", ""), ("from", ""), ("host", ""),
    ("if-match", ""), ("if-modified-since", ""), ("if-none-match", ""), ("if-range", ""),
    ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""), ("location", ""),
    ("max-forwards", ""), ("proxy-authenticate", ""), ("proxy-authorization", ""), ("range", ""),
    ("referer", ""), ("refresh", ""), ("retry-after", ""), ("server", ""), ("set-cookie", ""),
    ("strict-transport-security", ""), ("transfer-encoding", ""), ("user-agent", ""), ("vary", ""),
    ("via", ""), ("www-authenticate", ""),
];

/// One decoded header.
pub(crate) type Header = (String, String);

/// Writes `headers` as literals without indexing and without Huffman coding.
pub(crate) fn encode(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in headers {
        out.push(0);
        write_string(&mut out, name);
        write_string(&mut out, value);
    }
    out
}

fn write_string(out: &mut Vec<u8>, text: &str) {
    write_integer(out, 0, 7, text.len());
    out.extend_from_slice(text.as_bytes());
}

fn write_integer(out: &mut Vec<u8>, flags: u8, prefix_bits: u32, value: usize) {
    let limit = (1_usize << prefix_bits) - 1;
    if value < limit {
        out.push(flags | value as u8);
        return;
    }
    out.push(flags | limit as u8);
    let mut rest = value - limit;
    while rest >= 128 {
        out.push((rest % 128) as u8 | 0x80);
        rest /= 128;
    }
    out.push(rest as u8);
}

/// Reads one complete header block.
pub(crate) fn decode(block: &[u8]) -> Result<Vec<Header>> {
    let mut reader = Reader { rest: block };
    let mut headers = Vec::new();
    while let Some(&first) = reader.rest.first() {
        if first & 0x80 != 0 {
            let index = reader.integer(7)?;
            let (name, value) = static_entry(index)?;
            headers.push((name.to_owned(), value.to_owned()));
        } else if first & 0xe0 == 0x20 {
            let size = reader.integer(5)?;
            ensure!(
                size == 0,
                "header table resized to {size}, above the announced size 0"
            );
        } else {
            // With indexing (6 bits), without, or never indexed (4 bits): all alike to an empty table.
            let index = reader.integer(if first & 0x40 != 0 { 6 } else { 4 })?;
            let name = match index {
                0 => reader.string()?,
                _ => static_entry(index)?.0.to_owned(),
            };
            headers.push((name, reader.string()?));
        }
    }
    Ok(headers)
}

fn static_entry(index: usize) -> Result<(&'static str, &'static str)> {
    match index.checked_sub(1).and_then(|at| STATIC_TABLE.get(at)) {
        Some(entry) => Ok(*entry),
        None => bail!("header index {index} is outside the static table"),
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn byte(&mut self) -> Result<u8> {
        let Some((&first, rest)) = self.rest.split_first() else {
            bail!("header block ends early");
        };
        self.rest = rest;
        Ok(first)
    }

    fn integer(&mut self, prefix_bits: u32) -> Result<usize> {
        let limit = (1_usize << prefix_bits) - 1;
        let mut value = usize::from(self.byte()?) & limit;
        if value < limit {
            return Ok(value);
        }
        for shift in (0..28).step_by(7) {
            let byte = self.byte()?;
            value += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        bail!("integer in a header block is longer than four bytes")
    }

    fn string(&mut self) -> Result<String> {
        let coded = self.rest.first().is_some_and(|first| first & 0x80 != 0);
        let length = self.integer(7)?;
        let Some((text, rest)) = self.rest.split_at_checked(length) else {
            bail!("string of {length} bytes runs past its header block");
        };
        self.rest = rest;
        let bytes = match coded {
            false => text.to_vec(),
            true => match huffman::decode(text) {
                Some(bytes) => bytes,
                None => bail!("invalid Huffman code in a header"),
            },
        };
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str, value: &str) -> Header {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn what_is_written_reads_back() {
        let long = "x".repeat(5000);
        let headers = [
            (":path", "/etcdserverpb.KV/Put"),
            ("te", "trailers"),
            ("long", &long),
        ];
        let expected: Vec<_> = headers
            .iter()
            .map(|(name, value)| pair(name, value))
            .collect();
        assert_eq!(decode(&encode(&headers)).expect("valid block"), expected);
    }

    #[test]
    fn indexed_huffman_and_every_literal_kind_decode() {
        // Size update to 0; :status 200; content-type (indexed name), then three literal kinds.
        let mut block = vec![0x20, 0x88, 0x5f, 0x03, b'a', b'/', b'b'];
        block.extend([0x40, 0x01, b'n', 0x01, b'1']);
        block.extend([0x00, 0x01, b'm', 0x01, b'2']);
        block.extend([0x10, 0x01, b'o', 0x86, 0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf]);
        let headers = decode(&block).expect("valid block");
        let expected = [
            pair(":status", "200"),
            pair("content-type", "a/b"),
            pair("n", "1"),
            pair("m", "2"),
            pair("o", "no-cache"),
        ];
        assert_eq!(headers, expected);
    }

    #[test]
    fn references_to_a_dynamic_entry_are_refused() {
        let error = decode(&[0xbe]).expect_err("index 62").to_string();
        assert!(error.contains("index 62"), "{error}");
        assert!(decode(&[0x80]).is_err(), "index 0 means nothing");
        assert!(decode(&[0x3f, 0xe1, 0x1f]).is_err(), "table grown to 4096");
    }

    #[test]
    fn truncated_blocks_are_refused() {
        for block in [
            &[0x00, 0x05, b'a'][..],
            &[0x40],
            &[0x7f, 0xff],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        ] {
            assert!(decode(block).is_err(), "{block:?}");
        }
    }
}
