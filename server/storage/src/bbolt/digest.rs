//! The trailer of a snapshot file: the SHA-256 of everything before it, which is how a stream that was cut is noticed.

use sha2::{Digest, Sha256};

use super::source::Source;
use crate::error::StorageError;

/// Length of the trailer.
pub const DIGEST_BYTES: usize = 32;

/// Pages are multiples of this, so a file with a trailer can be told from one without by its length. (etcd's rule)
const SECTOR_BYTES: u64 = 512;
const CHUNK_BYTES: usize = 1 << 20;

/// Whether a file must have the trailer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trailer {
    /// It must, and it must be right: the file came as a stream.
    Required,
    /// It may lack it, as a database file taken out of a data directory does; one that is there must be right.
    Optional,
    /// It is not looked at.
    Ignored,
}

/// A SHA-256 being fed.
#[derive(Clone, Debug, Default)]
pub struct Sha256Digest(Sha256);

impl Sha256Digest {
    /// Takes the next bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest.
    #[must_use]
    pub fn finish(self) -> [u8; DIGEST_BYTES] {
        self.0.finalize().into()
    }
}

/// Bytes before the trailer, once the trailer is checked as `trailer` demands.
pub(super) fn checked_len(
    source: &impl Source,
    name: &str,
    trailer: Trailer,
) -> Result<u64, StorageError> {
    let bytes = super::reader::length(source, name)?;
    let has = bytes % SECTOR_BYTES == DIGEST_BYTES as u64;
    if !has {
        return match trailer {
            Trailer::Required => Err(super::reader::refuse(
                name,
                format!(
                    "a snapshot ends with a SHA-256, and the length of this file ({bytes} bytes) leaves no room for one: \
                     it is cut short, or no snapshot"
                ),
            )),
            Trailer::Optional | Trailer::Ignored => Ok(bytes),
        };
    }
    let content = bytes - DIGEST_BYTES as u64;
    if trailer == Trailer::Ignored {
        return Ok(content);
    }
    let mut stored = [0; DIGEST_BYTES];
    super::reader::read_at(source, name, content, &mut stored)?;
    let found = digest_of(source, name, content)?;
    if stored == found {
        return Ok(content);
    }
    Err(super::reader::refuse(
        name,
        format!(
            "its SHA-256 is {}, and its last bytes say {}: it is damaged or cut short",
            hex(&found),
            hex(&stored)
        ),
    ))
}

fn digest_of(source: &impl Source, name: &str, bytes: u64) -> Result<[u8; 32], StorageError> {
    let mut digest = Sha256Digest::default();
    let mut chunk = vec![0; CHUNK_BYTES.min(usize::try_from(bytes).unwrap_or(CHUNK_BYTES))];
    let mut offset = 0;
    while offset < bytes {
        let left = usize::try_from(bytes - offset).unwrap_or(CHUNK_BYTES);
        let length = left.min(chunk.len());
        let part = chunk.get_mut(..length).unwrap_or_default();
        super::reader::read_at(source, name, offset, part)?;
        digest.feed(part);
        offset += length as u64;
    }
    Ok(digest.finish())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
