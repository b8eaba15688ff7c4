//! The state store as it lies there: redb's own checksums, every row with ours, counts, order, and what rows mean.

use std::fmt;
use std::sync::Arc;

use kvorum_core::backend::Restored;
use kvorum_core::mvcc::encoding::numbers_of;
use kvorum_core::node::decode_conf_state;
use kvorum_core::types::{Index, Revision, Term};
use kvorum_proto::leasepb::Lease;
use prost::Message as _;

use super::overlay::OverlayDisk;
use crate::disk::Disk;
use crate::error::StorageError;
use crate::store::{FILE, StateStore, StoreOptions, contain};

const OPTIONS: StoreOptions = StoreOptions {
    cache_bytes: 32 << 20,
};
/// A disk that turns bits by the thousand fills no screen.
const FINDINGS_MAX: usize = 100;

/// What a state store holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateSummary {
    /// The last entry whose effects are in it.
    pub applied: Index,
    /// Its term.
    pub term: Term,
    /// Where the log must begin anew, if it has not yet.
    pub base: Option<(Index, Term)>,
    /// Changes of keys.
    pub records: u64,
    /// The newest revision.
    pub revision: i64,
    /// Leases.
    pub leases: u64,
    /// Small entries: members, alarms, sessions.
    pub meta: u64,
    /// Length of the file.
    pub file_bytes: u64,
}

impl fmt::Display for StateSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "state: applied entry {} (term {}), revision {}, {} records, {} leases, {} small entries, {} bytes",
            self.applied,
            self.term,
            self.revision,
            self.records,
            self.leases,
            self.meta,
            self.file_bytes
        )?;
        match self.base {
            Some((index, _)) => write!(f, ", the log begins anew behind entry {index}"),
            None => Ok(()),
        }
    }
}

type Read = (StateSummary, Restored, Vec<StorageError>);

/// Reads the store to its end; `None` if there is none. Findings about rows that are whole, but make no sense, come with
/// what was read.
pub(super) fn read(disk: Arc<dyn Disk>) -> Result<Option<Read>, StorageError> {
    let path = disk.path(FILE);
    let there = disk.exists(FILE);
    if !there.map_err(|e| StorageError::io(&path, "look for", e))? {
        return Ok(None);
    }
    let over: Arc<dyn Disk> = Arc::new(OverlayDisk(disk));
    contain(&path, move || all(over)).map(Some)
}

fn all(disk: Arc<dyn Disk>) -> Result<Read, StorageError> {
    StateStore::check_pages(&*disk, OPTIONS)?;
    let store = StateStore::open_as_it_is(disk, OPTIONS)?;
    let restored = store.view()?.tables()?;
    let mut findings = tables(&store, &restored);
    let (mut records, mut revision) = (0, 0);
    store.view()?.records(|at, _, kv| {
        records += 1;
        revision = at.main;
        let created = numbers_of(kv).map(|n| n.create_revision);
        if created.is_none_or(|created| created > at.main) && findings.len() < FINDINGS_MAX {
            findings.push(odd_record(&store, at, created));
        }
        Ok(())
    })?;
    let summary = StateSummary {
        applied: restored.applied,
        term: restored.term,
        base: store.base()?,
        records,
        revision,
        leases: restored.leases.len() as u64,
        meta: restored.meta.len() as u64,
        file_bytes: store.file_bytes()?,
    };
    Ok((summary, restored, findings))
}

fn odd_record(store: &StateStore, at: Revision, created: Option<i64>) -> StorageError {
    let Revision { main, sub } = at;
    let what = match created {
        Some(later) => format!("the record of revision {main}.{sub} is of a key made in {later}"),
        None => format!("the record of revision {main}.{sub} is not a key-value pair"),
    };
    StorageError::damaged(store.path(), what)
}

/// Small tables: what has a meaning must decode.
fn tables(store: &StateStore, restored: &Restored) -> Vec<StorageError> {
    let mut findings = Vec::new();
    let mut wrong = |what: String| findings.push(StorageError::damaged(store.path(), what));
    for (id, bytes) in &restored.leases {
        match Lease::decode(bytes.clone()) {
            Ok(lease) if lease.id == id.0 => {}
            Ok(lease) => wrong(format!("lease {:x} says that it is {:x}", id.0, lease.id)),
            Err(e) => wrong(format!("lease {:x} cannot be read: {e}", id.0)),
        }
    }
    let conf_state = restored.meta.iter().find(|(key, _)| key == "conf_state");
    match conf_state.map(|(_, bytes)| decode_conf_state(bytes)) {
        Some(Err(e)) => wrong(format!("who votes cannot be read: {e}")),
        Some(Ok(state)) if state.voters.is_empty() => wrong("nobody votes".into()),
        None if restored.applied > Index(0) => wrong("it does not say who votes".into()),
        _ => {}
    }
    findings
}
