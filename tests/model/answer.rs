//! What an operation comes to, on either side, in one shape that can be compared field by field.

use kvorum_core::Error;
use kvorum_core::reply::Reply;
use kvorum_proto::etcdserverpb as pb;
use kvorum_tests::harness::generate::Operation;
use kvorum_tests::harness::model::Model;

/// An answer of the model or of the core.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    Range(pb::RangeResponse),
    Put(pb::PutResponse),
    DeleteRange(pb::DeleteRangeResponse),
    Txn(pb::TxnResponse),
    Compact(pb::CompactionResponse),
    LeaseGrant(pb::LeaseGrantResponse),
    LeaseRevoke(pb::LeaseRevokeResponse),
    LeaseKeepAlive(pb::LeaseKeepAliveResponse),
    LeaseTimeToLive(pb::LeaseTimeToLiveResponse),
    LeaseLeases(pb::LeaseLeasesResponse),
    Alarm(pb::AlarmResponse),
    HashKv(pb::HashKvResponse),
    /// The renewal of a lease whose time is up waits for its end.
    Waits,
    /// Not for the state machine.
    Nothing,
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        match reply {
            Reply::Put(reply) => Self::Put(reply),
            Reply::DeleteRange(reply) => Self::DeleteRange(reply),
            Reply::Txn(reply) => Self::Txn(reply),
            Reply::Compaction(reply) => Self::Compact(reply),
            Reply::LeaseGrant(reply) => Self::LeaseGrant(reply),
            Reply::LeaseRevoke(reply) => Self::LeaseRevoke(reply),
            Reply::Alarm(reply) => Self::Alarm(in_order(reply)),
            Reply::Members(_)
            | Reply::Auth(_)
            | Reply::TokenBurned(_)
            | Reply::Console(_)
            | Reply::Done => Self::Nothing,
        }
    }
}

/// etcd lists alarms in no order.
fn in_order(mut reply: pb::AlarmResponse) -> pb::AlarmResponse {
    reply
        .alarms
        .sort_by_key(|alarm| (alarm.alarm, alarm.member_id));
    reply
}

/// What the model says.
pub(crate) fn of_model(model: &mut Model, operation: &Operation) -> Result<Answer, Error> {
    Ok(match operation {
        Operation::Range(request) => Answer::Range(model.range(request)?),
        Operation::Put(request) => Answer::Put(model.put(request)?),
        Operation::DeleteRange(request) => Answer::DeleteRange(model.delete_range(request)?),
        Operation::Txn(request) => Answer::Txn(model.txn(request)?),
        Operation::Compact(request) => Answer::Compact(model.compact(request)?),
        Operation::LeaseGrant(request) => Answer::LeaseGrant(model.lease_grant(request)?),
        Operation::LeaseRevoke(request) => Answer::LeaseRevoke(model.lease_revoke(request)?),
        Operation::LeaseKeepAlive(request) if model.expired().contains(&request.id) => {
            Answer::Waits
        }
        Operation::LeaseKeepAlive(request) => {
            Answer::LeaseKeepAlive(model.lease_keep_alive(request))
        }
        Operation::LeaseTimeToLive(request) => {
            Answer::LeaseTimeToLive(model.lease_time_to_live(request))
        }
        Operation::LeaseLeases => Answer::LeaseLeases(model.lease_leases()),
        Operation::Alarm(request) => Answer::Alarm(model.alarm(request)),
        Operation::HashKv(request) => Answer::HashKv(model.hash_kv(request)?),
        Operation::Watch(..)
        | Operation::Reconnect(_)
        | Operation::Deliver(_)
        | Operation::Pass(_)
        | Operation::Flush
        | Operation::Restart => Answer::Nothing,
    })
}
