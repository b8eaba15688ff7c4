//! The first chunk: which moment the state is of.

use bytes::{Buf as _, BufMut as _, Bytes};
use kvorum_core::types::{Index, Term};

use super::{FORMAT, SnapshotRefused};

/// What a snapshot says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotHead {
    /// One per view.
    pub id: u64,
    /// The last entry whose effects are in the state.
    pub index: Index,
    /// Its term.
    pub term: Term,
    /// The raft configuration as the meta table holds it; empty if there is none.
    pub conf_state: Bytes,
    /// Rows that follow, by table.
    pub counts: Counts,
}

/// Rows by table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records of keys.
    pub records: u64,
    /// Leases.
    pub leases: u64,
    /// Small entries: members, alarms, sessions, digests.
    pub meta: u64,
}

impl SnapshotHead {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.put_u32_le(FORMAT);
        out.put_u64_le(self.index.0);
        out.put_u64_le(self.term.0);
        self.counts.encode(out);
        out.put_slice(&self.conf_state);
    }

    /// `None` if it is cut short.
    pub(super) fn decode(id: u64, mut body: &[u8]) -> Result<Option<Self>, SnapshotRefused> {
        let Ok(found) = body.try_get_u32_le() else {
            return Ok(None);
        };
        if found > FORMAT {
            return Err(SnapshotRefused::Newer {
                found,
                known: FORMAT,
            });
        }
        let mut rest = || {
            Some(Self {
                id,
                index: Index(body.try_get_u64_le().ok()?),
                term: Term(body.try_get_u64_le().ok()?),
                counts: Counts::decode(&mut body)?,
                conf_state: Bytes::copy_from_slice(body),
            })
        };
        Ok(rest())
    }
}

impl Counts {
    pub(super) fn encode(self, out: &mut Vec<u8>) {
        out.put_u64_le(self.records);
        out.put_u64_le(self.leases);
        out.put_u64_le(self.meta);
    }

    pub(super) fn decode(body: &mut &[u8]) -> Option<Self> {
        Some(Self {
            records: body.try_get_u64_le().ok()?,
            leases: body.try_get_u64_le().ok()?,
            meta: body.try_get_u64_le().ok()?,
        })
    }
}
