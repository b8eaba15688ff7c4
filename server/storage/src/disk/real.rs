//! `Disk` over a directory of the operating system.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;

use super::{Disk, DiskFile, OpenMode, SyncMethod};
use crate::log::BLOCK;
use crate::log::buffer::AlignedBuffer;

/// Only the member's own user may read what it stores.
const FILE_MODE: u32 = 0o600;

/// A directory. Symbolic links inside it are not followed: whoever can plant one must not redirect a write.
#[derive(Debug)]
pub struct RealDisk {
    dir: PathBuf,
    direct: bool,
}

#[derive(Debug)]
struct RealFile(File);

impl RealDisk {
    /// The directory must exist.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            direct: true,
        }
    }

    /// Never tries `O_DIRECT` or `O_DSYNC` for log files: every append is a plain write and an `fdatasync`.
    #[must_use]
    pub fn with_fdatasync(mut self) -> Self {
        self.direct = false;
        self
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn open_with(&self, name: &str, flags: OFlags) -> io::Result<File> {
        let flags = (flags | OFlags::NOFOLLOW).bits().cast_signed();
        OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(flags)
            .open(self.path(name))
    }

    /// Some filesystems take the flag when opening and refuse the first transfer, so one block is read.
    fn open_direct(&self, name: &str) -> io::Result<File> {
        let file = self.open_with(name, OFlags::DIRECT | OFlags::DSYNC)?;
        let mut probe = AlignedBuffer::new();
        probe.resize(BLOCK);
        file.read_exact_at(probe.as_mut_slice(), 0)?;
        Ok(file)
    }
}

impl Disk for RealDisk {
    fn open(&self, name: &str, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).mode(FILE_MODE);
        options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
        options.create_new(mode == OpenMode::New);
        Ok(Arc::new(RealFile(options.open(self.path(name))?)))
    }

    fn open_log(&self, name: &str) -> io::Result<(Arc<dyn DiskFile>, SyncMethod)> {
        if self.direct {
            if let Ok(file) = self.open_direct(name) {
                return Ok((Arc::new(RealFile(file)), SyncMethod::DirectDsync));
            }
            if let Ok(file) = self.open_with(name, OFlags::DSYNC) {
                return Ok((Arc::new(RealFile(file)), SyncMethod::Dsync));
            }
        }
        let file = self.open_with(name, OFlags::empty())?;
        Ok((Arc::new(RealFile(file)), SyncMethod::Fdatasync))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        fs::read_dir(&self.dir)?
            .map(|entry| entry.map(|e| e.file_name().to_string_lossy().into_owned()))
            .collect()
    }

    fn exists(&self, name: &str) -> io::Result<bool> {
        match fs::symlink_metadata(self.path(name)) {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name))
    }

    fn sync_dir(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

impl DiskFile for RealFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buf, offset)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}
