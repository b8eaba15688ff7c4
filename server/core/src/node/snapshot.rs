//! The state as a whole, in place of a log that is no longer there.

use kvorum_proto::kvorumpb;
use raft::SnapshotStatus;
use raft::eraftpb::Snapshot;

use super::{Node, Ready, convert};
use crate::types::{Index, MemberId, Term};

/// Where a snapshot stands in the log, and who votes there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SnapshotMark {
    /// Last entry whose effects it holds.
    pub index: Index,
    /// Its term.
    pub term: Term,
    /// Voters and learners, encoded as in the meta table.
    pub conf_state: bytes::Bytes,
}

impl SnapshotMark {
    /// As it travels.
    ///
    /// # Errors
    /// The configuration cannot be read.
    pub fn to_message(&self) -> Result<kvorumpb::SnapshotMark, String> {
        use prost::Message as _;
        let conf_state =
            kvorumpb::ConfState::decode(self.conf_state.clone()).map_err(|e| e.to_string())?;
        Ok(kvorumpb::SnapshotMark {
            index: self.index.0,
            term: self.term.0,
            conf_state: Some(conf_state),
        })
    }
}

impl Node {
    /// The state store holds everything up to `index`, so a snapshot can be made there.
    pub fn flushed(&mut self, index: Index) {
        self.raw.mut_store().flushed(index.0);
    }

    /// The stream of a snapshot to a peer ended.
    pub fn snapshot_sent(&mut self, to: MemberId, complete: bool) {
        let status = if complete {
            SnapshotStatus::Finish
        } else {
            SnapshotStatus::Failure
        };
        self.raw.report_snapshot(to.0, status);
    }

    /// True while a snapshot takes the place of the state.
    #[must_use]
    pub fn is_installing(&self) -> bool {
        // One that was just received is not handed out yet.
        self.installing.is_some() || self.raw.raft.raft_log.unstable_snapshot().is_some()
    }

    pub(super) fn take_snapshot(&mut self, number: u64, snapshot: &Snapshot, out: &mut Ready) {
        if snapshot.get_metadata().index == 0 {
            return;
        }
        let mark = convert::snapshot_mark(snapshot);
        self.raw.mut_store().restore(snapshot);
        self.alone = convert::is_alone(snapshot.get_metadata().get_conf_state(), self.raw.raft.id);
        self.installing = Some((number, mark.clone()));
        self.handed_out = number;
        out.install = Some(mark);
    }

    /// The snapshot is durable in the place of state and log. Gives the hard state that the new log begins with.
    pub fn installed(&mut self, ready: &mut Ready) {
        let Some((number, mark)) = self.installing.take() else {
            return;
        };
        self.persisted(number, ready);
        self.raw.advance_apply_to(mark.index.0);
    }

    /// What the log must begin with, now.
    #[must_use]
    pub fn hard_state(&self) -> crate::log::HardState {
        convert::hard_state(&self.raw.raft.hard_state())
    }
}
