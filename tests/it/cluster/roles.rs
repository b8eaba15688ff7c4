//! What a leader does for its followers' clients, and followers for theirs.

use std::time::{Duration, Instant};

use kvorum_proto::etcdserverpb as pb;
use tokio::time::sleep;
use tonic::Code;

use super::{
    load::{Load, Size},
    members::{self, Cluster},
    net::Place,
    one_at_a_time, seed, verdict,
};
use crate::{
    both::{get, put, refused},
    rpc::Rpc,
};

/// Far above what any answer takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// Of a lease, seconds: far more than a thread may stand still between two renewals.
const TTL: i64 = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_moves_to_whom_it_is_given() {
    let _one = one_at_a_time().await;
    let cluster = Cluster::start("move-leader", 3);
    let load = Load::start(cluster.urls(), Size::usual(seed().next()));
    for _ in 0..5 {
        let leader = cluster.agreed().await;
        let heir = (leader + 1) % 3;
        let before = cluster.told(leader).await;
        let target_id = cluster.told(heir).await.id;
        let give = |target_id| pb::MoveLeaderRequest { target_id };
        let ask = async |place: Place, target_id| {
            let url = cluster.members[place].client_url();
            members::ask(&url, give(target_id), PATIENCE).await
        };
        refused(
            ask(heir, target_id).await,
            Code::FailedPrecondition,
            "etcdserver: not leader",
        );
        refused(
            ask(leader, 12345).await,
            Code::FailedPrecondition,
            "etcdserver: bad leader transferee",
        );
        ask(leader, target_id)
            .await
            .expect("a follower that is level can lead");
        let after = cluster.told(leader).await;
        assert_eq!(after.leader, target_id, "answered before it was done");
        assert_eq!(after.term, before.term + 1);
        load.progress(20).await;
    }
    let history = load.stop().await;
    verdict::expect_sound(&cluster, &history, "moved leaders").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_serve_what_the_leader_serves() {
    let _one = one_at_a_time().await;
    let cluster = Cluster::start("followers", 3);
    let leader = cluster.agreed().await;
    let all: Vec<Rpc> = [
        cluster.rpc(leader).await,
        cluster.rpc((leader + 1) % 3).await,
        cluster.rpc((leader + 2) % 3).await,
    ]
    .into();
    // A write through any member is there in a linearizable read through any other, at once.
    for number in 0..60 {
        let value = number.to_string();
        let writer = &all[number % 3];
        let written = writer.call(put("k", &value)).await.expect("put");
        let revision = written.header.expect("header").revision;
        let read = all[(number + 1 + number / 3 % 2) % 3].call(get("k")).await;
        let read = read.expect("a linearizable read");
        assert_eq!(read.kvs[0].value, value);
        assert_eq!(read.kvs[0].mod_revision, revision);
    }
    leases_through_followers(&all).await;
}

async fn leases_through_followers(all: &[Rpc]) {
    let grant = pb::LeaseGrantRequest { ttl: TTL, id: 0 };
    let granted = all[1]
        .call(grant)
        .await
        .expect("a grant through a follower");
    let id = granted.id;
    let leased = pb::PutRequest {
        lease: id,
        ..put("leased", "v")
    };
    all[2].call(leased).await.expect("a put through the other");
    // Alive for twice its time, by renewals through followers in turn.
    let begin = Instant::now();
    for turn in 0.. {
        if begin.elapsed() > Duration::from_secs(2 * TTL.unsigned_abs()) {
            break;
        }
        sleep(Duration::from_secs(1)).await;
        let mut stream = all[1 + turn % 2].open::<pb::LeaseKeepAliveRequest>();
        stream.send(pb::LeaseKeepAliveRequest { id }).await;
        assert_eq!(stream.next().await.expect("a renewal").ttl, TTL);
    }
    for rpc in all {
        let ask = pb::LeaseTimeToLiveRequest { id, keys: true };
        let left = rpc.call(ask).await.expect("TTL through any member");
        assert_eq!((left.granted_ttl, left.keys.len()), (TTL, 1));
        assert!((1..=TTL).contains(&left.ttl), "{left:?}");
    }
    let list = all[2]
        .call(pb::LeaseLeasesRequest {})
        .await
        .expect("leases");
    assert_eq!(list.leases.len(), 1);
    let revoke = pb::LeaseRevokeRequest { id };
    all[1]
        .call(revoke)
        .await
        .expect("a revoke through a follower");
    assert_eq!(all[0].call(get("leased")).await.expect("get").count, 0);
    let again = all[2].call(pb::LeaseRevokeRequest { id }).await;
    refused(
        again,
        Code::NotFound,
        "etcdserver: requested lease not found",
    );
}
