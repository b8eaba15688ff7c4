//! The filter against what clients send, whole, cut, in pieces and wrong.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0\0\0\0\x04\x01\0\0\0\0";
const DATA: &[u8] = b"\0\0\x05\0\x01\0\0\0\x01\0\0\0\0\0";
/// "http://127.0.0.1:54779" as grpc-go sends it: Huffman-coded, for the dynamic table.
const URL_CODED: &[u8] = b"\x41\x90\x9d\x29\xae\xe3\x0c\x04\x4e\xae\x05\xc0\xb8n6\xd3\xae\xbf";
const HOST: &[u8] = b"\x41\x0f127.0.0.1:54779";
/// End of headers.
const END: u8 = 0x04;

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let [.., a, b, c] = payload.len().to_be_bytes();
    let mut frame = vec![a, b, c, kind, flags, 0, 0, 0, 1];
    frame.extend_from_slice(payload);
    frame
}

/// A header block with the given field for the authority.
fn block(authority: &[u8]) -> Vec<u8> {
    [b"\x83\x86\x44\x02/x", authority, b"\x40\x01q\x01v"].concat()
}

fn literal(value: &[u8]) -> Vec<u8> {
    let mut field = vec![0x41];
    hpack::put_string(&mut field, value);
    field
}

fn prelude(authority: &[u8]) -> Vec<u8> {
    [SETTINGS, &frame(HEADERS, END, &block(authority)), DATA].concat()
}

/// What passes if the bytes arrive in pieces of `size`, and whether the filter is done.
fn fed(bytes: &[u8], size: usize) -> (Vec<u8>, bool) {
    let mut filter = Filter::default();
    for piece in bytes.chunks(size) {
        filter.feed(piece);
        assert!(
            filter.held.len() <= FRAME_HEAD_BYTES + FRAME_BYTES_MAX,
            "bounded"
        );
    }
    let finished = filter.finished;
    filter.finish();
    (filter.out, finished)
}

#[test]
fn a_url_becomes_its_host_and_port() {
    for size in [1, 2, 7, 4096] {
        let (out, finished) = fed(&prelude(URL_CODED), size);
        assert_eq!(out, prelude(HOST));
        assert!(!finished, "the client may spell it out again");
    }
    // Later frames of that client: an index, and the same literal once more.
    let index = frame(HEADERS, END, &block(b"\xbf"));
    let (out, _) = fed(
        &[prelude(URL_CODED), index.clone(), prelude(URL_CODED)].concat(),
        5,
    );
    assert_eq!(out, [prelude(HOST), index, prelude(HOST)].concat());
}

#[test]
fn padding_and_priority_stay_where_they_are() {
    let priority = [1, 2, 3, 4, 5];
    for (flags, before, after) in [
        (PADDED, &[3][..], &[0; 3][..]),
        (PRIORITY, &priority[..], &[][..]),
        (PADDED | PRIORITY, &[2, 1, 2, 3, 4, 5][..], &[0; 2][..]),
    ] {
        let with = |authority| {
            let payload = [before, &block(authority), after].concat();
            frame(HEADERS, flags | END, &payload)
        };
        assert_eq!(fed(&with(URL_CODED), 3).0, with(HOST), "{flags:#x}");
    }
}

#[test]
fn an_authority_in_order_passes_and_ends_the_filter() {
    for value in [
        "localhost",
        "127.0.0.1:2379",
        "[::1]:2379",
        "etcd-0.etcd:2379",
        "a",
    ] {
        let bytes = [prelude(&literal(value.as_bytes())), prelude(URL_CODED)].concat();
        for size in [1, 4096] {
            // Byte for byte, also what comes later.
            assert_eq!(fed(&bytes, size), (bytes.clone(), true), "{value}");
        }
    }
}

#[test]
fn what_cannot_be_mended_passes() {
    for value in [
        "",
        "http://",
        "unix:///run/x.sock",
        "a b",
        "a/b",
        "://a",
        "1a://b",
        "#initially=[]",
    ] {
        let bytes = prelude(&literal(value.as_bytes()));
        assert_eq!(fed(&bytes, 4096), (bytes.clone(), true), "{value}");
    }
    let wrong = [
        // More padding than frame, no room for the priority, nothing at all, a frame too large.
        frame(HEADERS, PADDED | END, &[200, 1, 2]),
        frame(HEADERS, PRIORITY | END, &[0; 4]),
        frame(HEADERS, PADDED, &[]),
        frame(HEADERS, END, &vec![0; FRAME_BYTES_MAX + 1]),
    ];
    for bytes in wrong {
        assert_eq!(fed(&bytes, 4096), (bytes.clone(), true));
    }
}

#[test]
fn hosts_are_found_in_urls_and_in_the_list_of_3_5_0() {
    for (value, host) in [
        ("http://127.0.0.1:2379", "127.0.0.1:2379"),
        ("https://etcd-0.etcd:2379/", "etcd-0.etcd:2379"),
        ("https://[::1]:2379/v3?x#y", "[::1]:2379"),
        ("unixs://localhost:1", "localhost:1"),
        ("#initially=[http://a:1;http://b:1]", "a:1"),
        ("#initially=[https://[::1]:2379]", "[::1]:2379"),
        ("#initially=[a:1]", "a:1"),
    ] {
        assert_eq!(host_of(value.as_bytes()), Some(host.as_bytes()), "{value}");
    }
}

#[test]
fn a_frame_that_would_grow_too_large_passes() {
    let padding = [0; 255];
    // A host of 23 letters of five bits, so that the URL is longer without Huffman.
    let coded = {
        let url =
            b"\x9d\x29\xae\xe3\x0c\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x0f";
        [&[0x41, 0x80 | 20][..], url].concat()
    };
    let fill = |size: usize| {
        let rest = literal(&vec![b'v'; size]);
        let field = [b"\x40\x01q", &rest[1..]].concat();
        frame(
            HEADERS,
            PADDED | END,
            &[&[255], &block(&coded)[..], &field, &padding].concat(),
        )
    };
    assert_ne!(fed(&fill(100), 4096).0, fill(100));
    let mut largest = 0;
    while fill(largest).len() < FRAME_HEAD_BYTES + FRAME_BYTES_MAX {
        largest += 1;
    }
    assert_eq!(fed(&fill(largest), 4096).0, fill(largest));
}

#[test]
fn an_authority_that_goes_on_in_a_continuation_passes() {
    let block = block(URL_CODED);
    let whole = fed(&frame(HEADERS, END, &block), 4096).0;
    for cut in 0..block.len() {
        let (first, second) = block.split_at(cut);
        let continuation = frame(9, END, second);
        let bytes = [frame(HEADERS, 0, first), continuation.clone()].concat();
        let (out, finished) = fed(&bytes, 4096);
        if finished {
            assert_eq!(out, bytes, "cut at {cut}");
        } else {
            // The value was in the first part: the parts together say what the whole says.
            assert!(out.ends_with(&continuation));
            let head = out.len() - continuation.len();
            let joined = [&out[FRAME_HEAD_BYTES..head], second].concat();
            assert_eq!(joined, whole[FRAME_HEAD_BYTES..], "cut at {cut}");
        }
    }
}

#[test]
fn every_cut_of_a_prelude_passes_what_is_there() {
    let bytes = prelude(URL_CODED);
    let headers = SETTINGS.len() + FRAME_HEAD_BYTES + block(URL_CODED).len();
    for cut in 0..bytes.len() {
        let (out, _) = fed(&bytes[..cut], 1);
        if cut < headers {
            assert_eq!(out, bytes[..cut]);
        } else {
            assert!(prelude(HOST).starts_with(&out));
        }
    }
}

#[test]
fn random_bytes_do_no_harm() {
    // xorshift; any seed but zero.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..20_000 {
        let mut payload: Vec<u8> = (0..random() % 64).map(|_| random() as u8).collect();
        if round % 2 == 0 {
            // Near the valid ones.
            payload = block(URL_CODED);
            for _ in 0..=random() % 3 {
                let at = random() as usize % payload.len();
                payload[at] = random() as u8;
            }
        }
        let bytes = [frame(HEADERS, random() as u8, &payload), DATA.to_vec()].concat();
        let size = 1 + random() as usize % 20;
        let (out, finished) = fed(&bytes, size);
        if finished {
            assert_eq!(out, bytes);
        }
        assert!(out.ends_with(DATA));
        let noise: Vec<u8> = (0..random() % 64).map(|_| random() as u8).collect();
        fed(&noise, size);
    }
}

#[tokio::test]
async fn a_reader_gets_the_same_in_any_pieces_and_the_filter_goes() {
    for (sent, expected, stays) in [
        (prelude(URL_CODED), prelude(HOST), true),
        (prelude(HOST), prelude(HOST), false),
    ] {
        let (mut client, server) = tokio::io::duplex(3);
        let mut socket = Lenient::new(server);
        let mut seen = Vec::new();
        let (read, ()) = tokio::join!(
            async {
                let mut small = [0; 2];
                loop {
                    match socket.read(&mut small).await {
                        Ok(0) => break Ok(socket.filter.is_some()),
                        Ok(count) => seen.extend_from_slice(&small[..count]),
                        Err(error) => break Err(error),
                    }
                    if !stays && seen.len() == expected.len() {
                        assert!(socket.filter.is_none(), "gone before the client is");
                    }
                }
            },
            async {
                client.write_all(&sent).await.expect("open");
                drop(client);
            }
        );
        assert!(!read.expect("an orderly end"), "nothing left to filter");
        assert_eq!(seen, expected);
    }
}
