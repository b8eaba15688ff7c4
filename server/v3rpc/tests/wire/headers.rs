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

/// A call, and what stands in the header of its answer.
type Row = (&'static str, Vec<u8>, Rule);

fn row(path: &'static str, request: &impl Message, rule: Rule) -> Row {
    (path, request.encode_to_vec(), rule)
}

/// On an empty store, which stands at revision 1.
fn keys() -> Vec<Row> {
    let delete = |key: &'static str| DeleteRangeRequest {
        key: key.into(),
        ..Default::default()
    };
    let past = RangeRequest {
        revision: 2,
        ..get("k")
    };
    let compact = CompactionRequest {
        revision: 2,
        physical: false,
    };
    let delete_range = "/etcdserverpb.KV/DeleteRange";
    vec![
        row(RANGE, &get("k"), Rule::At(1)),
        row(PUT, &put("k", "v"), Rule::At(2)),
        row(PUT, &put("k", "v"), Rule::At(3)),
        row(RANGE, &past, Rule::At(3)),
        row(delete_range, &delete("none"), Rule::At(3)),
        row(delete_range, &delete("k"), Rule::At(4)),
        row("/etcdserverpb.KV/Txn", &TxnRequest::default(), Rule::At(4)),
        row("/etcdserverpb.KV/Compact", &compact, Rule::At(4)),
    ]
}

/// None of these moves the revision on.
fn leases_and_maintenance(own: u64) -> Vec<Row> {
    let grant = LeaseGrantRequest { ttl: 60, id: 7 };
    let time_to_live = LeaseTimeToLiveRequest { id: 9, keys: true };
    let linearizable = MemberListRequest { linearizable: true };
    let validate = DowngradeRequest {
        version: "3.5".into(),
        ..Default::default()
    };
    let hash_kv = HashKvRequest { revision: 3 };
    let move_leader = MoveLeaderRequest { target_id: own };
    vec![
        row("/etcdserverpb.Lease/LeaseGrant", &grant, Rule::At(4)),
        row(
            "/etcdserverpb.Lease/LeaseTimeToLive",
            &time_to_live,
            Rule::At(4),
        ),
        row(
            "/etcdserverpb.Lease/LeaseLeases",
            &LeaseLeasesRequest {},
            Rule::At(4),
        ),
        row(
            "/etcdserverpb.Cluster/MemberList",
            &linearizable,
            Rule::NoRevision,
        ),
        row(
            "/etcdserverpb.Maintenance/Alarm",
            &AlarmRequest::default(),
            Rule::At(4),
        ),
        row(
            "/etcdserverpb.Maintenance/Status",
            &StatusRequest {},
            Rule::At(4),
        ),
        row(
            "/etcdserverpb.Maintenance/Hash",
            &HashRequest {},
            Rule::At(4),
        ),
        row("/etcdserverpb.Maintenance/HashKV", &hash_kv, Rule::At(4)),
        row(
            "/etcdserverpb.Maintenance/Defragment",
            &DefragmentRequest {},
            Rule::Absent,
        ),
        row(
            "/etcdserverpb.Maintenance/MoveLeader",
            &move_leader,
            Rule::Absent,
        ),
        row(
            "/etcdserverpb.Maintenance/Downgrade",
            &validate,
            Rule::At(4),
        ),
        row(
            "/etcdserverpb.Auth/AuthStatus",
            &AuthStatusRequest {},
            Rule::At(4),
        ),
        row(
            "/etcdserverpb.Auth/AuthDisable",
            &AuthDisableRequest {},
            Rule::At(4),
        ),
    ]
}

/// With the lease that was granted before, which ends with them.
fn locks_and_elections() -> Vec<Row> {
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
    let unlock = UnlockRequest { key: "l/7".into() };
    vec![
        row("/v3lockpb.Lock/Lock", &lock, Rule::At(5)),
        row("/v3electionpb.Election/Campaign", &campaign, Rule::At(6)),
        row("/v3electionpb.Election/Leader", &leader, Rule::At(6)),
        row("/v3lockpb.Lock/Unlock", &unlock, Rule::At(7)),
        row(
            "/etcdserverpb.Lease/LeaseRevoke",
            &LeaseRevokeRequest { id: 7 },
            Rule::At(8),
        ),
    ]
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
    let mut rows = keys();
    rows.extend(leases_and_maintenance(own.member_id));
    rows.extend(locks_and_elections());
    for (path, request, rule) in rows {
        let expected = match rule {
            Rule::Absent => None,
            Rule::NoRevision => Some(0),
            Rule::At(revision) => Some(revision),
        };
        let expected = expected.map(|revision| ResponseHeader { revision, ..own });
        assert_eq!(header(&client, path, request).await, expected, "{path}");
    }
}
