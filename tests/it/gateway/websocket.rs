//! Websockets, spoken by hand: curl does not.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use super::Asked;

/// A websocket whose handshake is done.
struct Socket(TcpStream);

/// Sends a request to change the protocol; the answer's head comes back.
fn ask(asked: &Asked, path: &str, headers: &str) -> (TcpStream, String) {
    let mut socket = TcpStream::connect(asked.server.address()).expect("listening");
    socket
        .set_read_timeout(Some(std::time::Duration::from_secs(30)))
        .expect("a socket");
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{headers}\r\n"
    );
    socket.write_all(request.as_bytes()).expect("open");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).expect("an answer");
        head.push(byte[0]);
    }
    (
        socket,
        String::from_utf8(head).expect("text").to_lowercase(),
    )
}

/// The key of the example in RFC 6455, and what must come back for it.
const KEY: &str = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const ACCEPT: &str = "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n";

impl Socket {
    fn open(asked: &Asked, path: &str) -> Self {
        let (socket, head) = ask(asked, path, KEY);
        assert!(head.starts_with("http/1.1 101 "), "{head}");
        assert!(head.contains(ACCEPT), "{head}");
        Self(socket)
    }

    /// A masked frame; the mask is zeros, which changes nothing.
    fn say(&mut self, opcode: u8, text: &str) {
        let length = u8::try_from(text.len()).expect("short");
        assert!(length < 126, "short");
        let mut frame = vec![0x80 | opcode, 0x80 | length, 0, 0, 0, 0];
        frame.extend_from_slice(text.as_bytes());
        self.0.write_all(&frame).expect("open");
    }

    /// The next text; nothing if the other side ends.
    fn hear(&mut self) -> Option<String> {
        let mut head = [0; 2];
        self.0.read_exact(&mut head).ok()?;
        let length = match head[1] {
            126 => {
                let mut long = [0; 2];
                self.0.read_exact(&mut long).ok()?;
                usize::from(u16::from_be_bytes(long))
            }
            short => usize::from(short),
        };
        let mut text = vec![0; length];
        self.0.read_exact(&mut text).ok()?;
        (head[0] == 0x81).then(|| String::from_utf8(text).expect("text"))
    }
}

#[test]
fn a_watch_takes_a_message_for_a_message() {
    for asked in Asked::both("gateway-websocket", &[]) {
        let mut socket = Socket::open(&asked, "/v3/watch");
        socket.say(1, r#"{"create_request":{"key":"Zm9v"}}"#);
        let created = socket.hear().expect("an answer");
        assert!(created.starts_with(r#"{"result":{"header":"#), "{created}");
        assert!(created.ends_with(r#""created":true}}"#), "{created}");
        asked.post("/v3/kv/put", r#"{"key":"Zm9v","value":"YmFy"}"#);
        assert!(
            socket
                .hear()
                .expect("an event")
                .contains(r#""value":"YmFy""#)
        );
        socket.say(1, r#"{"create_request":{"key":"YQ==","watch_id":"9"}}"#);
        let second = socket.hear().expect("an answer");
        assert!(
            second.contains(r#""watch_id":"9","created":true"#),
            "{second}"
        );
    }
}

#[test]
fn a_call_with_one_answer_ends_the_socket_behind_it() {
    for asked in Asked::both("gateway-websocket-unary", &[]) {
        let mut socket = Socket::open(&asked, "/v3/kv/put");
        socket.say(1, r#"{"key":"Zm9v","value":"YmFy"}"#);
        let answer = socket.hear().expect("an answer");
        assert!(answer.contains(r#""revision":"2""#), "{answer}");
        assert_eq!(socket.hear(), None);
        let mut socket = Socket::open(&asked, "/v3/nowhere");
        let answer = socket.hear().expect("an answer").replace(", ", ",");
        assert_eq!(answer, r#"{"code":5,"message":"Not Found"}"#);
    }
}

#[test]
fn a_caller_who_leaves_takes_the_watch_along() {
    let asked = Asked::kvorum("gateway-websocket-gone", &[]);
    let mut socket = Socket::open(&asked, "/v3/watch");
    socket.say(1, r#"{"create_request":{"key":"Zm9v"}}"#);
    socket.hear().expect("an answer");
    super::streams::wait_for_watchers(&asked, 1.0);
    socket.say(8, "");
    super::streams::wait_for_watchers(&asked, 0.0);
    let mut socket = Socket::open(&asked, "/v3/watch");
    socket.say(1, r#"{"create_request":{"key":"Zm9v"}}"#);
    socket.hear().expect("an answer");
    super::streams::wait_for_watchers(&asked, 1.0);
    drop(socket);
    super::streams::wait_for_watchers(&asked, 0.0);
}

#[test]
fn a_token_among_the_protocols_is_acknowledged() {
    for asked in Asked::both("gateway-websocket-token", &[]) {
        let headers = format!("{KEY}Sec-WebSocket-Protocol: Bearer, some-token\r\n");
        let (_socket, head) = ask(&asked, "/v3/watch", &headers);
        assert!(head.starts_with("http/1.1 101 "), "{head}");
        assert!(
            head.contains("sec-websocket-protocol: bearer\r\n"),
            "{head}"
        );
    }
}

#[test]
fn half_a_handshake_is_refused() {
    for asked in Asked::both("gateway-websocket-refused", &[]) {
        for headers in [
            "Sec-WebSocket-Version: 13\r\n",
            "Sec-WebSocket-Key: eA==\r\n",
        ] {
            let (_socket, head) = ask(&asked, "/v3/watch", headers);
            assert!(head.starts_with("http/1.1 400 "), "{head}");
        }
    }
}
