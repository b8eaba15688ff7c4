//! The events of a response, encoded once for everyone who gets them, and cut where a response ends.

use bytes::{BufMut, Bytes, BytesMut};
use prost::encoding::encode_varint;

use super::group::Wanted;
use super::history::History;
use crate::backend::{BackendError, Record};
use crate::mvcc::Event;
use crate::mvcc::encoding::{framed_len, key_of, numbers_of};

/// Field 11 of `WatchResponse`, length-delimited.
const EVENT: u8 = 0x5a;
const EVENT_TYPE_DELETE: [u8; 2] = [0x08, 0x01];
const EVENT_KV: u8 = 0x12;
const EVENT_PREV_KV: u8 = 0x1a;

/// A response is ended at the next whole revision once its events reach this size, bytes.
const RESPONSE_BYTES: usize = 1 << 20;

#[derive(Clone, Copy, Debug)]
struct Mark {
    end: usize,
    main: i64,
}

/// Encoded events, with the place where each ends.
#[derive(Debug, Default)]
pub(super) struct Body {
    buffer: BytesMut,
    marks: Vec<Mark>,
}

/// The events of one response.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) bytes: Bytes,
    /// Newest revision in it.
    pub(super) main: i64,
    /// More of the same revision follows in the next response.
    pub(super) fragment: bool,
    /// How many there are.
    pub(super) events: usize,
}

impl Body {
    pub(super) fn push(&mut self, main: i64, tombstone: bool, kv: &[u8], prev: Option<&[u8]>) {
        let kind = if tombstone {
            EVENT_TYPE_DELETE.len()
        } else {
            0
        };
        let len = kind + framed_len(kv.len()) + prev.map_or(0, |p| framed_len(p.len()));
        self.buffer.reserve(framed_len(len));
        self.buffer.put_u8(EVENT);
        encode_varint(len as u64, &mut self.buffer);
        if tombstone {
            self.buffer.put_slice(&EVENT_TYPE_DELETE);
        }
        self.buffer.put_u8(EVENT_KV);
        encode_varint(kv.len() as u64, &mut self.buffer);
        self.buffer.put_slice(kv);
        if let Some(prev) = prev {
            self.buffer.put_u8(EVENT_PREV_KV);
            encode_varint(prev.len() as u64, &mut self.buffer);
            self.buffer.put_slice(prev);
        }
        self.marks.push(Mark {
            end: self.buffer.len(),
            main,
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// Ends the encoding and cuts it into responses: at whole revisions, and inside one only for a watcher that
    /// allows it, once a response would reach `fragment_bytes`.
    pub(super) fn cut(self, fragment_bytes: Option<usize>) -> Vec<Piece> {
        let bytes = self.buffer.freeze();
        let mut pieces: Vec<Piece> = Vec::new();
        let mut start = 0;
        let mut events = 0;
        let mut marks = self.marks.iter().peekable();
        while let Some(mark) = marks.next() {
            let next = marks.peek();
            events += 1;
            let ends_revision = next.is_none_or(|n| n.main != mark.main);
            let too_long =
                next.is_some_and(|n| fragment_bytes.is_some_and(|max| n.end - start >= max));
            let full = mark.end - start >= RESPONSE_BYTES;
            if next.is_none() || (ends_revision && full) || too_long {
                pieces.push(Piece {
                    bytes: bytes.slice(start..mark.end),
                    main: mark.main,
                    fragment: !ends_revision,
                    events: std::mem::take(&mut events),
                });
                start = mark.end;
            }
        }
        pieces
    }
}

/// The events of an apply pass as watchers with this wish get them.
pub(super) fn live_body(
    wanted: &Wanted,
    events: &[&Event],
    history: &dyn History,
) -> Result<Body, BackendError> {
    let mut body = Body::default();
    for e in events {
        let r = &e.record;
        let prev = match e.prev.filter(|_| wanted.prev_kv) {
            // Changed twice in one transaction: what came before is what the revision before showed.
            Some(p) if p.main == r.revision.main => {
                history.pair_at(key_of(&r.kv), r.revision.main - 1)?
            }
            Some(p) => history.pair(p)?,
            None => None,
        };
        body.push(r.revision.main, r.tombstone, &r.kv, prev.as_deref());
    }
    Ok(body)
}

/// A put that begins a generation has nothing before it, whatever the revision before showed: its transaction may
/// have deleted the key first.
pub(super) fn has_before(r: &Record) -> bool {
    r.tombstone || numbers_of(&r.kv).is_some_and(|n| n.create_revision != r.revision.main)
}
