//! The parsers of a connection, without the connection.

use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};
use kvorum_core::{ClusterId, MemberId};
use kvorum_proto::kvorumpb::{
    Hello, PeerMessage, PeerProbe, PeerRefusal, PeerReply, PeerRequest, RaftMessage, SnapshotChunk,
    SnapshotEnd, SnapshotOffer, SnapshotProgress, SnapshotVerdict, Welcome,
};
use prost::Message;

use super::frame::{
    FRAME_BYTES_MAX, Frame, Joiner, KINDS, Kind, PREAMBLE, Splitter, check_preamble,
};
use super::hello::{PeerIdentity, explain, judge, refusal};

const HOME: PeerIdentity = PeerIdentity {
    cluster_id: ClusterId(1),
    member_id: MemberId(1),
    boot: 1,
};

pub(crate) fn frames(pieces: &[&[u8]]) -> (Vec<(u8, Bytes)>, bool) {
    let (mut splitter, mut received) = (Splitter::new(FRAME_BYTES_MAX), BytesMut::new());
    let (mut frames, mut met) = (Vec::new(), false);
    for piece in pieces {
        received.extend_from_slice(piece);
        if !met {
            match check_preamble(&mut received) {
                Ok(whole) => met = whole,
                Err(_) => return (frames, true),
            }
        }
        if !met {
            continue;
        }
        loop {
            match splitter.split(&mut received) {
                Ok(Some(frame)) => frames.push((frame.kind as u8, frame.body)),
                Ok(None) => break,
                Err(_) => return (frames, true),
            }
        }
    }
    (frames, false)
}

pub(crate) fn connection(frames: &[(u8, &[u8])]) -> Vec<u8> {
    let (mut joiner, mut bytes) = (Joiner::default(), BytesMut::from(PREAMBLE.as_slice()));
    for (kind, body) in frames {
        joiner.join_bytes(*kind, body, &mut bytes);
    }
    bytes.to_vec()
}

pub(crate) fn message(kind: u8, body: &[u8]) -> Option<Vec<u8>> {
    let kind = KINDS.into_iter().find(|known| *known as u8 == kind)?;
    let frame = Frame {
        kind,
        body: Bytes::copy_from_slice(body),
    };
    match kind {
        Kind::Hello => {
            let hello: Hello = frame.read(kind).ok()?;
            let removed = BTreeSet::from([MemberId(9)]);
            if let Err(reason) = judge(&hello, Some(HOME), &removed) {
                // The words must come, whatever they are.
                let _ = explain(&refusal(reason, Some(HOME)), &hello);
            }
            Some(hello.encode_to_vec())
        }
        Kind::Welcome => again::<Welcome>(frame),
        Kind::Refusal => again::<PeerRefusal>(frame),
        Kind::Message => again::<PeerMessage>(frame),
        Kind::Probe => again::<PeerProbe>(frame),
        Kind::Request => again::<PeerRequest>(frame),
        Kind::Reply => again::<PeerReply>(frame),
        Kind::SnapshotOffer => {
            let offer: SnapshotOffer = frame.read(kind).ok()?;
            RaftMessage::decode(offer.raft.clone()).ok()?;
            Some(offer.encode_to_vec())
        }
        Kind::SnapshotChunk => again::<SnapshotChunk>(frame),
        Kind::SnapshotEnd => again::<SnapshotEnd>(frame),
        Kind::SnapshotProgress => again::<SnapshotProgress>(frame),
        Kind::SnapshotVerdict => again::<SnapshotVerdict>(frame),
    }
}

fn again<M: Message + Default>(frame: Frame) -> Option<Vec<u8>> {
    let kind = frame.kind;
    frame.read::<M>(kind).ok().map(|m| m.encode_to_vec())
}
