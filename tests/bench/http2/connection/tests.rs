//! Tests of a connection against scripted bytes of a peer on loopback.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};

use super::*;
use crate::http2::hpack;

/// A connection whose server settings have been taken, and the server's end of its socket.
fn pair(slots: u32, settings: &[(u16, u32)]) -> (Connection, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("free port");
    let address = listener.local_addr().expect("bound");
    let mut client = Connection::open(&Dial::plain(address), slots).expect("listening");
    let (mut server, _) = listener.accept().expect("connected");
    assert!(client.flush().expect("small write"));
    let mut preface = vec![0; frame::PREFACE.len()];
    server.read_exact(&mut preface).expect("preface");
    assert_eq!(preface, frame::PREFACE);
    assert_eq!(next_frame(&mut server).0.kind, kind::SETTINGS);
    assert_eq!(next_frame(&mut server).0.kind, kind::WINDOW_UPDATE);
    let mut bytes = Vec::new();
    frame::write_settings(&mut bytes, settings);
    frame::write_settings_ack(&mut bytes);
    assert!(
        feed(&mut client, &mut server, &bytes)
            .expect("valid")
            .is_empty()
    );
    assert!(client.is_ready());
    let (ack, _) = next_frame(&mut server);
    assert!(ack.kind == kind::SETTINGS && ack.has(flag::ACK));
    (client, server)
}

fn next_frame(server: &mut TcpStream) -> (Head, Vec<u8>) {
    let mut bytes = [0; HEAD_BYTES];
    server.read_exact(&mut bytes).expect("frame head");
    let head = Head::parse(&bytes).expect("valid").expect("complete");
    let mut payload = vec![0; head.length];
    server.read_exact(&mut payload).expect("payload");
    (head, payload)
}

/// What the client makes of `bytes`: messages and outcomes in words.
fn feed(client: &mut Connection, server: &mut TcpStream, bytes: &[u8]) -> Result<Vec<String>> {
    server.write_all(bytes).expect("small write");
    let mut seen = Vec::new();
    let mut left = bytes.len();
    while left > 0 {
        let before = client.end - client.start;
        if client.fill()? {
            left -= client.end - client.start - before;
        }
        while let Some(event) = client.next_event()? {
            seen.push(match event {
                Event::Message { slot, span } => {
                    format!(
                        "{}: {}",
                        slot.0,
                        String::from_utf8_lossy(client.bytes(&span))
                    )
                }
                Event::End { slot, outcome } => format!("{}: {outcome:?}", slot.0),
            });
        }
    }
    client.flush()?;
    Ok(seen)
}

fn write_frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream_id: u32, payload: &[u8]) {
    Head {
        length: payload.len(),
        kind,
        flags,
        stream_id,
    }
    .write(out);
    out.extend_from_slice(payload);
}

fn head_block() -> Vec<u8> {
    hpack::encode(&[(":status", "200"), ("content-type", "application/grpc")])
}

fn message(text: &str) -> Vec<u8> {
    let mut out = vec![0, 0, 0, 0, text.len() as u8];
    out.extend_from_slice(text.as_bytes());
    out
}

/// A whole good reply.
fn reply(stream_id: u32, text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    write_frame(
        &mut out,
        kind::HEADERS,
        flag::END_HEADERS,
        stream_id,
        &head_block(),
    );
    write_frame(&mut out, kind::DATA, 0, stream_id, &message(text));
    let trailers = hpack::encode(&[("grpc-status", "0")]);
    let flags = flag::END_HEADERS | flag::END_STREAM;
    write_frame(&mut out, kind::HEADERS, flags, stream_id, &trailers);
    out
}

fn path() -> Path {
    Path::new("/a.B/C")
}

#[test]
fn replies_find_their_slots_in_any_order() {
    let (mut client, mut server) = pair(3, &[]);
    for slot in 0..3 {
        client.call(SlotId(slot), &path(), &message("ask"), true);
    }
    client.flush().expect("small write");
    let bytes = [reply(5, "c"), reply(1, "a"), reply(3, "b")].concat();
    let seen = feed(&mut client, &mut server, &bytes).expect("valid");
    assert_eq!(
        seen,
        [
            "2: c",
            "2: Ok(())",
            "0: a",
            "0: Ok(())",
            "1: b",
            "1: Ok(())"
        ]
    );
    client.call(SlotId(1), &path(), &message("again"), true);
    client.flush().expect("small write");
    let seen = feed(&mut client, &mut server, &reply(7, "d")).expect("valid");
    assert_eq!(seen, ["1: d", "1: Ok(())"]);
}

#[test]
fn a_reply_may_be_cut_anywhere() {
    let (mut client, mut server) = pair(1, &[]);
    let mut bytes = Vec::new();
    write_frame(
        &mut bytes,
        kind::HEADERS,
        flag::END_HEADERS,
        1,
        &head_block(),
    );
    // Two messages, spread over frames of three bytes.
    let data = [message("hello"), message(""), message("world")].concat();
    for chunk in data.chunks(3) {
        write_frame(&mut bytes, kind::DATA, 0, 1, chunk);
    }
    client.call(SlotId(0), &path(), &message("ask"), false);
    let mut seen = Vec::new();
    for byte in bytes {
        seen.extend(feed(&mut client, &mut server, &[byte]).expect("valid"));
    }
    assert_eq!(seen, ["0: hello", "0: ", "0: world"]);
}

#[test]
fn several_messages_in_one_frame_and_padding_are_taken_apart() {
    let (mut client, mut server) = pair(1, &[]);
    client.call(SlotId(0), &path(), &message("ask"), false);
    let mut bytes = Vec::new();
    write_frame(
        &mut bytes,
        kind::HEADERS,
        flag::END_HEADERS,
        1,
        &head_block(),
    );
    let padded = [&[2][..], &message("one"), &message("two"), &[0, 0]].concat();
    write_frame(&mut bytes, kind::DATA, flag::PADDED, 1, &padded);
    assert_eq!(
        feed(&mut client, &mut server, &bytes).expect("valid"),
        ["0: one", "0: two"]
    );
}

#[test]
fn header_blocks_may_continue_and_errors_are_told() {
    let (mut client, mut server) = pair(1, &[]);
    client.call(SlotId(0), &path(), &message("ask"), true);
    let block = hpack::encode(&[
        (":status", "200"),
        ("content-type", "application/grpc"),
        ("grpc-status", "9"),
        ("grpc-message", "etcdserver: no"),
    ]);
    let (first, rest) = block.split_at(7);
    let mut bytes = Vec::new();
    write_frame(&mut bytes, kind::HEADERS, flag::END_STREAM, 1, first);
    write_frame(&mut bytes, kind::CONTINUATION, 0, 1, &rest[..5]);
    write_frame(
        &mut bytes,
        kind::CONTINUATION,
        flag::END_HEADERS,
        1,
        &rest[5..],
    );
    let seen = feed(&mut client, &mut server, &bytes).expect("valid");
    assert_eq!(seen, ["0: Err(\"grpc-status 9: etcdserver: no\")"]);
}

#[test]
fn a_frame_inside_a_header_block_is_refused() {
    let (mut client, mut server) = pair(1, &[]);
    client.call(SlotId(0), &path(), &message("ask"), true);
    let mut bytes = Vec::new();
    write_frame(&mut bytes, kind::HEADERS, 0, 1, &head_block());
    write_frame(&mut bytes, kind::PING, 0, 0, &[0; 8]);
    assert!(feed(&mut client, &mut server, &bytes).is_err());
}

#[test]
fn a_reset_ends_the_call_with_an_error() {
    let (mut client, mut server) = pair(1, &[]);
    client.call(SlotId(0), &path(), &message("ask"), true);
    let mut bytes = Vec::new();
    write_frame(&mut bytes, kind::RST_STREAM, 0, 1, &[0, 0, 0, 8]);
    // A second one is for a stream that is over.
    write_frame(&mut bytes, kind::RST_STREAM, 0, 1, &[0, 0, 0, 0]);
    let seen = feed(&mut client, &mut server, &bytes).expect("valid");
    assert_eq!(
        seen,
        ["0: Err(\"server reset the stream, HTTP/2 error code 8\")"]
    );
}

#[test]
fn a_goaway_and_a_cut_message_are_errors() {
    let (mut client, mut server) = pair(1, &[]);
    client.call(SlotId(0), &path(), &message("ask"), true);
    let mut bytes = Vec::new();
    write_frame(
        &mut bytes,
        kind::HEADERS,
        flag::END_HEADERS,
        1,
        &head_block(),
    );
    write_frame(&mut bytes, kind::DATA, 0, 1, &message("hello")[..7]);
    let trailers = hpack::encode(&[("grpc-status", "0")]);
    write_frame(
        &mut bytes,
        kind::HEADERS,
        flag::END_HEADERS | flag::END_STREAM,
        1,
        &trailers,
    );
    let seen = feed(&mut client, &mut server, &bytes).expect("valid frames");
    assert_eq!(seen, ["0: Err(\"reply ended inside a message\")"]);
    let mut bytes = Vec::new();
    write_frame(
        &mut bytes,
        kind::GOAWAY,
        0,
        0,
        b"\0\0\0\0\0\0\0\x0btoo_many_pings",
    );
    let error = feed(&mut client, &mut server, &bytes)
        .expect_err("closing")
        .to_string();
    assert!(error.contains("too_many_pings"), "{error}");
}

#[test]
fn pings_are_answered_and_received_bytes_credited() {
    let (mut client, mut server) = pair(1, &[]);
    client.call(SlotId(0), &path(), &message("ask"), false);
    client.flush().expect("small write");
    assert_eq!(next_frame(&mut server).0.kind, kind::HEADERS);
    assert_eq!(next_frame(&mut server).0.kind, kind::DATA);
    let mut bytes = Vec::new();
    write_frame(&mut bytes, kind::PING, 0, 0, b"12345678");
    write_frame(
        &mut bytes,
        kind::HEADERS,
        flag::END_HEADERS,
        1,
        &head_block(),
    );
    feed(&mut client, &mut server, &bytes).expect("valid");
    let (pong, payload) = next_frame(&mut server);
    assert!(pong.kind == kind::PING && pong.has(flag::ACK));
    assert_eq!(payload, b"12345678");
    let mut block = Vec::new();
    write_frame(&mut block, kind::DATA, 0, 1, &message(&"x".repeat(250)));
    let count = STREAM_WINDOW_BYTES as usize / 4 / (block.len() - HEAD_BYTES) + 1;
    for _ in 0..count {
        feed(&mut client, &mut server, &block).expect("valid");
    }
    let (update, payload) = next_frame(&mut server);
    assert_eq!((update.kind, update.stream_id), (kind::WINDOW_UPDATE, 1));
    let credited = frame::number(&payload).expect("four bytes") as usize;
    assert_eq!(credited, count * (block.len() - HEAD_BYTES));
}

#[test]
fn calls_wait_for_window_and_for_a_free_stream() {
    let settings = [
        (setting::INITIAL_WINDOW_SIZE, 100),
        (setting::MAX_CONCURRENT_STREAMS, 1),
    ];
    let (mut client, mut server) = pair(2, &settings);
    client.call(SlotId(0), &path(), &message(&"x".repeat(200)), true);
    assert!(
        client.output.is_empty(),
        "205 bytes do not fit into a window of 100"
    );
    let mut bytes = Vec::new();
    frame::write_settings(&mut bytes, &[(setting::INITIAL_WINDOW_SIZE, 1000)]);
    feed(&mut client, &mut server, &bytes).expect("valid");
    assert_eq!(next_frame(&mut server).0.kind, kind::SETTINGS);
    assert_eq!(next_frame(&mut server).0.stream_id, 1);
    assert_eq!(next_frame(&mut server).0.kind, kind::DATA);
    client.call(SlotId(1), &path(), &message("second"), true);
    assert!(client.output.is_empty(), "one stream at a time");
    let seen = feed(&mut client, &mut server, &reply(1, "ok")).expect("valid");
    assert_eq!(seen, ["0: ok", "0: Ok(())"]);
    assert_eq!(next_frame(&mut server).0.stream_id, 3);
}

#[test]
fn a_stream_sends_on_when_its_window_opens() {
    let (mut client, mut server) = pair(1, &[(setting::INITIAL_WINDOW_SIZE, 10)]);
    client.call(SlotId(0), &path(), &message("12345"), false);
    client.send(SlotId(0), &message("67890"));
    client.flush().expect("small write");
    assert_eq!(next_frame(&mut server).0.kind, kind::HEADERS);
    assert_eq!(next_frame(&mut server).1, message("12345"));
    let mut bytes = Vec::new();
    frame::write_window_update(&mut bytes, 1, 10);
    feed(&mut client, &mut server, &bytes).expect("valid");
    assert_eq!(next_frame(&mut server).1, message("67890"));
}

#[test]
fn numbers_of_streams_in_flight_are_never_given_twice() {
    let (mut client, mut server) = pair(2, &[]);
    client.call(SlotId(0), &path(), &message("stays"), false);
    let mut used = Vec::new();
    for _ in 0..40 {
        client.call(SlotId(1), &path(), &message("short"), true);
        let id = client.streams[1].id;
        assert_eq!(
            client.slot(1),
            Some(SlotId(0)),
            "the long stream keeps its place"
        );
        used.push(id);
        feed(&mut client, &mut server, &reply(id, "ok")).expect("valid");
    }
    assert!(used.is_sorted_by(|a, b| a < b));
}
