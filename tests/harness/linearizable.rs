//! The second opinion on a history, from the calls alone: is there an order of them that a register per key allows?
//!
//! Linearizability is local, so each key is judged by itself, by the search of Wing and Gong with Lowe's memory of
//! configurations already seen. It needs no log and no revisions, so it also finds a log that is wrong itself; it is
//! exponential at worst, so it gives up after a number of steps and says so. Values must be unique per key.

mod search;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kvorum_proto::etcdserverpb as pb;
use pb::compare::{CompareResult, CompareTarget, TargetUnion};
use pb::request_op::Request as Op;
use pb::response_op::Response;

use super::history::{Call, Reply, Request};
use super::model::Interval;

/// The value of a key; `None` if it does not exist.
pub type Value = Option<Bytes>;

/// What one call did to one key. All parts that are given hold at one moment between call and return.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Action {
    /// The key had this value.
    pub requires: Option<Value>,
    /// The key had another value than this.
    pub forbids: Option<Value>,
    /// The key has this value from then on.
    pub sets: Option<Value>,
}

/// One call as one key saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// When it was sent.
    pub called: u64,
    /// When it was answered; `None` if nobody knows whether it was done.
    pub returned: Option<u64>,
    /// What it did.
    pub action: Action,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every key has an order.
    Linearizable,
    /// These keys took too long to judge; all others have an order.
    Unknown(Vec<Bytes>),
}

/// No order of its calls explains what a key's clients saw.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("key {key:?} is not linearizable; the search got no further than {furthest:?}")]
pub struct NotLinearizable {
    /// The key.
    pub key: Bytes,
    /// The call that no order got past.
    pub furthest: Option<Box<Step>>,
}

/// Judges every key that the calls name. `steps_max` bounds the work for each.
///
/// # Errors
/// The first key without an order.
pub fn check(calls: &[Call], steps_max: usize) -> Result<Verdict, NotLinearizable> {
    let mut unknown = Vec::new();
    for key in keys(calls) {
        let steps = steps_of(calls, &key);
        match search::search(&steps, steps_max) {
            search::Found::Order => {}
            search::Found::GaveUp => unknown.push(key),
            search::Found::None(furthest) => {
                let furthest = furthest.map(Box::new);
                return Err(NotLinearizable { key, furthest });
            }
        }
    }
    Ok(if unknown.is_empty() {
        Verdict::Linearizable
    } else {
        Verdict::Unknown(unknown)
    })
}

/// Every key that a call names by itself.
fn keys(calls: &[Call]) -> BTreeSet<Bytes> {
    let mut keys = BTreeSet::new();
    for call in calls {
        match &call.request {
            Request::Range(r) if r.range_end.is_empty() => drop(keys.insert(r.key.clone())),
            Request::Put(r) => drop(keys.insert(r.key.clone())),
            Request::DeleteRange(r) if r.range_end.is_empty() => drop(keys.insert(r.key.clone())),
            Request::Txn(r) => {
                for op in r.success.iter().chain(&r.failure) {
                    if let Some(Op::RequestPut(put)) = &op.request {
                        keys.insert(put.key.clone());
                    }
                }
            }
            Request::Range(_) | Request::DeleteRange(_) => {}
        }
    }
    keys
}

/// The history of one key, without writes of unknown outcome that nobody can have noticed.
fn steps_of(calls: &[Call], key: &Bytes) -> Vec<Step> {
    let mut steps = Vec::new();
    for call in calls {
        for action in actions(call, key) {
            steps.push(Step {
                called: call.called,
                returned: call.reply.is_some().then_some(call.returned),
                action,
            });
        }
    }
    let seen: BTreeSet<Value> = steps
        .iter()
        .filter_map(|step| step.action.requires.clone())
        .collect();
    let any_forbids = steps.iter().any(|step| step.action.forbids.is_some());
    steps.retain(|step| {
        let noticed = step.action.sets.as_ref().is_some_and(|v| seen.contains(v));
        step.returned.is_some() || noticed || any_forbids
    });
    steps
}

/// What a call may have done to `key`: one action, or for a transaction without an answer one for each branch.
fn actions(call: &Call, key: &Bytes) -> Vec<Action> {
    match (&call.request, &call.reply) {
        (Request::Range(request), Some(Reply::Range(reply))) => {
            read(request, reply, key).into_iter().collect()
        }
        (Request::Put(request), _) if request.key == key && !request.ignore_value => {
            vec![set(Some(request.value.clone()))]
        }
        (Request::DeleteRange(request), _)
            if Interval::new(&request.key, &request.range_end).contains(key) =>
        {
            vec![set(None)]
        }
        (Request::Txn(request), Some(Reply::Txn(reply))) => {
            known_txn(request, reply, key).into_iter().collect()
        }
        (Request::Txn(request), None) => [true, false]
            .into_iter()
            .filter_map(|succeeded| unknown_txn(request, succeeded, key))
            .collect(),
        _ => Vec::new(),
    }
}

fn set(value: Value) -> Action {
    Action {
        sets: Some(value),
        ..Action::default()
    }
}

/// A plain linearizable read of the present shows the whole value.
fn read(request: &pb::RangeRequest, reply: &pb::RangeResponse, key: &Bytes) -> Option<Action> {
    let plain = !request.serializable
        && request.revision == 0
        && !request.keys_only
        && !request.count_only
        && request.limit == 0;
    if !plain || !Interval::new(&request.key, &request.range_end).contains(key) {
        return None;
    }
    let shown = reply.kvs.iter().find(|kv| kv.key == key);
    Some(Action {
        requires: Some(shown.map(|kv| kv.value.clone())),
        ..Action::default()
    })
}

/// A transaction with an answer: its compares, its reads before its first write of the key, its last write.
fn known_txn(request: &pb::TxnRequest, reply: &pb::TxnResponse, key: &Bytes) -> Option<Action> {
    let mut action = compared(request, reply.succeeded, key);
    let branch = branch_of(request, reply.succeeded);
    for (op, response) in branch.iter().zip(&reply.responses) {
        if let (Some(Op::RequestRange(range)), Some(Response::ResponseRange(shown))) =
            (&op.request, &response.response)
            && action.sets.is_none()
        {
            // Part of the transaction, whatever it says of being serializable.
            let inside = pb::RangeRequest {
                serializable: false,
                ..range.clone()
            };
            let seen = read(&inside, shown, key).and_then(|seen| seen.requires);
            action.requires = seen.or(action.requires.take());
        }
        action.sets = written(op, key).or(action.sets.take());
    }
    (action != Action::default()).then_some(action)
}

/// A transaction without an answer, if it took this branch. Branches that write nothing tell nothing.
fn unknown_txn(request: &pb::TxnRequest, succeeded: bool, key: &Bytes) -> Option<Action> {
    let mut action = compared(request, succeeded, key);
    for op in branch_of(request, succeeded) {
        action.sets = written(op, key).or(action.sets.take());
    }
    action.sets.is_some().then_some(action)
}

fn branch_of(request: &pb::TxnRequest, succeeded: bool) -> &[pb::RequestOp] {
    if succeeded {
        &request.success
    } else {
        &request.failure
    }
}

fn written(op: &pb::RequestOp, key: &Bytes) -> Option<Value> {
    match &op.request {
        Some(Op::RequestPut(put)) if put.key == key => Some(Some(put.value.clone())),
        Some(Op::RequestDeleteRange(delete)) => {
            let interval = Interval::new(&delete.key, &delete.range_end);
            interval.contains(key).then_some(None)
        }
        _ => None,
    }
}

/// What the outcome of the compares says of the key's value. Compares that are not about the value, or not alone in
/// having failed, say nothing.
fn compared(request: &pb::TxnRequest, succeeded: bool, key: &Bytes) -> Action {
    let mut action = Action::default();
    let alone = request.compare.len() == 1;
    for compare in &request.compare {
        if compare.key != key || !compare.range_end.is_empty() {
            continue;
        }
        let Some(value) = value_named(compare) else {
            continue;
        };
        if succeeded {
            action.requires = Some(value);
        } else if alone {
            action.forbids = Some(value);
        }
    }
    action
}

/// The value that a compare holds for and no other.
fn value_named(compare: &pb::Compare) -> Option<Value> {
    if compare.result() != CompareResult::Equal {
        return None;
    }
    match (compare.target(), &compare.target_union) {
        (CompareTarget::Value, Some(TargetUnion::Value(value))) => Some(Some(value.clone())),
        (CompareTarget::Version, Some(TargetUnion::Version(0)))
        | (CompareTarget::Create, Some(TargetUnion::CreateRevision(0)))
        | (CompareTarget::Mod, Some(TargetUnion::ModRevision(0))) => Some(None),
        _ => None,
    }
}

/// Gives each value a number, so that the search compares numbers.
fn numbered(steps: &[Step]) -> (Vec<search::Numbered>, usize) {
    let mut numbers: BTreeMap<Value, u32> = BTreeMap::from([(None, 0)]);
    let mut number = |value: &Option<Value>| {
        let value = value.as_ref()?;
        let next = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
        Some(*numbers.entry(value.clone()).or_insert(next))
    };
    let list = steps
        .iter()
        .map(|step| search::Numbered {
            requires: number(&step.action.requires),
            forbids: number(&step.action.forbids),
            sets: number(&step.action.sets),
        })
        .collect();
    (list, steps.len())
}
