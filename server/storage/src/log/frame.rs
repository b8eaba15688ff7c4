//! Frames: what one write puts into the log.
//!
//! A frame starts on a block boundary and holds every group of one group commit:
//!
//! | bytes | field |
//! |---|---|
//! | 0..4 | magic `KVFR` |
//! | 4..8 | CRC-32C of the segment's file id and salt, then bytes 8..48 |
//! | 8..16 | sequence: rises by one with every frame of the log |
//! | 16..20 | length of the body |
//! | 20..24 | CRC-32C of the body, continued from the segment's file id and salt |
//! | 24..28 | bytes 4..8 of the frame before |
//! | 28..32 | zero |
//! | 32..48 | index and term of the last entry before this frame |
//!
//! The file id in the checksums keeps the old content of a recycled file from ever replaying. The salt keeps a client
//! from storing a value that looks like a frame. The body is a list of records, each a kind byte and its fields.

use bytes::{Buf, Bytes};
use kvorum_core::log::{Append, Entry, EntryKind, HardState};

use super::buffer::AlignedBuffer;
use super::segment::{SegmentId, blocks_up};

const MAGIC: &[u8; 4] = b"KVFR";
pub(crate) const HEADER_LEN: usize = 48;

const HARD_STATE: u8 = 1;
const RESET: u8 = 2;
const NORMAL: u8 = 3;
const CONF_CHANGE: u8 = 4;
const CONF_CHANGE_V2: u8 = 5;

const HARD_STATE_LEN: usize = 1 + 3 * 8;
const RESET_LEN: usize = 1 + 2 * 8;
const ENTRY_HEAD_LEN: usize = 1 + 2 * 8 + 4;

/// The last entry of the log: the next one has the index after it and no lower term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tail {
    pub(crate) index: u64,
    pub(crate) term: u64,
}

/// Everything in a frame but its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) crc: u32,
    pub(crate) sequence: u64,
    pub(crate) body_len: u32,
    pub(crate) body_crc: u32,
    pub(crate) previous_crc: u32,
    pub(crate) tail: Tail,
}

impl FrameHeader {
    /// `None` unless these bytes are the head of a frame of this very segment.
    pub(crate) fn parse(block: &[u8], id: SegmentId) -> Option<Self> {
        if block.len() < HEADER_LEN || &block[0..4] != MAGIC {
            return None;
        }
        let crc = u32::from_le_bytes(array4(&block[4..]));
        if crc != crc_from(id, &block[8..HEADER_LEN]) {
            return None;
        }
        Some(Self {
            crc,
            sequence: u64::from_le_bytes(array8(&block[8..])),
            body_len: u32::from_le_bytes(array4(&block[16..])),
            body_crc: u32::from_le_bytes(array4(&block[20..])),
            previous_crc: u32::from_le_bytes(array4(&block[24..])),
            tail: Tail {
                index: u64::from_le_bytes(array8(&block[32..])),
                term: u64::from_le_bytes(array8(&block[40..])),
            },
        })
    }

    /// The bytes that the frame takes on disk.
    pub(crate) fn disk_len(&self) -> u64 {
        blocks_up(HEADER_LEN + self.body_len as usize) as u64
    }

    pub(crate) fn body_matches(&self, id: SegmentId, body: &[u8]) -> bool {
        body.len() == self.body_len as usize && crc_from(id, body) == self.body_crc
    }
}

/// One record of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LogRecord {
    HardState(HardState),
    /// The log goes on after this entry; everything before is covered by a snapshot.
    Reset(Tail),
    Entry(Entry),
}

/// Collects records into a buffer and seals them as a frame.
pub(crate) struct FrameWriter<'a>(&'a mut AlignedBuffer);

impl<'a> FrameWriter<'a> {
    pub(crate) fn new(buffer: &'a mut AlignedBuffer) -> Self {
        buffer.clear();
        buffer.resize(HEADER_LEN);
        Self(buffer)
    }

    pub(crate) fn hard_state(&mut self, state: &HardState) {
        let mut record = [HARD_STATE; HARD_STATE_LEN];
        record[1..9].copy_from_slice(&state.term.to_le_bytes());
        record[9..17].copy_from_slice(&state.vote.to_le_bytes());
        record[17..25].copy_from_slice(&state.commit.to_le_bytes());
        self.0.push(&record);
    }

    pub(crate) fn reset(&mut self, tail: Tail) {
        let mut record = [RESET; RESET_LEN];
        record[1..9].copy_from_slice(&tail.index.to_le_bytes());
        record[9..17].copy_from_slice(&tail.term.to_le_bytes());
        self.0.push(&record);
    }

    pub(crate) fn group(&mut self, group: &Append) {
        for entry in &group.entries {
            self.entry(entry);
        }
        if let Some(state) = &group.hard_state {
            self.hard_state(state);
        }
    }

    fn entry(&mut self, entry: &Entry) {
        let mut head = [0; ENTRY_HEAD_LEN];
        head[0] = match entry.kind {
            EntryKind::Normal => NORMAL,
            EntryKind::ConfChange => CONF_CHANGE,
            EntryKind::ConfChangeV2 => CONF_CHANGE_V2,
        };
        head[1..9].copy_from_slice(&entry.index.to_le_bytes());
        head[9..17].copy_from_slice(&entry.term.to_le_bytes());
        let len = u32::try_from(entry.data.len()).unwrap_or(u32::MAX);
        head[17..21].copy_from_slice(&len.to_le_bytes());
        self.0.push(&head);
        self.0.push(&entry.data);
    }

    /// Fills in the header, pads to whole blocks and returns the header's checksum for the next frame.
    pub(crate) fn seal(self, id: SegmentId, sequence: u64, previous_crc: u32, tail: Tail) -> u32 {
        let body_len = self.0.len() - HEADER_LEN;
        let body_crc = crc_from(id, &self.0.as_slice()[HEADER_LEN..]);
        self.0.resize(blocks_up(HEADER_LEN + body_len));
        let header = &mut self.0.as_mut_slice()[..HEADER_LEN];
        header[0..4].copy_from_slice(MAGIC);
        header[8..16].copy_from_slice(&sequence.to_le_bytes());
        let body_len = u32::try_from(body_len).unwrap_or(u32::MAX);
        header[16..20].copy_from_slice(&body_len.to_le_bytes());
        header[20..24].copy_from_slice(&body_crc.to_le_bytes());
        header[24..28].copy_from_slice(&previous_crc.to_le_bytes());
        header[32..40].copy_from_slice(&tail.index.to_le_bytes());
        header[40..48].copy_from_slice(&tail.term.to_le_bytes());
        let crc = crc_from(id, &header[8..HEADER_LEN]);
        header[4..8].copy_from_slice(&crc.to_le_bytes());
        crc
    }
}

/// The bytes that a group takes inside a body.
pub(crate) fn group_len(group: &Append) -> usize {
    let entries: usize = group
        .entries
        .iter()
        .map(|e| ENTRY_HEAD_LEN + e.data.len())
        .sum();
    entries + group.hard_state.map_or(0, |_| HARD_STATE_LEN)
}

/// The bytes that a frame may need beside its groups: its header and the hard state that opens a segment.
pub(crate) const OVERHEAD: usize = HEADER_LEN + HARD_STATE_LEN;

/// Takes the next record off a body whose checksum is right.
///
/// # Errors
/// What is wrong; only a defect of the writer gets here.
pub(crate) fn next_record(body: &mut Bytes) -> Result<LogRecord, String> {
    let cut = |_| "a record is cut short".to_owned();
    let kind = body.try_get_u8().map_err(cut)?;
    let a = body.try_get_u64_le().map_err(cut)?;
    let b = body.try_get_u64_le().map_err(cut)?;
    let kind = match kind {
        HARD_STATE => {
            let commit = body.try_get_u64_le().map_err(cut)?;
            return Ok(LogRecord::HardState(HardState {
                term: a,
                vote: b,
                commit,
            }));
        }
        RESET => return Ok(LogRecord::Reset(Tail { index: a, term: b })),
        NORMAL => EntryKind::Normal,
        CONF_CHANGE => EntryKind::ConfChange,
        CONF_CHANGE_V2 => EntryKind::ConfChangeV2,
        other => return Err(format!("record kind {other} is unknown")),
    };
    let len = body.try_get_u32_le().map_err(cut)? as usize;
    if len > body.len() {
        return Err(format!(
            "entry {a} claims {len} bytes, {} are left",
            body.len()
        ));
    }
    Ok(LogRecord::Entry(Entry {
        index: a,
        term: b,
        kind,
        data: body.split_to(len),
    }))
}

fn crc_from(id: SegmentId, bytes: &[u8]) -> u32 {
    let mut own = [0; 16];
    own[..8].copy_from_slice(&id.file_id.to_le_bytes());
    own[8..].copy_from_slice(&id.salt.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c(&own), bytes)
}

pub(crate) fn array4(bytes: &[u8]) -> [u8; 4] {
    let mut out = [0; 4];
    out.copy_from_slice(&bytes[..4]);
    out
}

pub(crate) fn array8(bytes: &[u8]) -> [u8; 8] {
    let mut out = [0; 8];
    out.copy_from_slice(&bytes[..8]);
    out
}
