//! `member.json`: who lives in a data directory.

use kvorum_core::types::{ClusterId, MemberId};
use serde::{Deserialize, Serialize};

use super::FORMAT;
use crate::disk::{Disk, OpenMode, RealDisk};
use crate::error::StorageError;

/// More than any cluster needs; a larger file is not ours.
const MAX_BYTES: u64 = 1 << 20;

/// A member of a cluster, as its data directory knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// The member.
    pub member_id: MemberId,
    /// Its name, for people.
    pub name: String,
    /// How it came to be a member.
    pub origin: Origin,
    /// All members, this one among them, as this member knew them last: whom to ask when nothing else is left.
    pub members: Vec<KnownMember>,
}

/// How a member came to be one, and how far that is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Of the first members of a cluster; its first state may not be on the disk yet.
    Founding,
    /// As before, and the first state is durable.
    #[default]
    Founder,
    /// It joined a cluster: its state comes from the others.
    Joined,
}

/// One of the members, as another one knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownMember {
    /// Its id.
    pub id: MemberId,
    /// Its name; empty if it has not told.
    pub name: String,
    /// Where it is reached.
    pub peer_urls: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct KnownOnDisk {
    member_id: String,
    name: String,
    peer_urls: Vec<String>,
}

/// The file. Ids are hexadecimal, as etcd shows them: JSON numbers lose the low bits of a u64 in many readers.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OnDisk {
    format: u32,
    cluster_id: String,
    member_id: String,
    name: String,
    #[serde(default)]
    origin: Origin,
    #[serde(default)]
    members: Vec<KnownOnDisk>,
    /// CRC-32C of the text with zeros in this place.
    #[serde(default)]
    checksum: String,
}

/// What the checksum is computed with, and how it is found.
const NO_CHECKSUM: &str = "\"checksum\": \"00000000\"";
const CHECKSUM_DIGITS: usize = 8;

/// Puts the checksum into a text that has none yet.
fn seal(text: &str) -> String {
    let crc = crc32c::crc32c(text.as_bytes());
    text.replacen(NO_CHECKSUM, &format!("\"checksum\": \"{crc:08x}\""), 1)
}

/// True if the checksum is right, or there is none: files were written without one at first.
fn is_whole(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else {
        return false;
    };
    let key = NO_CHECKSUM.trim_end_matches(['0', '"']);
    let Some(at) = text.rfind(key).map(|at| at + key.len() + 1) else {
        return true;
    };
    let mut bare = text.to_owned();
    if bare.get(at..at + CHECKSUM_DIGITS).is_none() {
        return false;
    }
    bare.replace_range(at..at + CHECKSUM_DIGITS, "00000000");
    seal(&bare) == text
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
        if !is_whole(&text) {
            return Err(wrong("the checksum is wrong".into()));
        }
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
        let known = |m: KnownOnDisk| {
            Ok(KnownMember {
                id: MemberId(id("member_id", &m.member_id)?),
                name: m.name,
                peer_urls: m.peer_urls,
            })
        };
        let members: Result<Vec<_>, StorageError> =
            on_disk.members.into_iter().map(known).collect();
        Ok(Some(Self {
            origin: on_disk.origin,
            members: members?,
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
            origin: self.origin,
            members: self.members.iter().map(known_on_disk).collect(),
            checksum: "0".repeat(CHECKSUM_DIGITS),
        };
        let text = serde_json::to_string_pretty(&on_disk)
            .map_err(|e| failed("encode", std::io::Error::other(e)))?;
        let text = seal(&(text + "\n"));
        if disk.exists(&new).map_err(|e| failed("look for", e))? {
            disk.remove(&new).map_err(|e| failed("remove", e))?;
        }
        let file = disk
            .open(&new, OpenMode::New)
            .map_err(|e| failed("create", e))?;
        file.write_at(0, text.as_bytes())
            .map_err(|e| failed("write", e))?;
        file.sync().map_err(|e| failed("sync", e))?;
        disk.rename(&new, name).map_err(|e| failed("rename", e))?;
        disk.sync_dir()
            .map_err(|e| failed("sync the directory of", e))
    }
}

fn known_on_disk(member: &KnownMember) -> KnownOnDisk {
    KnownOnDisk {
        member_id: format!("{:x}", member.id.0),
        name: member.name.clone(),
        peer_urls: member.peer_urls.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_anywhere_is_noticed() {
        let text = seal(&format!(
            "{{\n  \"member_id\": \"8e9e05c5\",\n  {NO_CHECKSUM}\n}}\n"
        ));
        assert!(is_whole(text.as_bytes()), "{text}");
        for at in 0..text.len() {
            for bit in 0..8 {
                let mut bytes = text.clone().into_bytes();
                bytes[at] ^= 1 << bit;
                let key = text.find("\"checksum").expect("is there");
                // A key of another name is refused as one that nobody knows.
                let in_key = (key..key + 12).contains(&at);
                assert!(in_key || !is_whole(&bytes), "byte {at}, bit {bit}");
            }
        }
    }
}
