//! Clients whose `:authority` is no authority, frame by frame as they send it.

use kvorum_proto::etcdserverpb::StatusResponse;
use prost::Message;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::served::served;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// "http://127.0.0.1:54779", Huffman-coded and for the dynamic table, as etcdctl 3.4 sends it.
const URL: &[u8] = b"\x41\x90\x9d\x29\xae\xe3\x0c\x04\x4e\xae\x05\xc0\xb8n6\xd3\xae\xbf";

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let [.., a, b, c] = payload.len().to_be_bytes();
    let mut frame = vec![a, b, c, kind, flags, 0, 0, 0, stream];
    frame.extend_from_slice(payload);
    frame
}

/// A field by the index of its name, for the dynamic table. Short enough for one byte of length.
fn literal(name: u8, value: &str) -> Vec<u8> {
    let length = u8::try_from(value.len()).expect("short");
    [&[0x40 | name, length], value.as_bytes()].concat()
}

/// Reads frames up to the one that ends the stream: its kind and payload.
async fn answer(socket: &mut TcpStream, stream: u8) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    loop {
        let mut head = [0; 9];
        socket.read_exact(&mut head).await.expect("a frame");
        let [a, b, c, kind, flags, _, _, _, of] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        socket.read_exact(&mut payload).await.expect("its payload");
        if of != stream {
            continue;
        }
        frames.push((kind, payload));
        if kind > HEADERS || flags & END_STREAM != 0 {
            return frames;
        }
    }
}

#[tokio::test]
async fn a_url_or_a_list_as_authority_is_answered_also_by_index() {
    let list = literal(1, "#initially=[http://127.0.0.1:54779]");
    for authority in [URL, &list] {
        let served = served().await;
        let mut socket = TcpStream::connect(served.address).await.expect("listening");
        let mut hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        hello.extend(frame(SETTINGS, 0, 0, &[]));
        socket.write_all(&hello).await.expect("open");
        // POST, http; then the fields that enter the table: the authority second to last, so it is index 64 below.
        let first = [
            &b"\x83\x86"[..],
            &literal(4, "/etcdserverpb.Maintenance/Status"),
            authority,
            &literal(31, "application/grpc"),
            b"\x40\x02te\x08trailers",
        ]
        .concat();
        // Trailers, type, authority, path, from newest to oldest.
        let second = b"\x83\x86\xc1\xc0\xbf\xbe";
        for (stream, block) in [(1, &first[..]), (3, second)] {
            let mut request = frame(HEADERS, END_HEADERS, stream, block);
            request.extend(frame(DATA, END_STREAM, stream, &[0; 5]));
            socket.write_all(&request).await.expect("open");
            let frames = answer(&mut socket, stream).await;
            let kinds: Vec<_> = frames.iter().map(|(kind, _)| *kind).collect();
            assert_eq!(kinds, [HEADERS, DATA, HEADERS]);
            let status = StatusResponse::decode(&frames[1].1[5..]).expect("a message");
            assert!(status.header.is_some_and(|header| header.cluster_id != 0));
            assert_ne!(status.leader, 0);
        }
    }
}
