//! JSON to the wire format of protobuf and back, as etcd's gateway does it; no network.
//!
//! A body is cut into JSON values first ([`Values`]), under the rules of Go's `encoding/json`; each value is then read
//! into a message under the stricter rules of protojson. The texts of both are what etcd's users see, line and column
//! included, which is why this is not left to a library: those known for Rust take repeated names, stop at a depth of
//! their own, and word their errors differently.

mod number;
mod quote;
mod read;
mod scan;
mod text;
mod write;

use kvorum_proto::shape::MessageShape;

pub use scan::{Json, Values};

use super::routes;

/// How deep messages may be nested, as in transactions within transactions: prost reads no deeper.
const MESSAGE_DEPTH_MAX: usize = 100;

/// Why a text cannot be read as the message it should be; the user sees it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(String);

impl Malformed {
    /// A finding of protojson.
    fn proto(text: impl std::fmt::Display) -> Self {
        Self(format!("proto: {text}"))
    }

    fn end() -> Self {
        Self("unexpected EOF".to_owned())
    }
}

/// Reads one JSON value as a message of the given shape and encodes that.
///
/// # Errors
///
/// protojson's text on what does not fit.
pub fn to_wire(json: &Json, shape: &MessageShape) -> Result<Vec<u8>, Malformed> {
    read::message(json, shape)
}

/// Writes an encoded message as JSON: fields in the order of their declaration, zeros left out, no blanks.
///
/// # Errors
///
/// If the bytes are no such message.
pub fn to_json(message: &[u8], shape: &MessageShape, out: &mut Vec<u8>) -> Result<(), Malformed> {
    write::message(message, shape, out)
}

/// Writes `text` as a JSON string.
pub(super) fn quote(text: &str, out: &mut Vec<u8>) {
    text::write(text, out);
}

/// Reads a body that was sent to a path of the gateway, and writes down each message in it again. For fuzzing: whatever
/// the bytes are, this neither panics nor takes more memory than a small multiple of them.
///
/// # Errors
///
/// What the user would be told.
pub fn round_trip(path: &[u8], body: &[u8]) -> Result<Vec<Vec<u8>>, Malformed> {
    let path = String::from_utf8_lossy(path);
    let route = routes::find(&path).ok_or_else(|| Malformed("Not Found".to_owned()))?;
    let mut values = Values::default();
    values.push(body);
    let mut written = Vec::new();
    loop {
        let json = match values.next()? {
            Some(json) => json,
            None => match values.finish()? {
                Some(json) => json,
                None => return Ok(written),
            },
        };
        let wire = to_wire(&json, route.request)?;
        let mut text = Vec::new();
        to_json(&wire, route.request, &mut text)?;
        written.push(text);
    }
}

#[cfg(test)]
mod tests;
