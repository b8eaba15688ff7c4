//! What the files of one member hold: how far its log goes, and who votes in its cluster.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use kvorum_core::backend::Restored;
use kvorum_core::log::{Entry, HardState};
use kvorum_core::machine::restored_compact_revision;
use kvorum_core::node::decode_conf_state;
use kvorum_core::replica::META_CONF_STATE;
use kvorum_core::{ClusterId, MemberId};
use kvorum_storage::{DataDir, Identity, Log, LogOptions, StateStore, StoreOptions};

use super::{OfflineError, random, refused};
use crate::options::MemberOptions;

/// The end of a log. Of two members, the one with the greater is further, as raft counts: the term first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogPosition {
    /// Term of the last entry.
    pub term: u64,
    /// Its index.
    pub index: u64,
}

impl fmt::Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.term)
    }
}

impl FromStr for LogPosition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.split_once('.').and_then(|(index, term)| {
            Some(Self {
                index: index.parse().ok()?,
                term: term.parse().ok()?,
            })
        });
        numbers.ok_or_else(|| format!("{text:?} is not INDEX.TERM, as in 1042.7"))
    }
}

/// What one member's files say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survivor {
    /// Where they are.
    pub data_dir: PathBuf,
    /// The member.
    pub member_id: MemberId,
    /// Its name.
    pub name: String,
    /// Its cluster.
    pub cluster_id: ClusterId,
    /// The end of its log.
    pub last: LogPosition,
    /// What it knows to be committed.
    pub commit: u64,
    /// The last entry in the state store.
    pub applied: u64,
    /// The revision of the state store; what the log holds behind it comes on top.
    pub revision: i64,
    /// Who votes.
    pub voters: Vec<MemberId>,
}

impl fmt::Display for Survivor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let voters: Vec<String> = self.voters.iter().map(|v| format!("{:x}", v.0)).collect();
        write!(
            f,
            "member={:x} cluster={:x} last={} commit={} applied={} revision={} voters={} name={:?}",
            self.member_id.0,
            self.cluster_id.0,
            self.last,
            self.commit,
            self.applied,
            self.revision,
            voters.join(","),
            self.name
        )
    }
}

/// Everything of a member that is not running, open and locked.
pub(super) struct OpenFiles {
    pub(super) dir: DataDir,
    pub(super) identity: Identity,
    pub(super) state: Arc<StateStore>,
    pub(super) restored: Restored,
    pub(super) hard_state: HardState,
    /// Those that the state store does not hold yet.
    pub(super) entries: Vec<Entry>,
    pub(super) voters: Vec<MemberId>,
    pub(super) learners: Vec<MemberId>,
}

impl OpenFiles {
    /// Opens the directory of a member.
    ///
    /// # Errors
    /// There is no member in it, it runs, or its files are damaged.
    pub(super) fn open(data_dir: &Path) -> Result<Self, OfflineError> {
        // Opening would make a directory that is not there.
        if !data_dir.join("member.json").exists() {
            return Err(refused(format!(
                "--data-dir {} holds no member of a cluster",
                data_dir.display()
            )));
        }
        let dir = DataDir::open(data_dir)?;
        let identity = dir.identity().cloned();
        let identity = identity.ok_or_else(|| refused("the data directory has no identity"))?;
        let (state, restored) = StateStore::open(dir.state_disk(), StoreOptions::default())?;
        let base = state.base()?;
        let log_options = LogOptions {
            segment_bytes: MemberOptions::default().log_segment_bytes,
            seed: random()?,
            must_reach: Some(restored.applied.0),
            base: base.map(|(index, term)| (index.0, term.0)),
        };
        let (_log, recovered) = Log::open(dir.log_disk(), log_options)?;
        let applied = restored.applied.0;
        let mut entries = recovered.entries;
        entries.retain(|entry| entry.index > applied);
        if let Some(first) = entries.first().filter(|first| first.index != applied + 1) {
            return Err(refused(format!(
                "the log begins at entry {}, but the state store ends at entry {applied}: restore this member",
                first.index
            )));
        }
        let stored = restored.meta.iter().find(|(key, _)| key == META_CONF_STATE);
        let (_, stored) = stored.ok_or(OfflineError::NeverTookPart)?;
        let conf_state = decode_conf_state(stored).map_err(refused)?;
        let members = |ids: &[u64]| ids.iter().map(|id| MemberId(*id)).collect();
        Ok(Self {
            voters: members(&conf_state.voters),
            learners: members(&conf_state.learners),
            identity,
            state: Arc::new(state),
            hard_state: recovered.hard_state,
            entries,
            restored,
            dir,
        })
    }

    /// The end of the log, or of the state where the log holds nothing behind it.
    pub(super) fn last(&self) -> LogPosition {
        let state = LogPosition {
            term: self.restored.term.0,
            index: self.restored.applied.0,
        };
        self.entries.last().map_or(state, |entry| LogPosition {
            term: entry.term,
            index: entry.index,
        })
    }
}

/// Looks at the files of a member that is not running.
///
/// # Errors
/// There is no member in the directory, it runs, or its files are damaged.
pub fn inspect(data_dir: &Path) -> Result<Survivor, OfflineError> {
    let files = OpenFiles::open(data_dir)?;
    let compact = restored_compact_revision(&files.restored).unwrap_or(0);
    let mut revision = compact.max(1);
    // Reads everything, so that damage shows before anybody relies on this member.
    files
        .state
        .scan_all(|at, _, _| revision = revision.max(at.main))?;
    Ok(Survivor {
        data_dir: data_dir.to_path_buf(),
        member_id: files.identity.member_id,
        name: files.identity.name.clone(),
        cluster_id: files.identity.cluster_id,
        last: files.last(),
        commit: files.hard_state.commit,
        applied: files.restored.applied.0,
        revision,
        voters: files.voters.clone(),
    })
}
