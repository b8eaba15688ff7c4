//! Streams over the gateway: events as they happen, what comes before an error, and callers who go away.

use std::time::{Duration, Instant};

use super::{
    Asked,
    curl::{Curl, Stream},
};
use crate::both::Side;

const WATCH: &str = "/v3/watch";
const CREATE: &str = r#"{"create_request":{"key":"Zm9v"}}"#;

fn watch(asked: &Asked) -> Stream {
    let mut stream = Curl::stream(&asked.server, WATCH, CREATE);
    let head = stream.head();
    assert_eq!(head.status, 200);
    let created = stream.line().expect("an answer");
    assert!(created.starts_with(r#"{"result":{"header":{"#), "{created}");
    assert!(created.ends_with(r#""created":true}}"#), "{created}");
    stream
}

fn put(asked: &Asked, value: &str) {
    let answer = asked.post(
        "/v3/kv/put",
        &format!(r#"{{"key":"Zm9v","value":"{value}"}}"#),
    );
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[test]
fn a_watch_goes_on_behind_the_end_of_its_request() {
    for asked in Asked::both("gateway-watch", &[]) {
        let mut stream = watch(&asked);
        for value in ["YmFy", "YmF6"] {
            put(&asked, value);
            let event = stream.line().expect("an event");
            assert!(event.contains(&format!(r#""value":"{value}""#)), "{event}");
        }
    }
}

#[test]
fn the_head_of_a_stream_is_json_in_chunks() {
    for asked in Asked::both("gateway-head", &[]) {
        let mut stream = Curl::stream(&asked.server, WATCH, CREATE);
        assert_eq!(
            stream.head().headers,
            [
                "access-control-allow-headers: accept, content-type, authorization",
                "access-control-allow-methods: POST, GET, OPTIONS, PUT, DELETE",
                "access-control-allow-origin: *",
                "content-type: application/json",
                "grpc-metadata-content-type: application/grpc",
                "transfer-encoding: chunked",
            ]
        );
    }
}

#[test]
fn a_request_that_breaks_off_ends_the_requests_not_the_stream() {
    for asked in Asked::both("gateway-broken-watch", &[]) {
        let body = format!("{CREATE}{{\"progress_request\":");
        let mut stream = Curl::stream(&asked.server, WATCH, &body);
        stream.head();
        assert!(
            stream
                .line()
                .expect("an answer")
                .contains(r#""created":true"#)
        );
        put(&asked, "YmFy");
        assert!(
            stream
                .line()
                .expect("an event")
                .contains(r#""value":"YmFy""#)
        );
    }
}

#[test]
fn a_stream_that_fails_says_why_in_its_last_line() {
    let mut asked = Asked::kvorum("gateway-stopped", &[]);
    let mut stream = watch(&asked);
    assert!(asked.server.terminate().success());
    let rest = stream.rest();
    let last = rest.last().expect("a last line");
    assert!(
        last.starts_with(r#"{"error":{"code":"#) && last.ends_with(r#""}}"#),
        "{rest:?}"
    );
}

/// The value of a gauge without labels.
fn gauge(asked: &Asked, name: &str) -> Option<f64> {
    let metrics = Curl::get(&asked.server, "/metrics").body;
    metrics
        .lines()
        .find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

pub(super) fn wait_for_watchers(asked: &Asked, wanted: f64) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let watchers = gauge(asked, "etcd_debugging_mvcc_watcher_total");
        if watchers == Some(wanted) {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{watchers:?} watchers, not {wanted}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_caller_who_goes_away_takes_the_watch_along() {
    for asked in Asked::both("gateway-gone", &[]) {
        let streams: Vec<Stream> = (0..5).map(|_| watch(&asked)).collect();
        wait_for_watchers(&asked, 5.0);
        drop(streams);
        wait_for_watchers(&asked, 0.0);
        put(&asked, "YmFy");
    }
}

#[test]
fn a_keep_alive_answers_each_message_as_it_comes() {
    for asked in Asked::both("gateway-keepalive", &[]) {
        asked.post("/v3/lease/grant", r#"{"ID":"7","TTL":"1000"}"#);
        let body = r#"{"ID":"7"}{"ID":7}{"ID":"8"}"#;
        let mut stream = Curl::stream(&asked.server, "/v3/lease/keepalive", body);
        stream.head();
        let lines = stream.rest();
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(
            lines[1].ends_with(r#""ID":"7","TTL":"1000"}}"#),
            "{lines:?}"
        );
        // A lease that is not there has no time to live.
        assert!(lines[2].ends_with(r#""ID":"8"}}"#), "{lines:?}");
    }
}

#[test]
fn http_2_carries_the_gateway_too() {
    let asked = Asked::kvorum("gateway-http2", &[]);
    let http2 = ["--http2-prior-knowledge", "--data-binary"];
    let put = [&http2[..], &[r#"{"key":"Zm9v","value":"YmFy"}"#]].concat();
    let answer = Curl::ask(&asked.server, "/v3/kv/put", &put);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.body.contains(r#""revision":"2""#), "{answer:?}");
    let create = r#"{"create_request":{"key":"Zm9v","start_revision":2}}"#;
    let watch = [&http2[..], &[create]].concat();
    let mut stream = Curl::stream_with(&asked.server, WATCH, &watch);
    assert_eq!(stream.head().status, 200);
    assert!(
        stream
            .line()
            .expect("an answer")
            .contains(r#""created":true"#)
    );
    assert!(
        stream
            .line()
            .expect("an event")
            .contains(r#""value":"YmFy""#)
    );
    drop(stream);
    wait_for_watchers(&asked, 0.0);
    assert_eq!(asked.side, Side::Kvorum);
}

/// Large answers leave in JSON as they are in gRPC.
#[test]
fn a_large_range_arrives_whole() {
    for asked in Asked::both("gateway-large", &[]) {
        let value = "QUJD".repeat(100_000);
        for number in 0..10 {
            let body = format!(r#"{{"key":"Zm9v{number}Zm9","value":"{value}"}}"#);
            let answer = Curl::post_large(&asked.server, "/v3/kv/put", body.as_bytes());
            assert_eq!(answer.status, 200, "{answer:?}");
        }
        let answer = asked.post("/v3/kv/range", r#"{"key":"AA==","range_end":"AA=="}"#);
        assert_eq!(answer.body.matches(&value).count(), 10);
        assert!(answer.body.ends_with(r#""count":"10"}"#));
    }
}
