//! What one client may have under way in bytes: what comes slowly, and what it does not take.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use kvorum_proto::etcdserverpb::{PutRequest, PutResponse, RangeRequest, RangeResponse};
use tokio::{
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::{
    client::{Client, framed},
    served::{Served, Shape},
};

const PUT: &str = "/etcdserverpb.KV/Put";
const RANGE: &str = "/etcdserverpb.KV/Range";
/// Far above what anything here takes: who gets here has found a hang.
const PATIENCE: Duration = Duration::from_secs(60);

fn put(value_bytes: usize) -> PutRequest {
    PutRequest {
        key: "k".into(),
        value: vec![7; value_bytes].into(),
        ..PutRequest::default()
    }
}

fn get() -> RangeRequest {
    RangeRequest {
        key: "k".into(),
        ..RangeRequest::default()
    }
}

/// Somebody else than who comes from 127.0.0.1.
async fn other(served: &Served) -> Client {
    let socket = TcpSocket::new_v4().expect("a socket");
    let from = SocketAddr::from(([127, 0, 0, 2], 0));
    socket.bind(from).expect("an address of loopback");
    let stream = socket.connect(served.address).await.expect("listening");
    Client::over(stream).await
}

#[tokio::test]
async fn large_messages_that_come_slowly_leave_room_for_other_clients() {
    let served = Served::start(Shape {
        // A quarter of it is for requests: room for eight of these.
        large_request_bytes: 4 * (4 << 20),
        ..Shape::default()
    })
    .await;
    let whole = framed(&put(500_000));
    let mut calls = Vec::new();
    for _ in 0..30 {
        let client = Client::connect(&served).await;
        let mut call = client.open(PUT, &[]).await;
        let part = whole.slice(..20_000);
        call.requests.send_data(part, false).expect("open");
        client
            .unary::<RangeResponse>(RANGE, &get())
            .await
            .expect("what is small is not held back, and all of it came in order");
        calls.push((client, call));
    }
    // In two pieces, so that it needs memory in between.
    let own = framed(&put(60_000));
    let client = other(&served).await;
    let mut call = client.open(PUT, &[]).await;
    let (begin, end) = (own.slice(..20_000), own.slice(20_000..));
    call.requests.send_data(begin, false).expect("open");
    client
        .unary::<RangeResponse>(RANGE, &get())
        .await
        .expect("the beginning has come");
    call.requests.send_data(end, true).expect("open");
    let answer = call.next::<PutResponse>().await;
    answer.expect("not its matter").expect("an answer");
    // And all those go on, each in its turn.
    for (_, call) in &mut calls {
        let rest = whole.slice(20_000..);
        // Beyond HTTP/2's window it is sent when there is room.
        call.requests.send_data(rest, true).expect("open");
    }
    for (_client, mut call) in calls {
        let answer = call.next::<PutResponse>().await;
        answer.expect("its turn comes").expect("an answer");
    }
}

#[tokio::test]
async fn who_waits_for_his_own_messages_for_too_long_is_told_so() {
    let served = Served::start(Shape {
        large_request_bytes: 1 << 20,
        body_timeout: Duration::from_millis(300),
        ..Shape::default()
    })
    .await;
    let client = Client::connect(&served).await;
    let mut open = Vec::new();
    // One client may have 576 KiB on their way here, and one message beyond: less than 8 KiB are left.
    for bytes in [500_000, 81_000, 100_000, 8_000] {
        let mut call = client.open(PUT, &[]).await;
        let begin = framed(&put(bytes)).slice(..5_000);
        call.requests.send_data(begin, false).expect("open");
        client
            .unary::<RangeResponse>(RANGE, &get())
            .await
            .expect("all before it has come");
        open.push(call);
    }
    let mut last = open.pop().expect("four");
    let refused = last.next::<PutResponse>().await.expect_err("no room");
    assert_eq!(refused.code, 8, "ResourceExhausted");
    assert_eq!(
        refused.message,
        "kvorum: messages of this client that are on their way take 589824 bytes already: send fewer or smaller ones \
         at once, or raise --large-request-memory"
    );
}

/// A client that asks and takes no answer at all.
async fn that_takes_nothing(served: &Served) -> h2::client::SendRequest<Bytes> {
    let socket = TcpStream::connect(served.address).await.expect("listening");
    let (sender, connection) = h2::client::Builder::new()
        .initial_window_size(0)
        .handshake(socket)
        .await
        .expect("HTTP/2 is spoken");
    // Its error is what the calls report.
    tokio::spawn(async { connection.await.ok() });
    sender
}

#[tokio::test]
async fn small_answers_that_nobody_takes_are_bounded() {
    let served = Served::start(Shape::default()).await;
    let client = Client::connect(&served).await;
    let stored = client.unary::<PutResponse>(PUT, &put(60_000)).await;
    stored.expect("stored");
    let sender = that_takes_nothing(&served).await;
    let mut bodies = Vec::new();
    // Four MiB of them may wait here, a quarter of what requests may have, and 256 KiB of each connection: 69 answers, four
    // more, and no others.
    for _ in 0..100 {
        let request = http::Request::post(format!("http://localhost{RANGE}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .expect("valid headers");
        let mut sender = sender.clone().ready().await.expect("open");
        let (answer, mut sending) = sender.send_request(request, false).expect("open");
        sending.send_data(framed(&get()), true).expect("open");
        let answer = answer.await.expect("a head needs no window");
        bodies.push(answer.into_body());
    }
    for body in &mut bodies[73..] {
        let piece = timeout(PATIENCE, body.data()).await.expect("given up");
        let ended = piece.expect("not a good end").expect_err("nothing fits");
        assert_eq!(ended.reason(), Some(h2::Reason::ENHANCE_YOUR_CALM));
    }
    for body in &mut bodies[..73] {
        body.flow_control().release_capacity(0).expect("still open");
    }
    // Who reads is served, the same client too.
    for client in [client, other(&served).await] {
        let read: RangeResponse = client.unary(RANGE, &get()).await.expect("served");
        assert_eq!(read.kvs.len(), 1);
    }
}

#[tokio::test]
async fn small_answers_in_json_that_nobody_takes_are_bounded() {
    let served = Served::start(Shape::default()).await;
    let client = Client::connect(&served).await;
    let stored = client.unary::<PutResponse>(PUT, &put(40_000)).await;
    stored.expect("stored");
    let sender = that_takes_nothing(&served).await;
    let mut answers = Vec::new();
    for _ in 0..100 {
        let request = http::Request::post("http://localhost/v3/kv/range");
        let request = request.body(()).expect("valid");
        let mut sender = sender.clone().ready().await.expect("open");
        let (answer, mut sending) = sender.send_request(request, false).expect("open");
        let key = Bytes::from_static(br#"{"key":"aw=="}"#);
        sending.send_data(key, true).expect("open");
        answers.push(answer.await.expect("a head needs no window"));
    }
    let statuses: Vec<_> = answers.iter().map(|a| a.status().as_u16()).collect();
    // Four MiB may wait here, of 53,333 characters each beside names, and those that were asked for before.
    let served = statuses.iter().position(|status| *status != 200);
    let served = served.expect("not all of them");
    assert!((70..80).contains(&served), "{served}");
    assert!(statuses[served..].iter().all(|status| *status == 429));
    let read: RangeResponse = client.unary(RANGE, &get()).await.expect("served");
    assert_eq!(read.kvs.len(), 1);
}
