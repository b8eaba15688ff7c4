//! Callers who break off in the middle of what they send, and answers that are large.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    thread,
};

use super::{Asked, curl::Curl, streams::wait_for_watchers};
use crate::limits::sizes::status_bytes;

/// A request whose body is announced, and sent in part.
fn begin(asked: &Asked, path: &str, announced: usize, body: &str) -> TcpStream {
    let mut socket = TcpStream::connect(asked.server.address()).expect("listening");
    let head =
        format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {announced}\r\n\r\n{body}");
    socket.write_all(head.as_bytes()).expect("open");
    let patience = std::time::Duration::from_secs(60);
    socket.set_read_timeout(Some(patience)).expect("a socket");
    socket
}

#[test]
fn a_body_that_breaks_off_is_not_taken_for_an_empty_message() {
    for asked in Asked::both("gateway-broken", &[]) {
        for body in ["", "{"] {
            let mut socket = begin(&asked, "/v3/lease/grant", 30, body);
            socket.shutdown(Shutdown::Write).expect("open");
            let mut answer = String::new();
            // A reset after the answer is as good an end as any.
            let _ = socket.read_to_string(&mut answer);
            assert!(
                answer.is_empty() || answer.starts_with("HTTP/1.1 400 "),
                "{:?} {body:?}: {answer}",
                asked.side
            );
        }
        let leases = asked.post("/v3/lease/leases", "{}").body;
        assert!(!leases.contains("\"leases\""), "{:?}: {leases}", asked.side);
    }
}

#[test]
fn a_caller_who_dies_with_an_unfinished_body_takes_the_watch_along() {
    // etcd says nothing before the whole body is there, so there is nothing to wait for.
    let asked = Asked::kvorum("gateway-died", &[]);
    let create = r#"{"create_request":{"key":"Zm9v"}}"#;
    let mut callers = Vec::new();
    for _ in 0..5 {
        let mut socket = begin(&asked, "/v3/watch", 1000, create);
        let mut answer = [0; 12];
        socket.read_exact(&mut answer).expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 200");
        callers.push(socket);
    }
    wait_for_watchers(&asked, 5.0);
    drop(callers);
    wait_for_watchers(&asked, 0.0);
}

#[test]
fn large_answers_take_turns() {
    const CALLERS: usize = 12;
    const MIB: u64 = 1 << 20;
    let asked = Asked::kvorum("gateway-large", &["--large-request-memory=4MiB"]);
    let value = "A".repeat(1_000_000);
    for number in 0..24 {
        let put = format!(r#"{{"key":"a2{number:02}","value":"{value}"}}"#);
        let answer = Curl::post_large(&asked.server, "/v3/kv/put", put.as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    let before = status_bytes(asked.server.pid(), "VmHWM");
    let lengths: Vec<usize> = thread::scope(|scope| {
        let list = || {
            Curl::post(
                &asked.server,
                "/v3/kv/range",
                r#"{"key":"AA==","range_end":"AA=="}"#,
            )
        };
        let callers: Vec<_> = (0..CALLERS).map(|_| scope.spawn(list)).collect();
        let answers = callers
            .into_iter()
            .map(|caller| caller.join().expect("asked"));
        answers.map(|answer| answer.body.len()).collect()
    });
    assert!(
        lengths.iter().all(|bytes| *bytes > 24_000_000),
        "{lengths:?}"
    );
    let grown = status_bytes(asked.server.pid(), "VmHWM") - before;
    // Each takes 18 MB as a message and 24 MB as JSON; all at once would be over 500 MB.
    println!("{CALLERS} large answers took {} MiB", grown / MIB);
    assert!(grown < 250 * MIB, "{} MiB more were resident", grown / MIB);
}
