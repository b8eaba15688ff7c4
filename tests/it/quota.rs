//! A store that is full: refused writes, the alarm, and the way back.

use kvorum_proto::etcdserverpb as pb;
use tonic::{Code, Status};

use crate::{
    both::{delete, get, on_both_with, op, put, refused, txn},
    rpc::Rpc,
};

const NO_SPACE: &str = "etcdserver: mvcc: database space exceeded";

/// The smallest quota that etcd's own suites use: 13 pages.
const QUOTA: &str = "--quota-backend-bytes=53248";

async fn alarm(rpc: &Rpc, action: pb::alarm_request::AlarmAction) -> Vec<i32> {
    let status = rpc.call(pb::StatusRequest {}).await.expect("status");
    let request = pb::AlarmRequest {
        action: action.into(),
        member_id: status.header.expect("header").member_id,
        alarm: pb::AlarmType::Nospace.into(),
    };
    let answer = rpc.call(request).await.expect("alarms are answered");
    answer.alarms.iter().map(|member| member.alarm).collect()
}

/// Overwrites one key until the store is full, and returns how it was refused.
async fn fill(rpc: &Rpc) -> Status {
    let value = "x".repeat(1000);
    for _ in 0..2000 {
        if let Err(status) = rpc.call(put("k", &value)).await {
            return status;
        }
    }
    panic!("two megabytes fit into 52 KiB");
}

#[tokio::test]
async fn a_full_store_refuses_writes_until_it_was_cleaned_and_disarmed() {
    use pb::alarm_request::AlarmAction::{Deactivate, Get};
    on_both_with(&[QUOTA], "quota", async |rpc, side| {
        rpc.call(put("first", "v"))
            .await
            .expect("a fresh store is below its quota");
        let status = fill(rpc).await;
        assert_eq!(
            (status.code(), status.message()),
            (Code::ResourceExhausted, NO_SPACE)
        );
        assert_eq!(
            alarm(rpc, Get).await,
            [pb::AlarmType::Nospace as i32],
            "{side:?}"
        );
        let status = rpc.call(pb::StatusRequest {}).await.expect("status");
        assert!(
            status.errors.iter().any(|text| text.contains("NOSPACE")),
            "{status:?}"
        );

        // Nothing that needs room, whatever its size; everything else goes on.
        refused(
            rpc.call(put("a", "")).await,
            Code::ResourceExhausted,
            NO_SPACE,
        );
        let writes = txn(vec![op(put("a", ""))]);
        refused(rpc.call(writes).await, Code::ResourceExhausted, NO_SPACE);
        let grant = pb::LeaseGrantRequest { ttl: 60, id: 0 };
        refused(rpc.call(grant).await, Code::ResourceExhausted, NO_SPACE);
        rpc.call(txn(vec![op(get("k"))]))
            .await
            .expect("reads go on");
        let deleted = rpc.call(delete("k")).await.expect("deletes go on");
        let revision = deleted.header.expect("header").revision;

        let compact = pb::CompactionRequest {
            revision,
            physical: true,
        };
        rpc.call(compact).await.expect("compaction goes on");
        rpc.call(pb::DefragmentRequest {})
            .await
            .expect("defragmentation goes on");
        refused(
            rpc.call(put("a", "")).await,
            Code::ResourceExhausted,
            NO_SPACE,
        );
        assert_eq!(
            alarm(rpc, Deactivate).await,
            [pb::AlarmType::Nospace as i32]
        );
        rpc.call(put("a", "v")).await.expect("there is room again");
        assert_eq!(alarm(rpc, Get).await, [] as [i32; 0]);
    })
    .await;
}
