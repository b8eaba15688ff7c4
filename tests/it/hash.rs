//! HashKV is etcd's own number, so that etcd's tools can compare members.

use kvorum_proto::etcdserverpb as pb;

use crate::both::{delete, on_both, put};

#[tokio::test]
async fn the_hash_of_a_history_is_the_number_etcd_gives() {
    on_both("hash-kv", async |rpc, side| {
        for (key, value) in [("a", "1"), ("a", "2"), ("b/1", "x")] {
            rpc.call(put(key, value)).await.expect("put");
        }
        rpc.call(delete("b/1")).await.expect("delete");
        rpc.call(put("b/1", "y")).await.expect("put");
        rpc.call(put("c", "z")).await.expect("put");
        let compact = pb::CompactionRequest {
            revision: 4,
            physical: true,
        };
        rpc.call(compact).await.expect("compaction");
        rpc.call(put("d", "3")).await.expect("put");
        rpc.call(delete("a")).await.expect("delete");
        let hash = async |revision| {
            let answer = rpc
                .call(pb::HashKvRequest { revision })
                .await
                .expect("hash");
            (answer.hash, answer.compact_revision, answer.hash_revision)
        };
        assert_eq!(hash(0).await, (3_294_298_418, 4, 9), "{side:?}");
        assert_eq!(hash(6).await, (1_479_949_269, 4, 6), "{side:?}");
    })
    .await;
}
