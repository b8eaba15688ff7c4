//! Reads a log back: what was synced is found, a torn tail is cut, anything else that does not fit is refused.
//!
//! A frame is written only after the frame before it was synced. So a damaged frame with any valid frame behind it, in
//! the same segment or in a later one, was once whole: that is damage, not a torn write, and the log is refused. A
//! damaged frame with nothing valid behind it can be the write that a crash interrupted, which nobody was told about:
//! it is cut. What was acknowledged but is the very last frame cannot be told apart by its own bytes; that is what
//! the hard state's commit, `LogOptions::must_reach` and the marker frames of `Log::settle` are for.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use kvorum_core::log::{Entry, HardState};

use super::BLOCK;
use super::frame::{FrameHeader, HEADER_LEN, LogRecord, Tail, next_record};
use super::segment::{FileName, SegmentId, name};
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::error::StorageError;

/// Read ahead by this much.
const WINDOW: usize = 1 << 20;

/// A segment file that is open for reading.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) id: SegmentId,
    pub(crate) path: PathBuf,
    pub(crate) len: u64,
    file: Arc<dyn DiskFile>,
    window: Vec<u8>,
    window_at: u64,
}

impl Reader {
    pub(crate) fn open(disk: &dyn Disk, file_id: u64) -> Result<Self, StorageError> {
        let name = name(file_id);
        let path = disk.path(&name);
        let failed = |op, e| StorageError::io(&path, op, e);
        let file = disk
            .open(&name, OpenMode::Existing)
            .map_err(|e| failed("open", e))?;
        let len = file.len().map_err(|e| failed("read the length of", e))?;
        if len < 2 * BLOCK as u64 {
            let what = format!("the file ends after {len} bytes, before its first frame");
            return Err(StorageError::corrupt(&path, len, what));
        }
        let mut header = vec![0; BLOCK];
        file.read_at(0, &mut header)
            .map_err(|e| failed("read", e))?;
        let id = SegmentId::parse(&header, file_id, len, &path)?;
        let len = len - len % BLOCK as u64;
        Ok(Self {
            id,
            path,
            len,
            file,
            window: Vec::new(),
            window_at: 0,
        })
    }

    /// Recovery read these bytes; from now on a power failure must not take them back.
    pub(crate) fn sync(&self) -> Result<(), StorageError> {
        self.file
            .sync()
            .map_err(|e| StorageError::io(&self.path, "sync", e))
    }

    fn block(&mut self, offset: u64) -> Result<&[u8], StorageError> {
        let held = self.window_at..self.window_at + self.window.len() as u64;
        if !held.contains(&offset) {
            let left = usize::try_from(self.len - offset).unwrap_or(WINDOW);
            self.window.resize(left.min(WINDOW), 0);
            self.window_at = offset;
            let read = self.file.read_at(offset, &mut self.window);
            read.map_err(|e| StorageError::io(&self.path, "read", e))?;
        }
        let at = usize::try_from(offset - self.window_at).unwrap_or(0);
        Ok(&self.window[at..at + BLOCK])
    }

    pub(crate) fn header(&mut self, offset: u64) -> Result<Option<FrameHeader>, StorageError> {
        if offset >= self.len {
            return Ok(None);
        }
        let id = self.id;
        Ok(FrameHeader::parse(self.block(offset)?, id))
    }

    /// The first block from `offset` on, and before `end`, that is the head of a frame, whether or not its body is
    /// whole.
    pub(crate) fn find_header(
        &mut self,
        offset: u64,
        end: u64,
    ) -> Result<Option<(u64, FrameHeader)>, StorageError> {
        let mut at = offset;
        while at < self.len.min(end) {
            if let Some(header) = self.header(at)? {
                return Ok(Some((at, header)));
            }
            at += BLOCK as u64;
        }
        Ok(None)
    }

    /// The body, if it is whole.
    pub(crate) fn body(
        &mut self,
        offset: u64,
        header: &FrameHeader,
    ) -> Result<Option<Bytes>, StorageError> {
        if header.disk_len() > self.len - offset {
            return Ok(None);
        }
        let len = header.body_len as usize;
        let mut body = vec![0; len];
        if HEADER_LEN + len <= BLOCK {
            body.copy_from_slice(&self.block(offset)?[HEADER_LEN..HEADER_LEN + len]);
        } else {
            let read = self.file.read_at(offset + HEADER_LEN as u64, &mut body);
            read.map_err(|e| StorageError::io(&self.path, "read", e))?;
        }
        Ok(header.body_matches(self.id, &body).then(|| body.into()))
    }
}

/// What the directory holds.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) segments: Vec<u64>,
    pub(crate) spares: VecDeque<u64>,
    pub(crate) unfinished: Vec<u64>,
    pub(crate) next_id: u64,
}

impl Listing {
    pub(crate) fn read(disk: &dyn Disk) -> Result<Self, StorageError> {
        let names = disk
            .list()
            .map_err(|e| StorageError::io(disk.path(""), "list", e))?;
        let mut found: Vec<FileName> = names.iter().filter_map(|n| FileName::parse(n)).collect();
        found.sort_unstable();
        let mut listing = Self {
            next_id: 1,
            ..Self::default()
        };
        for file in found {
            listing.next_id = listing.next_id.max(file.file_id().saturating_add(1));
            match file {
                FileName::Segment(id) => listing.segments.push(id),
                FileName::New(id) => listing.unfinished.push(id),
                FileName::Spare(id) => listing.spares.push_back(id),
            }
        }
        Ok(listing)
    }
}

/// A write that a crash interrupted: nobody was told that it had happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The segment.
    pub file: PathBuf,
    /// Where it started.
    pub offset: u64,
}

/// The state that all frames together describe.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    pub(crate) entries: VecDeque<Entry>,
    pub(crate) hard_state: HardState,
    /// The entry before `entries[0]`.
    pub(crate) base: Tail,
    pub(crate) tail: Tail,
    /// Sequence and checksum of the last frame; `None` before the first.
    pub(crate) last_frame: Option<(u64, u32)>,
    /// Per segment: file id and the highest index of any entry in it.
    pub(crate) highest: Vec<(u64, u64)>,
    /// Where the last frame of the segment in use starts, and where the next one goes; equal if it has none.
    pub(crate) last_frame_at: u64,
    pub(crate) end: u64,
    pub(crate) torn: Option<TornTail>,
}

impl Replay {
    /// Reads every segment, oldest first. Returns the ones behind the last frame, which hold nothing.
    pub(crate) fn run(&mut self, mut segments: Vec<Reader>) -> Result<Vec<Reader>, StorageError> {
        let mut at = 0;
        while at < segments.len() {
            let (reader, later) = (&mut segments[at], at + 1);
            let end = self.segment(reader)?;
            let damage = (reader.path.clone(), end);
            self.end = end;
            reader.sync()?;
            self.refuse_frames_behind(reader, &damage)?;
            match self.next_with_frames(&mut segments, later, &damage)? {
                Some(next) => {
                    self.torn = None;
                    // Empty ones in between hold nothing; they leave with their elders.
                    self.highest
                        .extend(segments[later..next].iter().map(|s| (s.id.file_id, 0)));
                    at = next;
                }
                None => return Ok(segments.split_off(later)),
            }
        }
        Ok(Vec::new())
    }

    /// Reads the frames of one segment up to the first that is not whole; returns where that is.
    fn segment(&mut self, reader: &mut Reader) -> Result<u64, StorageError> {
        self.highest.push((reader.id.file_id, 0));
        let mut offset = BLOCK as u64;
        self.last_frame_at = offset;
        while let Some(header) = reader.header(offset)? {
            let Some(body) = reader.body(offset, &header)? else {
                self.torn = Some(TornTail {
                    file: reader.path.clone(),
                    offset,
                });
                break;
            };
            let applied = self
                .check_chain(&header)
                .and_then(|()| self.frame(&header, body));
            applied.map_err(|what| StorageError::corrupt(&reader.path, offset, what))?;
            self.last_frame_at = offset;
            offset += header.disk_len();
        }
        Ok(offset)
    }

    /// Looks behind the end inside the same segment.
    fn refuse_frames_behind(
        &self,
        reader: &mut Reader,
        (file, offset): &(PathBuf, u64),
    ) -> Result<(), StorageError> {
        match reader.find_header(offset + BLOCK as u64, u64::MAX)? {
            None => Ok(()),
            Some((at, _)) => {
                let what = format!(
                    "a frame is damaged although a later one, at byte {at}, was written after it"
                );
                Err(StorageError::corrupt(file, *offset, what))
            }
        }
    }

    /// The next segment that holds frames, if its first one follows the last frame of this one.
    fn next_with_frames(
        &self,
        segments: &mut [Reader],
        from: usize,
        (file, offset): &(PathBuf, u64),
    ) -> Result<Option<usize>, StorageError> {
        for (at, reader) in segments.iter_mut().enumerate().skip(from) {
            let Some((place, header)) = reader.find_header(BLOCK as u64, u64::MAX)? else {
                continue;
            };
            let follows = self
                .last_frame
                .is_none_or(|(sequence, _)| header.sequence == sequence + 1);
            if place == BLOCK as u64 && follows {
                return Ok(Some(at));
            }
            let first = BLOCK as u64;
            let (file, offset) = if place > first {
                (&reader.path, first)
            } else {
                (file, *offset)
            };
            let what = format!(
                "frames are missing although later ones exist, in {} at byte {place}",
                reader.path.display()
            );
            return Err(StorageError::corrupt(file, offset, what));
        }
        Ok(None)
    }

    fn check_chain(&mut self, header: &FrameHeader) -> Result<(), String> {
        if let Some((sequence, crc)) = self.last_frame {
            if header.sequence != sequence + 1 {
                return Err(format!(
                    "frame {} follows frame {sequence}",
                    header.sequence
                ));
            }
            if header.previous_crc != crc {
                return Err(format!(
                    "frame {} does not continue the frame before",
                    header.sequence
                ));
            }
            if header.tail != self.tail {
                return Err(format!(
                    "frame {} continues after index {} term {}, the log ends at index {} term {}",
                    header.sequence,
                    header.tail.index,
                    header.tail.term,
                    self.tail.index,
                    self.tail.term
                ));
            }
        } else {
            self.base = header.tail;
            self.tail = header.tail;
        }
        self.last_frame = Some((header.sequence, header.crc));
        Ok(())
    }

    fn frame(&mut self, header: &FrameHeader, mut body: Bytes) -> Result<(), String> {
        while !body.is_empty() {
            let record = next_record(&mut body)
                .map_err(|what| format!("frame {}: {what}", header.sequence))?;
            match record {
                LogRecord::HardState(state) => self.hard_state = state,
                LogRecord::Reset(tail) => {
                    self.entries.clear();
                    self.base = tail;
                    self.tail = tail;
                    // All entries before are void, whatever their index.
                    let marks = self.highest.iter_mut();
                    marks.for_each(|(_, highest)| *highest = tail.index.min(*highest));
                }
                LogRecord::Entry(entry) => self.entry(entry)?,
            }
        }
        Ok(())
    }

    fn entry(&mut self, entry: Entry) -> Result<(), String> {
        let Entry { index, term, .. } = entry;
        if index == 0 || index > self.tail.index.saturating_add(1) {
            return Err(format!("entry {index} follows entry {}", self.tail.index));
        }
        if index <= self.base.index {
            // It overwrites entries whose segments are gone; everything after it is void as well.
            self.entries.clear();
            self.base = Tail {
                index: index - 1,
                term: 0,
            };
        } else {
            let keep = usize::try_from(index - 1 - self.base.index).unwrap_or(usize::MAX);
            self.entries.truncate(keep);
        }
        let before = self.entries.back().map_or(self.base.term, |e| e.term);
        if term < before {
            return Err(format!(
                "entry {index} has term {term}, the entry before it has {before}"
            ));
        }
        self.tail = Tail { index, term };
        if let Some((_, highest)) = self.highest.last_mut() {
            *highest = (*highest).max(index);
        }
        self.entries.push_back(entry);
        Ok(())
    }
}
