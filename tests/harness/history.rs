//! The replay check of what many clients saw at once.
//!
//! A watch from revision 1 gives the order of all writes. Replayed through the model in that order, it tells of each
//! reply whether it is what etcd answers at the revision that its header names; the times of call and return tell
//! whether that revision could be seen at that moment. Histories must be free of compactions, and values unique.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use kvorum_proto::etcdserverpb as pb;
use kvorum_proto::mvccpb::{Event, KeyValue};

use super::model::{Interval, Model, ModelError, Selection};

/// What a client asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// A range.
    Range(pb::RangeRequest),
    /// A put.
    Put(pb::PutRequest),
    /// A delete.
    DeleteRange(pb::DeleteRangeRequest),
    /// A transaction.
    Txn(pb::TxnRequest),
}

/// What it got.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// To a range.
    Range(pb::RangeResponse),
    /// To a put.
    Put(pb::PutResponse),
    /// To a delete.
    DeleteRange(pb::DeleteRangeResponse),
    /// To a transaction.
    Txn(pb::TxnResponse),
}

/// One call of one client. Times are of one clock for all clients, in any unit.
#[derive(Clone, Debug)]
pub struct Call {
    /// When it was sent.
    pub called: u64,
    /// When the answer came.
    pub returned: u64,
    /// The request.
    pub request: Request,
    /// The answer; `None` if none came, so that nobody knows whether it was done.
    pub reply: Option<Reply>,
}

/// What cannot have happened on an etcd.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Violation {
    /// Two answers claim one revision for their writes.
    #[error("revision {0} was given out twice")]
    RevisionTwice(i64),
    /// A write was acknowledged at a revision where the log has nothing, or something else.
    #[error("acknowledged write is not in the log at revision {revision}: {call}")]
    WriteLost {
        /// Where it should be.
        revision: i64,
        /// The call.
        call: String,
    },
    /// The log has a write that nobody can have asked for, or one request twice.
    #[error("revision {0} is in the log and no client wrote it")]
    Ghost(i64),
    /// An answer is not the one of its revision.
    #[error("wrong answer at revision {revision}: {call}, but the model says {model}")]
    WrongReply {
        /// The revision of its header.
        revision: i64,
        /// The call.
        call: String,
        /// What it should be.
        model: String,
    },
    /// An answer is older than one that came before the question.
    #[error("stale: revision {revision} after {seen} was seen: {call}")]
    Stale {
        /// The revision of its header.
        revision: i64,
        /// What had been seen by then.
        seen: i64,
        /// The call.
        call: String,
    },
}

/// Checks the calls of all clients against the log of events, one list per revision, from revision 2 on.
///
/// # Errors
/// The first contradiction.
pub fn check(calls: &[Call], log: &[(i64, Vec<Event>)]) -> Result<(), Violation> {
    check_from(Model::default(), calls, log).map(drop)
}

/// The same for clients that put keys under these leases, each of which may have ended at any revision.
/// Returns the model as it is after the whole log.
///
/// # Errors
/// The first contradiction.
pub fn check_with_leases(
    calls: &[Call],
    log: &[(i64, Vec<Event>)],
    leases: &[i64],
) -> Result<Model, Violation> {
    let mut model = Model::default();
    for id in leases {
        let grant = pb::LeaseGrantRequest { id: *id, ttl: 1 };
        // Refused if it is named twice, which is as good.
        let _ = model.lease_grant(&grant);
    }
    check_from(model, calls, log)
}

fn check_from(
    mut model: Model,
    calls: &[Call],
    log: &[(i64, Vec<Event>)],
) -> Result<Model, Violation> {
    real_time(calls)?;
    let (mut writes, reads) = by_revision(calls)?;
    let mut unknown: Vec<&Call> = calls.iter().filter(|call| call.reply.is_none()).collect();
    check_reads(&mut model, &reads)?;
    for (revision, events) in log {
        match writes.remove(revision) {
            Some(call) => replay(&mut model, call, *revision, events)?,
            None => adopt(&mut model, &mut unknown, *revision, events)?,
        }
        check_reads(&mut model, &reads)?;
    }
    let lost = |(revision, call): (i64, &Call)| Violation::WriteLost {
        revision,
        call: format!("{call:?}"),
    };
    match writes.into_iter().next() {
        Some(write) => Err(lost(write)),
        None => beyond(&reads, model.revision()).map(|()| model),
    }
}

type ByRevision<'a, T> = BTreeMap<i64, T>;

/// Answered calls by the revision of their header: at most one that wrote, any number that only read.
fn by_revision(
    calls: &[Call],
) -> Result<(ByRevision<'_, &Call>, ByRevision<'_, Vec<&Call>>), Violation> {
    let mut writes = BTreeMap::new();
    let mut reads: BTreeMap<i64, Vec<&Call>> = BTreeMap::new();
    for call in calls {
        let Some(reply) = &call.reply else { continue };
        let revision = reply.revision();
        if !reply.wrote() {
            reads.entry(revision).or_default().push(call);
        } else if writes.insert(revision, call).is_some() {
            return Err(Violation::RevisionTwice(revision));
        }
    }
    Ok((writes, reads))
}

/// True if a lease ended here: all its keys are deleted, and nothing else is.
fn end_lease(model: &mut Model, revision: i64, events: &[Event]) -> bool {
    let first = events.first().and_then(|event| event.kv.as_ref());
    let held = first.and_then(|kv| model.current().into_iter().find(|held| held.key == kv.key));
    let Some(id) = held.map(|held| held.lease).filter(|id| *id != 0) else {
        return false;
    };
    let mut next = model.clone();
    let revoked = next.lease_revoke(&pb::LeaseRevokeRequest { id });
    let is_it = revoked.is_ok() && written(&next, revision) == events;
    if is_it {
        *model = next;
    }
    is_it
}

/// An acknowledged write does to the model what the log says, and answers the same.
fn replay(
    model: &mut Model,
    call: &Call,
    revision: i64,
    events: &[Event],
) -> Result<(), Violation> {
    let reply = call.request.run(model);
    if model.revision() != revision || written(model, revision) != events {
        return Err(Violation::WriteLost {
            revision,
            call: format!("{call:?}"),
        });
    }
    if reply.as_ref().ok() != call.reply.as_ref() {
        return Err(wrong(call, revision, &reply));
    }
    Ok(())
}

/// A revision without an acknowledgement must be the work of a call whose answer got lost.
fn adopt(
    model: &mut Model,
    unknown: &mut Vec<&Call>,
    revision: i64,
    events: &[Event],
) -> Result<(), Violation> {
    if end_lease(model, revision, events) {
        return Ok(());
    }
    for (place, call) in unknown.iter().enumerate() {
        if !call.request.may_cause(events) {
            continue;
        }
        let mut next = model.clone();
        let done = call.request.run(&mut next).is_ok();
        if done && next.revision() == revision && written(&next, revision) == events {
            *model = next;
            unknown.remove(place);
            return Ok(());
        }
    }
    Err(Violation::Ghost(revision))
}

/// A read that changed the model would be a wrong answer too: it ends the check.
fn check_reads(model: &mut Model, reads: &ByRevision<'_, Vec<&Call>>) -> Result<(), Violation> {
    let revision = model.revision();
    for call in reads.get(&revision).into_iter().flatten() {
        let reply = call.request.run(model);
        if reply.as_ref().ok() != call.reply.as_ref() {
            return Err(wrong(call, revision, &reply));
        }
    }
    Ok(())
}

/// No answer may name a revision that never was.
fn beyond(reads: &ByRevision<'_, Vec<&Call>>, last: i64) -> Result<(), Violation> {
    match reads
        .range(last + 1..)
        .next()
        .and_then(|(revision, calls)| Some((revision, calls.first()?)))
    {
        Some((revision, call)) => Err(Violation::WriteLost {
            revision: *revision,
            call: format!("{call:?}"),
        }),
        None => Ok(()),
    }
}

/// A write comes after every revision seen before it was called; a linearizable read shows at least that.
fn real_time(calls: &[Call]) -> Result<(), Violation> {
    let mut by_call: Vec<&Call> = calls.iter().filter(|call| call.reply.is_some()).collect();
    let mut by_return = by_call.clone();
    by_call.sort_by_key(|call| call.called);
    by_return.sort_by_key(|call| call.returned);
    let mut returned = by_return.into_iter().peekable();
    let mut seen = 0;
    for call in by_call {
        while let Some(earlier) = returned.next_if(|earlier| earlier.returned < call.called) {
            seen = seen.max(earlier.reply.as_ref().map_or(0, Reply::revision));
        }
        let Some(reply) = &call.reply else { continue };
        let revision = reply.revision();
        let too_old = if reply.wrote() {
            revision <= seen
        } else {
            revision < seen
        };
        if too_old && !call.request.is_serializable() {
            return Err(Violation::Stale {
                revision,
                seen,
                call: format!("{call:?}"),
            });
        }
    }
    Ok(())
}

fn wrong(call: &Call, revision: i64, model: &Result<Reply, ModelError>) -> Violation {
    Violation::WrongReply {
        revision,
        call: format!("{call:?}"),
        model: format!("{model:?}"),
    }
}

/// What the model wrote at `revision`, as events.
fn written(model: &Model, revision: i64) -> Vec<Event> {
    let all = Selection {
        interval: Interval::all(),
        no_put: false,
        no_delete: false,
        prev_kv: false,
    };
    model
        .events(&all, revision, revision)
        .into_iter()
        .flat_map(|(_, events)| events)
        .collect()
}

impl Request {
    fn run(&self, model: &mut Model) -> Result<Reply, ModelError> {
        match self {
            Self::Range(request) => model.range(request).map(Reply::Range),
            Self::Put(request) => model.put(request).map(Reply::Put),
            Self::DeleteRange(request) => model.delete_range(request).map(Reply::DeleteRange),
            Self::Txn(request) => model.txn(request).map(Reply::Txn),
        }
    }

    /// False if the events cannot be its work, as far as a look at them tells.
    fn may_cause(&self, events: &[Event]) -> bool {
        let all = |wanted: &dyn Fn(&KeyValue) -> bool| {
            events
                .iter()
                .all(|event| event.kv.as_ref().is_some_and(wanted))
        };
        match self {
            Self::Range(_) => false,
            Self::Put(put) => all(&|kv| {
                kv.key == put.key && (put.ignore_value || kv.value == put.value) && kv.version > 0
            }),
            Self::DeleteRange(delete) => {
                let interval = Interval::new(&delete.key, &delete.range_end);
                all(&|kv| interval.contains(&kv.key) && kv.version == 0)
            }
            Self::Txn(_) => true,
        }
    }

    fn is_serializable(&self) -> bool {
        matches!(self, Self::Range(range) if range.serializable)
    }
}

impl Reply {
    /// The revision of its header.
    #[must_use]
    pub fn revision(&self) -> i64 {
        let header = match self {
            Self::Range(reply) => &reply.header,
            Self::Put(reply) => &reply.header,
            Self::DeleteRange(reply) => &reply.header,
            Self::Txn(reply) => &reply.header,
        };
        header.as_ref().map_or(0, |header| header.revision)
    }

    /// True if the revision is this call's own.
    fn wrote(&self) -> bool {
        match self {
            Self::Range(_) => false,
            Self::Put(_) => true,
            Self::DeleteRange(reply) => reply.deleted > 0,
            Self::Txn(reply) => wrote_in_txn(reply),
        }
    }
}

fn wrote_in_txn(reply: &pb::TxnResponse) -> bool {
    use pb::response_op::Response;
    reply.responses.iter().any(|op| match &op.response {
        Some(Response::ResponsePut(_)) => true,
        Some(Response::ResponseDeleteRange(reply)) => reply.deleted > 0,
        Some(Response::ResponseTxn(reply)) => wrote_in_txn(reply),
        Some(Response::ResponseRange(_)) | None => false,
    })
}
