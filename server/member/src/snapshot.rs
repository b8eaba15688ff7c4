//! A snapshot on its way to a client: etcd's own file, of one moment, made while writes go on.
//!
//! The moment is a view of the state store after a flush that covers everything acknowledged before. The file is first
//! written to disk as a whole, because its length is told with the first bytes, and because a client that reads slowly
//! must pin neither memory nor pages of the state store.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kvorum_core::auth::{Caller, Need};
use kvorum_core::backend::SideChange;
use kvorum_core::node::decode_conf_state;
use kvorum_core::{Error, Machine};
use kvorum_storage::bbolt::{
    ConfState, DIGEST_BYTES, EtcdMember, Sha256Digest, SnapshotTables, SnapshotWriter,
};
use kvorum_storage::{DataDir, DiskFile, RealDisk, StateView, StorageError, spool};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::handle::Handle;
use crate::shared::Shared;
use kvorum_core::replica::META_CONF_STATE;

/// Snapshots under way at once: each takes as much room on the disk as the state does.
pub(crate) const SNAPSHOTS_MAX: usize = 4;
/// Bytes of the file in one message; etcd's number.
const BLOB_BYTES: usize = 32 << 10;
/// Messages that wait for a client.
const WAITING_MAX: usize = 4;
/// What must stay free on the disk for the log and the state.
const RESERVE_BYTES: u64 = 32 << 20;
/// Between two looks at the room that is left, bytes written.
const LOOK_BYTES: u64 = 4 << 20;
/// Records between two looks at whether anybody still wants the snapshot.
const LOOK_RECORDS: u64 = 256;
/// Layout of the file.
const STORAGE_VERSION: &str = "3.6.0";

/// Why there is no snapshot.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Refused like any other request.
    #[error(transparent)]
    Refused(#[from] Error),
    /// Enough are under way.
    #[error(
        "{SNAPSHOTS_MAX} snapshots are being sent already, and each takes room on the disk; wait for one to end"
    )]
    TooMany,
    /// The disk is too full.
    #[error(
        "the disk of {dir} has no room for a snapshot: it takes about {needed_mib} MiB, {reserve_mib} MiB stay free for \
         writes, and {free_mib} MiB are free; make room or compact the history"
    )]
    NoRoom {
        /// The data directory.
        dir: String,
        /// What the snapshot takes, or what it had taken when room ran out.
        needed_mib: u64,
        /// What is never taken.
        reserve_mib: u64,
        /// What is free.
        free_mib: u64,
    },
    /// The state store took too long to write what was acknowledged.
    #[error(
        "what was written last could not be flushed in time: the disk is full or too slow; try again"
    )]
    NotFlushed,
    /// The file could not be made.
    #[error("{0}")]
    Storage(String),
}

impl From<StorageError> for SnapshotError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error.to_string())
    }
}

/// Some bytes of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotChunk {
    /// Bytes of the file behind these; the digest at the end does not count.
    pub remaining_bytes: u64,
    /// The bytes.
    pub blob: Bytes,
}

/// The bytes of a snapshot, then their SHA-256. Dropping it ends the work.
#[derive(Debug)]
pub struct SnapshotStream {
    chunks: mpsc::Receiver<Result<SnapshotChunk, SnapshotError>>,
}

impl SnapshotStream {
    /// The next bytes; `None` behind the last.
    ///
    /// # Errors
    /// There is no snapshot, or no more of it.
    pub async fn next(&mut self) -> Result<Option<SnapshotChunk>, SnapshotError> {
        self.chunks.recv().await.transpose()
    }
}

impl Handle {
    /// Begins a snapshot that holds everything acknowledged before this call.
    ///
    /// # Errors
    /// The caller has not the role root, the member stops, there are too many, or the disk is too full.
    pub async fn snapshot(&self, caller: &Caller) -> Result<SnapshotStream, SnapshotError> {
        self.permit(caller, &[Need::Admin])?;
        let shared = self.shared.clone();
        if shared.is_stopping() {
            return Err(Error::Stopped.into());
        }
        let permit = shared.snapshots.clone().try_acquire_owned();
        let permit = permit.map_err(|_| SnapshotError::TooMany)?;
        room(&shared, estimate(&shared))?;
        flushed(&shared).await?;
        let (sender, chunks) = mpsc::channel(WAITING_MAX);
        let work = move || run(shared, &sender, permit);
        let spawned = std::thread::Builder::new()
            .name("snapshot".into())
            .spawn(work);
        spawned.map_err(|e| SnapshotError::Storage(format!("a thread cannot be started: {e}")))?;
        Ok(SnapshotStream { chunks })
    }
}

/// Waits until the state store holds everything that can be seen now.
async fn flushed(shared: &Shared) -> Result<(), SnapshotError> {
    let wanted = shared.store.read().visible().0;
    let mut done = shared.flushed.subscribe();
    let waited = done.wait_for(|flushed| *flushed >= wanted);
    shared.store_thread.push(crate::shared::StoreInput::Wake);
    match tokio::time::timeout(shared.options.request_timeout(), waited).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) => Err(Error::Stopped.into()),
        Err(_) if shared.is_stopping() => Err(Error::Stopped.into()),
        Err(_) => Err(SnapshotError::NotFlushed),
    }
}

/// What the file will take: the accounting is that of bbolt, and pages are not filled to the last byte.
fn estimate(shared: &Shared) -> u64 {
    let logical = u64::try_from(shared.store.read().size().total()).unwrap_or(0);
    logical + logical / 8
}

/// Refuses if the disk cannot take `needed` bytes more.
fn room(shared: &Shared, needed: u64) -> Result<(), SnapshotError> {
    let dir = &shared.options.data_dir;
    let Some(free) = DataDir::free_bytes(dir) else {
        return Ok(());
    };
    if free >= needed.saturating_add(RESERVE_BYTES) {
        return Ok(());
    }
    Err(SnapshotError::NoRoom {
        dir: dir.display().to_string(),
        needed_mib: needed.div_ceil(1 << 20),
        reserve_mib: RESERVE_BYTES >> 20,
        free_mib: free >> 20,
    })
}

type Sender = mpsc::Sender<Result<SnapshotChunk, SnapshotError>>;

/// The work of a snapshot, on a thread of its own.
fn run(shared: Arc<Shared>, sender: &Sender, permit: OwnedSemaphorePermit) {
    let begin = Instant::now();
    let made = spool(&shared, sender);
    let seconds = shared.meters.disk.snapshot.clone();
    // From here on nothing of the member is needed, however long the client takes.
    drop(shared);
    let sent = made.and_then(|spooled| match spooled {
        Some((file, bytes)) => send(&*file, bytes, sender),
        None => Ok(None),
    });
    match sent {
        Ok(Some(bytes)) => {
            seconds.observe(begin.elapsed().as_secs_f64());
            told(bytes, begin.elapsed());
        }
        Ok(None) => tracing::info!("a client gave up its snapshot"),
        Err(error) => {
            tracing::warn!(%error, "a snapshot could not be sent");
            // Nobody is there any more if the client went away.
            let _gone = sender.blocking_send(Err(error));
        }
    }
    drop(permit);
}

fn told(bytes: u64, took: Duration) {
    tracing::info!(
        total_bytes = bytes,
        took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        "successfully sent database snapshot to client"
    );
}

type Spooled = (Arc<dyn DiskFile>, u64);

/// Writes the whole file; `None` if nobody wants it any more.
fn spool(shared: &Shared, sender: &Sender) -> Result<Option<Spooled>, SnapshotError> {
    let disk = RealDisk::new(&shared.options.data_dir);
    let (file, path) = spool::unnamed(&disk)?;
    let view = shared.state.view()?;
    let mut writer = SnapshotWriter::new(file.clone(), path);
    let mut ended = None;
    let records = write_records(shared, sender, &view, &mut writer, &mut ended);
    if let Some(end) = ended {
        return end;
    }
    records?;
    let restored = view.tables()?;
    writer.leases(&restored.leases)?;
    let bytes = writer.finish(&tables(shared, &restored)?)?;
    tracing::info!(
        total_bytes = bytes,
        storage_version = STORAGE_VERSION,
        "sending database snapshot to client"
    );
    Ok(Some((file, bytes)))
}

/// Writes the records, and looks now and then whether to go on; why not, goes to `ended`.
fn write_records(
    shared: &Shared,
    sender: &Sender,
    view: &StateView<'_>,
    writer: &mut SnapshotWriter,
    ended: &mut Option<Result<Option<Spooled>, SnapshotError>>,
) -> Result<(), StorageError> {
    let (mut count, mut look_at) = (0u64, LOOK_BYTES);
    writer.records(|out| {
        view.records(|revision, tombstone, kv| {
            count += 1;
            if count.is_multiple_of(LOOK_RECORDS) {
                if sender.is_closed() {
                    *ended = Some(Ok(None));
                } else if shared.is_stopping() {
                    *ended = Some(Err(Error::Stopped.into()));
                }
            }
            if out.bytes() >= look_at {
                look_at = out.bytes() + LOOK_BYTES;
                if let Err(full) = room(shared, 0) {
                    *ended = Some(Err(full));
                }
            }
            if ended.is_some() {
                return Err(StorageError::Order("a snapshot is given up".into()));
            }
            out.record(revision, tombstone, kv)
        })
    })
}

/// The small tables in etcd's form.
fn tables(
    shared: &Shared,
    restored: &kvorum_core::backend::Restored,
) -> Result<SnapshotTables, SnapshotError> {
    let mut machine = Machine::new(Shared::machine_options(&shared.options));
    machine.restore_tables(restored);
    let members = machine.members().iter().map(|m| EtcdMember {
        id: m.id,
        peer_urls: m.peer_ur_ls.clone(),
        is_learner: m.is_learner,
        name: m.name.clone(),
        client_urls: m.client_ur_ls.clone(),
    });
    let alarms = machine.alarms().list(0);
    Ok(SnapshotTables {
        consistent_index: restored.applied.0,
        term: restored.term.0,
        conf_state: Some(conf_state(restored)?),
        scheduled_compact: kvorum_core::machine::restored_compact_revision(restored),
        finished_compact: kvorum_core::machine::restored_finished_compaction(restored),
        storage_version: Some(STORAGE_VERSION.into()),
        cluster_version: machine.cluster_version().map(full_version),
        members: members.collect(),
        members_removed: Vec::new(),
        alarms: alarms.iter().map(|a| (a.member_id, a.alarm)).collect(),
        auth_revision: machine.auth().revision(),
        auth_enabled: machine.auth().is_enabled(),
        users: machine.auth().users().cloned().collect(),
        roles: machine.auth().roles().cloned().collect(),
        trust: authority_rows(&machine),
    })
}

/// What a cluster that goes on from here needs of this one's certificate authority; the keys in it are sealed.
fn authority_rows(machine: &Machine) -> Vec<(String, Bytes)> {
    let rows = machine.trust().carried_over().rows().into_iter();
    let rows = rows.filter_map(|row| match row {
        SideChange::MetaPut(name, value) => Some((name, value)),
        _ => None,
    });
    rows.collect()
}

fn conf_state(restored: &kvorum_core::backend::Restored) -> Result<ConfState, SnapshotError> {
    let stored = restored.meta.iter().find(|(key, _)| key == META_CONF_STATE);
    let Some((_, stored)) = stored else {
        return Ok(ConfState::default());
    };
    let state = decode_conf_state(stored).map_err(SnapshotError::Storage)?;
    Ok(ConfState {
        voters: state.voters,
        learners: state.learners,
        voters_outgoing: state.voters_outgoing,
        learners_next: state.learners_next,
        auto_leave: state.auto_leave,
    })
}

/// etcd keeps three numbers.
fn full_version(version: &str) -> String {
    match version.split('.').count() {
        2 => format!("{version}.0"),
        _ => version.to_owned(),
    }
}

/// Reads the file back to the client, and closes with its digest; `None` if the client went away.
fn send(file: &dyn DiskFile, bytes: u64, sender: &Sender) -> Result<Option<u64>, SnapshotError> {
    let mut digest = Sha256Digest::default();
    let mut sent = 0;
    while sent < bytes {
        let left = usize::try_from(bytes - sent).unwrap_or(BLOB_BYTES);
        let mut blob = vec![0; left.min(BLOB_BYTES)];
        let read = file.read_at(sent, &mut blob);
        read.map_err(|e| {
            SnapshotError::Storage(format!("a spooled snapshot cannot be read: {e}"))
        })?;
        digest.feed(&blob);
        sent += blob.len() as u64;
        let chunk = SnapshotChunk {
            remaining_bytes: bytes - sent,
            blob: blob.into(),
        };
        if sender.blocking_send(Ok(chunk)).is_err() {
            return Ok(None);
        }
    }
    let digest: [u8; DIGEST_BYTES] = digest.finish();
    let last = SnapshotChunk {
        remaining_bytes: 0,
        blob: Bytes::copy_from_slice(&digest),
    };
    let taken = sender.blocking_send(Ok(last));
    Ok(taken.is_ok().then_some(bytes))
}
