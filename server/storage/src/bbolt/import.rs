//! What an etcd held, out of its snapshot or its database file, entry by entry and checked.

use bytes::Bytes;
use kvorum_core::types::{LeaseId, Revision};
use kvorum_proto::authpb::{Role, User};
use kvorum_proto::etcdserverpb::AlarmMember;
use kvorum_proto::leasepb::Lease;
use kvorum_proto::mvccpb::KeyValue;
use prost::Message;

use super::digest::Trailer;
use super::reader::{BoltFile, refuse};
use super::schema::{
    ALARM, AUTH, AUTH_ENABLED, AUTH_REVISION, AUTH_ROLES, AUTH_USERS, CLUSTER, CLUSTER_VERSION,
    CONF_STATE, CONSISTENT_INDEX, FINISHED_COMPACT, KEY, LEASE, MEMBERS, MEMBERS_REMOVED, META,
    SCHEDULED_COMPACT, STORAGE_VERSION, SnapshotTables, TERM, TRUST, read_revision,
};
use super::source::Source;
use crate::error::StorageError;

/// Members, alarms and removed members that are read at most: they are kept in memory, and no cluster has as many.
const SMALL_TABLE_MAX: usize = 65_536;
/// Rows of a certificate authority that are read at most; a cluster never keeps as many.
const TRUST_ROWS_MAX: usize = 1 << 18;

/// One entry of a snapshot that is too numerous to be kept in memory.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// A change of a key. That of a deletion holds nothing but the key.
    Record {
        /// Where it stands in history.
        revision: Revision,
        /// True for a deletion.
        tombstone: bool,
        /// The pair.
        kv: KeyValue,
    },
    /// A restore moved the history on to here without a change of any key.
    RevisionOnly(i64),
    /// A lease.
    Lease(Lease),
    /// A user with the hash of the password.
    User(User),
    /// A role.
    Role(Role),
}

/// What a whole snapshot told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SnapshotSummary {
    /// Everything but the keys and leases.
    pub tables: SnapshotTables,
    /// The revision that an etcd would be at.
    pub revision: i64,
    /// Changes of keys, deletions included.
    pub records: u64,
    /// Leases.
    pub leases: u64,
    /// Length of the pages, bytes.
    pub bytes: u64,
    /// The number that `etcdutl snapshot status` shows: a CRC-32C of everything.
    pub hash: u32,
}

/// Reads a snapshot from its first entry to its last and shows each to `visit`; checks on the way that it is one. `name`
/// is for messages.
///
/// # Errors
/// The file is damaged, or no etcd wrote it, or it cannot be read; or `visit` failed.
pub fn read_snapshot<S: Source>(
    source: S,
    name: &str,
    trailer: Trailer,
    mut visit: impl FnMut(Item) -> Result<(), StorageError>,
) -> Result<SnapshotSummary, StorageError> {
    let mut file = BoltFile::open(source, name, trailer)?;
    let buckets = file.buckets().to_vec();
    for needed in [KEY, META] {
        if !buckets.iter().any(|bucket| bucket.name == needed) {
            let shown = String::from_utf8_lossy(needed);
            let what = format!("it has no bucket {shown:?}, so no etcd wrote it");
            return Err(refuse(name, what));
        }
    }
    let mut summary = SnapshotSummary {
        bytes: file.bytes(),
        revision: 1,
        ..SnapshotSummary::default()
    };
    for bucket in &buckets {
        summary.feed(&bucket.name);
        file.walk(bucket, |key, value| {
            summary.feed(key);
            summary.feed(value);
            let entry = Entry {
                name,
                bucket: &bucket.name,
                key,
                value,
            };
            match summary.take(&entry)? {
                Some(item) => visit(item),
                None => Ok(()),
            }
        })?;
    }
    let compacted = summary
        .tables
        .scheduled_compact
        .max(summary.tables.finished_compact);
    summary.revision = summary.revision.max(compacted.unwrap_or(0));
    Ok(summary)
}

/// A pair in its bucket.
struct Entry<'a> {
    name: &'a str,
    bucket: &'a [u8],
    key: &'a [u8],
    value: &'a [u8],
}

impl Entry<'_> {
    fn wrong(&self, what: &str) -> StorageError {
        let bucket = String::from_utf8_lossy(self.bucket);
        let key = self.key.get(..self.key.len().min(64)).unwrap_or_default();
        let key = key.escape_ascii();
        refuse(
            self.name,
            format!("in bucket {bucket:?}, the entry \"{key}\" {what}"),
        )
    }

    fn number(&self) -> Result<u64, StorageError> {
        let bytes = self
            .value
            .try_into()
            .map_err(|_| self.wrong("is not a number of 8 bytes"))?;
        Ok(u64::from_be_bytes(bytes))
    }

    fn text(&self) -> Result<String, StorageError> {
        let text = String::from_utf8(self.value.to_vec());
        text.map_err(|_| self.wrong("is not a text"))
    }

    fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, StorageError> {
        serde_json::from_slice(self.value)
            .map_err(|e| self.wrong(&format!("is not the JSON it should be: {e}")))
    }

    fn message<M: Message + Default>(&self, bytes: &[u8]) -> Result<M, StorageError> {
        M::decode(Bytes::copy_from_slice(bytes))
            .map_err(|e| self.wrong(&format!("cannot be decoded: {e}")))
    }

    fn revision(&self) -> Result<i64, StorageError> {
        match read_revision(self.value) {
            Some((revision, false)) => Ok(revision.main),
            _ => Err(self.wrong("is not a revision")),
        }
    }

    fn record(&self) -> Result<Item, StorageError> {
        let (revision, tombstone) =
            read_revision(self.key).ok_or_else(|| self.wrong("is not a revision"))?;
        let kv: KeyValue = self.message(self.value)?;
        if self.value.is_empty() {
            return Ok(Item::RevisionOnly(revision.main));
        }
        if kv.key.is_empty() {
            return Err(self.wrong("is a change without a key"));
        }
        if !tombstone && kv.mod_revision != revision.main {
            return Err(self.wrong("is a change of another revision"));
        }
        if !tombstone && (kv.version < 1 || !(1..=revision.main).contains(&kv.create_revision)) {
            return Err(self.wrong("is a change that no history of a key has"));
        }
        Ok(Item::Record {
            revision,
            tombstone,
            kv,
        })
    }

    fn lease(&self) -> Result<Item, StorageError> {
        let lease: Lease = self.message(self.value)?;
        if self.key != lease.id.to_be_bytes().as_slice() || LeaseId(lease.id) == LeaseId(0) {
            return Err(self.wrong("is another lease than it is called"));
        }
        Ok(Item::Lease(lease))
    }

    fn hex_id(&self) -> Result<u64, StorageError> {
        let id = std::str::from_utf8(self.key)
            .ok()
            .and_then(|id| u64::from_str_radix(id, 16).ok());
        id.ok_or_else(|| self.wrong("is not called by the id of a member"))
    }
}

impl SnapshotSummary {
    fn feed(&mut self, bytes: &[u8]) {
        self.hash = crc32c::crc32c_append(self.hash, bytes);
    }

    /// Takes what belongs to the small tables, gives back the rest.
    fn take(&mut self, entry: &Entry<'_>) -> Result<Option<Item>, StorageError> {
        let item = match entry.bucket {
            KEY => {
                let item = entry.record()?;
                if let Item::Record {
                    revision: Revision { main, .. },
                    ..
                }
                | Item::RevisionOnly(main) = item
                {
                    self.revision = self.revision.max(main);
                }
                self.records += 1;
                item
            }
            LEASE => {
                self.leases += 1;
                entry.lease()?
            }
            AUTH_USERS => Item::User(entry.message(entry.value)?),
            AUTH_ROLES => Item::Role(entry.message(entry.value)?),
            _ => return self.take_small(entry).map(|()| None),
        };
        Ok(Some(item))
    }

    fn take_small(&mut self, entry: &Entry<'_>) -> Result<(), StorageError> {
        let tables = &mut self.tables;
        let held = tables.members.len() + tables.members_removed.len() + tables.alarms.len();
        if held > SMALL_TABLE_MAX {
            return Err(entry.wrong("is one too many of its kind"));
        }
        match (entry.bucket, entry.key) {
            (META, CONSISTENT_INDEX) => tables.consistent_index = entry.number()?,
            (META, TERM) => tables.term = entry.number()?,
            (META, CONF_STATE) => tables.conf_state = Some(entry.json()?),
            (META, STORAGE_VERSION) => tables.storage_version = Some(entry.text()?),
            (META, SCHEDULED_COMPACT) => tables.scheduled_compact = Some(entry.revision()?),
            (META, FINISHED_COMPACT) => tables.finished_compact = Some(entry.revision()?),
            (CLUSTER, CLUSTER_VERSION) => tables.cluster_version = Some(entry.text()?),
            (AUTH, AUTH_REVISION) => tables.auth_revision = entry.number()?,
            (AUTH, AUTH_ENABLED) => tables.auth_enabled = entry.value == [1],
            (MEMBERS, _) => {
                entry.hex_id()?;
                tables.members.push(entry.json()?);
            }
            (MEMBERS_REMOVED, _) => tables.members_removed.push(entry.hex_id()?),
            (ALARM, _) => {
                let alarm: AlarmMember = entry.message(entry.key)?;
                tables.alarms.push((alarm.member_id, alarm.alarm));
            }
            (TRUST, name) => {
                let name = String::from_utf8(name.to_vec());
                let name = name.map_err(|_| entry.wrong("has no text for a name"))?;
                if tables.trust.len() >= TRUST_ROWS_MAX {
                    return Err(entry.wrong("is one too many of its kind"));
                }
                let row = Bytes::copy_from_slice(entry.value);
                tables.trust.push((name, row));
            }
            // What later versions add is no concern of ours.
            _ => {}
        }
        Ok(())
    }
}
