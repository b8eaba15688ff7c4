//! Messages that arrive compressed. etcd's server takes gzip; answers leave as they are, which every client takes.

use std::io::Read;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http::{HeaderMap, HeaderValue};

use crate::error::{Code, Status};

/// How a caller's messages may be compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// Not at all.
    #[default]
    Identity,
    /// Each by itself, if its prefix says so.
    Gzip,
}

impl Encoding {
    /// Reads `grpc-encoding`.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Status> {
        match headers.get("grpc-encoding").map(HeaderValue::as_bytes) {
            None | Some(b"" | b"identity") => Ok(Self::Identity),
            Some(b"gzip") => Ok(Self::Gzip),
            Some(other) => {
                let other = String::from_utf8_lossy(other);
                Err(Status::unimplemented(format!(
                    "grpc: Decompressor is not installed for grpc-encoding {other:?}"
                )))
            }
        }
    }

    /// Opens a message that is marked as compressed. However small it is, never more than the limit is unpacked.
    pub(crate) fn open(self, message: &[u8], message_bytes_max: usize) -> Result<Bytes, Status> {
        if self == Self::Identity {
            return Err(Status::internal(
                "grpc: compressed flag set with identity or empty encoding",
            ));
        }
        let mut opened = Vec::new();
        let limit = (message_bytes_max as u64).saturating_add(1);
        MultiGzDecoder::new(message)
            .take(limit)
            .read_to_end(&mut opened)
            .map_err(|error| {
                Status::internal(format!("grpc: failed to decompress the message: {error}"))
            })?;
        if opened.len() > message_bytes_max {
            return Err(Status::new(
                Code::ResourceExhausted,
                format!(
                    "grpc: received message after decompression larger than max {message_bytes_max}"
                ),
            ));
        }
        Ok(opened.into())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).expect("memory");
        encoder.finish().expect("memory")
    }

    #[test]
    fn gzip_is_opened_up_to_the_limit() {
        let opened = Encoding::Gzip.open(&packed(b"hello"), 5);
        assert_eq!(opened, Ok(Bytes::from_static(b"hello")));
        let bomb = packed(&vec![0; 10_000_000]);
        assert!(bomb.len() < 20_000);
        let refused = Encoding::Gzip.open(&bomb, 1000).expect_err("too large");
        assert_eq!(
            (refused.code, &*refused.message),
            (
                Code::ResourceExhausted,
                "grpc: received message after decompression larger than max 1000"
            )
        );
        let broken = Encoding::Gzip.open(b"no gzip", 1000).expect_err("broken");
        assert_eq!(broken.code, Code::Internal);
        let cut = packed(b"hello");
        let broken = Encoding::Gzip.open(&cut[..cut.len() - 1], 1000);
        assert_eq!(broken.expect_err("cut").code, Code::Internal);
    }

    #[test]
    fn encodings_are_known_or_named() {
        let of = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-encoding", HeaderValue::from_static(value));
            Encoding::of(&headers)
        };
        assert_eq!(Encoding::of(&HeaderMap::new()), Ok(Encoding::Identity));
        assert_eq!(of("identity"), Ok(Encoding::Identity));
        assert_eq!(of("gzip"), Ok(Encoding::Gzip));
        let refused = of("snappy").expect_err("unknown");
        assert_eq!(
            (refused.code, &*refused.message),
            (
                Code::Unimplemented,
                "grpc: Decompressor is not installed for grpc-encoding \"snappy\""
            )
        );
        let marked = Encoding::Identity
            .open(b"", 10)
            .expect_err("not compressed");
        assert_eq!(marked.code, Code::Internal);
    }
}
