//! The door to a running member: every request of every edge goes through a `Handle`.

use std::future::Future;

use bytes::Bytes;
use kvorum_core::reply::{HashKv, RangeReply};
use kvorum_core::{ClusterId, Error, MemberId};
use kvorum_proto::etcdserverpb as pb;

/// Who this member is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// This member.
    pub member_id: MemberId,
    /// Its name, as configured.
    pub name: String,
}

/// What the member says of itself; local, no quorum needed.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Current leader, 0 for none.
    pub leader: u64,
    /// Current term.
    pub term: u64,
    /// Committed index.
    pub committed: u64,
    /// Applied index.
    pub applied: u64,
    /// Current revision.
    pub revision: i64,
    /// −1 if never compacted.
    pub compact_revision: i64,
    /// Keys that exist now.
    pub keys: u64,
    /// Logical size, bytes.
    pub db_size: i64,
    /// Logical size without what compaction has freed, bytes.
    pub db_size_in_use: i64,
    /// Effective quota, bytes.
    pub quota: i64,
    /// Raised alarms.
    pub alarms: Vec<pb::AlarmMember>,
    /// True once the cluster version is decided.
    pub capable: bool,
    /// Watchers open on all streams of this member.
    pub watchers: u64,
    /// Leases that exist.
    pub leases: u64,
}

/// One watch stream of one client: requests in, encoded responses out.
#[derive(Debug)]
pub struct WatchStream {}

/// One `WatchResponse`, as two pieces of its encoding; `body` is shared by all watchers that get the same events.
#[derive(Clone, Debug, Default)]
pub struct WatchFrame {
    /// Header, watch id and flags, encoded.
    pub head: Bytes,
    /// The events, encoded; may be empty.
    pub body: Bytes,
}

impl WatchStream {
    /// Takes one request of the client. Never blocks; the answer comes out of `next`.
    pub fn request(&mut self, request: pb::WatchRequest) {
        let _ = request;
    }

    /// The next response; `None` once the member stops.
    pub async fn next(&mut self) -> Option<WatchFrame> {
        None
    }
}

/// The door. Cheap to clone; each I/O thread has one of its own, made by `Member::handle`, whose `run` future must be
/// spawned on that thread's runtime.
#[derive(Clone, Debug)]
pub struct Handle {
    identity: std::sync::Arc<Identity>,
}

#[allow(clippy::todo, clippy::unused_async)]
impl Handle {
    /// Delivers replies and watch events to this thread; spawn it once per handle that `Member::handle` returns.
    pub fn run(&self) -> impl Future<Output = ()> + Send + 'static {
        async {}
    }
    /// Who answers.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }
    /// A response header; a `revision` of 0 becomes the current one.
    pub fn header(&self, revision: i64) -> pb::ResponseHeader {
        let _ = revision;
        todo!()
    }
    /// Local status.
    pub fn status(&self) -> Status {
        todo!()
    }
    /// All members, as this member knows them.
    pub fn members(&self) -> Vec<pb::Member> {
        todo!()
    }
    /// Waits until everything acknowledged before this call is visible here.
    pub async fn read_barrier(&self) -> Result<(), Error> {
        todo!()
    }
    /// A range, linearizable unless it says `serializable`.
    pub async fn range(&self, request: pb::RangeRequest) -> Result<RangeReply, Error> {
        let _ = request;
        todo!()
    }
    /// A put. Checks the request first, as do all the calls below.
    pub async fn put(&self, request: pb::PutRequest) -> Result<pb::PutResponse, Error> {
        let _ = request;
        todo!()
    }
    /// A delete.
    pub async fn delete_range(&self, request: pb::DeleteRangeRequest) -> Result<pb::DeleteRangeResponse, Error> {
        let _ = request;
        todo!()
    }
    /// A transaction; a read-only one does not touch the log.
    pub async fn txn(&self, request: pb::TxnRequest) -> Result<pb::TxnResponse, Error> {
        let _ = request;
        todo!()
    }
    /// A compaction.
    pub async fn compact(&self, request: pb::CompactionRequest) -> Result<pb::CompactionResponse, Error> {
        let _ = request;
        todo!()
    }
    /// A new lease; id 0 lets the member choose.
    pub async fn lease_grant(&self, request: pb::LeaseGrantRequest) -> Result<pb::LeaseGrantResponse, Error> {
        let _ = request;
        todo!()
    }
    /// Ends a lease and deletes its keys.
    pub async fn lease_revoke(&self, request: pb::LeaseRevokeRequest) -> Result<pb::LeaseRevokeResponse, Error> {
        let _ = request;
        todo!()
    }
    /// Renews a lease; TTL 0 if it is unknown.
    pub async fn lease_keep_alive(&self, request: pb::LeaseKeepAliveRequest) -> Result<pb::LeaseKeepAliveResponse, Error> {
        let _ = request;
        todo!()
    }
    /// Time left; TTL −1 if it is unknown.
    pub async fn lease_time_to_live(&self, request: pb::LeaseTimeToLiveRequest) -> Result<pb::LeaseTimeToLiveResponse, Error> {
        let _ = request;
        todo!()
    }
    /// All leases by expiry.
    pub async fn lease_leases(&self) -> Result<pb::LeaseLeasesResponse, Error> {
        todo!()
    }
    /// Reads, raises or disarms alarms.
    pub async fn alarm(&self, request: pb::AlarmRequest) -> Result<pb::AlarmResponse, Error> {
        let _ = request;
        todo!()
    }
    /// Hash of the store at a revision, equal on all members and to etcd's.
    pub async fn hash_kv(&self, revision: i64) -> Result<HashKv, Error> {
        let _ = revision;
        todo!()
    }
    /// Hash of everything this member stores.
    pub async fn hash(&self) -> Result<u32, Error> {
        todo!()
    }
    /// Succeeds at once: there is no fragmentation to wait for.
    pub async fn defragment(&self) -> Result<(), Error> {
        todo!()
    }
    /// A new watch stream. `fragment_bytes` is the size from which responses are split if the client allows it.
    pub fn watch(&self, fragment_bytes: usize) -> WatchStream {
        let _ = fragment_bytes;
        todo!()
    }
}
