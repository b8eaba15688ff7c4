//! Locks and elections: who is next, what leaders say, and what is left of those who give up.

use kvorum_proto::{
    etcdserverpb::{
        DeleteRangeRequest, DeleteRangeResponse, LeaseGrantRequest, LeaseGrantResponse,
        LeaseLeasesRequest, LeaseLeasesResponse, LeaseRevokeRequest, LeaseRevokeResponse,
        RangeRequest, RangeResponse,
    },
    mvccpb::KeyValue,
    v3electionpb::{
        CampaignRequest, CampaignResponse, LeaderKey, LeaderRequest, LeaderResponse,
        ProclaimRequest, ProclaimResponse, ResignRequest, ResignResponse,
    },
    v3lockpb::{LockRequest, LockResponse, UnlockRequest, UnlockResponse},
};

use crate::{
    client::{Call, Client, Refused},
    served::{Served, served},
    unary::{RANGE, get},
};

const LOCK: &str = "/v3lockpb.Lock/Lock";
const CAMPAIGN: &str = "/v3electionpb.Election/Campaign";
const LEADER: &str = "/v3electionpb.Election/Leader";
const PROCLAIM: &str = "/v3electionpb.Election/Proclaim";
const RESIGN: &str = "/v3electionpb.Election/Resign";

async fn client(served: &Served, leases: &[i64]) -> Client {
    let client = Client::connect(served).await;
    for id in leases {
        let request = LeaseGrantRequest { ttl: 600, id: *id };
        client
            .unary::<LeaseGrantResponse>("/etcdserverpb.Lease/LeaseGrant", &request)
            .await
            .expect("granted");
    }
    client
}

fn lock_of(lease: i64) -> LockRequest {
    LockRequest {
        name: "l".into(),
        lease,
    }
}

async fn lock(client: &Client, lease: i64) -> Result<LockResponse, Refused> {
    client.unary(LOCK, &lock_of(lease)).await
}

async fn unlock(client: &Client, key: &'static str) -> Result<UnlockResponse, Refused> {
    let request = UnlockRequest { key: key.into() };
    client.unary("/v3lockpb.Lock/Unlock", &request).await
}

async fn revoke(client: &Client, id: i64) {
    client
        .unary::<LeaseRevokeResponse>(
            "/etcdserverpb.Lease/LeaseRevoke",
            &LeaseRevokeRequest { id },
        )
        .await
        .expect("revoked");
}

async fn keys(client: &Client) -> Vec<String> {
    let all = RangeRequest {
        range_end: "\0".into(),
        ..get("\0")
    };
    let response: RangeResponse = client.unary(RANGE, &all).await.expect("listed");
    let text = |pair: KeyValue| String::from_utf8(pair.key.to_vec()).expect("ASCII");
    response.kvs.into_iter().map(text).collect()
}

/// Waits until exactly these keys exist.
async fn until_keys(client: &Client, expected: &[&str]) {
    while keys(client).await != expected {
        tokio::task::yield_now().await;
    }
}

/// Starts a call that has to wait; its key is there when this returns.
async fn waiting(client: &Client, lease: i64, all: &[&str]) -> Call {
    let mut call = client.open(LOCK, &[]).await;
    call.send(&lock_of(lease));
    until_keys(client, all).await;
    call
}

#[tokio::test]
async fn a_free_lock_is_taken_and_its_holder_may_take_it_again() {
    let served = served().await;
    let client = client(&served, &[0x10]).await;
    for _ in 0..2 {
        let held = lock(&client, 0x10).await.expect("free");
        assert_eq!(held.key, "l/10");
        let header = held.header.expect("a header");
        assert_eq!((header.revision, header.member_id != 0), (2, true));
    }
    let left = unlock(&client, "l/10").await.expect("held");
    assert_eq!(left.header.expect("a header").revision, 3);
    let nothing = unlock(&client, "l/10").await.expect("no error");
    assert_eq!(nothing.header.expect("a header").revision, 3);
}

#[tokio::test]
async fn the_lock_goes_to_whoever_waits_longest() {
    let served = served().await;
    let client = client(&served, &[0x10, 0x12, 0x11]).await;
    lock(&client, 0x10).await.expect("free");
    // The order of coming, not of keys.
    let mut second = waiting(&client, 0x12, &["l/10", "l/12"]).await;
    let mut third = waiting(&client, 0x11, &["l/10", "l/11", "l/12"]).await;
    unlock(&client, "l/10").await.expect("held");
    let held: LockResponse = second.next().await.expect("no error").expect("held");
    assert_eq!(held.key, "l/12");
    assert_eq!(keys(&client).await, ["l/11", "l/12"]);
    unlock(&client, "l/12").await.expect("held");
    let held: LockResponse = third.next().await.expect("no error").expect("held");
    assert_eq!(held.key, "l/11");
}

#[tokio::test]
async fn who_gives_up_leaves_nothing_and_the_next_is_not_held_up() {
    let served = served().await;
    let client = client(&served, &[1, 2, 3]).await;
    lock(&client, 1).await.expect("free");
    let gives_up = waiting(&client, 2, &["l/1", "l/2"]).await;
    let mut stays = waiting(&client, 3, &["l/1", "l/2", "l/3"]).await;
    drop(gives_up);
    until_keys(&client, &["l/1", "l/3"]).await;
    unlock(&client, "l/1").await.expect("held");
    let held: LockResponse = stays.next().await.expect("no error").expect("held");
    assert_eq!(held.key, "l/3");
    let late = client.open(LOCK, &[("grpc-timeout", b"50m")]).await;
    let mut late = late;
    late.send(&lock_of(1));
    let ended = late.next::<LockResponse>().await.expect_err("held");
    assert_eq!(
        (ended.code, &*ended.message),
        (4, "context deadline exceeded")
    );
    until_keys(&client, &["l/3"]).await;
}

#[tokio::test]
async fn a_lease_that_ends_gives_the_lock_on_and_loses_its_place() {
    let served = served().await;
    let client = client(&served, &[1, 2, 3]).await;
    lock(&client, 1).await.expect("free");
    let mut loses = waiting(&client, 2, &["l/1", "l/2"]).await;
    let mut next = waiting(&client, 3, &["l/1", "l/2", "l/3"]).await;
    revoke(&client, 2).await;
    revoke(&client, 1).await;
    let lost = loses.next::<LockResponse>().await.expect_err("expired");
    assert_eq!(
        (lost.code, &*lost.message),
        (2, "mutex: session is expired")
    );
    let held: LockResponse = next.next().await.expect("no error").expect("held");
    assert_eq!(held.key, "l/3");
}

#[tokio::test]
async fn a_lock_without_a_lease_gets_one() {
    let served = served().await;
    let client = client(&served, &[]).await;
    let held = lock(&client, 0).await.expect("free");
    let leases: LeaseLeasesResponse = client
        .unary("/etcdserverpb.Lease/LeaseLeases", &LeaseLeasesRequest {})
        .await
        .expect("listed");
    assert_eq!(leases.leases.len(), 1);
    assert_eq!(held.key, format!("l/{:x}", leases.leases[0].id));
}

#[tokio::test]
async fn refusals_behind_a_lock_have_their_text_and_no_code() {
    let served = served().await;
    let client = client(&served, &[]).await;
    let unknown = lock(&client, 99).await.expect_err("no such lease");
    assert_eq!(
        (unknown.code, &*unknown.message),
        (2, "etcdserver: requested lease not found")
    );
    let empty = unlock(&client, "").await.expect_err("no key");
    assert_eq!(
        (empty.code, &*empty.message),
        (2, "etcdserver: key is not provided")
    );
}

#[tokio::test]
async fn a_stopping_listener_ends_the_wait_and_removes_the_key() {
    let mut served = served().await;
    let client = client(&served, &[1, 2]).await;
    lock(&client, 1).await.expect("free");
    let mut call = waiting(&client, 2, &["l/1", "l/2"]).await;
    let started = std::time::Instant::now();
    let served = tokio::task::spawn_blocking(move || {
        served.stop_front();
        served
    });
    let ended = call.next::<LockResponse>().await.expect_err("stopping");
    assert_eq!(
        (ended.code, &*ended.message),
        (14, "etcdserver: server stopped")
    );
    let served = served.await.expect("no panic");
    assert!(
        started.elapsed() < std::time::Duration::from_secs(6),
        "not the drain timeout"
    );
    let reply = served.range("l/", "l0").await;
    assert_eq!(reply, ["l/1"]);
}

fn campaign_of(lease: i64, value: &'static str) -> CampaignRequest {
    CampaignRequest {
        name: "e".into(),
        lease,
        value: value.into(),
    }
}

async fn campaign(client: &Client, lease: i64, value: &'static str) -> CampaignResponse {
    let request = campaign_of(lease, value);
    client.unary(CAMPAIGN, &request).await.expect("elected")
}

async fn candidate(client: &Client, lease: i64, all: &[&str]) -> Call {
    let mut call = client.open(CAMPAIGN, &[]).await;
    call.send(&campaign_of(lease, "next"));
    until_keys(client, all).await;
    call
}

fn election() -> LeaderRequest {
    LeaderRequest { name: "e".into() }
}

async fn resign(client: &Client, leader: Option<LeaderKey>) -> Result<ResignResponse, Refused> {
    client.unary(RESIGN, &ResignRequest { leader }).await
}

async fn proclaim(
    client: &Client,
    leader: Option<LeaderKey>,
    value: &'static str,
) -> Result<ProclaimResponse, Refused> {
    let request = ProclaimRequest {
        leader,
        value: value.into(),
    };
    client.unary(PROCLAIM, &request).await
}

#[tokio::test]
async fn an_election_has_one_leader_and_then_the_next() {
    let served = served().await;
    let client = client(&served, &[0x10, 0x11]).await;
    let nobody = client.unary::<LeaderResponse>(LEADER, &election()).await;
    assert_eq!(nobody.expect_err("none").message, "election: no leader");
    let elected = campaign(&client, 0x10, "a").await;
    let leader = elected.leader.expect("a key");
    let expected = LeaderKey {
        name: "e".into(),
        key: "e/10".into(),
        rev: 2,
        lease: 0x10,
    };
    assert_eq!(leader, expected);
    // The same lease again says something else and stays what it is.
    let again = campaign(&client, 0x10, "b").await;
    assert_eq!(again.leader.as_ref(), Some(&leader));
    let now: LeaderResponse = client.unary(LEADER, &election()).await.expect("elected");
    assert_eq!(now.kv.expect("a pair").value, "b");
    let mut next = candidate(&client, 0x11, &["e/10", "e/11"]).await;
    let resigned = resign(&client, Some(leader.clone())).await.expect("led");
    assert_eq!(resigned.header.expect("a header").revision, 5);
    let elected: CampaignResponse = next.next().await.expect("no error").expect("elected");
    assert_eq!(elected.leader.expect("a key").key, "e/11");
    // As in etcd, of the entry into the queue.
    assert_eq!(elected.header.expect("a header").revision, 4);
    resign(&client, Some(leader.clone()))
        .await
        .expect("no error, although it led before");
    let late = proclaim(&client, Some(leader), "c")
        .await
        .expect_err("led before");
    assert_eq!((late.code, &*late.message), (2, "election: not leader"));
}

#[tokio::test]
async fn leaders_must_be_named_and_leases_must_live() {
    let served = served().await;
    let client = client(&served, &[1, 2]).await;
    let text = r#""leader" field must be provided"#;
    let nobody = resign(&client, None).await.expect_err("nobody");
    assert_eq!((nobody.code, &*nobody.message), (2, text));
    let nobody = proclaim(&client, None, "x").await.expect_err("nobody");
    assert_eq!((nobody.code, &*nobody.message), (2, text));
    let leader = campaign(&client, 1, "a").await.leader;
    let mut expires = candidate(&client, 2, &["e/1", "e/2"]).await;
    revoke(&client, 2).await;
    resign(&client, leader).await.expect("led");
    let lost = expires
        .next::<CampaignResponse>()
        .await
        .expect_err("expired");
    assert_eq!((lost.code, &*lost.message), (2, "election: not leader"));
}

#[tokio::test]
async fn a_candidate_who_gives_up_leaves_nothing() {
    let served = served().await;
    let client = client(&served, &[1, 2]).await;
    campaign(&client, 1, "a").await;
    let gives_up = candidate(&client, 2, &["e/1", "e/2"]).await;
    drop(gives_up);
    until_keys(&client, &["e/1"]).await;
}

#[tokio::test]
async fn observers_hear_every_leader_from_the_present_one_on() {
    let served = served().await;
    let client = client(&served, &[1, 2]).await;
    let mut observer = client.open("/v3electionpb.Election/Observe", &[]).await;
    observer.send(&election());
    async fn next(observer: &mut Call) -> (i64, String, String) {
        let response: LeaderResponse = observer.next().await.expect("open").expect("a leader");
        let pair = response.kv.expect("a pair");
        let text = |bytes: bytes::Bytes| String::from_utf8(bytes.to_vec()).expect("ASCII");
        let revision = response.header.expect("a header").revision;
        (revision, text(pair.key), text(pair.value))
    }
    let leader = campaign(&client, 1, "a").await.leader;
    assert_eq!(next(&mut observer).await, (2, "e/1".into(), "a".into()));
    proclaim(&client, leader.clone(), "b").await.expect("leads");
    assert_eq!(next(&mut observer).await, (3, "e/1".into(), "b".into()));
    let _next = candidate(&client, 2, &["e/1", "e/2"]).await;
    resign(&client, leader).await.expect("leads");
    assert_eq!(next(&mut observer).await, (5, "e/2".into(), "next".into()));
    let delete = DeleteRangeRequest {
        key: "e/2".into(),
        ..Default::default()
    };
    client
        .unary::<DeleteRangeResponse>("/etcdserverpb.KV/DeleteRange", &delete)
        .await
        .expect("deleted");
    campaign(&client, 1, "c").await;
    assert_eq!(next(&mut observer).await.1, "e/1");
}
