//! What a disk in memory does wrong on demand: power cuts, errors of single calls, no room, and bits that turn.

use std::io;

use super::{Dice, Inode, MemDisk, State, usize_of};

const EIO: i32 = 5;

/// Faults that wait for their moment.
#[derive(Clone, Copy, Default)]
pub(super) struct Faults {
    pub(super) power_cut_at: Option<u64>,
    pub(super) sync_error_at: Option<u64>,
    read_error_at: Option<u64>,
    write_error_at: Option<u64>,
    pub(super) full_at_write: Option<u64>,
    pub(super) capacity: Option<u64>,
}

/// A bit that turned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlippedBit {
    /// The file.
    pub name: String,
    /// The byte.
    pub offset: u64,
    /// The bit in it, 0 for the lowest.
    pub bit: u8,
}

impl MemDisk {
    /// Everything fails from the `op`-th change from now on (0 is the next); that one may have reached the disk.
    pub fn cut_power_at(&self, op: u64) {
        let mut state = self.state();
        state.faults.power_cut_at = Some(state.ops + op);
    }

    /// The `n`-th sync from now on (0 is the next) fails with EIO and its writes are lost, though still readable.
    pub fn fail_sync_at(&self, n: u64) {
        let mut state = self.state();
        state.faults.sync_error_at = Some(state.syncs + n);
    }

    /// The `n`-th read from now on (0 is the next) fails with EIO; the ones behind it succeed.
    pub fn fail_read_at(&self, n: u64) {
        let mut state = self.state();
        state.faults.read_error_at = Some(state.reads + n);
    }

    /// The `n`-th write from now on (0 is the next) fails with EIO and changes nothing; the ones behind it succeed.
    pub fn fail_write_at(&self, n: u64) {
        let mut state = self.state();
        state.faults.write_error_at = Some(state.writes + n);
    }

    /// The `n`-th write from now on (0 is the next) and all later ones fail with ENOSPC, until `clear_faults`.
    pub fn fill_at_write(&self, n: u64) {
        let mut state = self.state();
        state.faults.full_at_write = Some(state.writes + n);
    }

    /// Growing beyond this many bytes in all files fails with ENOSPC.
    pub fn set_capacity(&self, bytes: u64) {
        self.state().faults.capacity = Some(bytes);
    }

    /// Ends all faults. Bits that turned stay as they are.
    pub fn clear_faults(&self) {
        self.state().faults = Faults::default();
    }

    /// Reads so far.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.state().reads
    }

    /// Flips one bit, on the medium and in what reads see.
    ///
    /// # Errors
    /// `NotFound` if there is no such file, `InvalidInput` if it is shorter.
    pub fn flip_bit(&self, name: &str, offset: u64, bit: u8) -> io::Result<()> {
        let mut state = self.state();
        let inode = state.find(name)?;
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        let file = &mut state.files[inode];
        let byte = file.now.get_mut(at).ok_or(io::ErrorKind::InvalidInput)?;
        *byte ^= 1 << (bit & 7);
        if let Some(byte) = file.synced.get_mut(at) {
            *byte ^= 1 << (bit & 7);
        }
        Ok(())
    }

    /// Turns bits anywhere in what is synced, each byte of each file as likely as any other. The same seed on the same
    /// content turns the same bits. Fewer than `count` only if nothing is synced.
    pub fn rot(&self, seed: u64, count: usize) -> Vec<FlippedBit> {
        let mut dice = Dice(seed);
        (0..count).filter_map(|_| self.rot_one(&mut dice)).collect()
    }

    fn rot_one(&self, dice: &mut Dice) -> Option<FlippedBit> {
        let mut state = self.state();
        let synced = |inode: usize| state.files[inode].synced.len() as u64;
        let total: u64 = state.names.values().map(|inode| synced(*inode)).sum();
        if total == 0 {
            return None;
        }
        let mut at = dice.below(total);
        let found = state.names.iter().find(|(_, inode)| {
            let len = synced(**inode);
            let here = at < len;
            if !here {
                at -= len;
            }
            here
        });
        let (name, inode) = found.map(|(name, inode)| (name.clone(), *inode))?;
        let bit = u8::try_from(dice.below(8)).unwrap_or(0);
        // A file that was cut and not synced is shorter now than what is synced: the bit turns there alone.
        let Inode { now, synced, .. } = &mut state.files[inode];
        for bytes in [now, synced] {
            if let Some(byte) = bytes.get_mut(usize_of(at)) {
                *byte ^= 1 << bit;
            }
        }
        Some(FlippedBit {
            name,
            offset: at,
            bit,
        })
    }
}

impl State {
    /// Counts a read; it may be the one to fail.
    pub(super) fn check_read(&mut self) -> io::Result<()> {
        self.reads += 1;
        fail_if(self.faults.read_error_at == Some(self.reads - 1))
    }

    /// The write that was counted last may be the one to fail.
    pub(super) fn check_write(&self) -> io::Result<()> {
        fail_if(self.faults.write_error_at == Some(self.writes - 1))
    }
}

fn fail_if(now: bool) -> io::Result<()> {
    if now {
        Err(io::Error::from_raw_os_error(EIO))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::disk::{Disk as _, MemDisk, OpenMode};

    #[test]
    fn a_call_fails_once_and_changes_nothing() {
        let disk = MemDisk::new();
        let file = disk.open("f", OpenMode::New).expect("create");
        file.write_at(0, b"before").expect("write");
        disk.fail_write_at(1);
        file.write_at(0, b"B").expect("the one before");
        file.write_at(1, b"X").expect_err("EIO");
        file.write_at(5, b"E").expect("the one behind");
        disk.fail_read_at(0);
        let mut bytes = [0; 6];
        let error = file.read_at(0, &mut bytes).expect_err("EIO");
        assert_eq!(error.raw_os_error(), Some(5));
        file.read_at(0, &mut bytes).expect("read");
        assert_eq!(&bytes, b"BeforE");
        assert_eq!(disk.reads(), 2);
    }

    #[test]
    fn rot_turns_bits_of_synced_content_and_the_same_ones_for_a_seed() {
        let make = || {
            let disk = MemDisk::new();
            for (name, len) in [("a", 100), ("b", 900)] {
                let file = disk.open(name, OpenMode::New).expect("create");
                file.write_at(0, &vec![0; len]).expect("write");
                file.sync().expect("sync");
                file.write_at(len as u64, &[0; 50]).expect("not synced");
            }
            disk
        };
        let (one, two) = (make(), make());
        let flipped = one.rot(7, 40);
        assert_eq!(flipped, two.rot(7, 40));
        assert_eq!(one.dump(), two.dump());
        assert_ne!(one.rot(8, 40), flipped);
        assert!(flipped.iter().any(|f| f.name == "a"));
        assert!(flipped.iter().filter(|f| f.name == "b").count() > 20);
        assert!(flipped.iter().all(|f| f.offset < 900));
        assert!(MemDisk::new().rot(1, 5).is_empty());
        let ones = two.dump().into_iter().flat_map(|f| f.1);
        assert!(ones.map(u8::count_ones).sum::<u32>() > 30);
    }
}
