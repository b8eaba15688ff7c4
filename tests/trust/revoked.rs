//! What a connection has open ends when its certificate, or its user, is not accepted any more.

use std::time::Instant;

use kvorum_proto::{
    etcdserverpb as pb,
    kvorumpb::CertificateKind,
    v3lockpb::{LockRequest, LockResponse},
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tonic::{Code, Status, metadata::MetadataMap};

use crate::{
    cluster::{Badge, Cluster, PROMISED, ends},
    rpc::{Duplex, Rpc},
};

fn put() -> pb::PutRequest {
    pb::PutRequest {
        key: "k".into(),
        value: "v".into(),
        ..Default::default()
    }
}

/// A stream with one watch on it.
pub(crate) async fn watching(rpc: &Rpc, metadata: MetadataMap) -> Duplex<pb::WatchRequest> {
    let mut watch = rpc.open_with(metadata);
    let create = pb::WatchCreateRequest {
        key: "k".into(),
        ..Default::default()
    };
    watch.create(create).await;
    let answer = watch.next().await.expect("watching");
    assert!(answer.created && !answer.canceled, "{answer:?}");
    watch
}

async fn lock(rpc: &Rpc) -> Result<LockResponse, Status> {
    let request = LockRequest {
        name: "lock".into(),
        lease: 0,
    };
    let path = "/v3lockpb.Lock/Lock";
    rpc.call_with(path, request, MetadataMap::new()).await
}

/// Opens a watch by HTTP/1, or by a websocket; what comes back ends once the connection does.
async fn by_gateway(cluster: &Cluster, badge: &Badge, websocket: bool) -> impl Future<Output = ()> {
    let tls = cluster.tls(Some(badge), b"http/1.1");
    let mut socket = cluster.raw(tls).await.expect("let in");
    let create = br#"{"create_request":{"key":"aw=="}}"#;
    let mut request = Vec::new();
    if websocket {
        request.extend_from_slice(
            b"GET /v3/watch HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
              Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
        );
        let length = u8::try_from(create.len()).expect("short");
        // A text, masked with nothing.
        request.extend_from_slice(&[0x81, 0x80 | length, 0, 0, 0, 0]);
        request.extend_from_slice(create);
    } else {
        let head = format!("{:x}", create.len());
        request.extend_from_slice(
            b"POST /v3/watch HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
        );
        request.extend_from_slice(head.as_bytes());
        request.extend_from_slice(b"\r\n");
        request.extend_from_slice(create);
        request.extend_from_slice(b"\r\n");
    }
    socket.write_all(&request).await.expect("written");
    let mut heard = Vec::new();
    while !String::from_utf8_lossy(&heard).contains("created") {
        let count = socket.read_buf(&mut heard).await.expect("open");
        assert!(count > 0, "{}", String::from_utf8_lossy(&heard));
    }
    async move {
        // An end or a reset, as it comes.
        while matches!(socket.read_buf(&mut heard).await, Ok(1..)) {}
    }
}

/// All that a connection can have open, under one certificate; then that, or its user, is revoked.
async fn everything_ends(by_user: bool) {
    let cluster = Cluster::start().await;
    let (ann, also_ann) = (cluster.client("ann").await, cluster.client("ann").await);
    let bob = cluster.client("bob").await;
    let (ann_rpc, bob_rpc) = (cluster.rpc(Some(&ann)).await, cluster.rpc(Some(&bob)).await);
    let also_rpc = cluster.rpc(Some(&also_ann)).await;
    lock(&bob_rpc).await.expect("nobody else has it");
    let lease = pb::LeaseGrantRequest { ttl: 600, id: 7 };
    bob_rpc.call(lease).await.expect("granted");
    let mut watch = watching(&ann_rpc, MetadataMap::new()).await;
    let mut stays = watching(&bob_rpc, MetadataMap::new()).await;
    let mut alive = ann_rpc.open::<pb::LeaseKeepAliveRequest>();
    alive.send(pb::LeaseKeepAliveRequest { id: 7 }).await;
    alive.next().await.expect("renewed");
    let waiter = ann_rpc.clone();
    let waiter = tokio::spawn(async move { lock(&waiter).await });
    let stream = by_gateway(&cluster, &ann, false).await;
    let socket = by_gateway(&cluster, &ann, true).await;
    let in_line = async || {
        let request = pb::RangeRequest {
            key: "lock/".into(),
            range_end: "lock0".into(),
            count_only: true,
            ..Default::default()
        };
        bob_rpc.call(request).await.expect("readable").count
    };
    while in_line().await < 2 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }

    let begin = Instant::now();
    match by_user {
        true => cluster.deny_user("ann").await,
        false => cluster.deny_badge(&ann).await,
    }
    bob_rpc.call(put()).await.expect("bob goes on");
    let refused = |status: Status| {
        assert_eq!(status.code(), Code::PermissionDenied, "{status}");
        assert!(status.message().contains("was revoked"), "{status}");
    };
    // The first that it hears of is the end, and not bob's change.
    refused(ends("a watch", watch.next()).await.expect_err("no event"));
    refused(ends("a renewal", alive.next()).await.expect_err("ended"));
    let waited = ends("a wait for a lock", waiter).await.expect("no panic");
    refused(waited.expect_err("not locked"));
    ends("a stream of the gateway", stream).await;
    ends("a websocket", socket).await;
    ends("the connection", async {
        while let Err(status) = ann_rpc.call(put()).await {
            if status.code() != Code::PermissionDenied {
                return;
            }
        }
        panic!("served");
    })
    .await;
    let took = begin.elapsed();
    println!("by user {by_user}: all open streams ended after {took:?}");
    assert!(took < PROMISED, "{took:?}");

    assert_eq!(also_rpc.call(put()).await.is_ok(), !by_user);
    let event = stays.next().await.expect("bob's watch goes on");
    assert!(!event.events.is_empty(), "{event:?}");
    while in_line().await > 1 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    comes_in_no_more(&cluster, &ann).await;
}

/// A new connection is refused, at the latest with its first call.
async fn comes_in_no_more(cluster: &Cluster, badge: &Badge) {
    let tls = cluster.tls(Some(badge), b"h2");
    if let Ok(rpc) = Rpc::connect_tls(cluster.address, tls).await {
        rpc.call(put()).await.expect_err("not let in");
    }
}

#[tokio::test]
async fn what_a_revoked_certificate_has_open_ends() {
    everything_ends(false).await;
}

#[tokio::test]
async fn what_a_revoked_user_has_open_ends() {
    everything_ends(true).await;
}

/// One request on a connection that stays open; whether it was served.
async fn is_served(socket: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> bool {
    let request = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
    if socket.write_all(request).await.is_err() {
        return false;
    }
    let mut heard = Vec::new();
    while !heard.ends_with(b"}") {
        if !matches!(socket.read_buf(&mut heard).await, Ok(1..)) {
            return false;
        }
    }
    heard.starts_with(b"HTTP/1.1 200")
}

/// The list of what is revoked was asked on one listener only, once there was a second one.
#[tokio::test]
async fn ghsa_3wh4_j44w_pg92_each_listener_refuses_a_revoked_certificate() {
    let cluster = Cluster::start().await;
    let (ann, bob) = (cluster.client("ann").await, cluster.client("bob").await);
    let tls = |badge: &Badge| cluster.tls(Some(badge), b"http/1.1");
    let (ann_tls, bob_tls) = (tls(&ann), tls(&bob));
    let all = [cluster.address, cluster.others[0], cluster.others[1]];
    let mut open = Vec::new();
    for address in all {
        let mut socket = Cluster::raw_at(address, ann_tls.clone())
            .await
            .expect("let in");
        assert!(is_served(&mut socket).await, "{address}");
        open.push(socket);
    }
    cluster.deny_badge(&ann).await;
    for (address, mut socket) in all.into_iter().zip(open) {
        let served = ends("a connection", is_served(&mut socket)).await;
        assert!(!served, "{address}: the open connection");
        if let Ok(mut socket) = Cluster::raw_at(address, ann_tls.clone()).await {
            assert!(!is_served(&mut socket).await, "{address}: a new connection");
        }
        let mut socket = Cluster::raw_at(address, bob_tls.clone())
            .await
            .expect("let in");
        assert!(is_served(&mut socket).await, "{address}: bob goes on");
    }
}

/// The answer to the revocation is the moment: what is sent after it is refused, on connections that are open.
#[tokio::test]
async fn no_request_is_served_after_the_revocation_is_applied() {
    let cluster = Cluster::start().await;
    for round in 0..40 {
        let badge = cluster.client("ann").await;
        let rpc = cluster.rpc(Some(&badge)).await;
        rpc.call(put()).await.expect("served");
        cluster.deny_badge(&badge).await;
        let refused = rpc.call(put()).await.expect_err("revoked");
        // The connection may have ended by then.
        let told = refused.message().contains("was revoked");
        assert!(told || refused.code() != Code::Ok, "{round}: {refused}");
    }
}

#[tokio::test]
async fn a_denial_that_is_taken_back_lets_in_again() {
    use kvorum_proto::kvorumpb::{TrustDenial, trust_denial::Subject};
    let cluster = Cluster::start().await;
    let badge = cluster.client("ann").await;
    cluster.deny_user("ann").await;
    comes_in_no_more(&cluster, &badge).await;
    let denial = TrustDenial {
        subject: Some(Subject::User("ann".into())),
        ..TrustDenial::default()
    };
    cluster.handle.trust_allow(denial).await.expect("allowed");
    ends("the refusal", async {
        loop {
            let tls = cluster.tls(Some(&badge), b"h2");
            if let Ok(rpc) = Rpc::connect_tls(cluster.address, tls).await
                && rpc.call(put()).await.is_ok()
            {
                return;
            }
        }
    })
    .await;
}

/// Its clock is looked at while the connection is open.
#[tokio::test]
async fn what_a_certificate_has_open_ends_with_its_time() {
    let cluster = Cluster::start().await;
    // Far more than a thread may stand still before it watches.
    let badge = cluster.badge(CertificateKind::Client, "ann", 15).await;
    let rpc = cluster.rpc(Some(&badge)).await;
    let mut watch = watching(&rpc, MetadataMap::new()).await;
    let ended = ends("a watch", watch.next()).await.expect_err("ended");
    assert_eq!(ended.code(), Code::PermissionDenied);
    assert!(ended.message().contains("expired"), "{ended}");
    comes_in_no_more(&cluster, &badge).await;
}

/// Also a machine that was removed has such a certificate, for a while.
#[tokio::test]
async fn a_members_certificate_is_none_of_a_client() {
    let cluster = Cluster::start().await;
    comes_in_no_more(&cluster, &cluster.node()).await;
}
