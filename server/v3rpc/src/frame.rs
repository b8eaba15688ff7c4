//! gRPC's framing: a five-byte prefix before each message, and the trailers that end a call.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response, header::CONTENT_TYPE};
use prost::Message;

use crate::{
    compression::Encoding,
    error::{Code, Status},
    unread::Charge,
};

/// One flag byte and a big-endian length.
pub(crate) const PREFIX_BYTES: usize = 5;

/// What etcd's server, and every client of it, takes as the largest message.
const SEND_BYTES_MAX: usize = i32::MAX as usize;

/// Opens a buffer of exactly the right size for one message of `message_bytes`, its prefix already in it.
pub(crate) fn open(message_bytes: usize) -> Result<BytesMut, Status> {
    let mut buffer = BytesMut::with_capacity(PREFIX_BYTES + message_bytes);
    put_prefix(&mut buffer, message_bytes)?;
    Ok(buffer)
}

/// Appends the prefix of an uncompressed message.
pub(crate) fn put_prefix(buffer: &mut BytesMut, message_bytes: usize) -> Result<(), Status> {
    match u32::try_from(message_bytes) {
        Ok(length) if message_bytes <= SEND_BYTES_MAX => {
            buffer.put_u8(0);
            buffer.put_u32(length);
            Ok(())
        }
        _ => Err(Status::new(
            Code::ResourceExhausted,
            format!(
                "grpc: trying to send message larger than max ({message_bytes} vs. {SEND_BYTES_MAX})"
            ),
        )),
    }
}

/// Encodes one message with its prefix.
pub(crate) fn frame(message: &impl Message) -> Result<Bytes, Status> {
    let mut buffer = open(message.encoded_len())?;
    message
        .encode(&mut buffer)
        .map_err(|error| Status::internal(format!("grpc: error while marshaling: {error}")))?;
    Ok(buffer.freeze())
}

/// Decodes the message of a unary call.
pub(crate) fn decode<M: Message + Default>(message: Bytes) -> Result<M, Status> {
    M::decode(message).map_err(|error| {
        Status::internal(format!(
            "grpc: error unmarshalling request: {}",
            problem(&error)
        ))
    })
}

/// Decodes a message of a stream, which grpc-go tells apart in words.
pub(crate) fn decode_streamed<M: Message + Default>(message: Bytes) -> Result<M, Status> {
    M::decode(message).map_err(|error| {
        Status::internal(format!(
            "grpc: failed to unmarshal the received message: {}",
            problem(&error)
        ))
    })
}

/// What is wrong with a message, in Go's words where they are the same for all messages.
fn problem(error: &prost::DecodeError) -> String {
    let text = error.to_string();
    if text.ends_with("buffer underflow") || text.ends_with("invalid varint") {
        return "unexpected EOF".to_owned();
    }
    let text = text.strip_prefix("failed to decode Protobuf message: ");
    format!("proto: {}", text.unwrap_or("invalid message"))
}

/// What is handed to HTTP/2 as one piece: a buffer, or two of which the second is shared with others.
#[derive(Debug)]
pub(crate) enum Payload {
    /// One buffer.
    One(Bytes),
    /// Two buffers, sent as if they were one.
    Two(Bytes, Bytes),
    /// One buffer that its client is charged with until it has left.
    Counted {
        /// What is sent.
        message: Bytes,
        /// Counted off with it.
        _charge: Charge,
    },
}

impl Buf for Payload {
    fn remaining(&self) -> usize {
        match self {
            Self::One(only) | Self::Counted { message: only, .. } => only.len(),
            Self::Two(head, body) => head.len() + body.len(),
        }
    }

    fn chunk(&self) -> &[u8] {
        match self {
            Self::One(only) | Self::Counted { message: only, .. } => only,
            Self::Two(head, body) if head.is_empty() => body,
            Self::Two(head, _) => head,
        }
    }

    fn advance(&mut self, count: usize) {
        match self {
            Self::One(only) | Self::Counted { message: only, .. } => only.advance(count),
            Self::Two(head, body) => {
                let from_head = count.min(head.len());
                head.advance(from_head);
                body.advance(count - from_head);
            }
        }
    }
}

/// Cuts received bytes into messages. A message that arrived in one piece is a slice of it, not a copy.
pub(crate) struct Frames {
    chunk: Bytes,
    /// Holds everything once a message is spread over several pieces.
    grown: BytesMut,
    message_bytes_max: usize,
    encoding: Encoding,
}

impl Frames {
    pub(crate) fn new(message_bytes_max: usize, encoding: Encoding) -> Self {
        Self {
            chunk: Bytes::new(),
            grown: BytesMut::new(),
            message_bytes_max,
            encoding,
        }
    }

    /// No message has begun. A prefix that was cut off is none, to grpc-go.
    pub(crate) fn is_over(&self) -> bool {
        self.chunk.len() + self.grown.len() < PREFIX_BYTES
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that have come and were not taken.
    pub(crate) fn len(&self) -> usize {
        self.chunk.len() + self.grown.len()
    }

    /// Length of the message of which a part has come; none if that is not known, or is refused by `take`.
    pub(crate) fn incomplete(&self) -> Option<usize> {
        let (_, message_bytes) = prefix(self.held(), self.message_bytes_max).ok()??;
        Some(message_bytes)
    }

    fn held(&self) -> &[u8] {
        if self.grown.is_empty() {
            &self.chunk
        } else {
            &self.grown
        }
    }

    pub(crate) fn push(&mut self, chunk: Bytes) {
        if self.is_empty() {
            self.chunk = chunk;
            return;
        }
        if self.grown.is_empty() {
            let whole = self.incomplete().map_or(0, |bytes| PREFIX_BYTES + bytes);
            let come = self.chunk.len() + chunk.len();
            self.grown.reserve(whole.max(come));
            self.grown
                .extend_from_slice(&std::mem::take(&mut self.chunk));
        }
        self.grown.extend_from_slice(&chunk);
    }

    pub(crate) fn take(&mut self) -> Result<Option<Bytes>, Status> {
        let held = self.held();
        let Some((compressed, message_bytes)) = prefix(held, self.message_bytes_max)? else {
            return Ok(None);
        };
        let end = PREFIX_BYTES + message_bytes;
        if held.len() < end {
            return Ok(None);
        }
        let mut message = if self.grown.is_empty() {
            self.chunk.split_to(end)
        } else {
            self.grown.split_to(end).freeze()
        };
        message.advance(PREFIX_BYTES);
        if compressed {
            message = self.encoding.open(&message, self.message_bytes_max)?;
        }
        Ok(Some(message))
    }
}

/// Reads the prefix: whether the message is compressed, and its length. `None` if it is not complete yet.
fn prefix(held: &[u8], message_bytes_max: usize) -> Result<Option<(bool, usize)>, Status> {
    let Some((mut prefix, _)) = held.split_at_checked(PREFIX_BYTES) else {
        return Ok(None);
    };
    let flag = prefix.get_u8();
    let length = prefix.get_u32() as usize;
    if length > message_bytes_max {
        return Err(Status::new(
            Code::ResourceExhausted,
            format!("grpc: received message larger than max ({length} vs. {message_bytes_max})"),
        ));
    }
    if flag > 1 {
        return Err(Status::internal(format!(
            "grpc: received unexpected payload format {flag}"
        )));
    }
    Ok(Some((flag == 1, length)))
}

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// The head of a response that messages follow.
pub(crate) fn response_head() -> Response<()> {
    let mut response = Response::new(());
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    response
}

/// The trailers of a call that succeeded.
pub(crate) fn ok_trailers() -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    trailers
}

/// The trailers of a call that failed.
pub(crate) fn error_trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(2);
    put_status(&mut trailers, status);
    trailers
}

/// A response that is nothing but a failure.
pub(crate) fn error_response(status: &Status) -> Response<()> {
    let mut response = response_head();
    put_status(response.headers_mut(), status);
    response
}

fn put_status(headers: &mut HeaderMap, status: &Status) {
    headers.insert(
        "grpc-status",
        HeaderValue::from_static(status.code.digits()),
    );
    if let Ok(message) = HeaderValue::from_str(&percent_encode(&status.message)) {
        headers.insert("grpc-message", message);
    }
}

/// Escapes everything but printable ASCII, and the percent sign.
fn percent_encode(text: &str) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'%' => encoded.push_str("%25"),
            b' '..=b'~' => encoded.push(char::from(byte)),
            _ => {
                // Writing to a String cannot fail.
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(payload: &[u8]) -> Bytes {
        let mut buffer = open(payload.len()).expect("small");
        buffer.extend_from_slice(payload);
        buffer.freeze()
    }

    #[test]
    fn a_message_in_one_piece_is_not_copied() {
        let sent = framed(b"hello");
        let mut frames = Frames::new(10, Encoding::Identity);
        frames.push(sent.clone());
        let message = frames.take().expect("valid").expect("complete");
        assert_eq!(&message[..], b"hello");
        assert_eq!(message.as_ptr(), sent[PREFIX_BYTES..].as_ptr());
        assert!(frames.is_empty());
    }

    #[test]
    fn messages_survive_any_cut() {
        let mut wire = framed(b"one").to_vec();
        wire.extend_from_slice(&framed(b""));
        wire.extend_from_slice(&framed(b"three"));
        for size in 1..=wire.len() {
            let mut frames = Frames::new(10, Encoding::Identity);
            let mut seen = Vec::new();
            for piece in wire.chunks(size) {
                frames.push(Bytes::copy_from_slice(piece));
                while let Some(message) = frames.take().expect("valid") {
                    seen.push(message);
                }
            }
            assert_eq!(seen, [&b"one"[..], b"", b"three"], "pieces of {size}");
            assert!(frames.is_empty());
        }
    }

    #[test]
    fn a_large_message_is_refused_by_its_prefix_alone() {
        let mut frames = Frames::new(4, Encoding::Identity);
        frames.push(Bytes::from_static(b"\0\0\0\0\x05"));
        let status = frames.take().expect_err("too large");
        assert_eq!(status.code, Code::ResourceExhausted);
        assert_eq!(
            status.message,
            "grpc: received message larger than max (5 vs. 4)"
        );
    }

    #[test]
    fn compressed_messages_need_an_encoding() {
        let mut frames = Frames::new(4, Encoding::Identity);
        frames.push(Bytes::from_static(b"\x01\0\0\0\0"));
        assert_eq!(
            frames.take().expect_err("compressed").message,
            "grpc: compressed flag set with identity or empty encoding"
        );
        let mut frames = Frames::new(4, Encoding::Identity);
        frames.push(Bytes::from_static(b"\x07\0\0\0\0"));
        assert_eq!(
            frames.take().expect_err("no such flag").code,
            Code::Internal
        );
    }

    #[test]
    fn messages_are_percent_encoded() {
        assert_eq!(
            percent_encode("etcdserver: no leader"),
            "etcdserver: no leader"
        );
        assert_eq!(percent_encode("50%\n\u{e9}"), "50%25%0A%C3%A9");
    }

    #[test]
    fn two_buffers_read_as_one() {
        let mut payload = Payload::Two(Bytes::from_static(b"ab"), Bytes::from_static(b"cde"));
        assert_eq!(payload.remaining(), 5);
        payload.advance(1);
        assert_eq!(payload.chunk(), b"b");
        payload.advance(2);
        assert_eq!(payload.chunk(), b"de");
        assert_eq!(payload.copy_to_bytes(2), "de");
        assert_eq!(payload.remaining(), 0);
    }

    #[test]
    fn a_failure_is_one_response_with_code_and_text() {
        let response = error_response(&Status::new(Code::NotFound, "no\tsuch thing"));
        assert_eq!(response.headers()["grpc-status"], "5");
        assert_eq!(response.headers()["grpc-message"], "no%09such thing");
        assert_eq!(response.headers()["content-type"], "application/grpc");
    }
}
