//! What a connection does before a message is a message: the same bytes must mean the same however they arrive.

use kvorum_v3rpc::fuzz::{filtered, messages, metadata};

use crate::input::{Input, put_piece};

const MESSAGE_BYTES_MAX: usize = 1 << 10;
const FRAMES: u8 = 0;
const METADATA: u8 = 1;
const KINDS: u8 = 3;

pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    match input.u8() % KINDS {
        FRAMES => frames(input),
        METADATA => {
            let mut pairs = Vec::new();
            while !input.is_empty() {
                pairs.push((input.piece(), input.piece()));
            }
            // Either answer is one; it must not panic.
            let _ = metadata(&pairs);
        }
        _ => authority(input),
    }
}

fn frames(mut input: Input<'_>) {
    let pieces = Pieces::of(&mut input);
    let (whole, refusal) = messages(&[pieces.whole], MESSAGE_BYTES_MAX);
    assert_eq!(
        messages(&pieces.cut, MESSAGE_BYTES_MAX),
        (whole.clone(), refusal),
        "cut into {:?}",
        pieces.cut
    );
    let held: usize = whole.iter().map(|message| message.len() + 5).sum();
    assert!(held <= pieces.whole.len(), "more came out than went in");
}

fn authority(mut input: Input<'_>) {
    let pieces = Pieces::of(&mut input);
    let whole = filtered(&[pieces.whole]);
    assert_eq!(filtered(&pieces.cut), whole, "cut into {:?}", pieces.cut);
    // A Huffman-coded name is written without; its shortest codes have five bits.
    assert!(whole.len() <= 2 * pieces.whole.len() + 16);
}

/// The rest of an input, whole and cut at places that the input names.
struct Pieces<'a> {
    whole: &'a [u8],
    cut: Vec<&'a [u8]>,
}

impl<'a> Pieces<'a> {
    fn of(input: &mut Input<'a>) -> Self {
        let lengths = [input.u8(), input.u8(), input.u8()];
        let whole = input.rest();
        let mut rest = Input::new(whole);
        let mut cut: Vec<&[u8]> = lengths
            .iter()
            .map(|length| rest.bytes(usize::from(*length)))
            .collect();
        cut.push(rest.rest());
        cut.retain(|piece| !piece.is_empty());
        Self { whole, cut }
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![
        // Two messages, an empty one, a compressed one, one that is too large.
        b"\0\x03\x01\x07\0\0\0\0\x02ab\0\0\0\0\0\0\0\0\0\x01c".to_vec(),
        b"\0\x01\x01\x01\x01\0\0\0\0".to_vec(),
        b"\0\x01\x02\x03\0\xff\xff\xff\xff".to_vec(),
    ];
    let mut call = vec![METADATA];
    for piece in [
        "grpc-timeout",
        "10S",
        "hasleader",
        "true",
        "client-api-version",
        "3.6.1",
    ] {
        put_piece(&mut call, piece.as_bytes());
    }
    seeds.push(call);
    // Settings, then headers with an authority that is a URL: by index, by name, padded and with priority.
    let block = b"\x83\x86\x41\x15http://127.0.0.1:2379\x44\x02/x";
    let named = b"\x83\x40\x0a:authority\x15http://127.0.0.1:2379";
    let padded = [b"\x02".as_slice(), block, b"\0\0"].concat();
    let ranked = [b"\0\0\0\0\x10".as_slice(), block].concat();
    for (flags, payload) in [(4, &block[..]), (4, named), (12, &padded), (36, &ranked)] {
        let mut wire = b"\x02\x05\x20\x03\0\0\0\x04\0\0\0\0\0".to_vec();
        wire.extend([0, 0, payload.len() as u8, 1, flags, 0, 0, 0, 1]);
        wire.extend(payload);
        seeds.push(wire);
    }
    seeds
}
