//! What a peer, or somebody who claims to be one, sends on a connection.

use kvorum_member::fuzz::{peer_connection, peer_frames, peer_message};
use kvorum_proto::kvorumpb::{
    Hello, PeerLane, PeerMessage, RaftEntry, RaftMessage, SnapshotOffer, peer_message::Body,
};
use prost::Message;

use crate::input::{Input, put_piece};

const RAW: u8 = 0;
const BODIES: u8 = 1;
const CHOICES: u8 = 3;
const HELLO: u8 = 1;
const MESSAGE: u8 = 4;
const OFFER: u8 = 8;
/// The highest kind that is one.
const KIND_MAX: u8 = 12;

pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    match input.u8() % CHOICES {
        RAW => {
            let step = usize::from(input.u8()).max(1);
            let raw = input.piece();
            let (frames, _) = in_steps(raw, step);
            let held: usize = frames.iter().map(|(_, body)| body.len() + 9).sum();
            assert!(held <= raw.len(), "more came out than went in");
        }
        BODIES => {
            let step = usize::from(input.u8()).max(1);
            let mut bodies = Vec::new();
            while !input.is_empty() {
                bodies.push((input.u8() % KIND_MAX + 1, input.piece()));
            }
            let (frames, refused) = in_steps(&peer_connection(&bodies), step);
            assert!(!refused, "a connection with nothing wrong was cut off");
            let same = frames
                .iter()
                .map(|(kind, body)| (*kind, body.as_ref()))
                .eq(bodies.iter().copied());
            assert!(same, "other bodies came out than went in");
        }
        _ => {
            let kind = input.u8();
            if let Some(once) = peer_message(kind, input.piece()) {
                let twice = peer_message(kind, &once);
                assert_eq!(
                    twice.as_ref(),
                    Some(&once),
                    "it changes each time it is read"
                );
            }
        }
    }
}

/// However the bytes arrive, they mean the same.
fn in_steps(bytes: &[u8], step: usize) -> (Vec<(u8, bytes::Bytes)>, bool) {
    let whole = peer_frames(&[bytes]);
    let pieces: Vec<_> = bytes.chunks(step).collect();
    assert_eq!(peer_frames(&pieces), whole, "in steps of {step}");
    whole
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let hello = Hello {
        protocol: 1,
        protocol_min: 1,
        cluster_id: 1,
        from: 2,
        to: 1,
        boot: 3,
        server_version: "3.6.0".into(),
        lane: PeerLane::Append.into(),
        peer_urls: vec!["https://a:2380".into()],
    };
    let raft = RaftMessage {
        kind: 3,
        to: 1,
        from: 2,
        term: 4,
        entries: vec![RaftEntry {
            term: 4,
            index: 9,
            data: "entry".into(),
            ..RaftEntry::default()
        }],
        ..RaftMessage::default()
    };
    let offer = SnapshotOffer {
        transfer: 5,
        raft: raft.encode_to_vec().into(),
        header: bytes::Bytes::new(),
    };
    let message = PeerMessage {
        body: Some(Body::Raft(raft)),
    };
    let bodies = [
        (HELLO, hello.encode_to_vec()),
        (MESSAGE, message.encode_to_vec()),
        (OFFER, offer.encode_to_vec()),
    ];
    let borrowed: Vec<_> = bodies.iter().map(|(k, b)| (*k, b.as_slice())).collect();
    let mut raw = vec![RAW, 7];
    put_piece(&mut raw, &peer_connection(&borrowed));
    let mut framed = vec![BODIES, 3];
    let mut seeds = Vec::new();
    for (kind, body) in &bodies {
        framed.push(kind - 1);
        put_piece(&mut framed, body);
        let mut single = vec![2, *kind];
        put_piece(&mut single, body);
        seeds.push(single);
    }
    seeds.extend([raw, framed]);
    seeds
}
