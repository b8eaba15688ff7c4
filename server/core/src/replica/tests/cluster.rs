//! The cluster of the scripted tests.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kvorum_proto::etcdserverpb as pb;
use kvorum_proto::kvorumpb::{Command, MemberChange, PeerMessage, command::Op, peer_message::Body};

use crate::auth::Caller;
use crate::backend::{BackendError, Record, Records, Restored, SideChange};
use crate::machine::{Machine, MachineOptions};
use crate::membership::Members;
use crate::mvcc::Store;
use crate::node::{NodeOptions, Start, encode_conf_state};
use crate::replica::{
    Answer, Ask, MembershipOptions, Output, Replica, ReplicaOptions, Send, StoreAccess,
};
use crate::types::{Index, LeaseId, MemberId, RequestId, Revision, Term};

const TICK_MS: u64 = 100;

/// Everything stays in memory here.
struct NoRecords;

impl Records for NoRecords {
    fn get(&self, _: Revision) -> Result<Option<Record>, BackendError> {
        Ok(None)
    }

    fn scan(&self, _: Revision, _: Revision, _: usize) -> Result<Vec<Record>, BackendError> {
        Ok(Vec::new())
    }
}

struct Cell(RefCell<Store>);

impl StoreAccess for Cell {
    fn with<R>(&self, f: impl FnOnce(&mut Store) -> R) -> R {
        f(&mut self.0.borrow_mut())
    }
}

struct Member {
    replica: Replica,
    store: Cell,
    out: Output,
    answers: BTreeMap<RequestId, Answer>,
    hung: bool,
    unsynced: Vec<u64>,
    /// It knows that it is none any more, and stays while the others may not.
    told_removed: bool,
    removed: bool,
}

/// Members, and what is under way between them.
pub(super) struct Cluster {
    members: BTreeMap<u64, Member>,
    isolated: BTreeSet<u64>,
    now_ms: u64,
    next_id: u64,
    /// Forwarded requests arrive twice.
    pub(super) repeat_forwards: bool,
}

/// The members table of a new cluster.
fn founders(ids: &[u64]) -> Restored {
    let members = Members::founders(ids.iter().map(|id| pb::Member {
        id: *id,
        name: format!("m{id}"),
        peer_ur_ls: vec![format!("https://h{id}:2380")],
        ..Default::default()
    }));
    let meta = members.rows().into_iter().filter_map(|row| match row {
        SideChange::MetaPut(key, value) => Some((key, value)),
        _ => None,
    });
    Restored {
        meta: meta.collect(),
        ..Restored::default()
    }
}

fn member(id: u64, ids: &[u64]) -> Member {
    let options = ReplicaOptions {
        node: NodeOptions {
            id,
            election_ticks: 10,
            heartbeat_ticks: 1,
            seed: 7,
        },
        session: 1000 + id,
        own_ids: id << 44 | 255 << 36,
        election_timeout_ms: 1000,
        request_timeout_ms: 7000,
        digest_interval_ms: 500,
        tail_bytes: 1 << 20,
        lag_bytes: 1 << 20,
        membership: MembershipOptions {
            name: format!("m{id}"),
            client_urls: vec![format!("http://h{id}:2379")],
            peer_urls: vec![format!("https://h{id}:2380")],
            version: "3.6.0".into(),
            strict: true,
            learners_max: 1,
            auto_promote: false,
        },
    };
    let start = Start {
        conf_state: encode_conf_state(ids),
        applied: Index(1),
        applied_term: Term(1),
        ..Start::default()
    };
    let mut machine = Machine::new(MachineOptions {
        quota_bytes: i64::MAX,
        lease_ttl_min_s: 1,
    });
    machine.restore_tables(&founders(ids));
    Member {
        replica: Replica::new(options, start, machine).expect("a valid start"),
        store: Cell(RefCell::new(Store::new(Arc::new(NoRecords), 1 << 30))),
        out: Output::default(),
        answers: BTreeMap::new(),
        hung: false,
        unsynced: Vec::new(),
        told_removed: false,
        removed: false,
    }
}

impl Cluster {
    pub(super) fn new(ids: &[u64]) -> Self {
        Self {
            members: ids.iter().map(|id| (*id, member(*id, ids))).collect(),
            isolated: BTreeSet::new(),
            now_ms: 0,
            next_id: 0,
            repeat_forwards: false,
        }
    }

    /// Ticks until somebody leads; gives who.
    pub(super) fn elect(&mut self) -> u64 {
        self.ticks(40);
        self.leader().expect("a healthy cluster has a leader")
    }

    pub(super) fn leader(&self) -> Option<u64> {
        let leads = |m: &&Member| m.replica.leadership().is_leader;
        let newest = self
            .members
            .values()
            .filter(leads)
            .max_by_key(|m| m.replica.leadership().term)?;
        Some(newest.replica.id().0)
    }

    pub(super) fn other_than(&self, id: u64) -> u64 {
        *self
            .members
            .keys()
            .find(|k| **k != id)
            .expect("there are three")
    }

    pub(super) fn ticks(&mut self, count: usize) {
        for _ in 0..count {
            self.now_ms += TICK_MS;
            for m in self.members.values_mut().filter(|m| !m.removed) {
                m.replica.tick(self.now_ms);
            }
            self.settle();
        }
    }

    /// Delivers until nothing is under way.
    pub(super) fn settle(&mut self) {
        loop {
            let mut sends = Vec::new();
            for (id, m) in &mut self.members {
                let from = MemberId(*id);
                sends.extend(m.turn(self.now_ms).into_iter().map(|s| (from, s)));
            }
            if sends.is_empty() {
                return;
            }
            for (from, send) in sends {
                self.carry(from, send);
            }
        }
    }

    fn carry(&mut self, from: MemberId, send: Send) {
        if self.isolated.contains(&from.0) || self.isolated.contains(&send.to.0) {
            return;
        }
        let twice = self.repeat_forwards && matches!(send.message.body, Some(Body::Forward(_)));
        let Some(m) = self.members.get_mut(&send.to.0).filter(|m| !m.removed) else {
            return;
        };
        for _ in 0..=usize::from(twice) {
            m.replica
                .receive(from, send.message.clone(), self.now_ms, &mut m.out)
                .expect("a correct message");
        }
    }

    /// Something arrives that no member has sent.
    pub(super) fn receive(&mut self, to: u64, from: MemberId, message: PeerMessage) {
        let m = self.members.get_mut(&to).expect("it is a member");
        m.replica
            .receive(from, message, self.now_ms, &mut m.out)
            .expect("well formed");
        self.settle();
    }

    pub(super) fn ask(&mut self, member: u64, ask: impl FnOnce(RequestId) -> Ask) -> RequestId {
        self.next_id += 1;
        let id = RequestId(self.next_id);
        let m = self.members.get_mut(&member).expect("it is a member");
        m.replica.ask(ask(id), self.now_ms, &mut m.out);
        self.settle();
        id
    }

    fn propose(&mut self, member: u64, op: Op) -> RequestId {
        self.propose_of(&Caller::own(), member, op)
    }

    pub(super) fn propose_of(&mut self, caller: &Caller, member: u64, op: Op) -> RequestId {
        self.ask(member, |id| {
            Ask::Propose(Command {
                request_id: id.0,
                op: Some(op),
                stamp: None,
                caller: caller.to_wire(),
            })
        })
    }

    pub(super) fn put(&mut self, member: u64, key: &str, value: &str) -> RequestId {
        let put = pb::PutRequest {
            key: key.to_owned().into(),
            value: value.to_owned().into(),
            ..Default::default()
        };
        self.propose(member, Op::Put(put))
    }

    pub(super) fn grant(&mut self, member: u64, id: i64, ttl: i64) -> RequestId {
        self.propose(member, Op::LeaseGrant(pb::LeaseGrantRequest { ttl, id }))
    }

    pub(super) fn keep_alive(&mut self, member: u64, lease: LeaseId) -> RequestId {
        self.ask(member, |id| Ask::KeepAlive(id, lease, Caller::own()))
    }

    pub(super) fn read(&mut self, member: u64) -> RequestId {
        self.ask(member, Ask::ReadIndex)
    }

    pub(super) fn transfer(&mut self, member: u64, to: MemberId) -> RequestId {
        self.ask(member, |id| Ask::Transfer(id, to))
    }

    pub(super) fn change(&mut self, member: u64, change: MemberChange) -> RequestId {
        self.ask(member, |id| {
            Ask::Change(MemberChange {
                request_id: id.0,
                ..change
            })
        })
    }

    pub(super) fn answer(&mut self, member: u64, id: RequestId) -> Option<Answer> {
        self.members.get_mut(&member)?.answers.remove(&id)
    }

    pub(super) fn isolate(&mut self, id: u64) {
        self.isolated.insert(id);
    }

    pub(super) fn heal(&mut self) {
        self.isolated.clear();
    }

    pub(super) fn hang_disk(&mut self, id: u64) {
        if let Some(m) = self.members.get_mut(&id) {
            m.hung = true;
        }
    }

    pub(super) fn wake_disk(&mut self, id: u64) {
        if let Some(m) = self.members.get_mut(&id) {
            m.hung = false;
            for number in std::mem::take(&mut m.unsynced) {
                m.replica.persisted(number);
            }
        }
        self.settle();
    }

    pub(super) fn machine(&self, id: u64) -> &Machine {
        self.members[&id].replica.machine()
    }

    pub(super) fn revision(&self, id: u64) -> i64 {
        self.members[&id].store.with(|s| s.current())
    }

    pub(super) fn voters(&self, id: u64) -> Vec<MemberId> {
        self.members[&id].replica.node().voters()
    }

    pub(super) fn was_removed(&self, id: u64) -> bool {
        self.members[&id].removed
    }

    /// All members have applied the same, with the same outcome.
    pub(super) fn assert_equal(&self) {
        let state = |m: &Member| m.store.with(|s| (s.applied(), s.current(), s.digest()));
        let states: Vec<_> = self.members.values().map(state).collect();
        assert!(states.windows(2).all(|w| w[0] == w[1]), "{states:?}");
    }
}

impl Member {
    /// Turns until nothing is left to do; gives what is to be sent.
    fn turn(&mut self, now_ms: u64) -> Vec<Send> {
        let mut sends = Vec::new();
        if self.removed {
            return sends;
        }
        loop {
            let more = self
                .replica
                .turn(&self.store, &mut (), now_ms, &mut self.out)
                .expect("nothing fails here");
            sends.append(&mut self.out.sends);
            self.answers.extend(self.out.answers.drain(..));
            self.told_removed |= self.out.removed;
            self.removed |= self.told_removed && self.replica.node().may_leave();
            assert!(self.out.divergence.is_none(), "{:?}", self.out.divergence);
            let groups = std::mem::take(&mut self.out.appends);
            let wrote = !groups.is_empty();
            for group in groups {
                if self.hung {
                    self.unsynced.push(group.number);
                } else {
                    self.replica.persisted(group.number);
                }
            }
            if !more && !wrote {
                return sends;
            }
        }
    }
}
