//! The data directory: its layout, its lock, and the identity of the member that lives in it.
//!
//! | name | content |
//! |---|---|
//! | `lock` | the pid of the process that holds the lock on it; the kernel frees the lock when that process dies |
//! | `member.json` | who this member is, and the format version of the directory |
//! | `log/` | the raft log |
//! | `state.redb` | the state store |
//! | `state.redb.incoming-*` | a state that was to take its place when a crash came; the next start removes it |
//! | `rebuild` | the files are not to be trusted: the member gets its state from the others; with the reason |
//! | `pki/` | keys and certificates, where the cluster makes its own; no file of this crate's |
//! | `damaged/` | files that were not to be trusted, the last ones |
//! | `snapshot-*.spool` | what a crash left of a snapshot on its way to a client; the next start removes it |

mod identity;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use identity::{Identity, KnownMember, Origin};
use rustix::fs::OFlags;

use crate::disk::{Disk, RealDisk};
use crate::error::StorageError;

/// The version that this build writes, and the newest it reads.
pub const FORMAT: u32 = 1;

pub(crate) const LOCK: &str = "lock";
pub(crate) const LOG: &str = "log";
pub(crate) const IDENTITY: &str = "member.json";
const STORE: &str = "state.redb";
const PRIVATE: u32 = 0o700;

/// Names that may be here before the identity is: what a crash left of files in the making, the keys of a member that has
/// not started yet, and what file systems add.
const LEFT_OVER: [&str; 8] = [
    "damaged",
    "member.json.new",
    "pki",
    "rebuild",
    "rebuild.new",
    "state.redb.new",
    "lost+found",
    ".snapshot",
];

fn left_over(name: &str) -> bool {
    LEFT_OVER.contains(&name) || crate::spool::is_spool(name) || crate::store::is_incoming(name)
}

/// Why a data directory cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DirError {
    /// The path leads to something else.
    #[error("--data-dir {} is not a directory; name a directory, or one that does not exist yet", .0.display())]
    NotADirectory(PathBuf),
    /// Another process has it.
    #[error("another kvorum ({}) is using {}; stop it or use another --data-dir", process(*.pid), path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The other process, where it has written its pid.
        pid: Option<u32>,
    },
    /// Somebody else's files.
    #[error("{} holds {found}; {action}", path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// What was found.
        found: String,
        /// What to do.
        action: &'static str,
    },
    /// The directory cannot be written.
    #[error("{} cannot be written ({reason}); give this user write access or use another --data-dir", path.display())]
    ReadOnly {
        /// The directory.
        path: PathBuf,
        /// What the system answered.
        reason: String,
    },
    /// A file inside is unusable.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

fn process(pid: Option<u32>) -> String {
    pid.map_or_else(|| "pid unknown".to_owned(), |pid| format!("pid {pid}"))
}

/// An open data directory. The lock is held until this is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    identity: Option<Identity>,
    warnings: Vec<String>,
    /// Held for its lock.
    _lock: File,
}

impl DataDir {
    /// Opens the directory at `path`, or makes it with mode 0700.
    ///
    /// # Errors
    /// It is in use, somebody else's, not writable, damaged, or newer than this build.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, DirError> {
        let path = path.as_ref();
        let mut warnings = Vec::new();
        let path = make(path)?;
        refuse_foreign(&path)?;
        tighten(&path, &mut warnings)?;
        let lock = lock(&path)?;
        make_private_dir(&path.join(LOG))?;
        let disk = RealDisk::new(&path);
        crate::spool::sweep(&disk)?;
        disk.sync_dir()
            .map_err(|e| StorageError::io(&path, "sync", e))?;
        let identity = Identity::load(&disk, IDENTITY)?;
        if identity.is_none()
            && disk
                .exists(STORE)
                .map_err(|e| StorageError::io(&path, "read", e))?
        {
            return Err(StorageError::Corrupt {
                file: path.join(IDENTITY),
                offset: None,
                first_missing: None,
                what: format!("the file is missing, but {STORE} is there"),
                action: "put the file back from a backup; without it this member does not know who it is",
            }
            .into());
        }
        Ok(Self {
            path,
            identity,
            warnings,
            _lock: lock,
        })
    }

    /// The directory, without symbolic links.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Who lives here; `None` in a new directory.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// Writes who lives here, whole or not at all. Must come before the first file of the state store.
    ///
    /// # Errors
    /// The disk failed, or another member lives here.
    pub fn set_identity(&mut self, identity: Identity) -> Result<(), DirError> {
        if let Some(old) = self.identity.as_ref()
            && (old.cluster_id, old.member_id) != (identity.cluster_id, identity.member_id)
        {
            return Err(DirError::Foreign {
                path: self.path.clone(),
                found: format!(
                    "member {:016x} of cluster {:016x}",
                    old.member_id.0, old.cluster_id.0
                ),
                action: "use another --data-dir for another member",
            });
        }
        identity.save(&RealDisk::new(&self.path), IDENTITY)?;
        self.identity = Some(identity);
        Ok(())
    }

    /// Makes this the directory of another member, or of one in another cluster, whole or not at all. For recovery and
    /// rebuilding only: whoever was here before must never be heard of again.
    ///
    /// # Errors
    /// The disk failed.
    pub fn replace_identity(&mut self, identity: Identity) -> Result<(), DirError> {
        identity.save(&RealDisk::new(&self.path), IDENTITY)?;
        self.identity = Some(identity);
        Ok(())
    }

    /// What was found and mended, or should be mended by the operator; one line each.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Bytes that this user may still write to the file system of the directory; `None` if it does not tell.
    #[must_use]
    pub fn free_bytes(path: &Path) -> Option<u64> {
        let fs = rustix::fs::statvfs(path).ok()?;
        Some(fs.f_bavail.saturating_mul(fs.f_frsize))
    }

    /// Where the state store lives.
    #[must_use]
    pub fn state_disk(&self) -> Arc<dyn Disk> {
        Arc::new(RealDisk::new(&self.path))
    }

    /// Where the raft log lives.
    #[must_use]
    pub fn log_disk(&self) -> Arc<dyn Disk> {
        Arc::new(RealDisk::new(self.path.join(LOG)))
    }
}

/// Makes the directory if need be, and resolves it: an administrator may well point at another volume by a link.
fn make(path: &Path) -> Result<PathBuf, DirError> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => return Err(DirError::NotADirectory(path.to_path_buf())),
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => {
            return Err(DirError::NotADirectory(path.to_path_buf()));
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let made = DirBuilder::new().recursive(true).mode(PRIVATE).create(path);
            made.map_err(|e| unwritable(path, "create", e))?;
            sync_parent(path)?;
        }
        Err(e) => return Err(StorageError::io(path, "look at", e).into()),
    }
    Ok(fs::canonicalize(path).map_err(|e| StorageError::io(path, "resolve", e))?)
}

fn sync_parent(path: &Path) -> Result<(), StorageError> {
    let parent = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let synced = File::open(parent).and_then(|dir| dir.sync_all());
    synced.map_err(|e| StorageError::io(parent, "sync", e))
}

fn unwritable(path: &Path, op: &'static str, error: io::Error) -> DirError {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => DirError::ReadOnly {
            path: path.to_path_buf(),
            reason: error.to_string(),
        },
        _ => StorageError::io(path, op, error).into(),
    }
}

/// A directory is ours if everything in it has our names, or names that any file system may add.
fn refuse_foreign(path: &Path) -> Result<(), DirError> {
    let entries = fs::read_dir(path).map_err(|e| StorageError::io(path, "list", e))?;
    let names: Result<Vec<OsString>, _> = entries.map(|e| e.map(|e| e.file_name())).collect();
    let mut names = names.map_err(|e| StorageError::io(path, "list", e))?;
    names.sort_unstable();
    if names.iter().any(|n| n == "member") && path.join("member/snap").is_dir() {
        return Err(DirError::Foreign {
            path: path.to_path_buf(),
            found: "the data of an etcd member (member/snap)".to_owned(),
            action: "kvorum does not change it: use another --data-dir, and bring the keys over with a snapshot \
                     (`etcdctl snapshot save`) or by copying them through the client port",
        });
    }
    let ours = names.iter().any(|n| n == IDENTITY);
    for name in &names {
        let name = name.to_string_lossy();
        let known = [LOCK, LOG, IDENTITY, STORE].contains(&name.as_ref());
        if known {
            refuse_odd(path, &name)?;
        } else if !ours && !left_over(&name) {
            return Err(DirError::Foreign {
                path: path.to_path_buf(),
                found: format!("files that are not kvorum's, such as {name:?}"),
                action: "use an empty directory",
            });
        }
    }
    Ok(())
}

/// Our names must be plain files, `log` a directory, and none a link: a link could lead writes anywhere.
fn refuse_odd(dir: &Path, name: &str) -> Result<(), DirError> {
    let path = dir.join(name);
    let found = fs::symlink_metadata(&path).map_err(|e| StorageError::io(&path, "look at", e))?;
    let right = if name == LOG {
        found.is_dir()
    } else {
        found.is_file()
    };
    if right {
        return Ok(());
    }
    let kind = if found.is_symlink() {
        "a symbolic link"
    } else if found.is_dir() {
        "a directory"
    } else {
        "no directory"
    };
    Err(DirError::Foreign {
        path: dir.to_path_buf(),
        found: format!("{name:?}, which is {kind}"),
        action: "move it away, or use another --data-dir; the directory itself may be a link, its content may not",
    })
}

/// Nobody else may read or write what members store; a directory of another owner is left as it is.
fn tighten(path: &Path, warnings: &mut Vec<String>) -> Result<(), DirError> {
    let found = fs::metadata(path).map_err(|e| StorageError::io(path, "look at", e))?;
    let mode = found.permissions().mode() & 0o7777;
    let owner = rustix::process::geteuid().as_raw();
    if found.uid() != owner && found.uid() != 0 && mode & 0o077 == 0 {
        warnings.push(format!(
            "{} belongs to uid {}, who can put other files in it, and this process is uid {owner}; run it as that \
             user, or make all of it uid {owner}'s by chown -R",
            path.display(),
            found.uid()
        ));
    }
    if mode & 0o077 == 0 {
        return Ok(());
    }
    if found.uid() == owner && fs::set_permissions(path, PermissionsExt::from_mode(PRIVATE)).is_ok()
    {
        warnings.push(format!(
            "{} was open to other users (mode {mode:04o}); it has mode 0700 now",
            path.display()
        ));
    } else {
        warnings.push(format!(
            "{} is open to other users (mode {mode:04o}) and belongs to uid {}; run chown and chmod 0700 on it",
            path.display(),
            found.uid()
        ));
    }
    Ok(())
}

fn make_private_dir(path: &Path) -> Result<(), DirError> {
    match DirBuilder::new().mode(PRIVATE).create(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(unwritable(path, "create", e)),
        _ => Ok(()),
    }
}

fn lock(dir: &Path) -> Result<File, DirError> {
    let path = dir.join(LOCK);
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600);
    options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    let mut file = options
        .open(&path)
        .map_err(|e| unwritable(dir, "open the lock of", e))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            // An unreadable pid only makes the message poorer.
            let _ = file.read_to_string(&mut text);
            return Err(DirError::InUse {
                path: dir.to_path_buf(),
                pid: text.trim().parse().ok(),
            });
        }
        Err(TryLockError::Error(e)) => return Err(StorageError::io(&path, "lock", e).into()),
    }
    let written = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| file.write_all(format!("{}\n", std::process::id()).as_bytes()));
    written.map_err(|e| StorageError::io(&path, "write", e))?;
    Ok(file)
}
