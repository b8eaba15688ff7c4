//! What the gateway puts up with: open calls, time, the size of messages and of heads.

use super::{Asked, curl::Curl};
use crate::both::Side;

const RANGE: &str = "/v3/kv/range";
const KEY: &str = r#"{"key":"Zm9v"}"#;

#[test]
fn gateway_calls_share_one_limit_of_open_streams() {
    for asked in Asked::both("gateway-streams", &["--max-concurrent-streams=2"]) {
        let watch = || {
            let body = r#"{"create_request":{"key":"Zm9v"}}"#;
            let mut stream = Curl::stream(&asked.server, "/v3/watch", body);
            assert_eq!(stream.head().status, 200);
            stream
        };
        let (first, _second) = (watch(), watch());
        let impatient = ["-H", "Grpc-Timeout: 300m", "--data-binary", KEY];
        let answer = Curl::ask(&asked.server, RANGE, &impatient);
        assert_eq!(answer.status, 504, "{answer:?}");
        assert!(answer.body.contains("deadline exceeded"), "{answer:?}");
        drop(first);
        let answer = Curl::post(&asked.server, RANGE, KEY);
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

#[test]
fn a_message_over_the_limit_is_refused_as_over_grpc() {
    for asked in Asked::both("gateway-size", &[]) {
        // As a gRPC message it is larger than a message may be, and as a request than a request may be.
        for (base64_bytes, status, text) in [
            (3_000_000, 429, "larger than max"),
            (2_200_000, 400, "etcdserver: request is too large"),
        ] {
            let value = "A".repeat(base64_bytes);
            let body = format!(r#"{{"key":"Zm9v","value":"{value}"}}"#);
            let answer = Curl::post_large(&asked.server, "/v3/kv/put", body.as_bytes());
            assert_eq!(answer.status, status, "{answer:?}");
            assert!(answer.body.contains(text), "{answer:?}");
        }
    }
}

#[test]
fn a_body_without_end_is_refused_before_it_is_read() {
    let asked = Asked::kvorum("gateway-body", &[]);
    let body = [br#"{"key":""#.to_vec(), vec![b'A'; 6_000_000]].concat();
    let answer = Curl::post_large(&asked.server, "/v3/kv/put", &body);
    assert_eq!(answer.status, 429, "{answer:?}");
    assert_eq!(
        answer.body,
        r#"{"code":8,"message":"kvorum: a JSON message is larger than max (4194304 bytes)"}"#
    );
    let mut stream = Curl::stream(&asked.server, "/v3/lease/keepalive", r#"{"ID":"7"}"#);
    assert_eq!(stream.head().status, 200);
}

#[test]
fn a_flood_of_headers_is_refused_and_cookies_are_not_passed_on() {
    let asked = Asked::kvorum("gateway-headers", &[]);
    let cookie = format!("Cookie: {}", "a=b; ".repeat(8_000));
    let answer = Curl::ask(&asked.server, RANGE, &["-H", &cookie, "--data-binary", KEY]);
    assert_eq!(answer.status, 200, "{answer:?}");
    let flood = format!("Cookie: {}", "a=b; ".repeat(16_000));
    let answer = Curl::ask(&asked.server, RANGE, &["-H", &flood, "--data-binary", KEY]);
    assert_eq!(answer.status, 431, "{answer:?}");
    let mut many: Vec<String> = Vec::new();
    for number in 0..500 {
        many.extend(["-H".to_owned(), format!("Grpc-Metadata-H{number}: x")]);
    }
    let mut options: Vec<&str> = many.iter().map(String::as_str).collect();
    options.extend(["--data-binary", KEY]);
    let answer = Curl::ask(&asked.server, RANGE, &options);
    assert_eq!(answer.status, 431, "{answer:?}");
    assert_eq!(Curl::post(&asked.server, RANGE, KEY).status, 200);
}

#[test]
fn a_deadline_is_kept() {
    for asked in Asked::both("gateway-deadline", &[]) {
        let watch = r#"{"create_request":{"key":"Zm9v"}}"#;
        // Long enough for the head to be sent before, also by a thread that stands still for a while.
        let options = ["-H", "Grpc-Timeout: 5S", "--data-binary", watch];
        let mut stream = Curl::stream_with(&asked.server, "/v3/watch", &options);
        stream.head();
        let lines = stream.rest();
        let last = lines.last().expect("a last line");
        // Inside etcd two timers race; the loser's words are its HTTP/2 library's.
        let told =
            |words: &str| *last == format!(r#"{{"error":{{"code":4,"message":"{words}"}}}}"#);
        let reset = "stream terminated by RST_STREAM with error code: CANCEL";
        let etcds = matches!(asked.side, Side::Etcd) && told(reset);
        assert!(
            etcds || told("context deadline exceeded"),
            "{:?}: {last}",
            asked.side
        );
    }
    let asked = Asked::kvorum("gateway-no-time", &[]);
    assert_eq!(asked.side, Side::Kvorum);
    let options = [
        "-H",
        "Grpc-Timeout: 1n",
        "--data-binary",
        r#"{"key":"Zm9v"}"#,
    ];
    let answer = Curl::ask(&asked.server, "/v3/kv/put", &options);
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (504, r#"{"code":4,"message":"context deadline exceeded"}"#)
    );
    // What came too late was not done.
    let answer = Curl::post(&asked.server, RANGE, KEY);
    assert!(!answer.body.contains("kvs"), "{answer:?}");
}
