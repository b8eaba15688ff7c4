//! What one client may have waiting: its own calls wait for each other, too many are refused, and nobody else notices.

use std::{net::SocketAddr, time::Duration};

use h2::client::SendRequest;
use http::{Method, Request};
use kvorum_proto::{etcdserverpb as pb, v3lockpb as lock};
use kvorum_tests::process::{Options, Server, TestDir};
use prost::bytes::Bytes;
use tokio::{net::TcpSocket, sync::mpsc, task::JoinSet, time::timeout};
use tonic::{Code, Status, metadata::MetadataMap};

use super::{members::Cluster, one_at_a_time};
use crate::rpc::{Duplex, Rpc};

/// Far above what anything here takes: who gets here has found a hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// Somebody else than who comes from 127.0.0.1.
async fn other(server: &Server) -> Rpc {
    let to = server.address().parse().expect("an address");
    Rpc::connect_from(SocketAddr::from(([127, 0, 0, 2], 0)), to)
        .await
        .expect("up")
}

fn get(key: &str, serializable: bool) -> pb::RangeRequest {
    pb::RangeRequest {
        key: key.as_bytes().to_vec().into(),
        serializable,
        ..Default::default()
    }
}

fn is_told(refused: &Status, setting: &str) -> bool {
    refused.code() == Code::ResourceExhausted && refused.message().contains(setting)
}

/// HTTP/2 without gRPC.
struct Http(SendRequest<Bytes>);

impl Http {
    async fn connect(server: &Server, from: [u8; 4]) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket
            .bind(SocketAddr::from((from, 0)))
            .expect("an address of loopback");
        let to = server.address().parse().expect("an address");
        let stream = socket.connect(to).await.expect("up");
        let (sender, connection) = h2::client::Builder::new()
            // Answers of a few bytes, hundreds of them, are what is asked for here.
            .data_frame_budget(16 << 20)
            .handshake(stream)
            .await
            .expect("HTTP/2");
        tokio::spawn(connection);
        Self(sender)
    }

    /// Asks, and gives the status and the beginning of the answer.
    async fn ask(&self, method: Method, path: &str, body: &'static str) -> (u16, String) {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://localhost{path}"))
            .body(())
            .expect("a request");
        let mut sender = self.0.clone().ready().await.expect("open");
        let (answer, mut sending) = sender.send_request(request, false).expect("open");
        sending
            .send_data(Bytes::from_static(body.as_bytes()), true)
            .expect("open");
        let answer = answer.await.expect("an answer");
        let status = answer.status().as_u16();
        let first = answer.into_body().data().await;
        let text = first.map(|piece| piece.expect("whole").to_vec());
        let text = String::from_utf8_lossy(&text.unwrap_or_default()).into_owned();
        (status, text)
    }
}

const FIRST: &str = r#"{"key":"Zmlyc3Q="}"#;
const SERIALIZABLE: &str = r#"{"key":"Zmlyc3Q=","serializable":true}"#;

/// Two calls at once, sixteen that wait: of thirty that cannot be answered, twelve are refused at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_of_a_client_wait_for_each_other_and_too_many_are_refused() {
    let _one = one_at_a_time().await;
    let mut cluster = Cluster::start_with("crowd", 3, &["--max-client-calls=2"]);
    cluster.agreed().await;
    // No linearizable read is answered from now on, before its time is over.
    cluster.kill(1);
    cluster.kill(2);
    let server = cluster.server(0);
    let (tell, mut told) = mpsc::unbounded_channel();
    let mut calls = JoinSet::new();
    let rpc = Rpc::connect(&server.url()).await.expect("up");
    for _ in 0..30 {
        let (rpc, tell) = (rpc.clone(), tell.clone());
        calls.spawn(async move {
            let answer = rpc.call(get("first", false)).await;
            // Nobody listens any more once the test has seen enough.
            let _ = tell.send(answer.expect_err("there is no leader to ask"));
        });
    }
    for _ in 0..12 {
        let refused = timeout(PATIENCE, told.recv()).await.expect("in time");
        let refused = refused.expect("thirty calls");
        assert!(is_told(&refused, "--max-client-calls"), "{refused:?}");
    }
    let quiet = other(server).await;
    let answer = quiet.call(get("first", true)).await;
    assert_eq!(answer.expect("not its matter").count, 0);
    let failed = timeout(PATIENCE, told.recv()).await.expect("in time");
    let failed = failed.expect("thirty calls");
    assert_eq!(failed.code(), Code::Unavailable, "its time is over");
    calls.shutdown().await;
    through_the_gateway(server).await;
}

/// The same of thirty calls in JSON: whoever speaks HTTP has a share as well.
async fn through_the_gateway(server: &Server) {
    let (tell, mut told) = mpsc::unbounded_channel();
    let mut calls = JoinSet::new();
    let flooder = std::sync::Arc::new(Http::connect(server, [127, 0, 0, 3]).await);
    for _ in 0..30 {
        let (flooder, tell) = (flooder.clone(), tell.clone());
        calls.spawn(async move {
            let answer = flooder.ask(Method::POST, "/v3/kv/range", FIRST).await;
            let _ = tell.send(answer);
        });
    }
    for _ in 0..12 {
        let refused = timeout(PATIENCE, told.recv()).await.expect("in time");
        let (status, text) = refused.expect("thirty calls");
        assert_eq!(status, 429, "{text}");
        assert!(text.contains("--max-client-calls"), "{text}");
    }
    let quiet = Http::connect(server, [127, 0, 0, 2]).await;
    let (status, text) = quiet.ask(Method::POST, "/v3/kv/range", SERIALIZABLE).await;
    assert_eq!(status, 200, "{text}");
    let (status, text) = timeout(PATIENCE, told.recv())
        .await
        .expect("in time")
        .expect("thirty calls");
    assert_eq!(status, 503, "its time is over: {text}");
    calls.shutdown().await;
}

async fn lock(rpc: &Rpc) -> Result<lock::LockResponse, Status> {
    let name = "door".into();
    let request = lock::LockRequest { name, lease: 0 };
    rpc.call_with("/v3lockpb.Lock/Lock", request, MetadataMap::new())
        .await
}

async fn unlock(rpc: &Rpc, held: lock::LockResponse) {
    let request = lock::UnlockRequest { key: held.key };
    let _: lock::UnlockResponse = rpc
        .call_with("/v3lockpb.Lock/Unlock", request, MetadataMap::new())
        .await
        .expect("one who waits takes no place");
}

/// As many wait as may be open, and there is one place for calls.
#[tokio::test]
async fn a_client_whose_locks_all_wait_can_unlock() {
    let dir = TestDir::new("crowd-locks");
    let flags = ["--max-client-calls=1", "--max-client-streams=8"];
    let options = flags
        .iter()
        .fold(Options::new(&dir), |o, flag| o.flag(*flag));
    let server = options.start();
    let rpc = Rpc::connect(&server.url()).await.expect("up");
    let quiet = other(&server).await;
    let held = lock(&rpc).await.expect("free");
    let mut waiting = JoinSet::new();
    for _ in 0..8 {
        let rpc = rpc.clone();
        waiting.spawn(async move { unlock(&rpc, lock(&rpc).await.expect("its turn")).await });
    }
    let queue = || pb::RangeRequest {
        range_end: "door0".into(),
        count_only: true,
        ..get("door/", false)
    };
    let all_wait = async {
        while quiet.call(queue()).await.expect("served").count < 9 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, all_wait).await.expect("eight wait");
    let refused = lock(&rpc).await.expect_err("one too many");
    assert!(is_told(&refused, "--max-client-streams"), "{refused:?}");
    rpc.call(get("first", false))
        .await
        .expect("a place is free");
    unlock(&rpc, held).await;
    timeout(PATIENCE, waiting.join_all())
        .await
        .expect("in turn");
    assert_eq!(quiet.call(queue()).await.expect("served").count, 0);
}

#[tokio::test]
async fn a_client_has_only_so_many_streams_and_leaves_others_theirs() {
    let dir = TestDir::new("crowd-streams");
    let server = Options::new(&dir).flag("--max-client-streams=8").start();
    let rpc = Rpc::connect(&server.url()).await.expect("up");
    let quiet = other(&server).await;
    let watch = async |rpc: &Rpc| -> Result<Duplex<pb::WatchRequest>, Status> {
        let mut stream = rpc.open::<pb::WatchRequest>();
        let create = pb::WatchCreateRequest {
            key: "first".into(),
            ..Default::default()
        };
        stream.create(create).await;
        assert!(stream.next().await?.created);
        Ok(stream)
    };
    let mut streams = Vec::new();
    for _ in 0..8 {
        streams.push(watch(&rpc).await.expect("one of eight"));
    }
    let refused = watch(&rpc).await.map(drop).expect_err("one too many");
    assert!(is_told(&refused, "--max-client-streams"), "{refused:?}");
    let keep_alive = rpc.open::<pb::LeaseKeepAliveRequest>().next().await;
    let refused = keep_alive.expect_err("one too many");
    assert!(is_told(&refused, "--max-client-streams"), "{refused:?}");
    let http = Http::connect(&server, [127, 0, 0, 1]).await;
    let create = r#"{"create_request":{"key":"Zmlyc3Q="}}"#;
    let (status, text) = http.ask(Method::POST, "/v3/watch", create).await;
    assert_eq!(status, 429, "{text}");
    assert!(text.contains("--max-client-streams"), "{text}");
    watch(&quiet).await.map(drop).expect("not its matter");
    rpc.call(get("first", false)).await.expect("no stream");
    streams.pop();
    let again = async { while watch(&rpc).await.is_err() {} };
    timeout(PATIENCE, again).await.expect("room again");
}

/// What costs a processor for a while is made once at a time for one address, and a few wait.
#[tokio::test]
async fn whoever_floods_the_pages_of_a_member_is_refused_alone() {
    let dir = TestDir::new("crowd-pages");
    let server = Options::new(&dir).start();
    let flooder = std::sync::Arc::new(Http::connect(&server, [127, 0, 0, 1]).await);
    let quiet = Http::connect(&server, [127, 0, 0, 2]).await;
    let mut asked = JoinSet::new();
    for _ in 0..500 {
        let flooder = flooder.clone();
        asked.spawn(async move { flooder.ask(Method::GET, "/metrics", "").await });
    }
    let (status, text) = quiet.ask(Method::GET, "/metrics", "").await;
    assert_eq!(status, 200, "{text}");
    let answers = asked.join_all().await;
    let served = answers.iter().filter(|answer| answer.0 == 200).count();
    let refused = answers.iter().filter(|answer| answer.0 == 429).count();
    assert_eq!(served + refused, 500);
    assert!(served > 0 && refused > 0, "{served} served");
    // Probes are another matter, from the same address as well.
    let (status, text) = flooder.ask(Method::GET, "/readyz", "").await;
    assert_eq!(status, 200, "{text}");
}
