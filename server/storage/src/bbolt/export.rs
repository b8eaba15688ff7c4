//! A member's state as a snapshot that etcd can restore: all ten buckets, in the form etcd 3.6 writes. Where the cluster
//! has a certificate authority, an eleventh holds that; etcd passes over it.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use kvorum_core::mvcc::encoding::key_field;
use kvorum_core::types::{LeaseId, Revision};
use kvorum_proto::etcdserverpb::AlarmMember;
use prost::Message;

use super::schema::{
    ALARM, AUTH, AUTH_ENABLED, AUTH_REVISION, AUTH_ROLES, AUTH_USERS, CLUSTER, CLUSTER_VERSION,
    CONF_STATE, CONSISTENT_INDEX, FINISHED_COMPACT, KEY, LEASE, MEMBERS, MEMBERS_REMOVED, META,
    SCHEDULED_COMPACT, STORAGE_VERSION, SnapshotTables, TERM, TRUST, json, revision_key,
};
use super::writer::{BoltWriter, BucketWriter};
use crate::disk::DiskFile;
use crate::error::StorageError;

/// A snapshot in the making.
#[derive(Debug)]
pub struct SnapshotWriter {
    file: BoltWriter,
}

/// Takes the records of a snapshot, in revision order.
#[derive(Debug)]
pub struct RecordWriter<'a> {
    bucket: BucketWriter<'a>,
}

impl RecordWriter<'_> {
    /// Appends a record, its pair encoded in canonical form.
    ///
    /// # Errors
    /// The disk failed, or the record does not come after the one before.
    pub fn record(
        &mut self,
        revision: Revision,
        tombstone: bool,
        kv: &[u8],
    ) -> Result<(), StorageError> {
        // etcd keeps nothing but the key of a deletion.
        let value = if tombstone { key_field(kv) } else { kv };
        self.bucket.put(&revision_key(revision, tombstone), value)
    }

    /// Bytes of the snapshot so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bucket.bytes()
    }
}

impl SnapshotWriter {
    /// Begins in an empty file; `path` is for messages.
    #[must_use]
    pub fn new(file: Arc<dyn DiskFile>, path: PathBuf) -> Self {
        Self {
            file: BoltWriter::new(file, path),
        }
    }

    /// Writes the records that `feed` gives.
    ///
    /// # Errors
    /// The disk's, or those of `feed`.
    pub fn records(
        &mut self,
        feed: impl FnOnce(&mut RecordWriter<'_>) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        let mut records = RecordWriter {
            bucket: self.file.bucket(KEY),
        };
        feed(&mut records)?;
        records.bucket.finish()
    }

    /// Writes the leases, encoded.
    ///
    /// # Errors
    /// The disk's.
    pub fn leases(&mut self, leases: &[(LeaseId, Bytes)]) -> Result<(), StorageError> {
        let pairs = leases
            .iter()
            .map(|(id, lease)| (id.0.to_be_bytes().to_vec(), lease.to_vec()));
        self.table(LEASE, pairs.collect())
    }

    /// Writes the other tables and completes the file; gives its length.
    ///
    /// # Errors
    /// The disk's.
    pub fn finish(mut self, tables: &SnapshotTables) -> Result<u64, StorageError> {
        let version = |v: &Option<String>| v.clone().unwrap_or_default().into_bytes();
        let alarms = tables.alarms.iter().map(|(member_id, alarm)| {
            let alarm = AlarmMember {
                member_id: *member_id,
                alarm: *alarm,
            };
            (alarm.encode_to_vec(), Vec::new())
        });
        self.table(ALARM, alarms.collect())?;
        let mut auth = vec![(
            AUTH_REVISION.to_vec(),
            tables.auth_revision.to_be_bytes().to_vec(),
        )];
        if tables.auth_enabled {
            auth.push((AUTH_ENABLED.to_vec(), vec![1]));
        }
        self.table(AUTH, auth)?;
        let roles = tables.roles.iter();
        let roles = roles.map(|role| (role.name.to_vec(), role.encode_to_vec()));
        self.table(AUTH_ROLES, roles.collect())?;
        let users = tables.users.iter();
        let users = users.map(|user| (user.name.to_vec(), user.encode_to_vec()));
        self.table(AUTH_USERS, users.collect())?;
        let cluster_version = tables.cluster_version.iter();
        let cluster = cluster_version.map(|v| (CLUSTER_VERSION.to_vec(), v.clone().into_bytes()));
        self.table(CLUSTER, cluster.collect())?;
        let members = tables.members.iter().map(|m| Ok((hex_id(m.id), json(m)?)));
        self.table(MEMBERS, members.collect::<Result<_, StorageError>>()?)?;
        let removed = tables.members_removed.iter();
        let removed = removed.map(|id| (hex_id(*id), b"removed".to_vec()));
        self.table(MEMBERS_REMOVED, removed.collect())?;
        let mut meta = vec![
            (
                CONSISTENT_INDEX.to_vec(),
                tables.consistent_index.to_be_bytes().to_vec(),
            ),
            (TERM.to_vec(), tables.term.to_be_bytes().to_vec()),
        ];
        if let Some(conf_state) = &tables.conf_state {
            meta.push((CONF_STATE.to_vec(), json(conf_state)?));
        }
        if tables.storage_version.is_some() {
            meta.push((STORAGE_VERSION.to_vec(), version(&tables.storage_version)));
        }
        for (name, revision) in [
            (SCHEDULED_COMPACT, tables.scheduled_compact),
            (FINISHED_COMPACT, tables.finished_compact),
        ] {
            let at = revision.map(|main| revision_key(Revision::first_of(main), false));
            meta.extend(at.map(|at| (name.to_vec(), at)));
        }
        self.table(META, meta)?;
        if !tables.trust.is_empty() {
            let rows = tables.trust.iter();
            let rows = rows.map(|(name, row)| (name.clone().into_bytes(), row.to_vec()));
            self.table(TRUST, rows.collect())?;
        }
        self.file.finish()
    }

    fn table(
        &mut self,
        name: &[u8],
        mut pairs: Vec<(Vec<u8>, Vec<u8>)>,
    ) -> Result<(), StorageError> {
        pairs.sort_unstable();
        let mut bucket = self.file.bucket(name);
        for (key, value) in &pairs {
            bucket.put(key, value)?;
        }
        bucket.finish()
    }
}

/// A member's id as etcd names its entry.
fn hex_id(id: u64) -> Vec<u8> {
    format!("{id:x}").into_bytes()
}
