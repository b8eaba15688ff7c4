//! One segment by itself, in steps, while appends may go on behind what is looked at.

use std::io;

use super::BLOCK;
use super::recover::Reader;
use super::segment::name;
use crate::disk::Disk;
use crate::error::StorageError;

/// How far one segment was looked at.
#[derive(Debug)]
pub(crate) struct SegmentCheck {
    file_id: u64,
    /// The log appends to it, or did when this began: it ends wherever its last frame does.
    in_use: bool,
    reader: Reader,
    offset: u64,
    /// Up to where nothing was found behind the offset, if nothing whole stands there.
    searched: Option<u64>,
    /// Sequence and checksum of the frame before, if it is known.
    pub(crate) last: Option<(u64, u32)>,
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
    /// The segment was let go meanwhile.
    pub(crate) gone: bool,
}

impl SegmentCheck {
    /// `None` if the segment was let go.
    pub(crate) fn open(
        disk: &dyn Disk,
        file_id: u64,
        in_use: bool,
    ) -> Result<Option<Self>, StorageError> {
        let Some(reader) = open(disk, file_id)? else {
            return Ok(None);
        };
        Ok(Some(Self {
            file_id,
            in_use,
            reader,
            offset: BLOCK as u64,
            searched: None,
            last: None,
            frames: 0,
            bytes: 0,
            gone: false,
        }))
    }

    /// Looks at about `bytes` bytes; false at the end.
    pub(crate) fn step(&mut self, disk: &dyn Disk, bytes: u64) -> Result<bool, StorageError> {
        if let Some(from) = self.searched {
            return self.search(disk, from, bytes);
        }
        let until = self.offset.saturating_add(bytes);
        while self.offset < until {
            if self.frame()? {
                continue;
            }
            // What was read ahead may be older than what was appended since.
            if !self.refresh(disk)? {
                return Ok(false);
            }
            if !self.frame()? {
                self.searched = Some(self.offset + BLOCK as u64);
                break;
            }
        }
        Ok(true)
    }

    /// Looks at the frame that is next; false if there is none that is whole.
    fn frame(&mut self) -> Result<bool, StorageError> {
        let Some(header) = self.reader.header(self.offset)? else {
            return Ok(false);
        };
        if self.reader.body(self.offset, &header)?.is_none() {
            return Ok(false);
        }
        let follows = self.last.is_none_or(|(sequence, crc)| {
            (header.sequence, header.previous_crc) == (sequence + 1, crc)
        });
        if !follows {
            let what = format!(
                "frame {} does not continue the frame before",
                header.sequence
            );
            return Err(StorageError::corrupt(&self.reader.path, self.offset, what));
        }
        self.last = Some((header.sequence, header.crc));
        self.offset += header.disk_len();
        self.frames += 1;
        self.bytes += header.disk_len();
        Ok(true)
    }

    fn refresh(&mut self, disk: &dyn Disk) -> Result<bool, StorageError> {
        match open(disk, self.file_id)? {
            Some(fresh) => self.reader = fresh,
            None => self.gone = true,
        }
        Ok(!self.gone)
    }

    /// Nothing whole stands at the offset. A frame behind it was written later, so this one was whole once; but the
    /// log may have written both since the look at this one.
    fn search(&mut self, disk: &dyn Disk, from: u64, bytes: u64) -> Result<bool, StorageError> {
        let to = from.saturating_add(bytes.div_ceil(BLOCK as u64) * BLOCK as u64);
        let torn = self.reader.header(self.offset)?.is_some() && !self.in_use;
        if !torn && self.reader.find_header(from, to)?.is_none() {
            self.searched = Some(to);
            return Ok(to < self.reader.len);
        }
        self.searched = None;
        if !self.refresh(disk)? {
            return Ok(false);
        }
        if self.frame()? {
            return Ok(true);
        }
        let what = "a frame is damaged although a later one was written after it";
        Err(StorageError::corrupt(&self.reader.path, self.offset, what))
    }
}

fn open(disk: &dyn Disk, file_id: u64) -> Result<Option<Reader>, StorageError> {
    match Reader::open(disk, file_id) {
        Ok(reader) => Ok(Some(reader)),
        Err(StorageError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Ok(None)
        }
        // The file was open while its name went, and holds a new segment by now.
        Err(error) if error.is_damage() && gone(disk, file_id)? => Ok(None),
        Err(error) => Err(error),
    }
}

fn gone(disk: &dyn Disk, file_id: u64) -> Result<bool, StorageError> {
    let name = name(file_id);
    let there = disk.exists(&name);
    there
        .map(|there| !there)
        .map_err(|e| StorageError::io(disk.path(&name), "look for", e))
}
