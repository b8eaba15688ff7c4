//! The canonical encoding of `mvccpb.KeyValue`, written and read in place.
//!
//! Reads, watches, the disk and hashes share these bytes: a pair is encoded once in its life. Canonical means fields
//! in number order and zero fields left out, which is what etcd writes.

use bytes::{BufMut, Bytes, BytesMut};
use prost::encoding::{encode_varint, encoded_len_varint};

const KEY: u8 = 0x0a;
const CREATE: u8 = 0x10;
const MOD: u8 = 0x18;
const VERSION: u8 = 0x20;
const VALUE: u8 = 0x2a;
const LEASE: u8 = 0x30;

/// A pair about to be written.
#[derive(Clone, Copy, Debug)]
pub struct Pair<'a> {
    /// The key, not empty.
    pub key: &'a [u8],
    /// Revision of the put that began this generation; 0 for a tombstone.
    pub create_revision: i64,
    /// Revision of this change.
    pub mod_revision: i64,
    /// Puts in this generation; 0 for a tombstone.
    pub version: i64,
    /// The value.
    pub value: &'a [u8],
    /// Attached lease, 0 for none.
    pub lease: i64,
}

fn number(out: &mut BytesMut, tag: u8, value: i64) {
    if value != 0 {
        out.put_u8(tag);
        encode_varint(value.cast_unsigned(), out);
    }
}

fn blob(out: &mut BytesMut, tag: u8, value: &[u8]) {
    if !value.is_empty() {
        out.put_u8(tag);
        encode_varint(value.len() as u64, out);
        out.put_slice(value);
    }
}

/// Encodes `pair` into `arena` and cuts the result off as its own handle.
pub fn encode(arena: &mut BytesMut, pair: &Pair<'_>) -> Bytes {
    // 60 bytes hold the tags and the numbers at their longest.
    let need = pair.key.len() + pair.value.len() + 60;
    if arena.capacity() < need {
        *arena = BytesMut::with_capacity(need.max(ARENA_BYTES));
    }
    blob(arena, KEY, pair.key);
    number(arena, CREATE, pair.create_revision);
    number(arena, MOD, pair.mod_revision);
    number(arena, VERSION, pair.version);
    blob(arena, VALUE, pair.value);
    number(arena, LEASE, pair.lease);
    arena.split().freeze()
}

/// Records of one apply pass lie side by side in chunks of this size: few allocations, and they are freed together
/// because the window forgets them in order.
pub const ARENA_BYTES: usize = 32 * 1024;

/// The key inside an encoded pair; empty if the bytes are not one.
#[must_use]
pub fn key_of(kv: &[u8]) -> &[u8] {
    match key_span(kv) {
        Some((start, end)) => kv.get(start..end).unwrap_or_default(),
        None => &[],
    }
}

/// The pair up to the end of its key field.
#[must_use]
pub fn key_field(kv: &[u8]) -> &[u8] {
    key_span(kv)
        .and_then(|(_, end)| kv.get(..end))
        .unwrap_or_default()
}

/// The key as a handle on the same bytes.
#[must_use]
pub fn key_bytes(kv: &Bytes) -> Bytes {
    match key_span(kv) {
        Some((start, end)) if end <= kv.len() => kv.slice(start..end),
        _ => Bytes::new(),
    }
}

fn key_span(kv: &[u8]) -> Option<(usize, usize)> {
    let (&tag, rest) = kv.split_first()?;
    if tag != KEY {
        return None;
    }
    let mut cursor = rest;
    let length = usize::try_from(prost::encoding::decode_varint(&mut cursor).ok()?).ok()?;
    let start = kv.len() - cursor.len();
    start.checked_add(length).map(|end| (start, end))
}

/// Length of `tag + length + bytes` for a submessage of `len` bytes.
#[must_use]
pub fn framed_len(len: usize) -> usize {
    1 + encoded_len_varint(len as u64) + len
}

/// The parts of an encoded pair that the index keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers<'a> {
    /// The key.
    pub key: &'a [u8],
    /// Revision that began the generation.
    pub create_revision: i64,
    /// Puts in the generation.
    pub version: i64,
    /// Attached lease.
    pub lease: i64,
}

/// Reads them without touching the value; `None` if the bytes are not a canonical pair.
#[must_use]
pub fn numbers_of(kv: &[u8]) -> Option<Numbers<'_>> {
    let (start, end) = key_span(kv)?;
    let mut numbers = Numbers {
        key: kv.get(start..end)?,
        ..Numbers::default()
    };
    let mut rest = kv.get(end..)?;
    while let Some((&tag, after)) = rest.split_first() {
        rest = after;
        let number = prost::encoding::decode_varint(&mut rest).ok()?;
        match tag {
            CREATE => numbers.create_revision = number.cast_signed(),
            VERSION => numbers.version = number.cast_signed(),
            LEASE => numbers.lease = number.cast_signed(),
            MOD => {}
            VALUE => rest = rest.get(usize::try_from(number).ok()?..)?,
            _ => return None,
        }
    }
    Some(numbers)
}
