//! What no etcd client sends: unknown paths, wrong headers, broken frames.

use bytes::Bytes;
use kvorum_proto::etcdserverpb as pb;
use kvorum_tests::harness::generate::Dice;
use prost::Message;

use crate::{
    messages::Rpc,
    step::Step,
    wire::{Head, framed},
};

/// A request that changes nothing, whatever becomes of it.
fn harmless(dice: &mut Dice) -> (Rpc, Bytes) {
    let range = pb::RangeRequest {
        key: "a".into(),
        ..Default::default()
    };
    dice.pick(&[
        (Rpc::Range, range.encode_to_vec().into()),
        (Rpc::LeaseLeases, Bytes::new()),
        (Rpc::MemberList, Bytes::new()),
    ])
}

/// One odd request.
pub(crate) fn odd(dice: &mut Dice) -> Step {
    let (rpc, message) = harmless(dice);
    let mut head = Head::grpc(rpc.path());
    let mut body = framed(&message);
    match dice.below(12) {
        0..3 => head.path = path(dice),
        3..5 => broken_frame(dice, &mut body),
        5 => head.headers.push(("grpc-timeout", timeout(dice))),
        6 => head
            .headers
            .push(("hasleader", text(dice, &["true", "false", "TRUE", "1", ""]))),
        7 => head.headers.push((
            "client-api-version",
            dice.pick(&[
                Bytes::from_static(b"3.6.14"),
                Bytes::new(),
                Bytes::from_static(b"caf\xc3\xa9"),
                Bytes::from_static(b"\xff\xfe"),
            ]),
        )),
        8 => head.headers.push((
            dice.pick(&["token", "authorization"]),
            dice.pick(&[
                Bytes::new(),
                Bytes::from_static(b"Bearer"),
                Bytes::from_static(b"Bearer of.another"),
                Bytes::from_static(b"YKNNxyvZMpKuVcXl.1"),
                vec![b'x'; 100_000].into(),
            ]),
        )),
        9 => head.headers[0].1 = content_type(dice),
        10 => head.headers.push((
            "grpc-encoding",
            text(dice, &["identity", "gzip", "none", ""]),
        )),
        _ => head.method = dice.pick(&["GET", "PUT", "OPTIONS"]),
    }
    Step::Odd { head, body }
}

fn text(dice: &mut Dice, texts: &[&'static str]) -> Bytes {
    Bytes::from_static(dice.pick(texts).as_bytes())
}

fn path(dice: &mut Dice) -> String {
    let paths = [
        "/etcdserverpb.KV/Steal",
        "/etcdserverpb.KV/range",
        "/etcdserverpb.KV/",
        "/etcdserverpb.Nothing/Range",
        "/etcdserverpb.KV/Range/More",
        "/KV/Range",
        "/x/y",
        "/x",
        "//",
        "/etcdserverpb.KV/Ra%20nge",
    ];
    dice.pick(&paths).to_owned()
}

fn timeout(dice: &mut Dice) -> Bytes {
    text(
        dice,
        &[
            "30S",
            "1H",
            "99999999H",
            "20000m",
            "30000000u",
            "S",
            "",
            "1",
            "-1S",
            "+1S",
            "1.5S",
            "123456789S",
            "1 S",
            "1x",
            "1s",
        ],
    )
}

fn content_type(dice: &mut Dice) -> Bytes {
    text(
        dice,
        &[
            "application/grpc+proto",
            "application/grpc;charset=utf-8",
            "application/grpc+json",
            "application/grpc-web",
            "application/grpcx",
            "application/json",
            "text/plain",
            "",
        ],
    )
}

/// The five bytes before a message, and how many messages there are.
fn broken_frame(dice: &mut Dice, body: &mut Bytes) {
    let whole = body.clone();
    let with = |before: &[u8], after: &[u8]| Bytes::from([before, after].concat());
    *body = match dice.below(8) {
        0 => Bytes::new(),
        1 => whole.slice(..dice.index(5)),
        2 => whole.slice(..whole.len() - usize::from(whole.len() > 5)),
        3 => with(&whole, &whole),
        4 => with(&whole, b"\0"),
        5 => with(&[1], &whole[1..]),
        6 => with(&[dice.pick(&[2, 0x80, 0xff])], &whole[1..]),
        _ => with(&[0, 0xff, 0xff, 0xff, 0xff], &whole[5..]),
    };
}
