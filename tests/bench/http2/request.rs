//! Request header blocks that cost a server as little as those of a real client.
//!
//! Everything but the path is spelled out once per connection with indexing, as gRPC libraries do,
//! and afterwards named by one byte each.

use super::hpack;

/// The table size a peer needs for the four headers that every request repeats.
const SHARED_HEADERS_BYTES: u32 = 1024;

/// `:scheme: https` in the static table; `http` stands before it.
const SCHEME_HTTPS: u8 = 0x87;

/// A method's path as the first bytes of every header block that calls it.
#[derive(Clone, Debug)]
pub(crate) struct Path(Vec<u8>);

impl Path {
    /// `path` is `/package.Service/Method`.
    pub(crate) fn new(path: &str) -> Self {
        // POST and http stand in the static table; the path is a literal under its static name.
        let mut block = vec![0x83, 0x86, 0x04, path.len() as u8];
        assert!(path.len() < 127, "method paths are short");
        block.extend_from_slice(path.as_bytes());
        Self(block)
    }

    pub(super) fn write(&self, out: &mut Vec<u8>, is_secure: bool) {
        let begin = out.len();
        out.extend_from_slice(&self.0);
        if is_secure {
            out[begin + 1] = SCHEME_HTTPS;
        }
    }
}

/// The headers that every request repeats: spelled out once, then named by their place in the table.
pub(super) struct SharedHeaders {
    indexed: bool,
    literals: Vec<u8>,
    plain: Vec<u8>,
}

impl SharedHeaders {
    const INDEXES: [u8; 4] = [0xc1, 0xc0, 0xbf, 0xbe];

    pub(super) fn new(authority: &str) -> Self {
        let headers = [
            (":authority", authority),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("user-agent", "grpc-kvorum-bench"),
        ];
        let plain = hpack::encode(&headers);
        let mut literals = Vec::new();
        for header in headers {
            let block = hpack::encode(&[header]);
            literals.push(0x40);
            literals.extend_from_slice(&block[1..]);
        }
        Self {
            indexed: false,
            literals,
            plain,
        }
    }

    /// True once the server's table holds them.
    pub(super) fn are_indexed(&self) -> bool {
        self.indexed
    }

    pub(super) fn write(&mut self, out: &mut Vec<u8>, table_bytes: u32) {
        if table_bytes < SHARED_HEADERS_BYTES {
            out.extend_from_slice(&self.plain);
        } else if self.indexed {
            out.extend_from_slice(&Self::INDEXES);
        } else {
            out.extend_from_slice(&self.literals);
            self.indexed = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_block_spells_out_what_later_ones_name() {
        let mut headers = SharedHeaders::new("127.0.0.1:2379");
        let (mut first, mut second) = (Vec::new(), Vec::new());
        headers.write(&mut first, 4096);
        headers.write(&mut second, 4096);
        let decoded = hpack::decode(&first).expect("literals need no table");
        assert_eq!(decoded, hpack::decode(&headers.plain).expect("valid block"));
        // The newest entry has the lowest number, 62.
        assert_eq!(second, [0xc1, 0xc0, 0xbf, 0xbe]);
    }

    #[test]
    fn a_server_without_a_table_gets_plain_literals() {
        let mut headers = SharedHeaders::new("127.0.0.1:2379");
        for _ in 0..2 {
            let mut block = Vec::new();
            headers.write(&mut block, 0);
            assert_eq!(hpack::decode(&block).expect("valid block").len(), 4);
        }
    }

    #[test]
    fn a_path_block_names_method_scheme_and_path() {
        let path = Path::new("/etcdserverpb.KV/Put");
        for (is_secure, scheme) in [(false, "http"), (true, "https")] {
            let mut block = Vec::new();
            path.write(&mut block, is_secure);
            let headers = hpack::decode(&block).expect("valid block");
            let names: Vec<_> = headers
                .iter()
                .map(|(name, value)| (&**name, &**value))
                .collect();
            let expected = [
                (":method", "POST"),
                (":scheme", scheme),
                (":path", "/etcdserverpb.KV/Put"),
            ];
            assert_eq!(names, expected);
        }
    }
}
