//! Chunks and rows as bytes.

use bytes::{BufMut as _, Bytes};
use sha2::{Digest as _, Sha256};

use super::Digest;
use crate::log::{array4, array8};

const MAGIC: &[u8; 4] = b"KVSC";
const CRC_FROM: usize = 8;
const BODY_FROM: usize = 25;
const ROW_HEAD: usize = 6;

/// What a chunk holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Head = 1,
    Records = 2,
    Leases = 3,
    Meta = 4,
    End = 5,
}

impl Kind {
    fn parse(byte: u8) -> Option<Self> {
        [
            Self::Head,
            Self::Records,
            Self::Leases,
            Self::Meta,
            Self::End,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == byte)
    }
}

/// A chunk whose checksum is right.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunk<'a> {
    pub(super) id: u64,
    pub(super) number: u64,
    pub(super) kind: Kind,
    pub(super) body: &'a [u8],
}

impl<'a> Chunk<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, &'static str> {
        if bytes.len() < BODY_FROM || &bytes[..4] != MAGIC {
            return Err("this is no chunk of a snapshot");
        }
        if u32::from_le_bytes(array4(&bytes[4..])) != crc32c::crc32c(&bytes[CRC_FROM..]) {
            return Err("its checksum is wrong");
        }
        let kind = Kind::parse(bytes[24]).ok_or("its kind is unknown")?;
        Ok(Self {
            id: u64::from_le_bytes(array8(&bytes[8..])),
            number: u64::from_le_bytes(array8(&bytes[16..])),
            kind,
            body: &bytes[BODY_FROM..],
        })
    }
}

/// A chunk in the making.
pub(super) struct ChunkWriter(pub(super) Vec<u8>);

impl ChunkWriter {
    pub(super) fn new(id: u64, number: u64, kind: Kind) -> Self {
        let mut bytes = Vec::with_capacity(BODY_FROM);
        bytes.put_slice(MAGIC);
        bytes.put_u32_le(0);
        bytes.put_u64_le(id);
        bytes.put_u64_le(number);
        bytes.put_u8(kind as u8);
        Self(bytes)
    }

    pub(super) fn row(&mut self, key: &[u8], value: &[u8]) {
        // Keys are revisions, lease ids and names of ours; values are requests, which a limit bounds far below.
        self.0
            .put_u16_le(u16::try_from(key.len()).unwrap_or(u16::MAX));
        self.0
            .put_u32_le(u32::try_from(value.len()).unwrap_or(u32::MAX));
        self.0.put_slice(key);
        self.0.put_slice(value);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.len() <= BODY_FROM
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn seal(mut self) -> Bytes {
        let crc = crc32c::crc32c(&self.0[CRC_FROM..]);
        self.0[4..8].copy_from_slice(&crc.to_le_bytes());
        self.0.into()
    }
}

/// The digest of all chunks up to this one, given that of those before.
pub(super) fn chain(before: &Digest, chunk: &[u8]) -> Digest {
    let digest = Sha256::new()
        .chain_update(before)
        .chain_update(&chunk[CRC_FROM.min(chunk.len())..]);
    digest.finalize().into()
}

/// The rows of a body.
pub(super) struct Rows<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Rows<'a> {
    /// Key and value; `None` inside if the body is cut short.
    type Item = Option<(&'a [u8], &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let row = self.take();
        if row.is_none() {
            self.0 = &[];
        }
        Some(row)
    }
}

impl<'a> Rows<'a> {
    fn take(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        let (head, rest) = self.0.split_at_checked(ROW_HEAD)?;
        let key_len = usize::from(u16::from_le_bytes([head[0], head[1]]));
        let value_len = usize::try_from(u32::from_le_bytes(array4(&head[2..]))).ok()?;
        let (key, rest) = rest.split_at_checked(key_len)?;
        let (value, rest) = rest.split_at_checked(value_len)?;
        self.0 = rest;
        Some((key, value))
    }
}
