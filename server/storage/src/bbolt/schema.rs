//! etcd's buckets: their names, and how the keys and values in them look. (ETCD.md 7.3)

use bytes::Bytes;
use kvorum_core::types::Revision;
use kvorum_proto::authpb::{Role, User};
use serde::{Deserialize, Serialize};

use crate::error::StorageError;

pub(super) const ALARM: &[u8] = b"alarm";
pub(super) const AUTH: &[u8] = b"auth";
pub(super) const AUTH_ROLES: &[u8] = b"authRoles";
pub(super) const AUTH_USERS: &[u8] = b"authUsers";
pub(super) const CLUSTER: &[u8] = b"cluster";
pub(super) const KEY: &[u8] = b"key";
pub(super) const LEASE: &[u8] = b"lease";
pub(super) const MEMBERS: &[u8] = b"members";
pub(super) const MEMBERS_REMOVED: &[u8] = b"members_removed";
pub(super) const META: &[u8] = b"meta";
/// None of etcd's, which passes over it: the certificate authority of a kvorum that has one.
pub(super) const TRUST: &[u8] = b"kvorumTrust";

pub(super) const AUTH_REVISION: &[u8] = b"authRevision";
pub(super) const AUTH_ENABLED: &[u8] = b"authEnabled";
pub(super) const CLUSTER_VERSION: &[u8] = b"clusterVersion";
pub(super) const CONF_STATE: &[u8] = b"confState";
pub(super) const CONSISTENT_INDEX: &[u8] = b"consistent_index";
pub(super) const FINISHED_COMPACT: &[u8] = b"finishedCompactRev";
pub(super) const SCHEDULED_COMPACT: &[u8] = b"scheduledCompactRev";
pub(super) const STORAGE_VERSION: &[u8] = b"storageVersion";
pub(super) const TERM: &[u8] = b"term";

const REVISION_BYTES: usize = 17;
const SEPARATOR: u8 = b'_';
const TOMBSTONE: u8 = b't';

/// The raft configuration, with the names of its fields in etcd's JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfState {
    /// Voting members.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub voters: Vec<u64>,
    /// Members that do not vote yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub learners: Vec<u64>,
    /// Voters of the configuration that is being left.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub voters_outgoing: Vec<u64>,
    /// Voters that become learners once the old configuration is left.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub learners_next: Vec<u64>,
    /// The old configuration is left without being asked.
    #[serde(default)]
    pub auto_leave: bool,
}

/// A member, with the names of its fields in etcd's JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EtcdMember {
    /// Its id.
    pub id: u64,
    /// Where peers reach it.
    #[serde(rename = "peerURLs", default)]
    pub peer_urls: Vec<String>,
    /// It does not vote yet.
    #[serde(
        rename = "isLearner",
        default,
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub is_learner: bool,
    /// Its name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Where clients reach it.
    #[serde(rename = "clientURLs", default, skip_serializing_if = "Vec::is_empty")]
    pub client_urls: Vec<String>,
}

/// Everything in a snapshot but the keys.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SnapshotTables {
    /// Last applied entry.
    pub consistent_index: u64,
    /// Its term.
    pub term: u64,
    /// Who votes.
    pub conf_state: Option<ConfState>,
    /// Compact revision that was decided.
    pub scheduled_compact: Option<i64>,
    /// Compact revision whose removals are done.
    pub finished_compact: Option<i64>,
    /// Version of the layout, as `3.6.0`; none before 3.6.
    pub storage_version: Option<String>,
    /// Version that all members speak, as `3.6.0`.
    pub cluster_version: Option<String>,
    /// The members.
    pub members: Vec<EtcdMember>,
    /// Ids that may never be used again.
    pub members_removed: Vec<u64>,
    /// Raised alarms: member, type.
    pub alarms: Vec<(u64, i32)>,
    /// Changes of the authentication tables; 1 for none.
    pub auth_revision: u64,
    /// True if authentication is on.
    pub auth_enabled: bool,
    /// Users, to be written. Who reads a snapshot gets them one by one.
    pub users: Vec<User>,
    /// Roles, likewise.
    pub roles: Vec<Role>,
    /// Rows of the certificate authority, its keys sealed; none where the cluster has no authority of its own.
    pub trust: Vec<(String, Bytes)>,
}

/// A revision as a key: main, `_`, sub, and `t` for a deletion.
pub(super) fn revision_key(revision: Revision, tombstone: bool) -> Vec<u8> {
    let mut key = Vec::with_capacity(REVISION_BYTES + 1);
    key.extend_from_slice(&revision.main.to_be_bytes());
    key.push(SEPARATOR);
    key.extend_from_slice(&u64::from(revision.sub).to_be_bytes());
    if tombstone {
        key.push(TOMBSTONE);
    }
    key
}

/// The revision in a key, and whether it is a deletion.
pub(super) fn read_revision(key: &[u8]) -> Option<(Revision, bool)> {
    let (fixed, mark) = key.split_at_checked(REVISION_BYTES)?;
    let tombstone = match mark {
        [] => false,
        [TOMBSTONE] => true,
        _ => return None,
    };
    let (main, rest) = fixed.split_at_checked(8)?;
    let (separator, sub) = rest.split_first()?;
    if *separator != SEPARATOR {
        return None;
    }
    let main = i64::from_be_bytes(main.try_into().ok()?);
    let sub = u32::try_from(u64::from_be_bytes(sub.try_into().ok()?)).ok()?;
    (main > 0).then_some((Revision { main, sub }, tombstone))
}

/// JSON as Go writes it: these three are escaped there.
pub(super) fn json(value: &impl Serialize) -> Result<Vec<u8>, StorageError> {
    let text = serde_json::to_string(value)
        .map_err(|e| StorageError::Order(format!("a snapshot cannot say this in JSON: {e}")))?;
    let text = text.replace('<', "\\u003c").replace('>', "\\u003e");
    Ok(text.replace('&', "\\u0026").into_bytes())
}
