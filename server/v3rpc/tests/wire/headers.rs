//! What stands in the header of each answer (ETCD.md §2.1).

use kvorum_proto::{
    etcdserverpb::{
        AlarmRequest, AuthDisableRequest, AuthStatusRequest, CompactionRequest, CompactionResponse,
        DefragmentRequest, DeleteRangeRequest, DowngradeRequest, HashKvRequest, HashRequest,
        LeaseGrantRequest, LeaseLeasesRequest, LeaseRevokeRequest, LeaseTimeToLiveRequest,
        MemberListRequest, MemberListResponse, MoveLeaderRequest, RangeRequest, ResponseHeader,
        StatusRequest, TxnRequest,
    },
    v3electionpb::{CampaignRequest, LeaderRequest},
    v3lockpb::{LockRequest, UnlockRequest},
};
use prost::Message;

use crate::{
    client::Client,
    served::served,
    unary::{PUT, RANGE, get, put},
};

/// What a header holds.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rule {
    /// Everything, the revision being this one.
    At(i64),
    /// Everything but a revision.
    NoRevision,
    /// There is none.
    Absent,
}

/// Every response has its header in field 1; what else it has is skipped here.
async fn header(client: &Client, path: &str, request: Vec<u8>) -> Option<ResponseHeader> {
    let mut bytes = vec![0; 5];
    bytes[1..].copy_from_slice(&u32::try_from(request.len()).expect("small").to_be_bytes());
    bytes.extend(request);
    let answer: CompactionResponse = client
        .raw(path, bytes.into(), &[])
        .await
        .unwrap_or_else(|refused| panic!("{path}: {refused:?}"));
    answer.header
}

#[tokio::test]
async fn every_answer_has_the_header_of_the_table() {
    let served = served().await;
    let client = Client::connect(&served).await;
    let members: MemberListResponse = client
        .unary(
            "/etcdserverpb.Cluster/MemberList",
            &MemberListRequest::default(),
        )
        .await
        .expect("listed");
    let own = members.header.expect("a header");
    let delete = |key: &'static str| DeleteRangeRequest {
        key: key.into(),
        ..Default::default()
    };
    let lease = LeaseGrantRequest { ttl: 60, id: 7 };
    let lock = LockRequest {
        name: "l".into(),
        lease: 7,
    };
    let campaign = CampaignRequest {
        name: "e".into(),
        lease: 7,
        ..Default::default()
    };
    let leader = LeaderRequest { name: "e".into() };
    let validate = DowngradeRequest {
        version: "3.5".into(),
        ..Default::default()
    };
    let move_leader = MoveLeaderRequest {
        target_id: own.member_id,
    };
    let compact = CompactionRequest {
        revision: 2,
        physical: false,
    };
    let past = RangeRequest {
        revision: 2,
        ..get("k")
    };
    let maintenance = "/etcdserverpb.Maintenance";
    let leases = "/etcdserverpb.Lease";
    for (path, request, rule) in [
        (RANGE.to_owned(), get("k").encode_to_vec(), Rule::At(1)),
        (PUT.to_owned(), put("k", "v").encode_to_vec(), Rule::At(2)),
        (PUT.to_owned(), put("k", "v").encode_to_vec(), Rule::At(3)),
        (RANGE.to_owned(), past.encode_to_vec(), Rule::At(3)),
        (
            "/etcdserverpb.KV/DeleteRange".to_owned(),
            delete("none").encode_to_vec(),
            Rule::At(3),
        ),
        (
            "/etcdserverpb.KV/DeleteRange".to_owned(),
            delete("k").encode_to_vec(),
            Rule::At(4),
        ),
        (
            "/etcdserverpb.KV/Txn".to_owned(),
            TxnRequest::default().encode_to_vec(),
            Rule::At(4),
        ),
        (
            "/etcdserverpb.KV/Compact".to_owned(),
            compact.encode_to_vec(),
            Rule::At(4),
        ),
        (
            format!("{leases}/LeaseGrant"),
            lease.encode_to_vec(),
            Rule::At(4),
        ),
        (
            format!("{leases}/LeaseTimeToLive"),
            LeaseTimeToLiveRequest { id: 9, keys: true }.encode_to_vec(),
            Rule::At(4),
        ),
        (
            format!("{leases}/LeaseLeases"),
            LeaseLeasesRequest {}.encode_to_vec(),
            Rule::At(4),
        ),
        (
            "/etcdserverpb.Cluster/MemberList".to_owned(),
            MemberListRequest { linearizable: true }.encode_to_vec(),
            Rule::NoRevision,
        ),
        (
            format!("{maintenance}/Alarm"),
            AlarmRequest::default().encode_to_vec(),
            Rule::At(4),
        ),
        (
            format!("{maintenance}/Status"),
            StatusRequest {}.encode_to_vec(),
            Rule::At(4),
        ),
        (
            format!("{maintenance}/Hash"),
            HashRequest {}.encode_to_vec(),
            Rule::At(4),
        ),
        (
            format!("{maintenance}/HashKV"),
            HashKvRequest { revision: 3 }.encode_to_vec(),
            Rule::At(4),
        ),
        (
            format!("{maintenance}/Defragment"),
            DefragmentRequest {}.encode_to_vec(),
            Rule::Absent,
        ),
        (
            format!("{maintenance}/MoveLeader"),
            move_leader.encode_to_vec(),
            Rule::Absent,
        ),
        (
            format!("{maintenance}/Downgrade"),
            validate.encode_to_vec(),
            Rule::At(4),
        ),
        (
            "/etcdserverpb.Auth/AuthStatus".to_owned(),
            AuthStatusRequest {}.encode_to_vec(),
            Rule::At(4),
        ),
        (
            "/etcdserverpb.Auth/AuthDisable".to_owned(),
            AuthDisableRequest {}.encode_to_vec(),
            Rule::At(4),
        ),
        (
            "/v3lockpb.Lock/Lock".to_owned(),
            lock.encode_to_vec(),
            Rule::At(5),
        ),
        (
            "/v3electionpb.Election/Campaign".to_owned(),
            campaign.encode_to_vec(),
            Rule::At(6),
        ),
        (
            "/v3electionpb.Election/Leader".to_owned(),
            leader.encode_to_vec(),
            Rule::At(6),
        ),
        (
            "/v3lockpb.Lock/Unlock".to_owned(),
            UnlockRequest { key: "l/7".into() }.encode_to_vec(),
            Rule::At(7),
        ),
        (
            format!("{leases}/LeaseRevoke"),
            LeaseRevokeRequest { id: 7 }.encode_to_vec(),
            Rule::At(8),
        ),
    ] {
        let expected = match rule {
            Rule::Absent => None,
            Rule::NoRevision => Some(0),
            Rule::At(revision) => Some(revision),
        };
        let expected = expected.map(|revision| ResponseHeader { revision, ..own });
        assert_eq!(header(&client, &path, request).await, expected, "{path}");
    }
}
