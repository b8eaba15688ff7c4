//! The raft log: segment files, group commit, recovery.
//!
//! `Log::append` turns all groups that wait into one frame and writes it with one durable write. Three rules make that
//! safe:
//!
//! 1. **A frame starts on a fresh block.** A torn write can only damage blocks that held nothing, so it can never
//!    reach a record that was acknowledged. Rewriting the last partial block would save no write (the device takes
//!    whole blocks either way) and would put acknowledged records at risk in each append.
//! 2. **One frame at a time.** A frame is written after the one before it is durable. So a valid frame proves that all
//!    frames before it were once durable, and recovery can tell damage from a torn tail.
//! 3. **A failed write or sync is final.** The kernel may have dropped the data and forgotten (fsync errors are
//!    reported once), so the log takes no more until it is opened again.
//!
//! The first frame of each segment repeats the hard state, so segments can leave oldest first without losing it.

pub(crate) mod buffer;
mod frame;
mod reach;
mod recover;
mod recycler;
mod segment;
mod segment_check;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kvorum_core::log::{Append, Entry, HardState};

pub use recover::TornTail;
pub(crate) use recover::{Listing, Reader, Replay};
pub use recycler::Recycler;
pub(crate) use segment_check::SegmentCheck;

use crate::disk::{Disk, DiskFile, SyncMethod};
use crate::error::{OpenError, StorageError};
use buffer::AlignedBuffer;
pub(crate) use frame::{array4, array8};

use frame::{FrameWriter, OVERHEAD, Tail, group_len};
use segment::{SegmentId, blocks_up};

/// Unit of every write: what `O_DIRECT` asks for on all common disks.
pub(crate) const BLOCK: usize = 4096;

/// Groups are packed into one frame up to this size; a larger single group still gets a frame of its own.
const MAX_FRAME: usize = 16 << 20;

/// How a log is kept.
#[derive(Clone, Copy, Debug)]
pub struct LogOptions {
    /// Size of a segment file. A multiple of 4096, at least 8192.
    pub segment_bytes: u64,
    /// Random per start: without it a client could guess what makes a frame valid.
    pub seed: u64,
    /// The applied index of the state store, if there is one: a log that ends before it, or starts so late that an
    /// entry between them is missing, has lost something and is refused.
    pub must_reach: Option<u64>,
    /// Index and term of a state that came from elsewhere, as `StateStore::base` tells it: a log that ends before it,
    /// or went another way, begins anew behind it and keeps its hard state.
    pub base: Option<(u64, u64)>,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            seed: 0,
            must_reach: None,
            base: None,
        }
    }
}

/// What an existing log held.
#[derive(Clone, Debug)]
pub struct RecoveredLog {
    /// The entries still in the log, without gaps. Those up to the applied index may be dropped.
    pub entries: Vec<Entry>,
    /// The newest hard state.
    pub hard_state: HardState,
    /// Index and term of the entry before `entries[0]`; the term is 0 where it is not known.
    pub base: (u64, u64),
    /// True if the log began anew behind `LogOptions::base`.
    pub begun_anew: bool,
    /// The write that a crash interrupted, if its remains were found and cut.
    pub torn: Option<TornTail>,
    /// How appends become durable on this filesystem.
    pub sync_method: SyncMethod,
}

/// What one append wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AppendStats {
    /// Bytes written, padding included.
    pub bytes: u64,
    /// Frames written, each with one sync; more than one only for very large appends.
    pub frames: u32,
    /// Segments begun.
    pub rolled: u32,
    /// Time spent on encoding.
    pub encoding: Duration,
    /// Time spent until what was encoded was durable.
    pub syncing: Duration,
}

/// The log of one member. Owned by one thread.
#[derive(Debug)]
pub struct Log {
    disk: Arc<dyn Disk>,
    recycler: Recycler,
    buffer: AlignedBuffer,
    active: Active,
    /// Older segments, oldest first: file id and highest index in it.
    older: VecDeque<(u64, u64)>,
    hard_state: HardState,
    tail: Tail,
    sequence: u64,
    previous_crc: u32,
    /// True if the last frame holds nothing that could be missed.
    settled: bool,
    failed: bool,
}

#[derive(Debug)]
struct Active {
    id: SegmentId,
    file: Arc<dyn DiskFile>,
    method: SyncMethod,
    path: PathBuf,
    len: u64,
    end: u64,
    highest: u64,
}

impl Active {
    fn open(disk: &dyn Disk, id: SegmentId) -> Result<Self, StorageError> {
        let name = id.name();
        let path = disk.path(&name);
        let (file, method) = disk
            .open_log(&name)
            .map_err(|e| StorageError::io(&path, "open", e))?;
        let len = file
            .len()
            .map_err(|e| StorageError::io(&path, "read the length of", e))?;
        let len = len - len % BLOCK as u64;
        Ok(Self {
            id,
            file,
            method,
            path,
            len,
            end: BLOCK as u64,
            highest: 0,
        })
    }

    fn room(&self) -> u64 {
        self.len.saturating_sub(self.end)
    }

    /// Writes the last frame once more, byte for byte. The process before may have died of a failed sync, after which
    /// the page cache shows bytes that the disk does not hold and a new sync reports success. Tearing this write is
    /// harmless: old and new bytes are equal.
    fn write_again(&self, from: u64) -> Result<(), StorageError> {
        let failed = |op, e| StorageError::io(&self.path, op, e);
        let mut frame = AlignedBuffer::new();
        frame.resize(usize::try_from(self.end - from).unwrap_or(0));
        self.file
            .read_at(from, frame.as_mut_slice())
            .map_err(|e| failed("read", e))?;
        self.write_at(from, frame.as_slice())
    }

    fn write(&mut self, frame: &[u8]) -> Result<(), StorageError> {
        self.write_at(self.end, frame)?;
        self.end += frame.len() as u64;
        Ok(())
    }

    fn write_at(&self, offset: u64, frame: &[u8]) -> Result<(), StorageError> {
        if frame.is_empty() {
            return Ok(());
        }
        let failed = |op, e| StorageError::io(&self.path, op, e);
        self.file
            .write_at(offset, frame)
            .map_err(|e| failed("write", e))?;
        if !self.method.durable_on_return() {
            self.file.sync().map_err(|e| failed("sync", e))?;
        }
        Ok(())
    }
}

/// One record that goes into a frame beside whole groups.
#[derive(Clone, Copy)]
enum Extra {
    None,
    Reset(Tail),
}

impl Log {
    /// Opens the log in `disk`, or makes an empty one there.
    ///
    /// # Errors
    /// The disk failed, a file is damaged, missing or newer than this build.
    pub fn open(
        disk: Arc<dyn Disk>,
        options: LogOptions,
    ) -> Result<(Self, RecoveredLog), OpenError> {
        let segment_bytes = blocks_up(usize::try_from(options.segment_bytes).unwrap_or(BLOCK));
        let segment_bytes = segment_bytes.max(2 * BLOCK) as u64;
        let mut listing = Listing::read(&*disk)?;
        discard_unfinished(&*disk, &mut listing)?;
        // The process before may have died between a rename and its sync; what follows relies on these names.
        disk.sync_dir()
            .map_err(|e| StorageError::io(disk.path(""), "sync", e))?;
        let mut replay = Replay::default();
        let (empty, anew) = replay
            .open(&*disk, &listing.segments, &options)
            .map_err(|e| e.missing_from(replay.tail.index + 1))?;
        let ready = empty
            .first()
            .filter(|r| r.len == segment_bytes)
            .map(|r| r.id);
        let (seed, next_id, spares) = (options.seed, listing.next_id, listing.spares);
        let recycler = Recycler::new(disk.clone(), segment_bytes, seed, next_id, spares, ready);
        let torn = replay.torn.take();
        let entries = std::mem::take(&mut replay.entries);
        let base = (replay.base.index, replay.base.term);
        let mut log = Self::resume(disk, recycler, replay)?;
        let mut recovered = RecoveredLog {
            entries: entries.into(),
            hard_state: log.hard_state,
            base,
            begun_anew: false,
            torn,
            sync_method: log.active.method,
        };
        if let Some((base, hard_state)) = anew {
            log.reset(base.0, base.1, hard_state)?;
            recovered.begin_anew(base, hard_state);
        }
        log.settle()?;
        Ok((log, recovered))
    }

    /// Goes on behind the last frame.
    fn resume(
        disk: Arc<dyn Disk>,
        recycler: Recycler,
        mut replay: Replay,
    ) -> Result<Self, StorageError> {
        let active = match replay.highest.pop() {
            Some((file_id, highest)) => {
                let id = Reader::open(&*disk, file_id)?.id;
                let active = Active {
                    end: replay.end,
                    highest,
                    ..Active::open(&*disk, id)?
                };
                active.write_again(replay.last_frame_at)?;
                active
            }
            None => Active::open(&*disk, recycler.take_first()?)?,
        };
        let (sequence, previous_crc) = replay.last_frame.unwrap_or_default();
        Ok(Self {
            disk,
            recycler,
            buffer: AlignedBuffer::new(),
            active,
            older: replay.highest.into(),
            hard_state: replay.hard_state,
            tail: replay.tail,
            sequence,
            previous_crc,
            settled: false,
            failed: false,
        })
    }

    /// Writes all groups, in order, and returns when they are durable: one write and one sync for all of them, unless
    /// together they exceed 16 MiB. A group is on disk whole or not at all.
    ///
    /// # Errors
    /// `Order` if the groups do not continue the log: nothing was written. A full disk while a segment was needed
    /// (`is_out_of_space`): nothing was written, the same groups can be given again. After any other error the
    /// log takes no more.
    pub fn append(&mut self, groups: &[Append]) -> Result<AppendStats, StorageError> {
        self.check_usable()?;
        self.check_order(groups)?;
        let mut stats = AppendStats::default();
        let mut rest = groups;
        while !rest.is_empty() {
            let (count, bytes) = fit(rest);
            let (now, later) = rest.split_at(count);
            rest = later;
            if now.iter().any(|g| !g.is_empty()) {
                self.write_frame(now, Extra::None, bytes, &mut stats)?;
                self.settled = false;
            }
        }
        Ok(stats)
    }

    /// Lets go of every segment whose entries all have an index of `index` or less; the segment in use always stays.
    /// Only marks them: the files are put away by `Recycler::run`, off the path of appends.
    pub fn release(&mut self, index: u64) {
        while let Some((file_id, highest)) = self.older.front().copied() {
            if highest > index {
                return;
            }
            self.recycler.retire(file_id);
            self.older.pop_front();
        }
    }

    /// Writes a frame that holds nothing new, if the last one does and there is room for it. It proves that the frame
    /// before it was durable, so that later damage there is seen and not cut as a torn write. To be called when the
    /// log has been idle for a moment, and before a clean stop.
    ///
    /// # Errors
    /// As `append`.
    pub fn settle(&mut self) -> Result<(), StorageError> {
        self.check_usable()?;
        if self.settled || self.sequence == 0 || self.active.room() < BLOCK as u64 {
            return Ok(());
        }
        let mut stats = AppendStats::default();
        let group = Append {
            hard_state: Some(self.hard_state),
            ..Append::default()
        };
        let groups = std::slice::from_ref(&group);
        self.write_frame(groups, Extra::None, OVERHEAD, &mut stats)?;
        self.settled = true;
        Ok(())
    }

    /// The handle that makes and puts away segment files, for another thread.
    #[must_use]
    pub fn recycler(&self) -> Recycler {
        self.recycler.clone()
    }

    /// Makes the next segment now; the same as `recycler().run()`.
    ///
    /// # Errors
    /// As `Recycler::run`.
    pub fn prepare_next(&self) -> Result<bool, StorageError> {
        self.recycler.run()
    }

    /// True once a quarter of the segment in use is written: time for `Recycler::run`. Earlier, making the next segment
    /// would only take the disk away from the appends of a member that writes little.
    #[must_use]
    pub fn needs_next(&self) -> bool {
        self.active.end >= self.active.len / 4
    }

    /// Index of the last entry, 0 if there never was one.
    #[must_use]
    pub fn last_index(&self) -> u64 {
        self.tail.index
    }

    /// How appends become durable.
    #[must_use]
    pub fn sync_method(&self) -> SyncMethod {
        self.active.method
    }

    /// Segments that hold something needed.
    #[must_use]
    pub fn segments(&self) -> usize {
        self.older.len() + 1
    }

    fn check_usable(&self) -> Result<(), StorageError> {
        if self.failed {
            Err(StorageError::Failed(self.active.path.clone()))
        } else {
            Ok(())
        }
    }

    /// The same rules that recovery checks.
    fn check_order(&self, groups: &[Append]) -> Result<(), StorageError> {
        let mut tail = self.tail;
        for group in groups {
            // Terms of entries that are overwritten are not kept, so the first entry of a group that overwrites may
            // have any term.
            let first = group.entries.first();
            if first.is_some_and(|e| e.index <= tail.index) {
                tail.term = 0;
                tail.index = first.map_or(0, |e| e.index.saturating_sub(1));
            }
            for entry in &group.entries {
                if entry.index == 0 || entry.index != tail.index + 1 || entry.term < tail.term {
                    return Err(StorageError::Order(format!(
                        "entry {} of term {} cannot follow entry {} of term {}",
                        entry.index, entry.term, tail.index, tail.term
                    )));
                }
                tail = Tail {
                    index: entry.index,
                    term: entry.term,
                };
            }
            if group_len(group) > u32::MAX as usize - 2 * OVERHEAD {
                return Err(StorageError::Order(format!(
                    "group {} exceeds 4 GiB",
                    group.number
                )));
            }
        }
        let commit = groups
            .iter()
            .rev()
            .find_map(|g| g.hard_state)
            .map_or(0, |state| state.commit);
        if commit > tail.index {
            let what = format!("commit {commit} lies behind the last entry {}", tail.index);
            return Err(StorageError::Order(what));
        }
        Ok(())
    }

    /// Errors before the write leave the log as it was; errors of the write itself are final.
    fn write_frame(
        &mut self,
        groups: &[Append],
        extra: Extra,
        bytes: usize,
        stats: &mut AppendStats,
    ) -> Result<(), StorageError> {
        let disk_len = blocks_up(bytes) as u64;
        let rolled = self.active.room() < disk_len;
        if rolled {
            self.roll(disk_len)?;
            stats.rolled += 1;
        }
        let begin = Instant::now();
        let mut frame = FrameWriter::new(&mut self.buffer);
        if rolled || self.active.end == BLOCK as u64 {
            frame.hard_state(&self.hard_state);
        }
        if let Extra::Reset(tail) = extra {
            frame.reset(tail);
        }
        groups.iter().for_each(|group| frame.group(group));
        let sequence = self.sequence + 1;
        let crc = frame.seal(self.active.id, sequence, self.previous_crc, self.tail);
        let encoded = Instant::now();
        let written = self.active.write(self.buffer.as_slice());
        stats.encoding += encoded - begin;
        stats.syncing += encoded.elapsed();
        stats.bytes += self.buffer.len() as u64;
        stats.frames += 1;
        self.buffer.clear();
        if written.is_err() {
            self.failed = true;
        }
        written?;
        self.sequence = sequence;
        self.previous_crc = crc;
        self.remember(groups, extra);
        Ok(())
    }

    fn remember(&mut self, groups: &[Append], extra: Extra) {
        if let Extra::Reset(tail) = extra {
            self.tail = tail;
        }
        for group in groups {
            if let Some(last) = group.entries.last() {
                self.tail = Tail {
                    index: last.index,
                    term: last.term,
                };
                self.active.highest = self.active.highest.max(last.index);
            }
            if let Some(state) = group.hard_state {
                self.hard_state = state;
            }
        }
    }

    fn roll(&mut self, frame_bytes: u64) -> Result<(), StorageError> {
        let id = self.recycler.take(frame_bytes + BLOCK as u64)?;
        let next = Active::open(&*self.disk, id)?;
        let old = std::mem::replace(&mut self.active, next);
        self.older.push_back((old.id.file_id, old.highest));
        Ok(())
    }
}

/// How many of the groups go into one frame (at least one), and the bytes it may need.
fn fit(groups: &[Append]) -> (usize, usize) {
    let mut bytes = OVERHEAD;
    for (count, group) in groups.iter().enumerate() {
        let more = group_len(group);
        if count > 0 && bytes + more > MAX_FRAME {
            return (count, bytes);
        }
        bytes += more;
    }
    (groups.len(), bytes)
}

/// Removes what a crash left of a file in the making; nothing was ever in it.
fn discard_unfinished(disk: &dyn Disk, listing: &mut Listing) -> Result<(), StorageError> {
    for file_id in listing.unfinished.drain(..) {
        let name = segment::new_name(file_id);
        disk.remove(&name)
            .map_err(|e| StorageError::io(disk.path(&name), "remove", e))?;
    }
    Ok(())
}
