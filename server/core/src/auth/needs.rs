//! What a request needs: every key that it reads or writes, however deep it hides it, and what it takes beside keys.
//!
//! The match over the operations of a transaction has no arm for "the rest": an operation that is added to the protocol
//! does not compile until it says what it needs.

use kvorum_proto::etcdserverpb as pb;
use kvorum_proto::kvorumpb::command::Op;
use pb::alarm_request::AlarmAction;
use pb::request_op::Request;

use crate::mutants::{self, Mutant};
use crate::mvcc::interval::Interval;
use crate::types::LeaseId;

/// One thing that a caller must be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need<'a> {
    /// To read all keys of an interval.
    Read(Interval<'a>),
    /// To write all keys of an interval.
    Write(Interval<'a>),
    /// To read all keys that are tied to a lease.
    LeaseRead(LeaseId),
    /// To write all keys that are tied to a lease.
    LeaseWrite(LeaseId),
    /// To read all keys that are tied to any lease.
    LeasesRead,
    /// To be somebody.
    Authenticated,
    /// To have the role root.
    Admin,
    /// To be this user, or to have the role root.
    OwnUser(&'a str),
    /// To have this role, or the role root.
    OwnRole(&'a str),
}

impl<'a> Need<'a> {
    /// To read what a pair of key and `range_end` names.
    #[must_use]
    pub fn read(key: &'a [u8], range_end: &'a [u8]) -> Self {
        Self::Read(Interval::new(key, range_end))
    }

    /// To write what a pair of key and `range_end` names.
    #[must_use]
    pub fn write(key: &'a [u8], range_end: &'a [u8]) -> Self {
        Self::Write(Interval::new(key, range_end))
    }
}

/// Of a range.
#[must_use]
pub fn range(r: &pb::RangeRequest) -> Vec<Need<'_>> {
    vec![Need::read(&r.key, &r.range_end)]
}

/// Of everything from a key on, up to `end` if there is one. Without a key that is the least one.
#[must_use]
pub fn listing<'a>(from: &'a [u8], end: Option<&'a [u8]>) -> Vec<Need<'a>> {
    let from = if from.is_empty() { &[0] } else { from };
    vec![Need::Read(match end {
        Some(end) => Interval::Span(from, end),
        None => Interval::From(from),
    })]
}

/// Of a watch. Without a key it begins at the least one; its interval is read as that of a range.
#[must_use]
pub fn watch(r: &pb::WatchCreateRequest) -> Vec<Need<'_>> {
    let key = match r.key.as_ref() {
        [] => &[0],
        key => key,
    };
    vec![Need::read(key, &r.range_end)]
}

/// Of a transaction: all its conditions, and both branches.
#[must_use]
pub fn txn(r: &pb::TxnRequest) -> Vec<Need<'_>> {
    // One that does nothing still tells the revision.
    let mut needs = vec![Need::Authenticated];
    add_txn(r, &mut needs);
    needs
}

fn add_txn<'a>(r: &'a pb::TxnRequest, needs: &mut Vec<Need<'a>>) {
    let compares = r.compare.iter();
    needs.extend(compares.map(|c| Need::read(&c.key, &c.range_end)));
    for op in r.success.iter().chain(&r.failure) {
        match &op.request {
            Some(Request::RequestRange(r)) => needs.push(Need::read(&r.key, &r.range_end)),
            Some(Request::RequestPut(r)) => add_put(r, needs),
            Some(Request::RequestDeleteRange(r)) => add_delete(r, needs),
            Some(Request::RequestTxn(_)) if mutants::on(Mutant::NestedTxnUnchecked) => {}
            Some(Request::RequestTxn(r)) => add_txn(r, needs),
            None => {}
        }
    }
}

fn add_put<'a>(r: &'a pb::PutRequest, needs: &mut Vec<Need<'a>>) {
    needs.push(Need::write(&r.key, &[]));
    // Who may not end a lease must not make other keys die with it either, nor live on.
    if r.lease != 0 && !mutants::on(Mutant::LeaseAttachUnchecked) {
        needs.push(Need::LeaseWrite(LeaseId(r.lease)));
    }
    if r.prev_kv && !mutants::on(Mutant::PrevKvUnchecked) {
        needs.push(Need::read(&r.key, &[]));
    }
}

fn add_delete<'a>(r: &'a pb::DeleteRangeRequest, needs: &mut Vec<Need<'a>>) {
    needs.push(Need::write(&r.key, &r.range_end));
    if r.prev_kv && !mutants::on(Mutant::PrevKvUnchecked) {
        needs.push(Need::read(&r.key, &r.range_end));
    }
}

/// Of an alarm request: everybody who is somebody may look.
#[must_use]
pub fn alarm(r: &pb::AlarmRequest) -> Need<'static> {
    match AlarmAction::try_from(r.action) {
        Ok(AlarmAction::Get) => Need::Authenticated,
        _ => Need::Admin,
    }
}

/// Of a command in the log. What no client may ask for takes the role root, should a client be found to ask.
#[must_use]
pub fn command(op: &Op) -> Vec<Need<'_>> {
    let mut needs = Vec::new();
    match op {
        Op::Put(r) => add_put(r, &mut needs),
        Op::DeleteRange(r) => add_delete(r, &mut needs),
        Op::Txn(r) => return txn(r),
        Op::LeaseGrant(_) => needs.push(Need::Authenticated),
        Op::LeaseRevoke(r) => {
            needs.extend([Need::Authenticated, Need::LeaseWrite(LeaseId(r.id))]);
        }
        Op::Alarm(r) => needs.push(alarm(r)),
        Op::Auth(_)
        | Op::Compaction(_)
        | Op::MemberUpdate(_)
        | Op::LeaseExpire(_)
        | Op::LeaseCheckpoint(_)
        | Op::Publish(_)
        | Op::ClusterVersion(_)
        | Op::Trust(_)
        | Op::DigestCheck(_)
        | Op::Console(_) => needs.push(Need::Admin),
    }
    needs
}
