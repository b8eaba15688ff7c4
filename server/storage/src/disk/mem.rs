//! A disk in memory that knows which writes were synced, loses the others in a crash, and fails on demand.
//!
//! A crash image keeps every synced byte. Of the writes that were not synced it keeps, by the seed: none, all, a
//! prefix, or any subset of their 512-byte sectors. Of the names it keeps a prefix of the changes since the last
//! `sync_dir`, as a journaling filesystem does. The same seed on the same history gives the same image.

mod faults;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, DiskFile, OpenMode, SyncMethod};
use faults::Faults;
pub use faults::FlippedBit;

/// What a disk writes whole or not at all.
const SECTOR: u64 = 512;

/// The disk; clones share it.
#[derive(Clone)]
pub struct MemDisk(Arc<Mutex<State>>);

struct MemFile {
    disk: MemDisk,
    inode: usize,
    /// Writes are durable when they return.
    durable: bool,
}

#[derive(Default)]
struct State {
    files: Vec<Inode>,
    names: BTreeMap<String, usize>,
    synced_names: BTreeMap<String, usize>,
    name_changes: Vec<NameChange>,
    faults: Faults,
    /// Operations that change something, so far.
    ops: u64,
    reads: u64,
    writes: u64,
    syncs: u64,
    durable_log: bool,
}

#[derive(Default)]
struct Inode {
    now: Vec<u8>,
    synced: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write(u64, Vec<u8>),
    SetLen(u64),
}

#[derive(Clone)]
enum NameChange {
    Set(String, usize),
    Unset(String),
    /// Old name, new name: one change, a crash never shows both or none.
    Rename(String, String, usize),
}

impl Default for MemDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemDisk")
    }
}

impl fmt::Debug for MemFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemFile({})", self.inode)
    }
}

impl MemDisk {
    /// An empty disk whose log files need a sync.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::default())
    }

    /// Log files are durable when a write returns, as with `O_DSYNC`.
    #[must_use]
    pub fn with_durable_log(self) -> Self {
        self.state().durable_log = true;
        self
    }

    /// Changes (writes, syncs, names) so far.
    #[must_use]
    pub fn ops(&self) -> u64 {
        self.state().ops
    }

    /// Syncs so far, of files and of the directory.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.state().syncs
    }

    /// Names and contents, to compare two disks.
    #[must_use]
    pub fn dump(&self) -> Vec<(String, Vec<u8>)> {
        let state = self.state();
        state
            .names
            .iter()
            .map(|(name, i)| (name.clone(), state.files[*i].now.clone()))
            .collect()
    }

    /// What is found after a power failure at this moment.
    #[must_use]
    pub fn crash(&self, seed: u64) -> Self {
        let state = self.state();
        let mut dice = Dice(seed);
        let files = state
            .files
            .iter()
            .map(|file| Inode::after_crash(file, &mut dice))
            .collect();
        let mut names = state.synced_names.clone();
        let kept = dice.below(state.name_changes.len() as u64 + 1);
        for change in state
            .name_changes
            .iter()
            .take(usize::try_from(kept).unwrap_or(0))
        {
            change.apply(&mut names);
        }
        let durable_log = state.durable_log;
        let synced_names = names.clone();
        Self(Arc::new(Mutex::new(State {
            files,
            names,
            synced_names,
            durable_log,
            ..State::default()
        })))
    }

    /// What is found after the process alone died: every finished write.
    #[must_use]
    pub fn killed(&self) -> Self {
        let state = self.state();
        let files = state.files.iter().map(Inode::clone_all).collect();
        Self(Arc::new(Mutex::new(State {
            files,
            names: state.names.clone(),
            synced_names: state.synced_names.clone(),
            name_changes: state.name_changes.clone(),
            durable_log: state.durable_log,
            ..State::default()
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, inode: usize, durable: bool) -> Arc<dyn DiskFile> {
        Arc::new(MemFile {
            disk: self.clone(),
            inode,
            durable,
        })
    }
}

impl Inode {
    fn clone_all(&self) -> Self {
        Self {
            now: self.now.clone(),
            synced: self.synced.clone(),
            pending: self.pending.clone(),
        }
    }

    fn after_crash(&self, dice: &mut Dice) -> Self {
        let mut image = self.synced.clone();
        let mode = dice.below(4);
        let cut = usize::try_from(dice.below(self.pending.len() as u64 + 1)).unwrap_or(0);
        for (at, change) in self.pending.iter().enumerate() {
            match mode {
                0 => break,
                1 => change.apply(&mut image),
                2 if at < cut => change.apply(&mut image),
                2 if at == cut => change.apply_torn(&mut image, dice),
                2 => break,
                _ => change.apply_torn(&mut image, dice),
            }
        }
        Self {
            now: image.clone(),
            synced: image,
            pending: Vec::new(),
        }
    }
}

impl Change {
    fn apply(&self, image: &mut Vec<u8>) {
        match self {
            Self::Write(offset, data) => write(image, *offset, data),
            Self::SetLen(len) => image.resize(usize::try_from(*len).unwrap_or(0), 0),
        }
    }

    fn apply_torn(&self, image: &mut Vec<u8>, dice: &mut Dice) {
        let Self::Write(offset, data) = self else {
            if dice.below(2) == 0 {
                self.apply(image);
            }
            return;
        };
        let mut at = *offset;
        let end = offset + data.len() as u64;
        while at < end {
            let next = (at - at % SECTOR + SECTOR).min(end);
            if dice.below(2) == 0 {
                let range = usize_of(at - offset)..usize_of(next - offset);
                write(image, at, &data[range]);
            }
            at = next;
        }
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Set(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            Self::Unset(name) => {
                names.remove(name);
            }
            Self::Rename(from, to, inode) => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
        }
    }
}

impl State {
    fn find(&self, name: &str) -> io::Result<usize> {
        self.names
            .get(name)
            .copied()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Counts a change; the one that loses power is still half done by its caller.
    fn powered(&mut self) -> io::Result<Power> {
        let op = self.ops;
        self.ops += 1;
        match self.faults.power_cut_at {
            Some(cut) if op > cut => Err(io::Error::other("no power")),
            Some(cut) if op == cut => Ok(Power::Last),
            _ => Ok(Power::On),
        }
    }

    fn change_name(&mut self, change: NameChange) -> io::Result<()> {
        let power = self.powered()?;
        change.apply(&mut self.names);
        self.name_changes.push(change);
        power.answer()
    }

    /// Counts a sync and tells whether it is the one to fail.
    fn failing_sync(&mut self) -> bool {
        self.syncs += 1;
        self.faults.sync_error_at == Some(self.syncs - 1)
    }

    fn check_space(&self, inode: usize, end: u64) -> io::Result<()> {
        let full = || Err(io::ErrorKind::StorageFull.into());
        if self.faults.full_at_write.is_some_and(|n| self.writes > n) {
            return full();
        }
        let used: u64 = self
            .names
            .values()
            .map(|i| self.files[*i].now.len() as u64)
            .sum();
        let grown = end.saturating_sub(self.files[inode].now.len() as u64);
        if grown > 0 && self.faults.capacity.is_some_and(|c| used + grown > c) {
            return full();
        }
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Power {
    On,
    Last,
}

impl Power {
    fn answer(self) -> io::Result<()> {
        if self == Self::On {
            Ok(())
        } else {
            Err(io::Error::other("power lost"))
        }
    }
}

impl Disk for MemDisk {
    fn open(&self, name: &str, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        let found = state.find(name);
        let inode = match (mode, found) {
            (OpenMode::Existing, found) => found?,
            (OpenMode::New, Ok(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
            (OpenMode::New, Err(_)) => {
                let inode = state.files.len();
                state.files.push(Inode::default());
                state.change_name(NameChange::Set(name.to_owned(), inode))?;
                inode
            }
        };
        Ok(self.file(inode, false))
    }

    fn open_log(&self, name: &str) -> io::Result<(Arc<dyn DiskFile>, SyncMethod)> {
        let state = self.state();
        let inode = state.find(name)?;
        let method = if state.durable_log {
            SyncMethod::Dsync
        } else {
            SyncMethod::Fdatasync
        };
        Ok((self.file(inode, state.durable_log), method))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state().names.keys().cloned().collect())
    }

    fn exists(&self, name: &str) -> io::Result<bool> {
        Ok(self.state().names.contains_key(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        let inode = state.find(from)?;
        state.change_name(NameChange::Rename(from.to_owned(), to.to_owned(), inode))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.find(name)?;
        state.change_name(NameChange::Unset(name.to_owned()))
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.state();
        state.powered()?.answer()?;
        if state.failing_sync() {
            return Err(io::Error::from_raw_os_error(5));
        }
        state.synced_names = state.names.clone();
        state.name_changes.clear();
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("mem").join(name)
    }
}

impl DiskFile for MemFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        state.check_read()?;
        let bytes = &state.files[self.inode].now;
        let range = usize_of(offset)..usize_of(offset).saturating_add(buf.len());
        buf.copy_from_slice(bytes.get(range).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        let power = state.powered()?;
        state.writes += 1;
        state.check_write()?;
        state.check_space(self.inode, offset + data.len() as u64)?;
        let failed_sync = self.durable && state.failing_sync();
        let file = &mut state.files[self.inode];
        write(&mut file.now, offset, data);
        if failed_sync {
            return Err(io::Error::from_raw_os_error(5));
        }
        if self.durable && power == Power::On {
            write(&mut file.synced, offset, data);
        } else {
            file.pending.push(Change::Write(offset, data.to_vec()));
        }
        power.answer()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let power = state.powered()?;
        state.check_space(self.inode, len)?;
        let file = &mut state.files[self.inode];
        file.now.resize(usize_of(len), 0);
        file.pending.push(Change::SetLen(len));
        power.answer()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state().files[self.inode].now.len() as u64)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        state.powered()?.answer()?;
        let failed = state.failing_sync();
        let file = &mut state.files[self.inode];
        if failed {
            // The kernel marks the pages clean: they stay readable, and no later sync writes them.
            file.pending.clear();
            return Err(io::Error::from_raw_os_error(5));
        }
        let mut synced = std::mem::take(&mut file.synced);
        for change in file.pending.drain(..) {
            change.apply(&mut synced);
        }
        file.synced = synced;
        Ok(())
    }
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }
}

fn write(bytes: &mut Vec<u8>, offset: u64, data: &[u8]) {
    let at = usize_of(offset);
    if bytes.len() < at + data.len() {
        bytes.resize(at + data.len(), 0);
    }
    bytes[at..at + data.len()].copy_from_slice(data);
}

/// Files in memory are never longer than memory.
fn usize_of(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}
