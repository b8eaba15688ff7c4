//! Members come, go and introduce themselves.

use std::collections::{BTreeMap, VecDeque};

use kvorum_proto::kvorumpb::{
    Command, MemberChange, PublishMember, SetClusterVersion, command::Op, forwarded_answer,
};

use super::Replica;
use super::ask::Answer;
use super::forward::Pending;
use super::leader::internal;
use super::output::Output;
use crate::error::Error;
use crate::log::Entry;
use crate::membership::{
    Contacts, Reconfiguration, check, check_connections, decide_cluster_version, due_promotion,
};
use crate::mvcc::Store;
use crate::node::change_of;
use crate::reply::Reply;
use crate::types::{Index, MemberId, RequestId};

/// A voter counts for a strict check once it has been connected for this long. (etcd: HealthInterval)
const STEADY_MS: u64 = 5000;
/// Between two looks at the versions of all members. (etcd: monitorVersionInterval)
const VERSION_INTERVAL_MS: u64 = 4000;

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
    /// A change that could cost the quorum is refused.
    pub strict: bool,
    /// Learners that a cluster may have at once.
    pub learners_max: usize,
    /// As a learner, it is to be promoted as soon as it has caught up.
    pub auto_promote: bool,
}

/// Who asked for a change of the members.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asker {
    /// A client of this member: the place in the outbox.
    Own(u64),
    /// Another member, its session and its sequence.
    Peer(MemberId, u64, u64),
}

#[derive(Debug)]
struct Waiting {
    asker: Asker,
    change: MemberChange,
    since_ms: u64,
}

/// What is known of the members beside the replicated table.
#[derive(Debug)]
pub(super) struct Membership {
    options: MembershipOptions,
    introduce_at_ms: u64,
    version_at_ms: u64,
    contacts: Contacts,
    /// Versions that connected members have told.
    versions: BTreeMap<MemberId, String>,
    /// Changes that wait for the one before to be done: raft does one at a time.
    waiting: VecDeque<Waiting>,
}

impl Membership {
    pub(super) fn new(options: MembershipOptions, silence_ms: u64) -> Self {
        Self {
            options,
            introduce_at_ms: 0,
            version_at_ms: 0,
            contacts: Contacts::new(silence_ms),
            versions: BTreeMap::new(),
            waiting: VecDeque::new(),
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
    /// There is a connection to a peer, which told its version.
    pub fn connected(&mut self, peer: MemberId, version: &str, now_ms: u64) {
        self.membership.contacts.connected(peer, now_ms);
        self.membership.versions.insert(peer, version.to_owned());
    }

    /// There is no connection to a peer any more.
    pub fn disconnected(&mut self, peer: MemberId) {
        self.membership.contacts.disconnected(peer);
        self.membership.versions.remove(&peer);
    }

    /// A peer was heard.
    pub(super) fn heard(&mut self, from: MemberId, now_ms: u64) {
        self.membership.contacts.heard(from, now_ms);
    }

    pub(super) fn tick_membership(&mut self, now_ms: u64) {
        if now_ms >= self.membership.introduce_at_ms && self.leadership.leader != 0 {
            self.introduce(now_ms);
        }
        if self.settled.is_some() {
            if now_ms >= self.membership.version_at_ms {
                self.decide_version(now_ms);
            }
            self.promote_learners(now_ms);
        }
    }

    /// What the rules on changes need to know.
    fn reconfiguration(&self, now_ms: u64) -> Reconfiguration {
        let m = &self.membership;
        let progress = self.node.progress();
        let mut matched: BTreeMap<MemberId, Index> =
            progress.iter().map(|p| (p.id, p.matched)).collect();
        matched.insert(self.id(), self.node.committed());
        Reconfiguration {
            strict: m.options.strict,
            learners_max: m.options.learners_max,
            own: self.id(),
            steady: m.contacts.in_touch(now_ms, STEADY_MS),
            reached: m.contacts.in_touch(now_ms, 0),
            matched,
        }
    }

    /// A client of this member asks for a change of the members.
    pub(super) fn ask_own_change(&mut self, change: MemberChange, now_ms: u64, out: &mut Output) {
        let known = self.reconfiguration(now_ms);
        match check_connections(self.machine.members(), &change, &known) {
            Ok(()) => self.outbox.add(Pending::Change(change), now_ms),
            Err(refused) => {
                let id = RequestId(change.request_id);
                self.answer(id, Answer::Refused(refused), now_ms, out);
            }
        }
    }

    /// This leader is asked for a change of the members.
    pub(super) fn ask_change(&mut self, asker: Asker, change: MemberChange, now_ms: u64) {
        self.membership.waiting.push_back(Waiting {
            asker,
            change,
            since_ms: now_ms,
        });
    }

    /// Proposes the next change, once the one before is done.
    pub(super) fn propose_changes(&mut self, now_ms: u64, out: &mut Output) {
        let timeout_ms = self.options.request_timeout_ms;
        while self.settled.is_some()
            && !self.node.is_handing_over()
            && !self.node.has_pending_change()
            && let Some(next) = self.membership.waiting.pop_front()
        {
            // Nobody waits for it any more, and may have asked for something else since.
            if now_ms.saturating_sub(next.since_ms) >= timeout_ms {
                continue;
            }
            let known = self.reconfiguration(now_ms);
            let verdict = check(self.machine.members(), &next.change, &known);
            if let Err(refused) = verdict.and_then(|()| self.node.propose_change(&next.change)) {
                self.refuse_change(&next, refused, now_ms, out);
            }
        }
    }

    fn refuse_change(&mut self, waiting: &Waiting, refused: Error, now_ms: u64, out: &mut Output) {
        match waiting.asker {
            Asker::Own(sequence) => {
                let _answered = self.outbox.answered(sequence);
                let id = RequestId(waiting.change.request_id);
                self.answer(id, Answer::Refused(refused), now_ms, out);
            }
            Asker::Peer(from, session, sequence) => {
                let answer = forwarded_answer::Answer::Refused(refused.code());
                self.post(from, session, sequence, answer);
            }
        }
    }

    /// What waited for a leader that is none any more was not proposed: whoever asked waits for the next one in vain.
    pub(super) fn forget_changes(&mut self) {
        self.membership.waiting.clear();
    }

    /// Learners that asked for it become voters as soon as they have caught up.
    fn promote_learners(&mut self, now_ms: u64) {
        let members = self.machine.members();
        if members.to_promote().next().is_none()
            || self.node.has_pending_change()
            || self.node.is_handing_over()
        {
            return;
        }
        let known = self.reconfiguration(now_ms);
        if let Some(promotion) = due_promotion(members, &known, self.node.committed()) {
            // Refused only where this member has just stopped leading.
            let _proposed = self.node.propose_change(&promotion);
        }
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

    /// Tells the cluster this member's name and addresses where they are news.
    pub(super) fn introduce(&mut self, now_ms: u64) {
        self.membership.introduce_at_ms = now_ms + self.options.election_timeout_ms;
        let (o, id) = (&self.membership.options, self.id());
        let members = self.machine.members();
        let known = members.get(id);
        let is_learner = known.is_some_and(|m| m.is_learner);
        let promote = o.auto_promote && (is_learner || known.is_none());
        let wishes = promote && !members.to_promote().any(|wish| wish == id);
        let told = known.is_some_and(|m| m.name == o.name && m.client_ur_ls == o.client_urls);
        if told && !wishes {
            return;
        }
        let publish = internal(Op::Publish(PublishMember {
            member_id: id.0,
            name: o.name.clone(),
            peer_urls: o.peer_urls.clone(),
            client_urls: o.client_urls.clone(),
            is_learner,
            promote,
        }));
        self.propose_own(publish, now_ms);
    }

    /// The leader raises the version that all can speak, or decides on a first one.
    pub(super) fn decide_version(&mut self, now_ms: u64) {
        self.membership.version_at_ms = now_ms + VERSION_INTERVAL_MS;
        let (m, own) = (&self.membership, self.id());
        let version_of = |id: MemberId| match id == own {
            true => Some(m.options.version.as_str()),
            false => m.versions.get(&id).map(String::as_str),
        };
        let all = self.node.progress();
        let others = all.iter().map(|p| version_of(p.id));
        let versions = others.chain([version_of(own)]);
        let decided = decide_cluster_version(self.machine.cluster_version(), versions);
        if let Some(version) = decided {
            let set = internal(Op::ClusterVersion(SetClusterVersion { version }));
            self.propose_own(set, now_ms);
        }
    }

    fn propose_own(&mut self, command: Command, now_ms: u64) {
        if self.leadership.is_leader {
            self.commands.push(command);
        } else {
            self.outbox.add(Pending::Command(command), now_ms);
        }
    }
}
