//! Lease holders: each grants leases, hangs keys on them, keeps them alive for a while, and leaves them to their end.

use std::time::Duration;

use kvorum_proto::etcdserverpb as pb;
use kvorum_tests::harness::history::{Call, Request};
use tokio::time::timeout;

use super::load::{self, Shared};
use crate::{both::put, rpc::Rpc, seed::Seed};

/// The shortest that etcd grants at default timers.
const TTL_S: i64 = 2;
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// One lease, as its holder knows it.
#[derive(Clone, Debug)]
pub(crate) struct LeaseStory {
    pub(crate) id: i64,
    pub(crate) key: String,
    /// Until then it must live: the last renewal that was answered was sent so long before.
    pub(crate) alive_until: u64,
    /// When a renewal was answered with: there is no such lease.
    pub(crate) told_gone: Option<u64>,
    /// The puts that hung keys on it.
    pub(crate) calls: Vec<Call>,
}

/// Holds one lease after the other until the load stops.
pub(super) async fn hold(shared: Shared, number: usize, mut random: Seed) -> Vec<LeaseStory> {
    let mut stories = Vec::new();
    for turn in 1_i64.. {
        if shared.stopped() {
            break;
        }
        let id = turn * 1000 + i64::try_from(number).expect("few holders");
        stories.extend(one(&shared, id, &mut random).await);
    }
    stories
}

/// Nothing if nobody knows whether the lease was granted.
async fn one(shared: &Shared, id: i64, random: &mut Seed) -> Option<LeaseStory> {
    let mut rpc = shared.connect(random).await?;
    let called = shared.clock.nanos();
    let grant = pb::LeaseGrantRequest { ttl: TTL_S, id };
    let granted = timeout(ANSWER_MAX, rpc.call(grant)).await.ok()?.ok()?;
    let mut story = LeaseStory {
        id,
        key: format!("l/{id}"),
        alive_until: called + lifetime(granted.ttl),
        told_gone: None,
        calls: Vec::new(),
    };
    let leased = pb::PutRequest {
        lease: id,
        ..put(&story.key, &format!("lease {id}"))
    };
    let request = Request::Put(leased);
    let answered = load::record(shared, &rpc, request, &mut story.calls).await;
    let renewals = random.below(6);
    for _ in 0..renewals {
        if shared.stopped() || answered.is_err() {
            break;
        }
        shared
            .rest(Duration::from_millis(300 + random.below(400)))
            .await;
        // Through any member: all of them have to know.
        if let Some(other) = shared.connect(random).await {
            rpc = other;
        }
        let called = shared.clock.nanos();
        match timeout(ANSWER_MAX, renew(&rpc, id)).await {
            Ok(Some(ttl)) if ttl > 0 => story.alive_until = called + lifetime(ttl),
            Ok(Some(_)) => {
                story.told_gone = Some(shared.clock.nanos());
                break;
            }
            Ok(None) | Err(_) => {}
        }
    }
    Some(story)
}

async fn renew(rpc: &Rpc, id: i64) -> Option<i64> {
    let mut stream = rpc.open::<pb::LeaseKeepAliveRequest>();
    stream.send(pb::LeaseKeepAliveRequest { id }).await;
    stream.next().await.ok().map(|answer| answer.ttl)
}

fn lifetime(ttl_s: i64) -> u64 {
    u64::try_from(ttl_s).unwrap_or(0) * 1_000_000_000
}
