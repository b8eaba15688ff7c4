//! Frames: the form of everything that two members say to each other.
//!
//! A connection opens with [`PREAMBLE`], sent by whoever dialled, and is a sequence of frames from then on:
//!
//! | bytes | field |
//! |---|---|
//! | 0..4 | length of what follows the checksum |
//! | 4..8 | CRC-32C of the frame's number on this connection, the length, and all that follows |
//! | 8 | kind |
//! | 9.. | one message of `transport.proto` or `peer.proto` |
//!
//! The number is not sent, so that a frame that got lost, doubled or moved on its way fails its checksum. A connection
//! with a frame that cannot be read is over: nothing after it can be trusted.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;

/// The first bytes of a connection.
pub(crate) const PREAMBLE: &[u8; 8] = b"KVPEER\0\x01";
/// Bytes before the kind.
pub(crate) const HEAD_LEN: usize = 8;
/// Longest frame while it is not known who the other end is.
pub(crate) const GREETING_BYTES_MAX: usize = 16 << 10;
/// Longest frame: the largest request that a member may be configured to take, and room around it.
pub(crate) const FRAME_BYTES_MAX: usize = 72 << 20;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Hello = 1,
    Welcome = 2,
    Refusal = 3,
    Message = 4,
    Probe = 5,
    Request = 6,
    Reply = 7,
    SnapshotOffer = 8,
    SnapshotChunk = 9,
    SnapshotEnd = 10,
    SnapshotProgress = 11,
    SnapshotVerdict = 12,
}

/// All of them.
pub(crate) const KINDS: [Kind; 12] = [
    Kind::Hello,
    Kind::Welcome,
    Kind::Refusal,
    Kind::Message,
    Kind::Probe,
    Kind::Request,
    Kind::Reply,
    Kind::SnapshotOffer,
    Kind::SnapshotChunk,
    Kind::SnapshotEnd,
    Kind::SnapshotProgress,
    Kind::SnapshotVerdict,
];

/// Why bytes are not a frame, or a frame not a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("it does not begin as a member does: something else dialled the peer address")]
    Preamble,
    #[error("it speaks TLS to a peer address that is plain HTTP (http://)")]
    TlsOnPlain,
    #[error("a frame of {len} bytes, where {max} is the limit")]
    Length { len: usize, max: usize },
    #[error("frame {number} fails its checksum")]
    Checksum { number: u64 },
    #[error("a frame of unknown kind {0}")]
    Kind(u8),
    #[error("a {kind:?} where none can be")]
    Unexpected { kind: Kind },
    #[error("a {kind:?} that cannot be read: {reason}")]
    Message { kind: Kind, reason: String },
}

/// A frame that passed its checksum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    pub(crate) body: Bytes,
}

impl Frame {
    /// The message inside, which must be of this kind.
    pub(crate) fn read<M: Message + Default>(self, kind: Kind) -> Result<M, FrameError> {
        if self.kind != kind {
            return Err(FrameError::Unexpected { kind: self.kind });
        }
        M::decode(self.body).map_err(|error| FrameError::Message {
            kind,
            reason: error.to_string(),
        })
    }
}

fn checksum(number: u64, length: [u8; 4], rest: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&number.to_be_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(crc, &length), rest)
}

/// Takes frames off what was received.
#[derive(Debug)]
pub(crate) struct Splitter {
    number: u64,
    frame_bytes_max: usize,
}

impl Splitter {
    pub(crate) fn new(frame_bytes_max: usize) -> Self {
        Self {
            number: 0,
            frame_bytes_max,
        }
    }

    /// From here on frames may be this long.
    pub(crate) fn allow(&mut self, frame_bytes_max: usize) {
        self.frame_bytes_max = frame_bytes_max;
    }

    /// The next frame, or none if it has not come whole.
    pub(crate) fn split(&mut self, received: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let Some((length, crc)) = head(received) else {
            return Ok(None);
        };
        let len = u32::from_be_bytes(length) as usize;
        if len == 0 || len > self.frame_bytes_max {
            return Err(FrameError::Length {
                len,
                max: self.frame_bytes_max,
            });
        }
        if received.len() < HEAD_LEN + len {
            return Ok(None);
        }
        let mut rest = received.split_to(HEAD_LEN + len).freeze();
        rest.advance(HEAD_LEN);
        if checksum(self.number, length, &rest) != crc {
            return Err(FrameError::Checksum {
                number: self.number,
            });
        }
        self.number += 1;
        let kind = rest.get_u8();
        let kind = KINDS
            .into_iter()
            .find(|known| *known as u8 == kind)
            .ok_or(FrameError::Kind(kind))?;
        Ok(Some(Frame { kind, body: rest }))
    }

    /// How many bytes are missing to the end of the frame that has begun to come; 0 if that is not known.
    pub(crate) fn missing(&self, received: &BytesMut) -> usize {
        head(received).map_or(0, |(length, _)| {
            let len = (u32::from_be_bytes(length) as usize).min(self.frame_bytes_max);
            (HEAD_LEN + len).saturating_sub(received.len())
        })
    }
}

fn head(received: &BytesMut) -> Option<([u8; 4], u32)> {
    let length: [u8; 4] = *received.first_chunk()?;
    let crc: [u8; 4] = *received.get(4..)?.first_chunk()?;
    Some((length, u32::from_be_bytes(crc)))
}

/// Puts messages into frames.
#[derive(Debug, Default)]
pub(crate) struct Joiner {
    number: u64,
}

impl Joiner {
    /// Appends one frame. The caller keeps messages below [`FRAME_BYTES_MAX`].
    pub(crate) fn join(&mut self, kind: Kind, message: &impl Message, into: &mut BytesMut) {
        self.join_with(kind as u8, message.encoded_len(), into, |into| {
            message
                .encode(into)
                .expect("a growing buffer has room for any message");
        });
    }

    /// The same for a body that somebody else made, which need not be one.
    pub(crate) fn join_bytes(&mut self, kind: u8, body: &[u8], into: &mut BytesMut) {
        self.join_with(kind, body.len(), into, |into| into.put_slice(body));
    }

    fn join_with(
        &mut self,
        kind: u8,
        body_len: usize,
        into: &mut BytesMut,
        put: impl FnOnce(&mut BytesMut),
    ) {
        let len = 1 + body_len;
        let length = u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes();
        let begin = into.len();
        into.reserve(HEAD_LEN + len);
        into.put_slice(&length);
        into.put_u32(0);
        into.put_u8(kind);
        put(into);
        let crc = checksum(self.number, length, &into[begin + HEAD_LEN..]);
        into[begin + 4..begin + HEAD_LEN].copy_from_slice(&crc.to_be_bytes());
        self.number += 1;
    }
}

/// Checks how a connection begins; false if that is not known yet.
pub(crate) fn check_preamble(received: &mut BytesMut) -> Result<bool, FrameError> {
    let known = received.len().min(PREAMBLE.len());
    if received[..known] != PREAMBLE[..known] {
        // A TLS record of kind handshake, version 3.x.
        return Err(match received.as_ref() {
            [0x16, 0x03, ..] => FrameError::TlsOnPlain,
            _ => FrameError::Preamble,
        });
    }
    if known < PREAMBLE.len() {
        return Ok(false);
    }
    received.advance(PREAMBLE.len());
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kvorum_proto::kvorumpb::{PeerProbe, SnapshotChunk};

    fn probe(number: u64) -> PeerProbe {
        PeerProbe {
            number,
            echo: false,
        }
    }

    fn joined(numbers: &[u64]) -> BytesMut {
        let (mut joiner, mut bytes) = (Joiner::default(), BytesMut::new());
        for number in numbers {
            joiner.join(Kind::Probe, &probe(*number), &mut bytes);
        }
        bytes
    }

    fn first(bytes: &BytesMut) -> Result<Option<Frame>, FrameError> {
        Splitter::new(GREETING_BYTES_MAX).split(&mut bytes.clone())
    }

    #[test]
    fn frames_come_out_as_they_went_in_wherever_reads_end() {
        let bytes = joined(&[1, 200, 70_000]);
        for step in 1..bytes.len() {
            let (mut splitter, mut received) = (Splitter::new(1024), BytesMut::new());
            let mut numbers = Vec::new();
            for piece in bytes.chunks(step) {
                received.extend_from_slice(piece);
                while let Some(frame) = splitter.split(&mut received).expect("valid") {
                    let probe: PeerProbe = frame.read(Kind::Probe).expect("a probe");
                    numbers.push(probe.number);
                }
            }
            assert_eq!(numbers, [1, 200, 70_000], "in steps of {step}");
        }
    }

    #[test]
    fn every_bit_counts() {
        let bytes = joined(&[5]);
        for bit in 0..bytes.len() * 8 {
            let mut broken = bytes.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            assert!(
                !matches!(first(&broken), Ok(Some(_))),
                "bit {bit} does not matter"
            );
        }
        assert!(matches!(first(&bytes), Ok(Some(_))));
    }

    #[test]
    fn a_frame_that_is_left_out_or_comes_twice_is_noticed() {
        let (one, both) = (joined(&[1]), joined(&[1, 2]));
        let mut splitter = Splitter::new(1024);
        let mut lost = BytesMut::from(&both[one.len()..]);
        assert_eq!(
            splitter.split(&mut lost),
            Err(FrameError::Checksum { number: 0 })
        );
        let mut doubled = one.clone();
        doubled.extend_from_slice(&one);
        let mut splitter = Splitter::new(1024);
        assert!(matches!(splitter.split(&mut doubled), Ok(Some(_))));
        assert_eq!(
            splitter.split(&mut doubled),
            Err(FrameError::Checksum { number: 1 })
        );
    }

    #[test]
    fn lengths_are_refused_before_anything_is_kept_for_them() {
        for length in [0, GREETING_BYTES_MAX as u32 + 1, u32::MAX] {
            let mut bytes = BytesMut::new();
            bytes.put_u32(length);
            bytes.put_u32(7);
            assert!(
                matches!(first(&bytes), Err(FrameError::Length { .. })),
                "{length}"
            );
            let missing = Splitter::new(GREETING_BYTES_MAX).missing(&bytes);
            assert!(missing <= GREETING_BYTES_MAX, "{missing}");
        }
    }

    #[test]
    fn a_kind_that_nobody_knows_is_refused() {
        let mut bytes = BytesMut::new();
        Joiner::default().join(Kind::Probe, &probe(1), &mut bytes);
        bytes[HEAD_LEN] = 99;
        let length = *bytes.first_chunk().expect("a length");
        let crc = checksum(0, length, &bytes[HEAD_LEN..]);
        bytes[4..8].copy_from_slice(&crc.to_be_bytes());
        assert_eq!(first(&bytes), Err(FrameError::Kind(99)));
    }

    #[test]
    fn a_message_of_another_kind_is_told_apart() {
        let mut bytes = BytesMut::new();
        let chunk = SnapshotChunk {
            number: 1,
            content: Bytes::from_static(b"x"),
        };
        Joiner::default().join(Kind::SnapshotChunk, &chunk, &mut bytes);
        let frame = first(&bytes).expect("valid").expect("whole");
        assert!(matches!(
            frame.read::<PeerProbe>(Kind::Probe),
            Err(FrameError::Unexpected {
                kind: Kind::SnapshotChunk
            })
        ));
    }

    #[test]
    fn what_is_no_member_is_known_by_its_first_bytes() {
        let check = |bytes: &[u8]| check_preamble(&mut BytesMut::from(bytes));
        assert_eq!(check(b"KVPE"), Ok(false));
        assert_eq!(check(PREAMBLE), Ok(true));
        assert_eq!(check(b"GET / HTTP/1.1"), Err(FrameError::Preamble));
        assert_eq!(
            check(&[0x16, 0x03, 0x01, 0, 5]),
            Err(FrameError::TlsOnPlain)
        );
    }
}
