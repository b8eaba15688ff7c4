//! Makes segments ahead of need, out of released ones where it can.
//!
//! Writing 64 MiB of zeros and syncing a directory take longer than an append may wait, so a thread of the shell calls
//! `Recycler::run` (the store thread, after each flush). If nobody does, the log does the same work when it rolls.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::BLOCK;
use super::segment::{SegmentId, new_name, spare_name};
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::error::StorageError;

/// Zeros per write; a sync follows each of them, so that the appends beside it never wait behind a large flush.
const FILL: usize = 1 << 20;

/// The first segment of a new log is smaller, so that a first start does not wait for 64 MiB of zeros.
const FIRST_BYTES: u64 = 16 << 20;

/// Files kept for later beside the one that is ready; more of them only after a burst, so they are removed.
const SPARES: usize = 1;

/// A handle to the files that are not in use by the log; clones share them.
#[derive(Clone, Debug)]
pub struct Recycler(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    disk: Arc<dyn Disk>,
    segment_bytes: u64,
    seed: u64,
    /// Segments that hold nothing needed, oldest first; short critical sections only.
    retired: Mutex<VecDeque<u64>>,
    /// Held while files are made.
    stock: Mutex<Stock>,
}

#[derive(Debug)]
struct Stock {
    ready: Option<SegmentId>,
    spares: VecDeque<u64>,
    next_id: u64,
}

impl Recycler {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        segment_bytes: u64,
        seed: u64,
        next_id: u64,
        spares: VecDeque<u64>,
        ready: Option<SegmentId>,
    ) -> Self {
        let stock = Mutex::new(Stock {
            ready,
            spares,
            next_id,
        });
        Self(Arc::new(Shared {
            disk,
            segment_bytes,
            seed,
            retired: Mutex::default(),
            stock,
        }))
    }

    /// Puts released segments away and makes the next one, if that is still to do. Returns true if it did anything.
    ///
    /// # Errors
    /// The disk's. Nothing of value is lost; a full disk can be tried again.
    pub fn run(&self) -> Result<bool, StorageError> {
        let mut stock = lock(&self.0.stock);
        let mut worked = self.put_away(&mut stock)?;
        if stock.ready.is_none() {
            stock.ready = Some(self.make(&mut stock, self.0.segment_bytes)?);
            worked = true;
        }
        Ok(worked)
    }

    /// Hands over a segment for at least `bytes`, made now if none is ready.
    pub(crate) fn take(&self, bytes: u64) -> Result<SegmentId, StorageError> {
        if bytes > self.0.segment_bytes {
            return self.take_large(bytes);
        }
        if let Some(id) = lock(&self.0.stock).ready.take() {
            return Ok(id);
        }
        let mut stock = lock(&self.0.stock);
        self.put_away(&mut stock)?;
        match stock.ready.take() {
            Some(id) => Ok(id),
            None => self.make(&mut stock, self.0.segment_bytes),
        }
    }

    /// The first segment of a new log.
    pub(crate) fn take_first(&self) -> Result<SegmentId, StorageError> {
        self.make(
            &mut lock(&self.0.stock),
            self.0.segment_bytes.min(FIRST_BYTES),
        )
    }

    /// Segments are used in the order of their file ids, so one that is ready gives way to the larger, newer one.
    fn take_large(&self, bytes: u64) -> Result<SegmentId, StorageError> {
        let mut stock = lock(&self.0.stock);
        if let Some(ready) = stock.ready.take()
            && let Err(error) = self.shelve(&mut stock, ready.file_id)
        {
            stock.ready = Some(ready);
            return Err(error);
        }
        self.make(&mut stock, bytes)
    }

    /// Takes a segment that the log needs no more. Must be called oldest first.
    pub(crate) fn retire(&self, file_id: u64) {
        lock(&self.0.retired).push_back(file_id);
    }

    /// One at a time and synced, so that whatever a crash leaves is a log that lacks its oldest segments only.
    fn put_away(&self, stock: &mut Stock) -> Result<bool, StorageError> {
        let mut worked = false;
        loop {
            let Some(file_id) = lock(&self.0.retired).front().copied() else {
                return Ok(worked);
            };
            self.shelve(stock, file_id)?;
            lock(&self.0.retired).pop_front();
            worked = true;
        }
    }

    /// Keeps a segment file as a spare, or removes it.
    fn shelve(&self, stock: &mut Stock, file_id: u64) -> Result<(), StorageError> {
        let disk = &self.0.disk;
        let name = super::segment::name(file_id);
        let failed = |op, e| StorageError::io(disk.path(&name), op, e);
        if stock.spares.len() < SPARES && self.reusable(&name)? {
            disk.rename(&name, &spare_name(file_id))
                .map_err(|e| failed("rename", e))?;
            stock.spares.push_back(file_id);
        } else {
            disk.remove(&name).map_err(|e| failed("remove", e))?;
        }
        disk.sync_dir()
            .map_err(|e| failed("sync the directory of", e))
    }

    fn reusable(&self, name: &str) -> Result<bool, StorageError> {
        let len = self
            .0
            .disk
            .open(name, OpenMode::Existing)
            .and_then(|f| f.len());
        Ok(
            len.map_err(|e| StorageError::io(self.0.disk.path(name), "open", e))?
                == self.0.segment_bytes,
        )
    }

    /// A segment gets its name only when its header and its blocks are on disk.
    fn make(&self, stock: &mut Stock, bytes: u64) -> Result<SegmentId, StorageError> {
        let disk = &self.0.disk;
        let file_id = stock.next_id;
        let id = SegmentId {
            file_id,
            salt: salt(self.0.seed, file_id),
        };
        // Used up even if what follows fails, so that no two files ever carry one id.
        stock.next_id += 1;
        let new = new_name(file_id);
        let failed = |op, e| StorageError::io(disk.path(&new), op, e);
        let reused = bytes == self.0.segment_bytes && self.reuse(stock, &new)?;
        let mode = if reused {
            OpenMode::Existing
        } else {
            OpenMode::New
        };
        let file = disk.open(&new, mode).map_err(|e| failed("create", e))?;
        let filled = if reused { Ok(()) } else { fill(&*file, bytes) };
        let written = filled
            .and_then(|()| file.write_at(0, &id.header(bytes)))
            .and_then(|()| file.sync());
        if let Err(e) = written {
            // Best effort: at the next start a file of this name is removed anyway.
            let _ = disk.remove(&new);
            return Err(failed("write", e));
        }
        disk.rename(&new, &id.name())
            .map_err(|e| failed("rename", e))?;
        disk.sync_dir()
            .map_err(|e| failed("sync the directory of", e))?;
        Ok(id)
    }

    fn reuse(&self, stock: &mut Stock, new: &str) -> Result<bool, StorageError> {
        let Some(spare) = stock.spares.pop_front() else {
            return Ok(false);
        };
        let spare = spare_name(spare);
        let renamed = self.0.disk.rename(&spare, new);
        renamed.map_err(|e| StorageError::io(self.0.disk.path(&spare), "rename", e))?;
        Ok(true)
    }
}

fn fill(file: &dyn DiskFile, bytes: u64) -> io::Result<()> {
    let zeros = vec![0; FILL.min(usize::try_from(bytes).unwrap_or(FILL)).max(BLOCK)];
    let mut at = 0;
    while at < bytes {
        let len = (bytes - at).min(zeros.len() as u64);
        file.write_at(at, &zeros[..usize::try_from(len).unwrap_or(zeros.len())])?;
        file.sync()?;
        at += len;
    }
    Ok(())
}

/// Spreads the seed over the segments (the finalizer of SplitMix64).
fn salt(seed: u64, file_id: u64) -> u64 {
    let mut z = seed.wrapping_add(file_id.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A panic elsewhere ends the process anyway; the files stay consistent at every step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
