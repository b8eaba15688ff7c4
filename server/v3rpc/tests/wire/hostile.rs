//! Peers that send too slowly, too much or without end: each ends in time with what it can see, and others are served.

use std::time::{Duration, Instant};

use bytes::Bytes;
use kvorum_proto::etcdserverpb::{PutRequest, PutResponse, RangeRequest, RangeResponse};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    client::{Client, framed},
    served::{Served, Shape},
};

const PUT: &str = "/etcdserverpb.KV/Put";
const RANGE: &str = "/etcdserverpb.KV/Range";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// So that those who are served in time are, also by a thread that stands still for a while.
const SHORT: Duration = Duration::from_secs(2);
/// Far above every deadline here, and far below the usual ones: who is let go by then was let go by a deadline.
const PATIENCE: Duration = Duration::from_secs(8);

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

async fn impatient() -> Served {
    Served::start(Shape {
        tls: true,
        header_timeout: SHORT,
        handshake_timeout: SHORT,
        body_timeout: SHORT,
        ..Shape::default()
    })
    .await
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The header block of a put without compression.
fn block() -> Vec<u8> {
    let mut block = vec![0x83, 0x86];
    for (name, value) in [
        (":path", PUT),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ] {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).expect("short"));
            block.extend(text.bytes());
        }
    }
    block
}

async fn raw(served: &Served) -> TcpStream {
    TcpStream::connect(served.address).await.expect("listening")
}

/// A connection that has said what every HTTP/2 client says first.
async fn greeted(served: &Served) -> TcpStream {
    let mut socket = raw(served).await;
    socket.write_all(PREFACE).await.expect("open");
    let settings = frame(SETTINGS, 0, 0, &[]);
    socket.write_all(&settings).await.expect("open");
    socket
}

/// Reads to the end, which must come in time; gives what came before it.
async fn rest(socket: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    // An orderly end or a reset.
    let ended = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut rest)).await;
    let _ = ended.expect("the connection is let go");
    rest
}

/// The code of the GOAWAY among the frames that a server sent.
fn goaway(mut frames: &[u8]) -> Option<u32> {
    while let Some((head, after)) = frames.split_first_chunk::<9>() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let payload = after.get(..length)?;
        if head[3] == GOAWAY {
            let code = payload.get(4..8)?.try_into().ok()?;
            return Some(u32::from_be_bytes(code));
        }
        frames = &after[length..];
    }
    None
}

async fn others_are_served(served: &Served) {
    let client = Client::connect(served).await;
    let get = RangeRequest {
        key: "k".into(),
        ..RangeRequest::default()
    };
    client
        .unary::<RangeResponse>(RANGE, &get)
        .await
        .expect("others are served");
}

#[tokio::test]
async fn each_step_of_a_connection_has_a_deadline() {
    let served = impatient().await;
    let head = frame(HEADERS, 0, 1, &block());
    let greeting = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    let mut slow = Vec::new();
    for said in [
        &b""[..],                               // TCP
        b"\x16\x03\x01\x02\x00\x01\x00\x01",    // TLS
        b"GET /version HTTP/1.1\r\nhost: x\r",  // the head of an HTTP/1 request
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n",        // HTTP/2's preface
        &[&greeting[..], &head].concat(),       // a header block that goes on in another frame
        &[&greeting[..], &head[..20]].concat(), // a frame of a header block
    ] {
        let mut socket = raw(&served).await;
        socket.write_all(said).await.expect("open");
        slow.push((said.to_vec(), socket));
    }
    others_are_served(&served).await;
    for (said, mut socket) in slow {
        let begun = Instant::now();
        rest(&mut socket).await;
        assert!(begun.elapsed() < PATIENCE, "{said:?}");
    }
}

#[tokio::test]
async fn a_message_that_does_not_come_whole_is_given_up_and_says_so() {
    let served = impatient().await;
    let client = Client::connect(&served).await;
    let put = PutRequest {
        key: "k".into(),
        value: vec![7; 10_000].into(),
        ..PutRequest::default()
    };
    let whole = framed(&put);
    for (sent, text) in [
        (0, "0 bytes came"),
        (3, "0 bytes came"),
        (500, "495 of 10006 bytes came"),
    ] {
        let mut call = client.open(PUT, &[]).await;
        call.requests
            .send_data(whole.slice(..sent), false)
            .expect("open");
        let refused = call.next::<PutResponse>().await.expect_err("given up");
        assert_eq!(refused.code, 4, "DeadlineExceeded");
        let before = "kvorum: the request's message did not come in time: ";
        assert_eq!(refused.message, format!("{before}{text}"));
    }
    // The connection is none the worse for it.
    client
        .unary::<PutResponse>(PUT, &put)
        .await
        .expect("a whole message");
}

#[tokio::test]
async fn half_received_messages_share_a_budget() {
    let served = Served::start(Shape {
        // A quarter of it is for requests: room for one of these at a time, and for one beyond.
        large_request_bytes: 4 * 64 * 1024,
        body_timeout: Duration::from_secs(2),
        ..Shape::default()
    })
    .await;
    let put = PutRequest {
        key: "k".into(),
        value: vec![7; 50_000].into(),
        ..PutRequest::default()
    };
    let whole = framed(&put);
    let mut calls = Vec::new();
    for _ in 0..20 {
        let client = Client::connect(&served).await;
        let mut call = client.open(PUT, &[]).await;
        call.requests
            .send_data(whole.slice(..20_000), false)
            .expect("open");
        calls.push(call);
    }
    others_are_served(&served).await;
    // All of them go on: each has its turn, and every put succeeds.
    for call in &mut calls {
        let rest = whole.slice(20_000..);
        call.requests.send_data(rest, true).expect("open");
    }
    for mut call in calls {
        let answer = call.next::<PutResponse>().await;
        answer.expect("its turn comes").expect("an answer");
    }
}

#[tokio::test]
async fn a_flood_of_continuations_ends_the_connection() {
    let served = impatient().await;
    let mut socket = greeted(&served).await;
    let mut flood = frame(HEADERS, 0, 1, &block());
    for _ in 0..10_000 {
        flood.extend(frame(CONTINUATION, 0, 1, &[]));
    }
    // The server need not take all of it.
    let _ = socket.write_all(&flood).await;
    let said = rest(&mut socket).await;
    assert_eq!(goaway(&said), Some(11), "ENHANCE_YOUR_CALM");
    others_are_served(&served).await;
}

#[tokio::test]
async fn too_many_headers_are_refused() {
    let served = impatient().await;
    let client = Client::connect(&served).await;
    let long = vec![b'x'; 70 * 1024];
    let mut call = client.open(PUT, &[("x-long", &long)]).await;
    assert_eq!(call.status().await, 431, "Request Header Fields Too Large");
    others_are_served(&served).await;
}

/// CVE-2023-44487: streams that are opened and reset at once cost the client nothing.
#[tokio::test]
async fn rapid_resets_end_the_connection() {
    let served = impatient().await;
    let mut socket = greeted(&served).await;
    let mut flood = Vec::new();
    for number in 0..20_000 {
        let stream = 2 * number + 1;
        flood.extend(frame(HEADERS, END_HEADERS, stream, &block()));
        flood.extend(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
    }
    let _ = socket.write_all(&flood).await;
    let said = rest(&mut socket).await;
    assert_eq!(goaway(&said), Some(11), "ENHANCE_YOUR_CALM");
    others_are_served(&served).await;
}

/// The answers to pings and settings are not gathered without bound for a peer that does not read them.
#[tokio::test]
async fn floods_that_ask_for_answers_are_held_back() {
    let served = impatient().await;
    for kind in [PING, SETTINGS] {
        let mut socket = greeted(&served).await;
        let payload: &[u8] = if kind == PING { &[0; 8] } else { &[] };
        let piece = frame(kind, 0, 0, payload).repeat(1000);
        let mut sent = 0;
        // The server stops to read, so the sockets fill; their buffers take some MiB.
        while tokio::time::timeout(SHORT, socket.write_all(&piece))
            .await
            .is_ok_and(|written| written.is_ok())
        {
            sent += piece.len();
            assert!(sent < 64 << 20, "the server takes everything: {kind}");
        }
        others_are_served(&served).await;
    }
}

#[tokio::test]
async fn a_body_without_end_is_refused_by_its_length() {
    let served = impatient().await;
    let client = Client::connect(&served).await;
    let mut call = client.open(PUT, &[]).await;
    let gigabyte = Bytes::from_static(b"\0\x40\0\0\0garbage");
    call.requests.send_data(gigabyte, false).expect("open");
    let refused = call.next::<PutResponse>().await.expect_err("refused");
    assert_eq!(refused.code, 8, "ResourceExhausted");
    assert!(
        refused
            .message
            .starts_with("grpc: received message larger than max (1073741824"),
        "{}",
        refused.message
    );
}
