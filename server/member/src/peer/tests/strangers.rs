//! Those who are no members: they get nothing, keep nothing for long, and keep nobody else out.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use kvorum_core::MemberId;
use kvorum_core::replica::Lane;
use kvorum_proto::kvorumpb::{PeerLane, PeerProbe};

use super::super::frame::{Joiner, Kind, PREAMBLE};
use super::rig::{Lodging, SOON, TestMember, message};

fn connect(to: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(to).expect("listening");
    socket.set_read_timeout(Some(SOON)).expect("valid");
    socket
}

/// Sends this and reads until the member hangs up; how long that took.
fn hung_up_on(to: &TestMember, bytes: &[u8]) -> Duration {
    let begin = Instant::now();
    let mut socket = connect(to.address);
    // It may hang up before everything was written.
    let _ = socket.write_all(bytes);
    let mut rest = Vec::new();
    match socket.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("the connection stays open: {error}"),
    }
    begin.elapsed()
}

fn greeting(to: &TestMember, lane: PeerLane) -> (BytesMut, Joiner) {
    let mut hello = to.peers.hub.hello(Some(MemberId(to.id)), lane);
    hello.from = 5;
    let (mut bytes, mut joiner) = (BytesMut::from(PREAMBLE.as_slice()), Joiner::default());
    joiner.join(Kind::Hello, &hello, &mut bytes);
    (bytes, joiner)
}

#[test]
fn what_is_not_the_protocol_is_cut_off_at_once() {
    let one = Lodging::of(1).live();
    let (hello, _) = greeting(&one, PeerLane::Append);
    let mut message_first = BytesMut::from(PREAMBLE.as_slice());
    Joiner::default().join(Kind::Message, &message(1, 10), &mut message_first);
    let mut too_long = BytesMut::from(PREAMBLE.as_slice());
    too_long.extend_from_slice(&(1_u32 << 20).to_be_bytes());
    too_long.extend_from_slice(&[0; 100]);
    let mut damaged = hello.clone();
    *damaged.last_mut().expect("not empty") ^= 1;
    for bytes in [
        b"GET /members HTTP/1.1\r\n\r\n".as_slice(),
        &[0x16, 0x03, 0x01, 0x02, 0x00, 0x01],
        &message_first,
        &too_long,
        &damaged,
    ] {
        let took = hung_up_on(&one, bytes);
        assert!(took < one.peers.hub.timing.handshake, "{took:?}: {bytes:?}");
    }
    assert!(one.told().is_empty());
}

#[test]
fn members_that_break_the_protocol_are_cut_off() {
    let one = Lodging::of(1).live();
    let endings: [fn(&mut Joiner, &mut BytesMut); 4] = [
        |joiner, bytes| joiner.join(Kind::Hello, &PeerProbe::default(), bytes),
        |joiner, bytes| {
            joiner.join(
                Kind::Message,
                &PeerProbe {
                    number: 1,
                    echo: true,
                },
                bytes,
            )
        },
        |_, bytes| bytes.extend_from_slice(&[0xff; 64]),
        |joiner, bytes| joiner.join(Kind::SnapshotEnd, &PeerProbe::default(), bytes),
    ];
    for ending in endings {
        for lane in [PeerLane::Control, PeerLane::Append, PeerLane::Bulk] {
            let (mut bytes, mut joiner) = greeting(&one, lane);
            ending(&mut joiner, &mut bytes);
            hung_up_on(&one, &bytes);
        }
    }
}

#[test]
fn silence_and_dripping_end_with_the_deadline() {
    let one = Lodging::of(1).live();
    let deadline = one.peers.hub.timing.handshake;
    let took = hung_up_on(&one, b"");
    assert!(took >= deadline / 2, "{took:?}");
    let (bytes, _) = greeting(&one, PeerLane::Control);
    let mut socket = connect(one.address);
    let begin = Instant::now();
    for byte in bytes.iter() {
        if socket.write_all(&[*byte]).is_err() {
            break;
        }
        std::thread::sleep(deadline / 20);
    }
    let mut rest = Vec::new();
    let read = socket.read_to_end(&mut rest).unwrap_or(0);
    assert_eq!(read, 0, "nobody welcomes a greeting that late");
    assert!(begin.elapsed() >= deadline / 2);
}

#[test]
fn a_crowd_on_the_doorstep_keeps_no_member_out() {
    let (one, two) = (Lodging::of(1).live(), Lodging::of(2).live());
    let crowd: Vec<_> = (0..300).map(|_| connect(one.address)).collect();
    two.knows(&[(1, one.url())]);
    two.wait_connected(1);
    let mut next = 0;
    two.send_until_heard(&one, Lane::Append, &mut next);
    drop(crowd);
}

#[test]
fn half_a_message_costs_what_came_of_it() {
    let one = Lodging::of(1).live();
    let (mut bytes, _) = greeting(&one, PeerLane::Append);
    // A frame that claims 70 MiB, of which nothing follows: the silence ends it.
    bytes.extend_from_slice(&(70_u32 << 20).to_be_bytes());
    bytes.extend_from_slice(&[0; 8]);
    hung_up_on(&one, &bytes);
}
