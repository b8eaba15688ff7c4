//! Secrets in files: nobody else can read them, and no moment has half of one.
//!
//! A file is written beside its name, without following links, for the owner only; synced; renamed; and the directory
//! synced. Before one is read, who owns it and who may read it is looked at, and a refusal says which command helps.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use zeroize::Zeroizing;

/// The trust domain.
pub const DOMAIN: &str = "domain";
/// The roots that are trusted.
pub const CA_PEM: &str = "ca.pem";
/// The seal key.
pub const SEAL_KEY: &str = "seal.key";
/// The node's key and chain.
pub const NODE_PEM: &str = "node.pem";
/// The console's key and chain.
pub const CONSOLE_PEM: &str = "console.pem";
/// The administrator's key and chain.
pub const ADMIN_PEM: &str = "admin.pem";
/// The administrator's chain, for etcdctl.
pub const ADMIN_CRT: &str = "admin.crt";
/// The administrator's key, for etcdctl.
pub const ADMIN_KEY: &str = "admin.key";

const FILE_BYTES_MAX: u64 = 1 << 20;
const FILE_MODE: Mode = Mode::from_raw_mode(0o600);
const DIR_MODE: Mode = Mode::from_raw_mode(0o700);
/// The permissions that anybody but the owner could have.
const OTHERS: u32 = 0o077;

/// Why a file or directory is not used, with the command that mends it.
#[derive(Debug, thiserror::Error)]
pub enum FileRefused {
    /// Others may read or change it.
    #[error("{} may be read or changed by others (mode {mode:04o}): chmod {wanted:o} {}", path.display(), quoted(path))]
    Mode {
        /// Which.
        path: PathBuf,
        /// What it has.
        mode: u32,
        /// What it should have.
        wanted: u32,
    },
    /// It is somebody else's.
    #[error("{} belongs to user {owner}, and kvorum runs as user {wanted}: chown {wanted} {}", path.display(),
            quoted(path))]
    Owner {
        /// Which.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Whose it should be.
        wanted: u32,
    },
    /// It is a link, which could lead anywhere.
    #[error("{} is a symbolic link, which is not followed for a secret: put the file itself there, rm {}", path.display(),
            quoted(path))]
    Link {
        /// Which.
        path: PathBuf,
    },
    /// It is not what it should be.
    #[error("{} is not a {wanted}: move it away, mv {} {}.old", path.display(), quoted(path), quoted(path))]
    Kind {
        /// Which.
        path: PathBuf,
        /// What it should be.
        wanted: &'static str,
    },
    /// A directory that must be there is not.
    #[error("{} does not exist: mkdir -m 700 {}", path.display(), quoted(path))]
    Missing {
        /// Which.
        path: PathBuf,
    },
    /// It cannot be read or written by us.
    #[error("{}: permission denied for user {uid}: chown {uid} {}", path.display(), quoted(path))]
    Denied {
        /// Which.
        path: PathBuf,
        /// Who we are.
        uid: u32,
    },
    /// Too long to be one of ours.
    #[error("{} is longer than {FILE_BYTES_MAX} bytes, which no key or certificate is: move it away, mv {} {}.old",
            path.display(), quoted(path), quoted(path))]
    TooLong {
        /// Which.
        path: PathBuf,
    },
    /// Anything else.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

/// For a command line.
fn quoted(path: &Path) -> String {
    crate::shell_word(&path.to_string_lossy())
}

/// Makes the directory for the owner only, if it is not there, and checks it.
///
/// # Errors
///
/// It cannot be made, or it is there and others may use it.
pub fn create_dir(dir: &Path) -> Result<(), FileRefused> {
    match rustix::fs::mkdir(dir, DIR_MODE) {
        Ok(()) | Err(Errno::EXIST) => check_dir(dir),
        Err(error) => Err(failed(dir, error)),
    }
}

/// Checks that the directory is there, ours, not a link, and closed to others.
///
/// # Errors
///
/// It is not; the message says which command helps.
pub fn check_dir(dir: &Path) -> Result<(), FileRefused> {
    let open = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let handle = match rustix::fs::open(dir, open, Mode::empty()) {
        Ok(handle) => handle,
        Err(Errno::NOENT) => {
            return Err(FileRefused::Missing {
                path: dir.to_owned(),
            });
        }
        // A link is "not a directory" when it is not followed.
        Err(Errno::NOTDIR | Errno::LOOP) => return Err(kind_of(dir)),
        Err(error) => return Err(failed(dir, error)),
    };
    let stat = rustix::fs::fstat(&handle).map_err(|error| failed(dir, error))?;
    check_stat(dir, &stat, 0o700)
}

/// Writes a file of the directory for the owner only: all of it or nothing, and what it replaces is gone afterwards.
///
/// # Errors
///
/// It cannot be written; what was there before is still there.
pub fn write_secret(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), FileRefused> {
    write_secrets(dir, &[(name, bytes)])
}

/// Writes files that belong together, such as a certificate and its key. Each is written whole or not at all, and all of
/// them are on the disk before the first takes its name: who reads them meanwhile finds a mixture for the time between
/// two renames only, and one that looks again has the new ones.
///
/// # Errors
///
/// One of them cannot be written: none has changed, unless it was a rename that failed.
pub fn write_secrets(dir: &Path, files: &[(&str, &[u8])]) -> Result<(), FileRefused> {
    let handle = open_dir(dir)?;
    let written = files
        .iter()
        .try_for_each(|(name, bytes)| stage(&handle, dir, name, bytes));
    let renamed = written.and_then(|()| {
        files
            .iter()
            .try_for_each(|(name, _)| rustix::fs::renameat(&handle, beside(name), &handle, *name))
            .and_then(|()| rustix::fs::fsync(&handle))
            .map_err(|error| failed(dir, error))
    });
    if renamed.is_err() {
        for (name, _) in files {
            // It may have a part of a secret in it. That it cannot be removed is not worse than that it was not written.
            let _ = rustix::fs::unlinkat(&handle, beside(name), AtFlags::empty());
        }
    }
    renamed
}

/// Where a file is until it is whole.
fn beside(name: &str) -> String {
    format!(".{name}.new")
}

/// Writes it beside its name, to the disk.
fn stage(handle: &OwnedFd, dir: &Path, name: &str, bytes: &[u8]) -> Result<(), FileRefused> {
    let beside = beside(name);
    let path = dir.join(&beside);
    let made = match create(handle, &beside) {
        Err(Errno::EXIST) => {
            // Left behind by a process that died while writing.
            rustix::fs::unlinkat(handle, &beside, AtFlags::empty())
                .map_err(|error| failed(&path, error))?;
            create(handle, &beside)
        }
        made => made,
    };
    let mut file = made.map_err(|error| failed(&path, error))?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    written.map_err(|source| FileRefused::Io {
        path: dir.join(name),
        source,
    })
}

/// Reads a file of the directory, if it is there and nobody else could have written or read it.
///
/// # Errors
///
/// It cannot be trusted or read; the message says which command helps.
pub fn read_secret(dir: &Path, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, FileRefused> {
    read_file(&dir.join(name))
}

/// Reads a file anywhere under the same conditions.
///
/// # Errors
///
/// It cannot be trusted or read; the message says which command helps.
pub fn read_file(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, FileRefused> {
    let open = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let handle = match rustix::fs::open(path, open, Mode::empty()) {
        Ok(handle) => handle,
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::LOOP) => {
            return Err(FileRefused::Link {
                path: path.to_owned(),
            });
        }
        Err(error) => return Err(failed(path, error)),
    };
    let stat = rustix::fs::fstat(&handle).map_err(|error| failed(path, error))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(FileRefused::Kind {
            path: path.to_owned(),
            wanted: "regular file",
        });
    }
    check_stat(path, &stat, 0o600)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room(&stat)));
    std::fs::File::from(handle)
        .take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| FileRefused::Io {
            path: path.to_owned(),
            source,
        })?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(FileRefused::TooLong {
            path: path.to_owned(),
        });
    }
    Ok(Some(bytes))
}

/// Checks a file as [`read_file`] would, without reading it. One that is not there is none that is wrong.
///
/// # Errors
///
/// It cannot be trusted; the message says which command helps.
pub fn check_file(path: &Path) -> Result<(), FileRefused> {
    match rustix::fs::lstat(path) {
        Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(failed(path, error)),
        Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => check_stat(path, &stat, 0o600),
            FileType::Symlink => Err(FileRefused::Link {
                path: path.to_owned(),
            }),
            _ => Err(FileRefused::Kind {
                path: path.to_owned(),
                wanted: "regular file",
            }),
        },
    }
}

/// Removes a file of the directory, if it is there.
///
/// # Errors
///
/// It cannot be removed.
pub fn remove(dir: &Path, name: &str) -> Result<(), FileRefused> {
    let handle = open_dir(dir)?;
    match rustix::fs::unlinkat(&handle, name, AtFlags::empty()) {
        Ok(()) => rustix::fs::fsync(&handle).map_err(|error| failed(dir, error)),
        Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(failed(&dir.join(name), error)),
    }
}

/// So that reading does not move the bytes, and leave copies of them.
fn room(stat: &Stat) -> usize {
    let length = u64::try_from(stat.st_size).unwrap_or_default();
    usize::try_from(length.min(FILE_BYTES_MAX)).unwrap_or_default() + 64
}

fn open_dir(dir: &Path) -> Result<OwnedFd, FileRefused> {
    let open = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(dir, open, Mode::empty()).map_err(|error| match error {
        Errno::NOENT => FileRefused::Missing {
            path: dir.to_owned(),
        },
        Errno::NOTDIR | Errno::LOOP => kind_of(dir),
        error => failed(dir, error),
    })
}

fn create(dir: &OwnedFd, name: &str) -> Result<std::fs::File, Errno> {
    let new = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, new, FILE_MODE).map(std::fs::File::from)
}

fn kind_of(dir: &Path) -> FileRefused {
    let is_link = rustix::fs::lstat(dir)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink);
    let path = dir.to_owned();
    match is_link {
        true => FileRefused::Link { path },
        false => FileRefused::Kind {
            path,
            wanted: "directory",
        },
    }
}

/// Root may own a secret: it can read everything anyway, and systemd hands credentials over like that.
fn check_stat(path: &Path, stat: &Stat, wanted: u32) -> Result<(), FileRefused> {
    let uid = rustix::process::geteuid().as_raw();
    if stat.st_uid != uid && stat.st_uid != 0 {
        return Err(FileRefused::Owner {
            path: path.to_owned(),
            owner: stat.st_uid,
            wanted: uid,
        });
    }
    let mode = stat.st_mode & 0o7777;
    if mode & OTHERS != 0 {
        return Err(FileRefused::Mode {
            path: path.to_owned(),
            mode,
            wanted,
        });
    }
    Ok(())
}

fn failed(path: &Path, error: Errno) -> FileRefused {
    let path = path.to_owned();
    match error {
        Errno::ACCESS | Errno::PERM => FileRefused::Denied {
            path,
            uid: rustix::process::geteuid().as_raw(),
        },
        error => FileRefused::Io {
            path,
            source: error.into(),
        },
    }
}

#[cfg(test)]
mod tests;
