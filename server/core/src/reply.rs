//! What the machine answers, before the edge adds cluster id, member id and term to the header.

use bytes::Bytes;
use kvorum_proto::etcdserverpb as pb;
use kvorum_proto::kvorumpb;

/// Answer to a range, with the pairs still in their stored encoding so that nobody decodes what it only passes on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RangeReply {
    /// Revision of the store when the range was read; goes to the header.
    pub revision: i64,
    /// Encoded `mvccpb.KeyValue`s.
    pub kvs: Vec<Bytes>,
    /// More keys are in the interval than `limit` let through.
    pub more: bool,
    /// Keys in the interval, before limit and revision filters.
    pub count: i64,
}

/// Answer to one applied command. Headers hold the revision only.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// To a put.
    Put(pb::PutResponse),
    /// To a delete.
    DeleteRange(pb::DeleteRangeResponse),
    /// To a transaction.
    Txn(pb::TxnResponse),
    /// To a compaction.
    Compaction(pb::CompactionResponse),
    /// To a lease grant.
    LeaseGrant(pb::LeaseGrantResponse),
    /// To a revoke.
    LeaseRevoke(pb::LeaseRevokeResponse),
    /// To an alarm request of any action.
    Alarm(pb::AlarmResponse),
    /// To a change of users and roles.
    Auth(AuthReply),
    /// To a change of the members: all of them, after it.
    Members(Vec<pb::Member>),
    /// To the use of a join token: what it is good for.
    TokenBurned(Box<kvorumpb::JoinToken>),
    /// To a change of the console's accounts, sessions and links.
    Console(crate::console::Answer),
    /// To commands that only the cluster itself sends.
    Done,
}

/// Answer to a change of users and roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthReply {
    /// Revision of users and roles after it.
    pub auth_revision: u64,
    /// The entry that held it.
    pub index: u64,
}

/// Answer to `HashKV`. (etcd: server/storage/mvcc/hash.go)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashKv {
    /// CRC-32C over bucket name, keys and values.
    pub hash: u32,
    /// −1 if the store was never compacted.
    pub compact_revision: i64,
    /// Revision that was hashed.
    pub hash_revision: i64,
    /// Revision of the store; goes to the header.
    pub revision: i64,
}
