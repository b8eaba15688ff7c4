//! An offline look at a whole data directory: is everything there, whole, and of one piece?
//!
//! Nothing is changed: the log is read and not cut, and redb works on the state file through an overlay that keeps
//! its writes in memory. Everything that is found is told, not only what comes first. `Scrub` makes the same rounds
//! in small steps while a member runs.

mod log;
mod overlay;
mod scrub;
mod state;

#[cfg(test)]
mod tests;

use std::fmt;
use std::fs::File;
use std::fs::TryLockError;
use std::io;
use std::path::Path;
use std::sync::Arc;

use kvorum_core::backend::Restored;

pub use log::LogSummary;
pub use scrub::{Scrub, ScrubStep, ScrubTotals};
pub use state::StateSummary;

use crate::dir::{DirError, IDENTITY, Identity, LOCK, LOG};
use crate::disk::{Disk, RealDisk};
use crate::error::StorageError;

/// What was found in a data directory.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Who lives there.
    pub identity: Option<Identity>,
    /// The raft log, if it could be read to its end.
    pub log: Option<LogSummary>,
    /// The state store, if it could be read to its end.
    pub state: Option<StateSummary>,
    /// Everything that is wrong. Each names the file, the place where it is known, and what to do.
    pub findings: Vec<StorageError>,
}

impl Report {
    /// True if a member can start here and lacks nothing.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(identity) = &self.identity {
            writeln!(
                f,
                "member {:016x} ({}) of cluster {:016x}",
                identity.member_id.0, identity.name, identity.cluster_id.0
            )?;
        }
        if let Some(log) = &self.log {
            writeln!(f, "{log}")?;
        }
        if let Some(state) = &self.state {
            writeln!(f, "{state}")?;
        }
        for finding in &self.findings {
            writeln!(f, "DAMAGED: {finding}")?;
        }
        let count = self.findings.len();
        match count {
            0 => writeln!(f, "everything is whole"),
            _ => writeln!(f, "{count} findings"),
        }
    }
}

/// Looks at the data directory of a member that does not run.
///
/// # Errors
/// It is no directory, cannot be read, or a member is running on it.
pub fn verify(dir: &Path) -> Result<Report, DirError> {
    if !dir.is_dir() {
        return Err(DirError::NotADirectory(dir.to_path_buf()));
    }
    let _lock = lock(dir)?;
    let disk = RealDisk::new(dir);
    let mut report = verify_disks(
        Arc::new(RealDisk::new(dir)),
        Arc::new(RealDisk::new(dir.join(LOG))),
    );
    match Identity::load(&disk, IDENTITY) {
        Ok(Some(identity)) => report.identity = Some(identity),
        Ok(None) => report.findings.push(StorageError::damaged(
            disk.path(IDENTITY),
            "the file is missing: without it nobody knows which member this is",
        )),
        Err(error) => report.findings.push(error),
    }
    Ok(report)
}

/// Looks at the state store and the log of one member.
#[must_use]
pub fn verify_disks(state: Arc<dyn Disk>, log: Arc<dyn Disk>) -> Report {
    let mut report = Report::default();
    let mut tables = None;
    match state::read(state) {
        Ok(Some((summary, restored, mut findings))) => {
            report.findings.append(&mut findings);
            report.state = Some(summary);
            tables = Some((restored, summary));
        }
        Ok(None) => {}
        Err(damage) => report.findings.push(damage),
    }
    let promised =
        tables.as_ref().map(
            |(restored, summary): &(Restored, StateSummary)| log::Promised {
                applied: restored.applied.0,
                base: summary.base.map(|(index, term)| (index.0, term.0)),
            },
        );
    report.log = log::read(&*log, promised, &mut report.findings);
    report
}

/// Keeps members out while this looks; a lock that another holds means that everything changes meanwhile. Its file is
/// not written to.
fn lock(dir: &Path) -> Result<Option<File>, DirError> {
    let path = dir.join(LOCK);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(StorageError::io(&path, "open", e).into()),
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(DirError::InUse {
            path: dir.to_path_buf(),
            pid: std::fs::read_to_string(&path)
                .ok()
                .and_then(|text| text.trim().parse().ok()),
        }),
        Err(TryLockError::Error(e)) => Err(StorageError::io(&path, "lock", e).into()),
    }
}
