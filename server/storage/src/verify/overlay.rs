//! A file that is read as it is and never written: what redb writes on the way stays in memory.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::{Disk, DiskFile, OpenMode, SyncMethod};

const PAGE: u64 = 4096;

/// A disk whose files are those of another one, under overlays.
#[derive(Debug)]
pub(super) struct OverlayDisk(pub(super) Arc<dyn Disk>);

#[derive(Debug)]
struct Overlay {
    below: Arc<dyn DiskFile>,
    written: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    pages: BTreeMap<u64, Vec<u8>>,
    len: u64,
    /// Below ends here, at most: a cut file does not show its old bytes when it grows again.
    below_len: u64,
}

fn read_only() -> io::Error {
    io::Error::from(io::ErrorKind::ReadOnlyFilesystem)
}

impl Disk for OverlayDisk {
    fn open(&self, name: &str, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        if mode == OpenMode::New {
            return Err(read_only());
        }
        let below = self.0.open(name, mode)?;
        let len = below.len()?;
        let written = Mutex::new(Written {
            pages: BTreeMap::new(),
            len,
            below_len: len,
        });
        Ok(Arc::new(Overlay { below, written }))
    }

    fn open_log(&self, _: &str) -> io::Result<(Arc<dyn DiskFile>, SyncMethod)> {
        Err(read_only())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }

    fn exists(&self, name: &str) -> io::Result<bool> {
        self.0.exists(name)
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        Err(read_only())
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        Err(read_only())
    }

    fn sync_dir(&self) -> io::Result<()> {
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path(name)
    }
}

impl Overlay {
    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The page as the file below has it, with zeros behind its end.
    fn below(&self, written: &Written, page: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; PAGE as usize];
        let start = page * PAGE;
        let len = written.below_len.saturating_sub(start).min(PAGE);
        let there = &mut bytes[..usize::try_from(len).unwrap_or(0)];
        if !there.is_empty() {
            self.below.read_at(start, there)?;
        }
        Ok(bytes)
    }
}

/// The pages that a range touches: number, offset in it, offset in the range, length.
fn pages(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize, usize)> {
    let end = offset + len as u64;
    (offset / PAGE..end.div_ceil(PAGE)).map(move |page| {
        let from = offset.max(page * PAGE);
        let to = end.min((page + 1) * PAGE);
        let small = |n: u64| usize::try_from(n).unwrap_or(0);
        (
            page,
            small(from - page * PAGE),
            small(from - offset),
            small(to - from),
        )
    })
}

impl DiskFile for Overlay {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let written = self.written();
        if offset.saturating_add(buf.len() as u64) > written.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if written.pages.is_empty() && written.below_len == written.len {
            return self.below.read_at(offset, buf);
        }
        for (page, at, to, len) in pages(offset, buf.len()) {
            let target = &mut buf[to..to + len];
            match written.pages.get(&page) {
                Some(bytes) => target.copy_from_slice(&bytes[at..at + len]),
                None => target.copy_from_slice(&self.below(&written, page)?[at..at + len]),
            }
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut written = self.written();
        for (page, at, from, len) in pages(offset, data.len()) {
            if !written.pages.contains_key(&page) {
                let below = self.below(&written, page)?;
                written.pages.insert(page, below);
            }
            if let Some(bytes) = written.pages.get_mut(&page) {
                bytes[at..at + len].copy_from_slice(&data[from..from + len]);
            }
        }
        written.len = written.len.max(offset + data.len() as u64);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut written = self.written();
        written.below_len = written.below_len.min(len);
        written.pages.retain(|page, _| page * PAGE < len);
        if let Some(last) = written.pages.get_mut(&(len / PAGE)) {
            last[usize::try_from(len % PAGE).unwrap_or(0)..].fill(0);
        }
        written.len = len;
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.written().len)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::OverlayDisk;
    use crate::disk::{Disk as _, MemDisk, OpenMode};
    use crate::tests::Dice;

    #[test]
    fn an_overlay_reads_as_if_it_were_the_file_and_never_changes_it() {
        let disk = MemDisk::new();
        let file = disk.open("f", OpenMode::New).expect("create");
        let content: Vec<u8> = (0..40_000_u32).map(|i| (i % 251) as u8).collect();
        file.write_at(0, &content).expect("write");
        let before = disk.dump();
        let overlay = OverlayDisk(Arc::new(disk.clone()));
        let over = overlay.open("f", OpenMode::Existing).expect("open");
        let mut model = content;
        let mut dice = Dice(4);
        for round in 0..2000 {
            let len = dice.below(9000) as usize;
            let at = dice.below(model.len() as u64);
            match dice.below(5) {
                0 => {
                    let data = vec![round as u8; len];
                    over.write_at(at, &data).expect("write");
                    model.resize(model.len().max(at as usize + len), 0);
                    model[at as usize..at as usize + len].copy_from_slice(&data);
                }
                1 if round % 7 == 0 => {
                    let len = dice.below(60_000) + 1;
                    over.set_len(len).expect("cut");
                    model.resize(len as usize, 0);
                }
                _ => {
                    let len = len.min(model.len() - at as usize);
                    let mut bytes = vec![0; len];
                    over.read_at(at, &mut bytes).expect("read");
                    assert_eq!(bytes, model[at as usize..at as usize + len]);
                }
            }
            assert_eq!(over.len().expect("length"), model.len() as u64);
        }
        over.read_at(model.len() as u64, &mut [0])
            .expect_err("behind the end");
        assert_eq!(disk.dump(), before);
    }
}
