//! Heads of requests that are no gRPC call's, and messages in a wrapping.

use std::io::Write;

use bytes::{BufMut, Bytes, BytesMut};
use flate2::{Compression, write::GzEncoder};
use http::{Method, Request};
use kvorum_proto::etcdserverpb::{
    LeaseKeepAliveResponse, PutResponse, RangeResponse, WatchResponse,
};
use prost::Message;

use crate::{
    client::{Client, framed},
    served::served,
    streams::WATCH,
    unary::{PUT, RANGE, get, put},
};

fn head(method: Method, headers: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::builder()
        .method(method)
        .uri(format!("http://localhost{PUT}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).expect("a valid head")
}

#[tokio::test]
async fn heads_that_are_no_calls_are_refused_as_grpc_go_does() {
    const GRPC: (&str, &str) = ("content-type", "application/grpc");
    let served = served().await;
    let client = Client::connect(&served).await;
    for (method, headers, http, code, text) in [
        (
            Method::POST,
            &[][..],
            415,
            3,
            "invalid gRPC request content-type \"\"",
        ),
        (
            Method::POST,
            &[("content-type", "application/json")],
            415,
            3,
            "invalid gRPC request content-type \"application/json\"",
        ),
        (
            Method::GET,
            &[GRPC],
            405,
            13,
            "Received a HEADERS frame with :method \"GET\" which should be POST",
        ),
        (
            Method::POST,
            &[GRPC, ("grpc-timeout", "1x")],
            400,
            13,
            "malformed grpc-timeout: transport: timeout unit is not recognized: \"1x\"",
        ),
        (
            Method::POST,
            &[GRPC, ("trace-bin", "AA,AA")],
            400,
            13,
            "malformed binary metadata \"AA,AA\" in header \"trace-bin\": illegal base64 data at input byte 2",
        ),
        (
            Method::POST,
            &[GRPC, ("grpc-encoding", "snappy")],
            200,
            12,
            "grpc: Decompressor is not installed for grpc-encoding \"snappy\"",
        ),
        (
            Method::POST,
            &[GRPC, ("grpc-timeout", "0n")],
            200,
            4,
            "context deadline exceeded",
        ),
    ] {
        let (status, ended) = client
            .odd(head(method, headers), framed(&put("k", "v")))
            .await;
        assert_eq!(
            (status, ended.code, &*ended.message),
            (http, code, text),
            "{headers:?}"
        );
    }
    let read: RangeResponse = client.unary(RANGE, &get("k")).await.expect("read");
    assert_eq!(read.count, 0, "nothing of it was done");
}

fn packed(message: &impl Message) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder
        .write_all(&message.encode_to_vec())
        .expect("in memory");
    let packed = encoder.finish().expect("in memory");
    let mut buffer = BytesMut::new();
    buffer.put_u8(1);
    buffer.put_u32(u32::try_from(packed.len()).expect("small"));
    buffer.put_slice(&packed);
    buffer.freeze()
}

#[tokio::test]
async fn gzip_is_understood_and_bounded() {
    const GZIP: &[(&str, &[u8])] = &[("grpc-encoding", b"gzip")];
    let served = served().await;
    let client = Client::connect(&served).await;
    client
        .raw::<PutResponse>(PUT, packed(&put("k", vec![b'x'; 10_000])), GZIP)
        .await
        .expect("unpacked");
    let read: RangeResponse = client
        .raw(RANGE, framed(&get("k")), GZIP)
        .await
        .expect("not packed is fine too");
    assert_eq!(read.kvs[0].value.len(), 10_000);
    let bomb = client
        .raw::<PutResponse>(PUT, packed(&put("k", vec![0; 5_000_000])), GZIP)
        .await
        .expect_err("too large");
    assert_eq!(
        (bomb.code, &*bomb.message),
        (
            8,
            "grpc: received message after decompression larger than max 589824"
        )
    );
}

#[tokio::test]
async fn streams_name_their_broken_messages_too() {
    let served = served().await;
    let client = Client::connect(&served).await;
    let cardinality =
        "cardinality violation: received no request message from non-client-streaming RPC";
    for (path, bytes, text) in [
        (
            WATCH,
            &b"\0\0\0\0\x02\xff\xff"[..],
            "grpc: failed to unmarshal the received message: unexpected EOF",
        ),
        (WATCH, b"\0\0\0\0\x05ab", "unexpected EOF"),
        ("/grpc.health.v1.Health/Watch", b"", cardinality),
        ("/v3electionpb.Election/Observe", b"", cardinality),
        ("/etcdserverpb.KV/RangeStream", b"", cardinality),
    ] {
        let mut call = client.open(path, &[]).await;
        call.requests
            .send_data(Bytes::from_static(bytes), true)
            .expect("open");
        let ended = call.next::<WatchResponse>().await.expect_err("broken");
        assert_eq!((ended.code, &*ended.message), (13, text));
    }
    let mut call = client.open("/etcdserverpb.Lease/LeaseKeepAlive", &[]).await;
    call.requests.send_data(Bytes::new(), true).expect("open");
    let nothing = call.next::<LeaseKeepAliveResponse>().await;
    assert_eq!(nothing, Ok(None), "an end without a request is in order");
}
