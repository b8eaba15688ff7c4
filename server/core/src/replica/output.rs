//! What a turn of the replica asks of the shell.

use std::sync::Arc;

use kvorum_proto::kvorumpb::{Command, PeerMessage, RaftMessage};

use super::ask::Answer;
use crate::auth::{AuthEvent, AuthStore};
use crate::log::Append;
use crate::machine::Applied;
use crate::mvcc::Store;
use crate::node::{Leadership, SnapshotMark};
use crate::types::{MemberId, RequestId};
use crate::watch::EventBatch;

/// Which of the connections to a peer a message takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Votes, heartbeats, acknowledgements: small, and never behind anything large.
    Control,
    /// Entries and forwarded requests.
    Append,
}

/// A message for a peer.
#[derive(Clone, Debug)]
pub struct Send {
    /// The peer.
    pub to: MemberId,
    /// How it travels.
    pub lane: Lane,
    /// What it says.
    pub message: PeerMessage,
}

/// A snapshot that a peer needs.
#[derive(Clone, Debug)]
pub struct SnapshotWanted {
    /// The peer.
    pub to: MemberId,
    /// What raft says with it. The mark becomes that of the state that is really sent, which may be newer.
    pub raft: RaftMessage,
}

/// What is wrong with this member's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Divergence {
    /// Most members have another state than this one.
    Dissents {
        /// The entry before which they were compared.
        index: u64,
    },
    /// The members have different states, and no majority has the same.
    Split {
        /// The entry before which they were compared.
        index: u64,
    },
}

/// What has to be done after a turn, in the order of the fields. The shell drains it before it calls again.
#[derive(Debug, Default)]
pub struct Output {
    /// Replace the state by the staged snapshot and let the log begin after it; report with `installed`. Groups that
    /// follow are given out only then.
    pub install: Option<SnapshotMark>,
    /// Groups for the log, in order; report each with `persisted`.
    pub appends: Vec<Append>,
    /// Messages for peers.
    pub sends: Vec<Send>,
    /// Peers that need the whole state.
    pub snapshots: Vec<SnapshotWanted>,
    /// Answers to requests of this member.
    pub answers: Vec<(RequestId, Answer)>,
    /// What watchers see, whole revisions.
    pub events: EventBatch,
    /// A compaction was decided; its removals may begin once a flush holds the decision.
    pub compacted: Option<i64>,
    /// The leadership changed.
    pub leadership: Option<Leadership>,
    /// Members, alarms or the cluster version changed.
    pub view_changed: bool,
    /// This member is no longer one.
    pub removed: bool,
    /// The state of this member, or of the cluster, is not to be trusted.
    pub divergence: Option<Divergence>,
}

/// The way to the store, which readers of other threads share.
pub trait StoreAccess {
    /// Runs `f` on the store; nobody else sees it meanwhile.
    fn with<R>(&self, f: impl FnOnce(&mut Store) -> R) -> R;
}

/// Looks on as commands are applied, to count and to measure.
pub trait Observer {
    /// Commands of one entry are about to be applied.
    fn begin(&mut self) {}
    /// A command was applied. The store is held: keep it short.
    fn applied(&mut self, _command: &Command, _applied: &Applied) {}
    /// Users or roles have changed. The store is held: nobody reads it by the rights of before.
    fn auth_changed(&mut self, _auth: &Arc<AuthStore>) {}
    /// Tokens were issued or count no more.
    fn auth_event(&mut self, _event: &AuthEvent) {}
}

/// Nobody looks on.
impl Observer for () {}
