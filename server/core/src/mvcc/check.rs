//! What is refused before it is proposed. (etcd: server/etcdserver/api/v3rpc/key.go; ETCD.md 2.3 to 2.7)

use kvorum_proto::etcdserverpb as pb;
use pb::request_op::Request as Op;

use super::interval::Interval;
use crate::error::Error;

/// A nested transaction deeper than this is refused, so that no request can exhaust the stack.
const NESTING_MAX: usize = 16;

/// Checks a range.
///
/// # Errors
/// The key is empty, or a sort option is unknown.
pub fn range(r: &pb::RangeRequest) -> Result<(), Error> {
    if r.key.is_empty() {
        return Err(Error::EmptyKey);
    }
    let order = pb::range_request::SortOrder::try_from(r.sort_order);
    let target = pb::range_request::SortTarget::try_from(r.sort_target);
    if order.is_err() || target.is_err() {
        return Err(Error::InvalidSortOption);
    }
    Ok(())
}

/// Checks a put.
///
/// # Errors
/// The key is empty, or an ignored field is given.
pub fn put(r: &pb::PutRequest) -> Result<(), Error> {
    if r.key.is_empty() {
        return Err(Error::EmptyKey);
    }
    if r.ignore_value && !r.value.is_empty() {
        return Err(Error::ValueProvided);
    }
    if r.ignore_lease && r.lease != 0 {
        return Err(Error::LeaseProvided);
    }
    Ok(())
}

/// Checks a delete.
///
/// # Errors
/// The key is empty.
pub fn delete_range(r: &pb::DeleteRangeRequest) -> Result<(), Error> {
    if r.key.is_empty() {
        Err(Error::EmptyKey)
    } else {
        Ok(())
    }
}

/// Checks an alarm request. etcd ends in a panic here, so there is no text of its to match.
///
/// # Errors
/// The type or the action is not one of the enum's.
pub fn alarm(r: &pb::AlarmRequest) -> Result<(), Error> {
    let action = pb::alarm_request::AlarmAction::try_from(r.action);
    let alarm = pb::AlarmType::try_from(r.alarm);
    if action.is_ok() && alarm.is_ok() {
        Ok(())
    } else {
        Err(Error::UnknownAlarm)
    }
}

/// Checks a transaction with all that is nested in it.
///
/// # Errors
/// Too many operations, an empty key, an operation without content, or one key written twice.
pub fn txn(r: &pb::TxnRequest, max_ops: usize) -> Result<(), Error> {
    shape(r, max_ops, 0)?;
    writes(&r.success)?;
    writes(&r.failure)?;
    Ok(())
}

fn shape(r: &pb::TxnRequest, max_ops: usize, depth: usize) -> Result<(), Error> {
    let ops = r.compare.len().max(r.success.len()).max(r.failure.len());
    if ops > max_ops || depth > NESTING_MAX {
        return Err(Error::TooManyOps);
    }
    if r.compare.iter().any(|c| c.key.is_empty()) {
        return Err(Error::EmptyKey);
    }
    for op in r.success.iter().chain(&r.failure) {
        match &op.request {
            None => return Err(Error::KeyNotFound),
            Some(Op::RequestRange(r)) => range(r)?,
            Some(Op::RequestPut(r)) => put(r)?,
            Some(Op::RequestDeleteRange(r)) => delete_range(r)?,
            Some(Op::RequestTxn(r)) => shape(r, max_ops - ops, depth + 1)?,
        }
    }
    Ok(())
}

/// The keys that a branch puts and the intervals that it deletes.
#[derive(Default)]
struct Writes<'a> {
    puts: Vec<&'a [u8]>,
    deletes: Vec<Interval<'a>>,
}

impl<'a> Writes<'a> {
    fn deletes(&self, key: &[u8]) -> bool {
        self.deletes.iter().any(|d| deletes(d, key))
    }
}

/// etcd compares with the raw `range_end`, so an open end ("\0") deletes nothing here: kept, since a request that
/// etcd accepts must be accepted.
fn deletes(interval: &Interval<'_>, key: &[u8]) -> bool {
    !matches!(interval, Interval::From(_)) && interval.contains(key)
}

/// Collects what a branch writes, and refuses a key that is written twice. The two branches of a nested transaction
/// exclude each other, so they may write the same key; nested siblings may not put the same one. (checkIntervals)
fn writes(ops: &[pb::RequestOp]) -> Result<Writes<'_>, Error> {
    let mut all = Writes::default();
    for op in ops {
        if let Some(Op::RequestDeleteRange(r)) = &op.request {
            all.deletes.push(Interval::new(&r.key, &r.range_end));
        }
    }
    for op in ops {
        let Some(Op::RequestTxn(nested)) = &op.request else {
            continue;
        };
        let then = writes(&nested.success)?;
        let or_else = writes(&nested.failure)?;
        let nested_puts = then.puts.iter().chain(&or_else.puts);
        for key in nested_puts.clone() {
            if all.deletes(key) || all.puts.contains(key) {
                return Err(Error::DuplicateKey);
            }
        }
        let mut puts: Vec<&[u8]> = nested_puts.copied().collect();
        puts.sort_unstable();
        puts.dedup();
        all.puts.extend(puts);
        all.deletes.extend(then.deletes);
        all.deletes.extend(or_else.deletes);
    }
    for op in ops {
        let Some(Op::RequestPut(r)) = &op.request else {
            continue;
        };
        if all.puts.contains(&r.key.as_ref()) || all.deletes(&r.key) {
            return Err(Error::DuplicateKey);
        }
        all.puts.push(&r.key);
    }
    Ok(all)
}
