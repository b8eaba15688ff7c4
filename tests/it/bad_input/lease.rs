//! Leases that cannot be.

use kvorum_proto::etcdserverpb as pb;
use tonic::Code;

use crate::both::{on_both, refused};

const NOT_FOUND: &str = "etcdserver: requested lease not found";

fn grant(ttl: i64, id: i64) -> pb::LeaseGrantRequest {
    pb::LeaseGrantRequest { ttl, id }
}

#[tokio::test]
async fn lease_0_lets_the_server_choose_an_id() {
    on_both("lease-zero", async |rpc, _| {
        let first = rpc.call(grant(60, 0)).await.expect("grant");
        let second = rpc.call(grant(60, 0)).await.expect("grant");
        assert!(first.id > 0 && second.id > 0 && first.id != second.id);
        assert_eq!(first.error, "");
    })
    .await;
}

#[tokio::test]
async fn a_lease_id_in_use_is_refused() {
    on_both("lease-taken", async |rpc, _| {
        rpc.call(grant(60, 5)).await.expect("grant");
        let text = "etcdserver: lease already exists";
        refused(rpc.call(grant(60, 5)).await, Code::FailedPrecondition, text);
    })
    .await;
}

#[tokio::test]
async fn a_ttl_over_9_000_000_000_is_refused() {
    on_both("lease-ttl-large", async |rpc, _| {
        let text = "etcdserver: too large lease TTL";
        for ttl in [9_000_000_001, i64::MAX] {
            refused(rpc.call(grant(ttl, 0)).await, Code::OutOfRange, text);
        }
        rpc.call(grant(9_000_000_000, 0))
            .await
            .expect("the limit itself is fine");
    })
    .await;
}

#[tokio::test]
async fn a_ttl_of_nothing_is_raised_to_the_least() {
    on_both("lease-ttl-small", async |rpc, _| {
        for ttl in [0, -1, i64::MIN, 1] {
            let answer = rpc
                .call(grant(ttl, 0))
                .await
                .expect("a small TTL is raised");
            assert_eq!(answer.ttl, 2, "asked for {ttl}");
        }
    })
    .await;
}

#[tokio::test]
async fn revoking_an_unknown_lease_is_refused() {
    on_both("lease-revoke", async |rpc, _| {
        for id in [1, 0, -1, i64::MIN, i64::MAX] {
            refused(
                rpc.call(pb::LeaseRevokeRequest { id }).await,
                Code::NotFound,
                NOT_FOUND,
            );
        }
    })
    .await;
}

#[tokio::test]
async fn an_unknown_lease_has_ttl_minus_1() {
    on_both("lease-ttl", async |rpc, _| {
        for id in [1, 0, -1] {
            let request = pb::LeaseTimeToLiveRequest { id, keys: true };
            let answer = rpc.call(request).await.expect("no error");
            assert_eq!((answer.ttl, answer.id, answer.granted_ttl), (-1, id, 0));
            assert_eq!(answer.keys.len(), 0);
        }
    })
    .await;
}

#[tokio::test]
async fn keeping_an_unknown_lease_alive_answers_ttl_0() {
    on_both("lease-keepalive", async |rpc, _| {
        let mut stream = rpc.open::<pb::LeaseKeepAliveRequest>();
        for id in [7, 0, -1] {
            stream.send(pb::LeaseKeepAliveRequest { id }).await;
            let answer = stream.next().await.expect("an unknown lease is no error");
            assert_eq!((answer.id, answer.ttl), (id, 0));
        }
        rpc.call(grant(60, 7)).await.expect("grant");
        stream.send(pb::LeaseKeepAliveRequest { id: 7 }).await;
        assert_eq!(stream.next().await.expect("the stream still works").ttl, 60);
    })
    .await;
}
