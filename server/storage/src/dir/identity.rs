//! `member.json`: who lives in a data directory.

use kvorum_core::types::{ClusterId, MemberId};
use serde::{Deserialize, Serialize};

use super::FORMAT;
use crate::disk::{Disk, OpenMode, RealDisk};
use crate::error::StorageError;

/// More than any name needs; a larger file is not ours.
const MAX_BYTES: u64 = 64 << 10;

/// A member of a cluster, as its data directory knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// The member.
    pub member_id: MemberId,
    /// Its name, for people.
    pub name: String,
}

/// The file. Ids are hexadecimal, as etcd shows them: JSON numbers lose the low bits of a u64 in many readers.
#[derive(Serialize, Deserialize)]
struct OnDisk {
    format: u32,
    cluster_id: String,
    member_id: String,
    name: String,
}

/// Read first: a newer file may have changed everything else.
#[derive(Deserialize)]
struct Version {
    format: u32,
}

impl Identity {
    pub(crate) fn load(disk: &RealDisk, name: &str) -> Result<Option<Self>, StorageError> {
        let path = disk.path(name);
        let failed = |op, e| StorageError::io(&path, op, e);
        if !disk.exists(name).map_err(|e| failed("look for", e))? {
            return Ok(None);
        }
        let file = disk
            .open(name, OpenMode::Existing)
            .map_err(|e| failed("open", e))?;
        let len = file.len().map_err(|e| failed("read the length of", e))?;
        let wrong = |what: String| StorageError::damaged(&path, what);
        if len == 0 || len > MAX_BYTES {
            return Err(wrong(format!("the file has {len} bytes")));
        }
        let mut text = vec![0; usize::try_from(len).unwrap_or(0)];
        file.read_at(0, &mut text).map_err(|e| failed("read", e))?;
        let version: Version = serde_json::from_slice(&text).map_err(|e| wrong(e.to_string()))?;
        if version.format > FORMAT {
            return Err(StorageError::Newer {
                file: path,
                found: version.format,
                known: FORMAT,
            });
        }
        let on_disk: OnDisk = serde_json::from_slice(&text).map_err(|e| wrong(e.to_string()))?;
        let id = |field: &str, text: &str| {
            u64::from_str_radix(text, 16)
                .map_err(|_| wrong(format!("{field} {text:?} is not hexadecimal")))
        };
        Ok(Some(Self {
            cluster_id: ClusterId(id("cluster_id", &on_disk.cluster_id)?),
            member_id: MemberId(id("member_id", &on_disk.member_id)?),
            name: on_disk.name,
        }))
    }

    /// Written aside, synced, renamed: a crash leaves the old file or the new one.
    pub(super) fn save(&self, disk: &RealDisk, name: &str) -> Result<(), StorageError> {
        let new = format!("{name}.new");
        let path = disk.path(&new);
        let failed = |op, e| StorageError::io(&path, op, e);
        let on_disk = OnDisk {
            format: FORMAT,
            cluster_id: format!("{:x}", self.cluster_id.0),
            member_id: format!("{:x}", self.member_id.0),
            name: self.name.clone(),
        };
        let mut text = serde_json::to_vec_pretty(&on_disk)
            .map_err(|e| failed("encode", std::io::Error::other(e)))?;
        text.push(b'\n');
        if disk.exists(&new).map_err(|e| failed("look for", e))? {
            disk.remove(&new).map_err(|e| failed("remove", e))?;
        }
        let file = disk
            .open(&new, OpenMode::New)
            .map_err(|e| failed("create", e))?;
        file.write_at(0, &text).map_err(|e| failed("write", e))?;
        file.sync().map_err(|e| failed("sync", e))?;
        disk.rename(&new, name).map_err(|e| failed("rename", e))?;
        disk.sync_dir()
            .map_err(|e| failed("sync the directory of", e))
    }
}
