//! Watch and keep-alive: order, back-pressure, and how streams end.

use std::time::Duration;

use bytes::Bytes;
use kvorum_proto::{
    etcdserverpb::{
        LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
        PutResponse, WatchCancelRequest, WatchCreateRequest, WatchRequest, WatchResponse,
        watch_request::RequestUnion,
    },
    healthpb::{HealthCheckRequest, HealthCheckResponse},
};

use crate::{
    client::{Call, Client},
    served::served,
    unary::{PUT, put},
};

pub(crate) const WATCH: &str = "/etcdserverpb.Watch/Watch";

pub(crate) fn create(key: &'static str, start_revision: i64) -> WatchRequest {
    let request = WatchCreateRequest {
        key: Bytes::from_static(key.as_bytes()),
        start_revision,
        ..Default::default()
    };
    WatchRequest {
        request_union: Some(RequestUnion::CreateRequest(request)),
    }
}

fn cancel(watch_id: i64) -> WatchRequest {
    let request = WatchCancelRequest { watch_id };
    WatchRequest {
        request_union: Some(RequestUnion::CancelRequest(request)),
    }
}

async fn next(call: &mut Call) -> WatchResponse {
    call.next().await.expect("no failure").expect("not the end")
}

#[tokio::test]
async fn a_watch_sees_what_is_put_until_it_is_cancelled() {
    let served = served().await;
    let client = Client::connect(&served).await;
    let mut call = client.open(WATCH, &[("hasleader", b"true")]).await;
    call.send(&create("k", 0));
    let created = next(&mut call).await;
    assert_eq!((created.created, created.watch_id), (true, 0));
    assert_eq!(created.header.expect("a header").revision, 1);
    client
        .unary::<PutResponse>(PUT, &put("k", "v"))
        .await
        .expect("stored");
    let seen = next(&mut call).await;
    assert_eq!(seen.header.expect("a header").revision, 2);
    assert_eq!(seen.events[0].kv.as_ref().expect("a pair").value, "v");
    call.send(&cancel(0));
    let canceled = next(&mut call).await;
    assert_eq!((canceled.canceled, canceled.watch_id), (true, 0));
}

#[tokio::test]
async fn a_half_closed_watch_goes_on() {
    let served = served().await;
    let client = Client::connect(&served).await;
    let mut call = client.open(WATCH, &[]).await;
    call.send(&create("k", 0));
    call.requests.send_data(Bytes::new(), true).expect("open");
    assert!(next(&mut call).await.created);
    client
        .unary::<PutResponse>(PUT, &put("k", "v"))
        .await
        .expect("stored");
    assert_eq!(next(&mut call).await.events.len(), 1);
}

#[tokio::test]
async fn a_slow_reader_gets_every_event_in_order() {
    let served = served().await;
    let client = Client::connect(&served).await;
    let mut call = client.open(WATCH, &[]).await;
    call.send(&create("k", 0));
    assert!(next(&mut call).await.created);
    // Several times the reader's window of 256 KiB.
    for number in 0..300_u32 {
        let mut value = vec![b'x'; 10_000];
        value.splice(..4, number.to_be_bytes());
        client
            .unary::<PutResponse>(PUT, &put("k", value))
            .await
            .expect("stored");
    }
    let mut expected = 0_u32;
    while expected < 300 {
        for event in next(&mut call).await.events {
            let pair = event.kv.expect("a pair");
            assert_eq!(pair.value[..4], expected.to_be_bytes());
            assert_eq!(pair.mod_revision, i64::from(expected) + 2);
            expected += 1;
        }
    }
}

#[tokio::test]
async fn a_broken_watch_request_ends_the_stream_and_nothing_else() {
    let served = served().await;
    let client = Client::connect(&served).await;
    let mut call = client.open(WATCH, &[]).await;
    call.requests
        .send_data(Bytes::from_static(b"\0\0\0\0\x02\xff\xff"), false)
        .expect("open");
    assert_eq!(
        call.next::<WatchResponse>().await.expect_err("broken").code,
        13
    );
    client
        .unary::<PutResponse>(PUT, &put("k", "v"))
        .await
        .expect("still served");
}

#[tokio::test]
async fn a_stream_ends_at_the_callers_deadline() {
    let served = served().await;
    let client = Client::connect(&served).await;
    let mut call = client.open(WATCH, &[("grpc-timeout", b"1m")]).await;
    let ended = call.next::<WatchResponse>().await.expect_err("too late");
    assert_eq!(
        (ended.code, &*ended.message),
        (4, "context deadline exceeded")
    );
}

#[tokio::test]
async fn keep_alives_are_answered_in_order_until_the_caller_ends() {
    let served = served().await;
    let client = Client::connect(&served).await;
    let granted: LeaseGrantResponse = client
        .unary(
            "/etcdserverpb.Lease/LeaseGrant",
            &LeaseGrantRequest { ttl: 60, id: 7 },
        )
        .await
        .expect("granted");
    assert_eq!((granted.id, granted.ttl), (7, 60));
    let mut call = client.open("/etcdserverpb.Lease/LeaseKeepAlive", &[]).await;
    for id in [7, 8, 7] {
        call.send(&LeaseKeepAliveRequest { id });
    }
    call.requests.send_data(Bytes::new(), true).expect("open");
    let mut answers = Vec::new();
    while let Some(answer) = call
        .next::<LeaseKeepAliveResponse>()
        .await
        .expect("no failure")
    {
        assert!(answer.header.is_some_and(|header| header.member_id != 0));
        answers.push((answer.id, answer.ttl));
    }
    assert_eq!(answers, [(7, 60), (8, 0), (7, 60)]);
}

#[tokio::test]
async fn health_is_told_and_watched() {
    let served = served().await;
    let client = Client::connect(&served).await;
    let known: HealthCheckResponse = client
        .unary(
            "/grpc.health.v1.Health/Check",
            &HealthCheckRequest::default(),
        )
        .await
        .expect("known");
    assert_eq!(known.status, 1);
    let other = HealthCheckRequest {
        service: "other".to_owned(),
    };
    let unknown = client
        .unary::<HealthCheckResponse>("/grpc.health.v1.Health/Check", &other)
        .await;
    assert_eq!(unknown.expect_err("unknown").code, 5);
    let mut call = client.open("/grpc.health.v1.Health/Watch", &[]).await;
    call.send(&other);
    let state: HealthCheckResponse = call.next().await.expect("open").expect("a state");
    assert_eq!(state.status, 3);
}

#[tokio::test]
async fn stopping_answers_calls_under_way_and_ends_streams_with_the_connection() {
    let mut served = served().await;
    let client = Client::connect(&served).await;
    let mut watch = client.open(WATCH, &[]).await;
    watch.send(&create("k", 0));
    assert!(next(&mut watch).await.created);
    let mut call = client.open(PUT, &[]).await;
    // The call is under way once the server has read its head, which a later call's answer proves.
    client
        .unary::<PutResponse>(PUT, &put("other", "v"))
        .await
        .expect("stored");
    let address = served.address;
    let stopping = std::thread::spawn(move || {
        served.stop_front();
        served
    });
    while tokio::net::TcpStream::connect(address).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    call.send(&put("k", "v"));
    let answer: PutResponse = call.next().await.expect("served").expect("an answer");
    assert!(answer.header.is_some());
    // The event of the put may or may not be here before the connection ends.
    let ended = loop {
        match watch.next::<WatchResponse>().await {
            Ok(response) => assert!(response.is_some(), "the stream has no orderly end"),
            Err(ended) => break ended,
        }
    };
    assert_eq!(
        ended.code,
        u8::MAX,
        "no status, so that clients resume: {ended:?}"
    );
    stopping.join().expect("no panic");
}
