//! The pages of a bbolt file, as they lie in it. All numbers are little endian.
//!
//! | bytes | page header |
//! |---|---|
//! | 8 | id |
//! | 2 | flags |
//! | 2 | number of elements |
//! | 4 | pages that follow and belong to it |

/// Bytes of a page in files that are written here; readers take any power of two that etcd's machines may have.
pub(super) const PAGE_BYTES: usize = 4096;
pub(super) const PAGE_BYTES_MIN: u64 = 512;
pub(super) const PAGE_BYTES_MAX: u64 = 65_536;

pub(super) const HEADER_BYTES: usize = 16;
pub(super) const ELEMENT_BYTES: usize = 16;
/// A bucket as it stands in the leaf of its parent: root page and sequence.
pub(super) const BUCKET_BYTES: usize = 16;

pub(super) const BRANCH: u16 = 0x01;
pub(super) const LEAF: u16 = 0x02;
pub(super) const META: u16 = 0x04;

/// Flag of a leaf element whose value is a bucket.
pub(super) const IS_BUCKET: u32 = 1;

/// Longest key that bbolt takes.
pub(super) const KEY_BYTES_MAX: usize = 32_768;

const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;
/// "There is no free list in this file: look which pages nobody uses."
const NO_FREELIST: u64 = u64::MAX;
const META_BYTES: usize = 64;
const CHECKED_BYTES: usize = META_BYTES - 8;

/// The first bytes of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) id: u64,
    pub(super) flags: u16,
    pub(super) count: u16,
    pub(super) overflow: u32,
}

impl Header {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.id.to_le_bytes());
        out.extend_from_slice(&self.flags.to_le_bytes());
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&self.overflow.to_le_bytes());
    }

    pub(super) fn read(page: &[u8]) -> Option<Self> {
        Some(Self {
            id: u64_at(page, 0)?,
            flags: u16_at(page, 8)?,
            count: u16_at(page, 10)?,
            overflow: u32_at(page, 12)?,
        })
    }
}

/// What a meta page says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) page_bytes: u64,
    /// Root of the bucket of buckets.
    pub(super) root: u64,
    /// Number of pages.
    pub(super) pages: u64,
    pub(super) txid: u64,
}

impl Meta {
    /// The whole page, without what fills it up.
    pub(super) fn write(&self, id: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES + META_BYTES);
        let header = Header {
            id,
            flags: META,
            count: 0,
            overflow: 0,
        };
        header.write(&mut out);
        out.extend_from_slice(&MAGIC.to_le_bytes());
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&u32::try_from(self.page_bytes).unwrap_or(0).to_le_bytes());
        out.extend_from_slice(&0u32.to_le_bytes());
        for number in [self.root, 0, NO_FREELIST, self.pages, self.txid] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let sum = fnv1a(out.get(HEADER_BYTES..).unwrap_or_default());
        out.extend_from_slice(&sum.to_le_bytes());
        out
    }

    /// Reads a meta page from its first bytes.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(page: &[u8]) -> Result<Self, &'static str> {
        Self::parse(page).unwrap_or(Err("it is too short"))
    }

    fn parse(page: &[u8]) -> Option<Result<Self, &'static str>> {
        let body = page.get(HEADER_BYTES..HEADER_BYTES + META_BYTES)?;
        let flags = Header::read(page)?.flags;
        let wrong = if u32_at(body, 0)? != MAGIC {
            Some("it does not begin as bbolt's do")
        } else if u32_at(body, 4)? != VERSION {
            Some("it is of another format version than 2")
        } else if u64_at(body, CHECKED_BYTES)? != fnv1a(body.get(..CHECKED_BYTES)?) {
            Some("its checksum is wrong")
        } else if flags & META == 0 {
            Some("it is not marked as one")
        } else {
            None
        };
        Some(wrong.map_or(
            Ok(Self {
                page_bytes: u64::from(u32_at(body, 8)?),
                root: u64_at(body, 16)?,
                pages: u64_at(body, 40)?,
                txid: u64_at(body, 48)?,
            }),
            Err,
        ))
    }
}

/// FNV-1a of 64 bits.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}

fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes_at(bytes, at).map(u16::from_le_bytes)
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes_at(bytes, at).map(u32::from_le_bytes)
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes_at(bytes, at).map(u64::from_le_bytes)
}
