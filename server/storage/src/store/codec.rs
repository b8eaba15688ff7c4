//! How keys and values of the state store look in bytes.
//!
//! | table | key | value |
//! |---|---|---|
//! | records | `main` (sign bit flipped), `sub`: bytes sort as revisions do | CRC, 0 or 1 for a tombstone, `KeyValue` |
//! | leases, meta | the id, the name | CRC, bytes |
//! | marks | the name | CRC, a little-endian u64 |
//!
//! The checksums start with the key, so that a value under a wrong key is noticed too.

use std::cmp::Ordering;

use kvorum_core::types::Revision;
use redb::{Key, TypeName, Value};

use crate::log::{array4, array8};

pub(super) const KEY_LEN: usize = 12;
/// What stands before the pair in a record.
pub(super) const RECORD_HEAD_LEN: usize = CRC_LEN + 1;
const CRC_LEN: usize = 4;
const SIGN: u64 = 1 << 63;

/// The key type of the record table.
#[derive(Debug)]
pub(super) struct RevisionKey;

fn encode(revision: Revision) -> [u8; KEY_LEN] {
    let mut key = [0; KEY_LEN];
    key[..8].copy_from_slice(&(revision.main.cast_unsigned() ^ SIGN).to_be_bytes());
    key[8..].copy_from_slice(&revision.sub.to_be_bytes());
    key
}

impl Value for RevisionKey {
    type SelfType<'a> = Revision;
    type AsBytes<'a> = [u8; KEY_LEN];

    fn fixed_width() -> Option<usize> {
        Some(KEY_LEN)
    }

    fn from_bytes<'a>(data: &'a [u8]) -> Revision
    where
        Self: 'a,
    {
        Revision {
            main: (u64::from_be_bytes(array8(data)) ^ SIGN).cast_signed(),
            sub: u32::from_be_bytes(array4(&data[8..])),
        }
    }

    fn as_bytes<'a, 'b: 'a>(revision: &'a Revision) -> [u8; KEY_LEN]
    where
        Self: 'b,
    {
        encode(*revision)
    }

    fn type_name() -> TypeName {
        TypeName::new("kvorum::Revision")
    }
}

impl Key for RevisionKey {
    fn compare(a: &[u8], b: &[u8]) -> Ordering {
        a.cmp(b)
    }
}

pub(super) fn seal_record(out: &mut Vec<u8>, revision: Revision, tombstone: bool, kv: &[u8]) {
    out.clear();
    out.extend_from_slice(&[0; CRC_LEN]);
    out.push(u8::from(tombstone));
    out.extend_from_slice(kv);
    set_crc(out, &encode(revision));
}

/// `None` if the checksum does not match.
pub(super) fn open_record(revision: Revision, value: &[u8]) -> Option<(bool, &[u8])> {
    let (tombstone, kv) = open_side(&encode(revision), value)?.split_first()?;
    Some((*tombstone != 0, kv))
}

/// Length of the encoded pair in a record.
pub(super) fn kv_len(value: &[u8]) -> usize {
    value.len().saturating_sub(CRC_LEN + 1)
}

pub(super) fn seal_side(out: &mut Vec<u8>, key: &[u8], bytes: &[u8]) {
    out.clear();
    out.extend_from_slice(&[0; CRC_LEN]);
    out.extend_from_slice(bytes);
    set_crc(out, key);
}

/// `None` if the checksum does not match.
pub(super) fn open_side<'a>(key: &[u8], value: &'a [u8]) -> Option<&'a [u8]> {
    let (crc, rest) = value.split_at_checked(CRC_LEN)?;
    (u32::from_le_bytes(array4(crc)) == crc32c::crc32c_append(crc32c::crc32c(key), rest))
        .then_some(rest)
}

pub(super) fn seal_mark(name: &str, mark: u64) -> Vec<u8> {
    let mut value = Vec::new();
    seal_side(&mut value, name.as_bytes(), &mark.to_le_bytes());
    value
}

/// `None` if the checksum does not match.
pub(super) fn open_mark(name: &str, value: &[u8]) -> Option<u64> {
    let bytes = open_side(name.as_bytes(), value)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

fn set_crc(value: &mut [u8], key: &[u8]) {
    let crc = crc32c::crc32c_append(crc32c::crc32c(key), &value[CRC_LEN..]);
    value[..CRC_LEN].copy_from_slice(&crc.to_le_bytes());
}
