//! Clients: each makes one call after the other, to some member, and keeps what it asked and got.

use std::collections::BTreeMap;

use bytes::Bytes;
use kvorum_core::auth::Caller;
use kvorum_core::mvcc::ReadError;
use kvorum_core::mvcc::range::{read_now, to_message};
use kvorum_core::mvcc::{Reading, Store, txn};
use kvorum_core::replica::{Answer, Ask};
use kvorum_core::reply::Reply as Done;
use kvorum_core::{Error, LeaseId, RequestId};
use kvorum_proto::etcdserverpb as pb;
use kvorum_proto::kvorumpb::{Command, MemberChange, command::Op};
use kvorum_tests::harness::history::{Reply, Request};

use crate::ledger::Checked;
use crate::member::{LEASE_TTL_MIN_S, request_id};
use crate::plan::within;
use crate::world::{CallId, Event, World};

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) enum What {
    /// Keys.
    Keys(Request),
    Grant(pb::LeaseGrantRequest),
    Revoke(i64),
    KeepAlive(i64),
    TimeLeft(i64),
    Compact(i64),
    Change(MemberChange),
    Transfer(u64),
}

/// What came back.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// To a call about keys.
    Keys(Reply),
    /// It was done, and there is no more to say; a lease has this many seconds.
    Done(i64),
    /// The cluster decided that it is not to be done.
    Declined(Error),
    /// The member did not take it.
    Refused(Error),
    /// Nobody knows.
    Unknown,
}

impl Outcome {
    pub(crate) fn word(&self) -> u64 {
        match self {
            Self::Keys(reply) => reply.revision().cast_unsigned() << 3,
            Self::Done(n) => 1 | n.cast_unsigned() << 3,
            Self::Declined(e) => 2 | u64::from(e.code()) << 3,
            Self::Refused(e) => 3 | u64::from(e.code()) << 3,
            Self::Unknown => 4,
        }
    }
}

/// One call.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) client: usize,
    pub(crate) what: What,
    pub(crate) called_us: u64,
    pub(crate) returned_us: u64,
    /// As the member named it, once it got there.
    pub(crate) request: u64,
    pub(crate) member: u64,
    /// `None` while it is under way; the client's knowledge.
    pub(crate) outcome: Option<Outcome>,
}

/// All calls.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    pub(crate) made: Vec<Made>,
}

/// A client.
#[derive(Debug)]
pub(crate) struct Client {
    id: usize,
    pub(crate) call: Option<CallId>,
    member: u64,
    leases: Vec<i64>,
    /// Values as it saw them last.
    seen: BTreeMap<Bytes, Bytes>,
    pub(crate) revision: i64,
}

impl Client {
    pub(crate) fn new(id: usize) -> Self {
        Self {
            id,
            call: None,
            member: 0,
            leases: Vec::new(),
            seen: BTreeMap::new(),
            revision: 1,
        }
    }
}

impl World {
    /// A client makes its next call.
    pub(crate) fn client_calls(&mut self, client: usize) -> Checked {
        let done = self.calls.made.len() as u64 >= self.plan.order.ops;
        if self.clients[client].call.is_some() || (done && !self.healing) || self.quiet {
            return Ok(());
        }
        let unnoticed = self.plan.unnoticed;
        let running = self.members.values().filter(|m| m.running.is_some());
        let seen = running.filter(|m| unnoticed || !m.paused);
        let mut up: Vec<u64> = seen.map(|m| m.id).collect();
        // A removed member that waits for the others answers nobody; clients find that out, and go elsewhere.
        if self.healing || !self.dice.one_in(8) {
            let listed = self.listed(false);
            up.retain(|id| listed.contains(id));
        }
        if up.is_empty() {
            self.queue.after(20_000, Event::Client(client));
            return Ok(());
        }
        let what = if self.healing {
            self.probe()
        } else {
            self.choose(client)
        };
        let stays = up.contains(&self.clients[client].member) && !self.dice.one_in(10);
        let member = if stays {
            self.clients[client].member
        } else {
            self.dice.pick(&up)
        };
        self.clients[client].member = member;
        self.call(client, what, member);
        Ok(())
    }

    /// Sends a call to a member.
    pub(crate) fn call(&mut self, client: usize, what: What, member: u64) -> CallId {
        let call = self.calls.made.len();
        let patience = within(&mut self.dice, self.plan.patience_us);
        self.calls.made.push(Made {
            client,
            what,
            called_us: self.now_us(),
            returned_us: u64::MAX,
            request: 0,
            member,
            outcome: None,
        });
        if let Some(client) = self.clients.get_mut(client) {
            client.call = Some(call);
        }
        let made = &self.calls.made[call];
        let now = self.queue.now_us();
        self.story.line(now, format!("client {client}"), || {
            format!(
                "#{call} asks {member}: {}",
                crate::report::brief(&made.what)
            )
        });
        let life = self.members.get(&member).map_or(0, |m| m.life);
        let way = within(&mut self.dice, (20, 500));
        self.queue.after(way, Event::Request(call, member, life));
        self.queue.after(patience, Event::Patience(call));
        call
    }

    /// A call reaches its member.
    pub(crate) fn request(&mut self, call: CallId, member: u64, life: u64) -> Checked {
        let now_us = self.now_us();
        let what = self.calls.made[call].what.clone();
        let same = self.members.get(&member).is_some_and(|m| m.life == life);
        let Some((running, now_ms)) = self.running(member, now_us).filter(|_| same) else {
            self.queue.after(100, Event::Reply(call, Outcome::Unknown));
            return Ok(());
        };
        if let What::Keys(Request::Range(range)) = &what
            && range.serializable
        {
            let read = range_now(&running.store.0.borrow(), range);
            return self.read_done(member, call, read);
        }
        running.requests += 1;
        let id = request_id(running.boot, 0, running.requests);
        running.waiters.insert(id, call);
        running
            .replica
            .ask(ask(RequestId(id), &what), now_ms, &mut running.out);
        self.calls.made[call].request = id;
        self.turn_soon(member);
        Ok(())
    }

    fn read_done(&mut self, member: u64, call: CallId, read: Result<Reply, ReadError>) -> Checked {
        let outcome = match read {
            Ok(reply) => Outcome::Keys(reply),
            Err(ReadError::Refused(e)) => Outcome::Declined(e),
            Err(ReadError::Backend(e)) => {
                self.queue.after(100, Event::Reply(call, Outcome::Unknown));
                return self.failed(member, &e.to_string());
            }
        };
        let way = within(&mut self.dice, (20, 500));
        self.queue.after(way, Event::Reply(call, outcome));
        Ok(())
    }

    /// What a member's answer means to a client.
    pub(crate) fn outcome(&mut self, member: u64, call: CallId, answer: Answer) -> Outcome {
        match answer {
            Answer::Applied(Ok(done)) => applied(done),
            Answer::Applied(Err(e)) => Outcome::Declined(e),
            Answer::Renewed(ttl) => Outcome::Done(ttl),
            Answer::TimeLeft(left) => Outcome::Done(left.map_or(-1, |l| l.remaining_s)),
            Answer::Leases(_) | Answer::Transferred => Outcome::Done(0),
            Answer::Refused(e) => Outcome::Refused(e),
            Answer::Readable => {
                let what = self.calls.made[call].what.clone();
                let Some((running, _)) = self.running(member, self.now_us()) else {
                    return Outcome::Unknown;
                };
                match confirmed_read(&running.store.0.borrow(), &what) {
                    Ok(reply) => Outcome::Keys(reply),
                    Err(ReadError::Refused(e)) => Outcome::Declined(e),
                    // The next thing that needs the store ends the member.
                    Err(ReadError::Backend(_)) => Outcome::Unknown,
                }
            }
        }
    }

    /// The client hears of it.
    pub(crate) fn replied(&mut self, call: CallId, outcome: Outcome) -> Checked {
        let now_us = self.now_us();
        let made = &mut self.calls.made[call];
        if made.outcome.is_some() {
            return Ok(());
        }
        made.returned_us = now_us;
        made.outcome = Some(outcome.clone());
        let (client, what) = (made.client, made.what.clone());
        self.story.line(now_us, format!("client {client}"), || {
            format!("#{call} gets {}", crate::report::brief_outcome(&outcome))
        });
        self.figures.count(&outcome);
        self.learn(client, &what, &outcome);
        self.goes_on(
            client,
            call,
            !matches!(
                outcome,
                Outcome::Keys(_) | Outcome::Done(_) | Outcome::Declined(_)
            ),
        );
        Ok(())
    }

    /// The client gives up.
    pub(crate) fn out_of_patience(&mut self, call: CallId) -> Checked {
        let made = &mut self.calls.made[call];
        if made.outcome.is_none() {
            made.outcome = Some(Outcome::Unknown);
            let client = made.client;
            let now = self.queue.now_us();
            self.story.line(now, format!("client {client}"), || {
                format!("#{call} gets nothing in time")
            });
            self.figures.count(&Outcome::Unknown);
            self.goes_on(client, call, true);
        }
        Ok(())
    }

    fn goes_on(&mut self, client: usize, call: CallId, elsewhere: bool) {
        let mut think = within(&mut self.dice, self.plan.think_us);
        if elsewhere {
            think += 10_000;
        }
        let Some(client) = self
            .clients
            .get_mut(client)
            .filter(|c| c.call == Some(call))
        else {
            return;
        };
        client.call = None;
        if elsewhere {
            client.member = 0;
        }
        let id = client.id;
        self.queue.after(think, Event::Client(id));
    }

    fn learn(&mut self, client: usize, what: &What, outcome: &Outcome) {
        let Some(client) = self.clients.get_mut(client) else {
            return;
        };
        match (what, outcome) {
            (What::Keys(request), Outcome::Keys(reply)) => {
                client.revision = client.revision.max(reply.revision());
                match (request, reply) {
                    (Request::Put(put), _) => {
                        drop(client.seen.insert(put.key.clone(), put.value.clone()))
                    }
                    (_, Reply::Range(range)) => {
                        for kv in &range.kvs {
                            client.seen.insert(kv.key.clone(), kv.value.clone());
                        }
                    }
                    _ => {}
                }
            }
            (What::Grant(grant), Outcome::Done(_)) => client.leases.push(grant.id),
            (What::Revoke(lease), _) | (What::KeepAlive(lease), Outcome::Done(0)) => {
                client.leases.retain(|l| l != lease);
            }
            _ => {}
        }
    }

    fn key(&mut self) -> Bytes {
        format!("k{}", self.dice.below(self.plan.keys)).into()
    }

    fn value(&self) -> Bytes {
        format!("v{}", self.calls.made.len()).into()
    }

    /// After the faults every client writes, to see that it can.
    fn probe(&mut self) -> What {
        What::Keys(Request::Put(pb::PutRequest {
            key: self.key(),
            value: self.value(),
            ..Default::default()
        }))
    }

    /// What a client asks next.
    fn choose(&mut self, client: usize) -> What {
        if self.dice.below(1000) < self.plan.compact_permille {
            let behind = self.dice.up_to(60);
            return What::Compact((self.clients[client].revision - behind).max(1));
        }
        match self.dice.below(100) {
            0..30 => What::Keys(Request::Put(self.put(client))),
            30..52 => What::Keys(Request::Range(self.range(client))),
            52..60 => What::Keys(Request::DeleteRange(self.delete())),
            60..88 => What::Keys(Request::Txn(self.txn(client))),
            _ => self.lease(client),
        }
    }

    fn put(&mut self, client: usize) -> pb::PutRequest {
        let leases = &self.clients[client].leases;
        let lease = if self.dice.one_in(6) && !leases.is_empty() {
            self.dice.pick(leases)
        } else {
            0
        };
        // Keys that end with a lease are keys of their own.
        let key = if lease == 0 {
            self.key()
        } else {
            format!("kl{}", self.dice.below(4)).into()
        };
        pb::PutRequest {
            key,
            value: self.value(),
            lease,
            prev_kv: self.dice.one_in(3),
            ..Default::default()
        }
    }

    fn range(&mut self, client: usize) -> pb::RangeRequest {
        let mut range = pb::RangeRequest {
            key: self.key(),
            serializable: self.dice.one_in(5),
            ..Default::default()
        };
        match self.dice.below(10) {
            0 | 1 => {
                range.key = "k".into();
                range.range_end = "l".into();
            }
            2 => range.revision = (self.clients[client].revision - self.dice.up_to(40)).max(1),
            3 => range.keys_only = true,
            4 => {
                range.range_end = "l".into();
                range.limit = 2;
            }
            _ => {}
        }
        range
    }

    fn delete(&mut self) -> pb::DeleteRangeRequest {
        let range_end = if self.dice.one_in(6) {
            "k5".into()
        } else {
            Bytes::new()
        };
        pb::DeleteRangeRequest {
            key: self.key(),
            range_end,
            prev_kv: self.dice.one_in(3),
        }
    }

    fn lease(&mut self, client: usize) -> What {
        let leases = self.clients[client].leases.clone();
        let id = i64::try_from(self.calls.made.len()).unwrap_or(1) + 1;
        if leases.is_empty() || (leases.len() < 4 && self.dice.one_in(3)) {
            let ttl = if self.dice.one_in(8) {
                70
            } else {
                LEASE_TTL_MIN_S + self.dice.up_to(5)
            };
            return What::Grant(pb::LeaseGrantRequest { id, ttl });
        }
        let lease = self.dice.pick(&leases);
        match self.dice.below(8) {
            0 => What::Revoke(lease),
            1 => What::TimeLeft(lease),
            _ => What::KeepAlive(lease),
        }
    }

    fn txn(&mut self, client: usize) -> pb::TxnRequest {
        let key = self.key();
        let value = self.value();
        let put = |key: &Bytes, value: &Bytes| {
            op(pb::request_op::Request::RequestPut(pb::PutRequest {
                key: key.clone(),
                value: value.clone(),
                ..Default::default()
            }))
        };
        let get = op(pb::request_op::Request::RequestRange(pb::RangeRequest {
            key: key.clone(),
            ..Default::default()
        }));
        let delete = op(pb::request_op::Request::RequestDeleteRange(
            pb::DeleteRangeRequest {
                key: key.clone(),
                ..Default::default()
            },
        ));
        let mut txn = pb::TxnRequest::default();
        match self.dice.below(5) {
            0 | 1 => {
                let expected = self.clients[client]
                    .seen
                    .get(&key)
                    .cloned()
                    .unwrap_or_default();
                txn.compare.push(compare(
                    &key,
                    pb::compare::CompareTarget::Value,
                    Some(expected),
                ));
                txn.success.push(put(&key, &value));
                txn.failure.push(get);
            }
            2 => {
                txn.compare
                    .push(compare(&key, pb::compare::CompareTarget::Version, None));
                txn.success.push(put(&key, &value));
                txn.failure
                    .push(if self.dice.one_in(2) { delete } else { get });
            }
            3 => {
                let other = self.key();
                txn.success.push(get);
                txn.success.push(put(&key, &value));
                if other != key {
                    txn.success.push(put(&other, &value));
                }
            }
            _ => txn.success.push(get),
        }
        txn
    }
}

fn op(request: pb::request_op::Request) -> pb::RequestOp {
    pb::RequestOp {
        request: Some(request),
    }
}

/// Equal to a value, or if there is none, absent.
fn compare(key: &Bytes, target: pb::compare::CompareTarget, value: Option<Bytes>) -> pb::Compare {
    use pb::compare::TargetUnion;
    pb::Compare {
        result: pb::compare::CompareResult::Equal as i32,
        target: target as i32,
        key: key.clone(),
        target_union: Some(value.map_or(TargetUnion::Version(0), TargetUnion::Value)),
        ..Default::default()
    }
}

fn ask(id: RequestId, what: &What) -> Ask {
    let op = match what {
        What::Keys(Request::Range(_)) => return Ask::ReadIndex(id),
        What::Keys(Request::Txn(r)) if txn::is_read_only(r) => return Ask::ReadIndex(id),
        What::Keys(Request::Put(r)) => Op::Put(r.clone()),
        What::Keys(Request::DeleteRange(r)) => Op::DeleteRange(r.clone()),
        What::Keys(Request::Txn(r)) => Op::Txn(r.clone()),
        What::Grant(r) => Op::LeaseGrant(*r),
        What::Revoke(lease) => Op::LeaseRevoke(pb::LeaseRevokeRequest { id: *lease }),
        What::Compact(revision) => Op::Compaction(pb::CompactionRequest {
            revision: *revision,
            physical: false,
        }),
        What::KeepAlive(lease) => return Ask::KeepAlive(id, LeaseId(*lease), Caller::own()),
        What::TimeLeft(lease) => return Ask::TimeLeft(id, LeaseId(*lease), true, Caller::own()),
        What::Change(change) => {
            return Ask::Change(MemberChange {
                request_id: id.0,
                ..change.clone()
            });
        }
        What::Transfer(to) => return Ask::Transfer(id, kvorum_core::MemberId(*to)),
    };
    Ask::Propose(Command {
        request_id: id.0,
        op: Some(op),
        stamp: None,
        caller: None,
    })
}

fn applied(done: Done) -> Outcome {
    match done {
        Done::Put(r) => Outcome::Keys(Reply::Put(r)),
        Done::DeleteRange(r) => Outcome::Keys(Reply::DeleteRange(r)),
        Done::Txn(r) => Outcome::Keys(Reply::Txn(r)),
        Done::LeaseGrant(r) => Outcome::Done(r.ttl),
        // It was applied before, and its answer is lost.
        Done::Done => Outcome::Unknown,
        _ => Outcome::Done(0),
    }
}

fn range_now(store: &Store, range: &pb::RangeRequest) -> Result<Reply, ReadError> {
    let reading = Reading::new(store, range)?;
    read_now(store, reading).map(to_message).map(Reply::Range)
}

fn confirmed_read(store: &Store, what: &What) -> Result<Reply, ReadError> {
    match what {
        What::Keys(Request::Range(range)) => range_now(store, range),
        What::Keys(Request::Txn(request)) => {
            txn::read_txn(store, request).map(|(reply, _)| Reply::Txn(reply))
        }
        _ => Err(ReadError::Refused(Error::Timeout)),
    }
}
