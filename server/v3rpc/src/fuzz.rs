//! Doors for the fuzz targets: parsers of the wire that only a connection can reach otherwise. Not for anybody else.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{
    authority::Filter,
    compression::Encoding,
    error::{Code, Status},
    frame::Frames,
    metadata::Metadata,
};

/// The messages in a request body that arrives in these pieces, and the code it is refused with, if it is.
#[must_use]
pub fn messages(pieces: &[&[u8]], message_bytes_max: usize) -> (Vec<Bytes>, Option<Code>) {
    let mut frames = Frames::new(message_bytes_max, Encoding::Identity);
    let mut messages = Vec::new();
    for piece in pieces {
        frames.push(Bytes::copy_from_slice(piece));
        loop {
            match frames.take() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(Status { code, .. }) => return (messages, Some(code)),
            }
        }
    }
    (messages, None)
}

/// Reads the metadata of a call; the code it is refused with, if it is. Pairs that are no headers are left out, as
/// HTTP/2 never lets them come this far.
pub fn metadata(pairs: &[(&[u8], &[u8])]) -> Option<Code> {
    let headers: HeaderMap = pairs
        .iter()
        .filter_map(|(name, value)| {
            let name = HeaderName::from_bytes(name).ok()?;
            Some((name, HeaderValue::from_bytes(value).ok()?))
        })
        .collect();
    Metadata::read(&headers).err().map(|status| status.code)
}

/// What HTTP/2 gets to read of a connection whose bytes behind the preface arrive in these pieces.
#[must_use]
pub fn filtered(pieces: &[&[u8]]) -> Vec<u8> {
    let mut filter = Filter::default();
    for piece in pieces {
        filter.feed(piece);
    }
    filter.finish();
    filter.out
}
