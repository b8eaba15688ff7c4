//! Members come, go and introduce themselves.

use kvorum_proto::kvorumpb::{
    Command, MemberChange, PublishMember, SetClusterVersion, command::Op,
};

use super::Replica;
use super::leader::internal;
use crate::error::Error;
use crate::log::Entry;
use crate::mvcc::Store;
use crate::node::change_of;
use crate::reply::Reply;
use crate::types::{MemberId, RequestId};

/// What this member says of itself, and the rules for changes.
#[derive(Clone, Debug, Default)]
pub struct MembershipOptions {
    /// Its name.
    pub name: String,
    /// Where clients reach it.
    pub client_urls: Vec<String>,
    /// Where peers reach it.
    pub peer_urls: Vec<String>,
    /// The version whose calls it serves, as "3.6.0".
    pub version: String,
}

/// What is known of the members beside the replicated table.
#[derive(Debug)]
pub(super) struct Membership {
    options: MembershipOptions,
    introduce_at_ms: u64,
}

impl Membership {
    pub(super) fn new(options: MembershipOptions) -> Self {
        Self {
            options,
            introduce_at_ms: 0,
        }
    }
}

/// A change of the members went through the log.
#[derive(Debug)]
pub(super) struct Changed {
    /// Who waits for it.
    pub(super) id: RequestId,
    /// What came of it.
    pub(super) result: Result<Reply, Error>,
}

impl Replica {
    /// A peer was heard.
    pub(super) fn heard(&mut self, _from: MemberId, _now_ms: u64) {}

    pub(super) fn tick_membership(&mut self, now_ms: u64) {
        if now_ms >= self.membership.introduce_at_ms && self.leadership.leader != 0 {
            self.introduce(now_ms);
        }
    }

    /// Checks a change that this leader is asked for.
    pub(super) fn check_change(&self, _change: &MemberChange, _now_ms: u64) -> Result<(), Error> {
        Ok(())
    }

    /// True if this member votes or learns.
    pub(super) fn is_member(&self) -> bool {
        self.node.is_listed()
    }

    /// Applies a change of the members to the table. `None` for the second half of a joint change.
    pub(super) fn change_members(
        &mut self,
        store: &mut Store,
        entry: &Entry,
    ) -> Result<Option<Changed>, String> {
        let Some(change) = change_of(entry)? else {
            return Ok(None);
        };
        let result = self.machine.change_members(store, &change);
        Ok(Some(Changed {
            id: RequestId(change.request_id),
            result,
        }))
    }

    /// Tells the cluster this member's name and addresses, and what version to speak, where that is news.
    pub(super) fn introduce(&mut self, now_ms: u64) {
        self.membership.introduce_at_ms = now_ms + self.options.election_timeout_ms;
        let o = &self.membership.options;
        let id = self.id();
        let known = self.machine.members().find(|m| m.id == id.0);
        let same = known.is_some_and(|m| m.name == o.name && m.client_ur_ls == o.client_urls);
        let mut news: Vec<Command> = Vec::new();
        if !same {
            news.push(internal(Op::Publish(PublishMember {
                member_id: id.0,
                name: o.name.clone(),
                peer_urls: o.peer_urls.clone(),
                client_urls: o.client_urls.clone(),
                is_learner: known.is_some_and(|m| m.is_learner),
            })));
        }
        if self.settled.is_some() && self.machine.cluster_version() != Some(o.version.as_str()) {
            news.push(internal(Op::ClusterVersion(SetClusterVersion {
                version: o.version.clone(),
            })));
        }
        for command in news {
            if self.leadership.is_leader {
                self.commands.push(command);
            } else {
                self.outbox
                    .add(super::forward::Pending::Command(command), now_ms);
            }
        }
    }
}
