//! Segment files: their names and the block that opens each of them.
//!
//! | bytes | field |
//! |---|---|
//! | 0..8 | magic `KVORUMLG` |
//! | 8..12 | format version |
//! | 12..16 | CRC-32C of bytes 0..12 and 16..64 |
//! | 16..24 | file id: rises with every segment, also when a file is used again |
//! | 24..32 | salt: keeps the content of a value from ever looking like a frame |
//! | 32..40 | length of the file: one that lost its end is not taken for a log that ends there |
//! | 40..64 | zero |
//!
//! Every format version keeps this layout of the first 64 bytes, so that an old build can name what it cannot read.
//! All numbers are little-endian.

use std::path::Path;

use super::BLOCK;
use super::frame::{array4, array8};
use crate::error::StorageError;

/// The version that this build writes, and the newest it reads.
pub(crate) const FORMAT: u32 = 1;

const MAGIC: &[u8; 8] = b"KVORUMLG";
const HEADER_LEN: usize = 64;

/// What makes a segment's checksums its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentId {
    pub(crate) file_id: u64,
    pub(crate) salt: u64,
}

impl SegmentId {
    /// The name of the file; sorts by file id.
    pub(crate) fn name(self) -> String {
        name(self.file_id)
    }

    /// The block that opens a file of `bytes` bytes.
    pub(crate) fn header(self, bytes: u64) -> Vec<u8> {
        let mut block = vec![0; BLOCK];
        block[0..8].copy_from_slice(MAGIC);
        block[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        block[16..24].copy_from_slice(&self.file_id.to_le_bytes());
        block[24..32].copy_from_slice(&self.salt.to_le_bytes());
        block[32..40].copy_from_slice(&bytes.to_le_bytes());
        let crc = header_crc(&block);
        block[12..16].copy_from_slice(&crc.to_le_bytes());
        block
    }

    /// Reads the opening block of the file called for `file_id`, which has `bytes` bytes.
    pub(crate) fn parse(
        block: &[u8],
        file_id: u64,
        bytes: u64,
        path: &Path,
    ) -> Result<Self, StorageError> {
        if block.len() < HEADER_LEN || &block[0..8] != MAGIC {
            return Err(StorageError::corrupt(
                path,
                0,
                "bad magic: not a kvorum log file, or damaged",
            ));
        }
        if u32::from_le_bytes(array4(&block[12..])) != header_crc(block) {
            return Err(StorageError::corrupt(
                path,
                8,
                "the checksum of the file header is wrong",
            ));
        }
        let format = u32::from_le_bytes(array4(&block[8..]));
        if format > FORMAT {
            return Err(StorageError::Newer {
                file: path.to_path_buf(),
                found: format,
                known: FORMAT,
            });
        }
        let id = Self {
            file_id: u64::from_le_bytes(array8(&block[16..])),
            salt: u64::from_le_bytes(array8(&block[24..])),
        };
        if id.file_id != file_id {
            let what = format!(
                "the file holds segment {} under another segment's name",
                id.file_id
            );
            return Err(StorageError::corrupt(path, 16, what));
        }
        let made = u64::from_le_bytes(array8(&block[32..]));
        if bytes != made {
            let what = format!("the file was made with {made} bytes and has {bytes}");
            return Err(StorageError::corrupt(path, bytes.min(made), what));
        }
        Ok(id)
    }
}

fn header_crc(block: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&block[..12]), &block[16..HEADER_LEN])
}

/// A segment in use.
pub(crate) fn name(file_id: u64) -> String {
    format!("{file_id:016x}.log")
}

/// A file that is being made into a segment; never holds anything of value.
pub(crate) fn new_name(file_id: u64) -> String {
    format!("{file_id:016x}.new")
}

/// A file that was a segment and waits to be used again.
pub(crate) fn spare_name(file_id: u64) -> String {
    format!("{file_id:016x}.spare")
}

/// What a file in the log directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FileName {
    Segment(u64),
    New(u64),
    Spare(u64),
}

impl FileName {
    /// `None` for files that are not ours; they are left alone.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (stem, kind) = name.split_once('.')?;
        if stem.len() != 16 || !stem.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        let id = u64::from_str_radix(stem, 16).ok()?;
        match kind {
            "log" => Some(Self::Segment(id)),
            "new" => Some(Self::New(id)),
            "spare" => Some(Self::Spare(id)),
            _ => None,
        }
    }

    pub(crate) fn file_id(self) -> u64 {
        match self {
            Self::Segment(id) | Self::New(id) | Self::Spare(id) => id,
        }
    }
}

/// Rounds up to whole blocks.
pub(crate) const fn blocks_up(len: usize) -> usize {
    len.div_ceil(BLOCK) * BLOCK
}
