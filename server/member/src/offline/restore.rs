//! A snapshot of any etcd or kvorum becomes the first state of a new cluster.
//!
//! Each member of the new cluster is restored from the same file with the same words, so everything but the name of the
//! member must come out the same. The identity is written last: a start refuses what a crash left half done.

use std::fs;
use std::path::{Path, PathBuf};

use crate::bootstrap::known_member;
use bytes::BytesMut;
use kvorum_core::auth::AuthStore;
use kvorum_core::backend::{FlushMark, Record, SideChange};
use kvorum_core::mvcc::encoding::{self, Pair};
use kvorum_core::mvcc::flush::meta_number;
use kvorum_core::mvcc::store::{META_FINISHED_COMPACT, META_SCHEDULED_COMPACT};
use kvorum_core::trust::Trust;
use kvorum_core::{ClusterId, Index, LeaseId, MemberId, Revision, Term};
use kvorum_proto::mvccpb::KeyValue;
use kvorum_storage::bbolt::{Item, SnapshotSummary, SnapshotTables, Trailer, read_snapshot};
use kvorum_storage::{DataDir, Identity, StateStore, StorageError, StoreOptions};
use prost::Message as _;

use super::cluster::{InitialCluster, Members};
use super::first_state::first_state;
use super::status::open;
use super::{OfflineError, refused};
use crate::trust::{Heir, carry_over};

/// Records that are made durable at once, bytes.
const BATCH_BYTES: usize = 16 << 20;
/// Where the log of a new cluster begins.
const FIRST_INDEX: Index = Index(1);
const FIRST_TERM: Term = Term(1);
/// The directory of a member's keys and certificates, in its data directory.
const PKI: &str = "pki";
const AUTHORITY_LEFT: &str = "the certificate authority was left out: the new cluster makes its own, and no certificate of \
                              the old one opens it; to keep them, restore with --pki-dir and the directory pki of any \
                              member of the old cluster";
/// What a file system puts into an empty directory.
const NOT_OURS: &str = "lost+found";

/// What to restore, and who will own it.
#[derive(Clone, Debug)]
pub struct RestoreOptions {
    /// The snapshot.
    pub file: PathBuf,
    /// Where the member's files go; empty, or not there yet.
    pub data_dir: PathBuf,
    /// The member whose files these are.
    pub name: String,
    /// All members of the new cluster.
    pub initial_cluster: InitialCluster,
    /// Where peers reach this one.
    pub peer_urls: Vec<String>,
    /// Goes into the ids.
    pub token: String,
    /// Do not look at the SHA-256: the file was taken out of a data directory.
    pub skip_hash_check: bool,
    /// Added to the newest revision, all history before being marked as compacted; 0 for neither.
    pub bump_revision: i64,
    /// The directory `pki` of any member of the cluster that the snapshot is of: its certificate authority goes on.
    pub pki_dir: Option<PathBuf>,
}

/// What was restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The new cluster.
    pub cluster_id: ClusterId,
    /// The member.
    pub member_id: MemberId,
    /// The revision it begins with.
    pub revision: i64,
    /// Changes of keys.
    pub records: u64,
    /// Leases.
    pub leases: u64,
    /// What was left out, one line each.
    pub notes: Vec<String>,
}

/// Restores a snapshot into an empty directory.
///
/// # Errors
/// The directory is not empty, the file is damaged, or the names and URLs do not fit together. Nothing remains of a
/// restore that failed.
pub fn restore(options: &RestoreOptions) -> Result<Restored, OfflineError> {
    let existed = check_empty(&options.data_dir)?;
    check_names(options)?;
    let restored = Restoring::run(options);
    if restored.is_err() {
        clear(&options.data_dir, existed);
    }
    restored
}

/// True if there is an empty directory, false if there is nothing.
fn check_empty(dir: &Path) -> Result<bool, OfflineError> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(refused(format!("list {}: {e}", dir.display()))),
        Ok(entries) => entries,
    };
    for entry in entries {
        let entry = entry.map_err(|e| refused(format!("list {}: {e}", dir.display())))?;
        if entry.file_name() != NOT_OURS {
            return Err(refused(format!(
                "--data-dir {} is not empty (it holds {:?}): restore into a new directory",
                dir.display(),
                entry.file_name()
            )));
        }
    }
    Ok(true)
}

/// Told before anything is read: the ids do not matter for it.
fn check_names(options: &RestoreOptions) -> Result<(), OfflineError> {
    let members = Members::new(&options.initial_cluster, &options.token, "");
    members.own(&options.name, &options.peer_urls).map(drop)
}

/// Removes what a failed restore has made; the directory was empty before.
fn clear(dir: &Path, existed: bool) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        let removed = match path.is_dir() {
            _ if path.ends_with(NOT_OURS) => Ok(()),
            true => fs::remove_dir_all(&path),
            false => fs::remove_file(&path),
        };
        if let Err(error) = removed {
            tracing::warn!(path = %path.display(), %error, "remove it by hand");
        }
    }
    if !existed {
        // Told above if something is left in it.
        let _ = fs::remove_dir(dir);
    }
}

/// A restore under way.
struct Restoring {
    state: StateStore,
    batch: Vec<Record>,
    batch_bytes: usize,
    arena: BytesMut,
    side: Vec<SideChange>,
    auth: AuthStore,
    /// Raised without a change of any key.
    bare_revision: i64,
    newest_record: i64,
    /// The newest revision in front of a record whose predecessor is not there. Compaction explains it, and so does a
    /// revision that was raised by hand.
    gap_to: i64,
}

impl Restoring {
    fn run(options: &RestoreOptions) -> Result<Restored, OfflineError> {
        let source = open(&options.file)?;
        let mut dir = DataDir::open(&options.data_dir)?;
        let (state, _) = StateStore::open(dir.state_disk(), StoreOptions::default())?;
        let mut restoring = Self {
            state,
            batch: Vec::new(),
            batch_bytes: 0,
            arena: BytesMut::new(),
            side: Vec::new(),
            auth: AuthStore::default(),
            bare_revision: 0,
            newest_record: 0,
            gap_to: 0,
        };
        let name = options.file.display().to_string();
        let trailer = match options.skip_hash_check {
            true => Trailer::Ignored,
            false => Trailer::Required,
        };
        let summary = read_snapshot(source, &name, trailer, |item| restoring.take(item))?;
        let mut notes = notes(&summary);
        let SnapshotTables {
            auth_enabled,
            auth_revision,
            ..
        } = summary.tables;
        restoring.auth.import_state(auth_enabled, auth_revision);
        let revision = restoring.end_history(&summary, options.bump_revision)?;
        let salt = format!("/{:08x}/{}", summary.hash, summary.revision);
        let members = Members::new(&options.initial_cluster, &options.token, &salt);
        let member_id = members.own(&options.name, &options.peer_urls)?;
        let mut first = first_state(&members.list, &[]);
        let trust = authority(&summary);
        match &options.pki_dir {
            Some(pki_dir) => {
                let heir = Heir {
                    member_id,
                    name: &options.name,
                    peer_urls: &options.peer_urls,
                };
                carry_over(pki_dir, &options.data_dir.join(PKI), &trust, &heir)
                    .map_err(|e| refused(format!("--pki-dir {}: {e}", pki_dir.display())))?;
                first.extend(trust.rows());
            }
            None if trust.is_ready() => notes.push(AUTHORITY_LEFT.to_owned()),
            None => {}
        }
        restoring.finish(first)?;
        dir.set_identity(Identity {
            cluster_id: members.cluster_id,
            member_id,
            name: options.name.clone(),
            members: members.list.iter().map(known_member).collect(),
            ..Identity::default()
        })?;
        Ok(Restored {
            cluster_id: members.cluster_id,
            member_id,
            revision,
            records: summary.records,
            leases: summary.leases,
            notes,
        })
    }

    fn take(&mut self, item: Item) -> Result<(), StorageError> {
        match item {
            Item::Record {
                revision,
                tombstone,
                kv,
            } => self.record(revision, tombstone, &kv),
            Item::RevisionOnly(main) => {
                self.bare_revision = self.bare_revision.max(main);
                Ok(())
            }
            Item::Lease(lease) => {
                let change = SideChange::LeasePut(LeaseId(lease.id), lease.encode_to_vec().into());
                self.side.push(change);
                Ok(())
            }
            Item::User(user) => {
                self.auth.import_user(user);
                Ok(())
            }
            Item::Role(role) => {
                self.auth.import_role(role);
                Ok(())
            }
        }
    }

    fn record(
        &mut self,
        revision: Revision,
        tombstone: bool,
        kv: &KeyValue,
    ) -> Result<(), StorageError> {
        let pair = match tombstone {
            true => Pair {
                key: &kv.key,
                create_revision: 0,
                mod_revision: revision.main,
                version: 0,
                value: &[],
                lease: 0,
            },
            false => Pair {
                key: &kv.key,
                create_revision: kv.create_revision,
                mod_revision: kv.mod_revision,
                version: kv.version,
                value: &kv.value,
                lease: kv.lease,
            },
        };
        let kv = encoding::encode(&mut self.arena, &pair);
        if revision.main > self.newest_record + 1 {
            self.gap_to = revision.main - 1;
        }
        self.newest_record = revision.main;
        self.batch_bytes += kv.len();
        self.batch.push(Record {
            revision,
            tombstone,
            kv,
        });
        if self.batch_bytes < BATCH_BYTES {
            return Ok(());
        }
        self.flush(&FlushMark::default())
    }

    fn flush(&mut self, mark: &FlushMark) -> Result<(), StorageError> {
        self.batch_bytes = 0;
        self.state.flush(self.batch.drain(..), mark)?;
        Ok(())
    }

    /// Notes the compaction marks, and raises the revision if that is asked for.
    fn end_history(&mut self, summary: &SnapshotSummary, bump: i64) -> Result<i64, OfflineError> {
        let SnapshotTables {
            scheduled_compact,
            finished_compact,
            ..
        } = summary.tables;
        let mut compact = scheduled_compact.max(finished_compact);
        if self.bare_revision > self.newest_record.max(compact.unwrap_or(0)) {
            // No record stands at the newest revision, so only the compaction mark can hold it.
            compact = Some(self.bare_revision);
        }
        // Changes that are not there cannot be watched: what is kept of history begins behind them.
        compact = compact.max(Some(self.gap_to).filter(|gap_to| *gap_to > 1));
        let mut revision = summary.revision;
        if bump > 0 {
            revision = revision
                .checked_add(bump)
                .ok_or_else(|| refused("--bump-revision: too large for this snapshot"))?;
            compact = Some(revision);
        }
        for (name, at) in [
            (META_SCHEDULED_COMPACT, compact),
            (META_FINISHED_COMPACT, finished_compact),
        ] {
            let mark = at.map(|at| SideChange::MetaPut(name.into(), meta_number(at)));
            self.side.extend(mark);
        }
        Ok(revision)
    }

    /// The last flush: with it the state is that of the first entry, and the log begins behind it.
    fn finish(mut self, first: Vec<SideChange>) -> Result<(), StorageError> {
        let mut side = std::mem::take(&mut self.side);
        side.extend(self.auth.rows());
        side.extend(first);
        let mark = FlushMark {
            applied: FIRST_INDEX,
            term: FIRST_TERM,
            side,
        };
        self.state.flush_base(self.batch.drain(..), &mark)?;
        Ok(())
    }
}

/// What was left out.
fn notes(summary: &SnapshotSummary) -> Vec<String> {
    let mut notes = Vec::new();
    if !summary.tables.alarms.is_empty() {
        notes.push(format!(
            "{} alarms were left out: they were raised by members that are not in this cluster",
            summary.tables.alarms.len()
        ));
    }
    notes
}

/// The certificate authority in a snapshot, without what belongs to the cluster that was.
fn authority(summary: &SnapshotSummary) -> Trust {
    let mut trust = Trust::default();
    for (name, row) in &summary.tables.trust {
        // Rows of a later version are of no use here.
        trust.restore(name, row);
    }
    trust.carried_over()
}
