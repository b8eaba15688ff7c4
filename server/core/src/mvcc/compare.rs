//! Which branch a transaction takes. (etcd: server/etcdserver/txn/txn.go, compareToPath)

use kvorum_proto::etcdserverpb as pb;
use kvorum_proto::mvccpb::KeyValue;
use pb::compare::{CompareResult, CompareTarget, TargetUnion};
use pb::request_op::Request as Op;
use prost::Message;

use super::interval::Interval;
use super::key_index::Latest;
use super::store::Store;
use crate::backend::BackendError;

/// Decides every branch of a transaction and of those nested in the branches taken, all against the state before it:
/// one flag per transaction, in the order in which they run. Gives the number of comparisons that were made.
///
/// # Errors
/// The state store failed.
pub fn path(store: &Store, txn: &pb::TxnRequest, out: &mut Vec<bool>) -> Result<u64, BackendError> {
    let mut holds = true;
    let mut compared = 0;
    for compare in &txn.compare {
        compared += 1;
        if !interval_holds(store, compare)? {
            holds = false;
            break;
        }
    }
    out.push(holds);
    for op in branch(txn, holds) {
        if let Some(Op::RequestTxn(nested)) = &op.request {
            compared += path(store, nested, out)?;
        }
    }
    Ok(compared)
}

/// The operations of the branch taken.
#[must_use]
pub fn branch(txn: &pb::TxnRequest, succeeded: bool) -> &[pb::RequestOp] {
    if succeeded {
        &txn.success
    } else {
        &txn.failure
    }
}

fn interval_holds(store: &Store, compare: &pb::Compare) -> Result<bool, BackendError> {
    let interval = Interval::new(&compare.key, &compare.range_end);
    let mut any = false;
    if let Some(bounds) = interval.bounds() {
        for (_, index) in store.index.range::<[u8], _>(bounds) {
            let Some(latest) = index.latest() else {
                continue;
            };
            any = true;
            if !key_holds(store, compare, Some(latest))? {
                return Ok(false);
            }
        }
    }
    if any {
        Ok(true)
    } else {
        key_holds(store, compare, None)
    }
}

/// A missing key has every number 0, and no value at all: no operator holds for it.
fn key_holds(
    store: &Store,
    compare: &pb::Compare,
    latest: Option<Latest>,
) -> Result<bool, BackendError> {
    let l = latest.unwrap_or_default();
    let target = CompareTarget::try_from(compare.target);
    let number = |have: i64, want: i64| ordering_holds(compare.result, have.cmp(&want));
    Ok(match (target, &compare.target_union) {
        (Ok(CompareTarget::Value), union) => {
            if latest.is_none() {
                return Ok(false);
            }
            let want = match union {
                Some(TargetUnion::Value(v)) => v.as_ref(),
                _ => &[],
            };
            let have = KeyValue::decode(store.load_newest(l.revision)?).ok();
            ordering_holds(
                compare.result,
                have.unwrap_or_default().value.as_ref().cmp(want),
            )
        }
        (Ok(CompareTarget::Version), Some(TargetUnion::Version(v))) => number(l.version, *v),
        (Ok(CompareTarget::Version), _) => number(l.version, 0),
        (Ok(CompareTarget::Create), Some(TargetUnion::CreateRevision(v))) => number(l.created, *v),
        (Ok(CompareTarget::Create), _) => number(l.created, 0),
        (Ok(CompareTarget::Mod), Some(TargetUnion::ModRevision(v))) => number(l.revision.main, *v),
        (Ok(CompareTarget::Mod), _) => number(l.revision.main, 0),
        (Ok(CompareTarget::Lease), Some(TargetUnion::Lease(v))) => number(l.lease, *v),
        (Ok(CompareTarget::Lease), _) => number(l.lease, 0),
        // etcd compares nothing for a target it does not know, and then sees "equal".
        (Err(_), _) => ordering_holds(compare.result, std::cmp::Ordering::Equal),
    })
}

fn ordering_holds(result: i32, ordering: std::cmp::Ordering) -> bool {
    match CompareResult::try_from(result) {
        Ok(CompareResult::Equal) => ordering.is_eq(),
        Ok(CompareResult::Greater) => ordering.is_gt(),
        Ok(CompareResult::Less) => ordering.is_lt(),
        Ok(CompareResult::NotEqual) => ordering.is_ne(),
        Err(_) => true,
    }
}
