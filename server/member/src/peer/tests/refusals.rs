//! Who is sent away, and that both sides know why.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::time::Duration;

use kvorum_core::MemberId;
use kvorum_core::replica::Lane;
use kvorum_proto::kvorumpb::{
    Hello, PeerLane, PeerMembersRequest, PeerRefusalReason as Reason, PeerRequest,
    peer_reply::Told, peer_request::Ask,
};

use super::super::dial::{NotReached, PeerUrl, dial};
use super::super::{AskError, PeerEvent};
use super::rig::{Lodging, TestMember, eventually};

/// Dials `to` as `from` with a greeting that was tampered with.
fn refused(from: &TestMember, to: &TestMember, change: impl FnOnce(&mut Hello)) -> Option<Reason> {
    let hub = &from.peers.hub;
    let mut hello = hub.hello(Some(MemberId(to.id)), PeerLane::Control);
    change(&mut hello);
    let url = PeerUrl::parse(&to.url()).expect("a URL");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    match runtime.block_on(dial(hub, &url, &hello)) {
        Ok(_) => None,
        Err(NotReached::Refused { refusal, .. }) => Some(refusal.reason()),
        Err(NotReached::Failed(error)) => panic!("{error}"),
    }
}

#[test]
fn each_wrong_greeting_is_refused_with_its_reason() {
    let (one, two) = (Lodging::of(1).live(), Lodging::of(2).live());
    two.knows_and_removed(&[(2, two.url())], &[9]);
    type Change = fn(&mut Hello);
    let cases: [(Change, Option<Reason>); 8] = [
        (|_| (), None),
        (|h| h.cluster_id = 8, Some(Reason::WrongCluster)),
        (|h| h.to = 3, Some(Reason::WrongMember)),
        (|h| h.from = 9, Some(Reason::Removed)),
        (|h| h.from = 2, Some(Reason::Self_)),
        (|h| h.protocol_min = 2, Some(Reason::Protocol)),
        (|h| h.lane = 0, Some(Reason::Malformed)),
        (|h| h.from = 0, Some(Reason::Malformed)),
    ];
    for (change, reason) in cases {
        assert_eq!(refused(&one, &two, change), reason);
    }
}

#[test]
fn a_member_of_another_cluster_never_gets_through() {
    let (one, mut other) = (Lodging::of(1).live(), Lodging::of(2));
    other.cluster = 8;
    let other = other.live();
    one.knows(&[(2, other.url())]);
    other.knows(&[(1, one.url())]);
    one.send(2, Lane::Control, 1, 10);
    one.wait_unreachable(2);
    std::thread::sleep(Duration::from_millis(300));
    assert!(!one.is_connected(2) && !other.is_connected(1));
    assert!(other.told().is_empty());
}

#[test]
fn a_swapped_address_is_noticed() {
    let (one, two, three) = (
        Lodging::of(1).live(),
        Lodging::of(2).live(),
        Lodging::of(3).live(),
    );
    one.knows(&[(2, three.url()), (3, two.url())]);
    std::thread::sleep(Duration::from_millis(300));
    assert!(!one.is_connected(2) && !one.is_connected(3));
    one.knows(&[(2, two.url()), (3, three.url())]);
    eventually("both are found", || {
        one.is_connected(2) && one.is_connected(3)
    });
}

#[test]
fn a_removed_member_learns_it_at_once_and_at_every_dial() {
    let (one, two) = (Lodging::of(1).live(), Lodging::of(2).live());
    let removed = |event| matches!(event, PeerEvent::Removed { by } if by.0 == 1).then_some(());
    one.knows(&[(1, one.url()), (2, two.url())]);
    two.knows(&[(1, one.url()), (2, two.url())]);
    two.wait_connected(1);
    one.wait_connected(2);
    one.knows_and_removed(&[(1, one.url())], &[2]);
    two.wait("the open connection says it", removed);
    two.told();
    two.wait("the next dial says it", removed);
    one.send(2, Lane::Append, 1, 10);
    one.wait_unreachable(2);
}

#[test]
fn a_starting_member_lets_nobody_in_and_is_found_once_it_knows_itself() {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let again = socket.try_clone().expect("a file descriptor");
    let (starting, address) = Lodging::of(2).open(socket);
    let one = Lodging::of(1).live();
    let url = format!("http://{address}");
    one.knows(&[(2, url.clone())]);
    let request = || PeerRequest {
        ask: Some(Ask::Members(PeerMembersRequest {})),
    };
    let asked = one.peers.ask(
        std::slice::from_ref(&url),
        request(),
        Duration::from_millis(500),
    );
    match asked {
        Err(AskError::Unreachable(reason)) => {
            assert!(reason.ends_with("is still starting"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    assert!(!one.is_connected(2));
    drop(starting);
    let _two = Lodging::of(2).live_at(again);
    one.wait_connected(2);
    let asked = one.peers.ask(&[url], request(), Duration::from_secs(10));
    match asked {
        Ok(Told::Members(members)) => assert_eq!(members.member_id, 2),
        other => panic!("{other:?}"),
    }
}

#[test]
fn somebody_without_a_cluster_may_ask_who_the_members_are() {
    let one = Lodging::of(1).live();
    let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let (nobody, _) = Lodging::of(0).open(socket);
    let request = PeerRequest {
        ask: Some(Ask::Members(PeerMembersRequest {})),
    };
    let dead = "http://127.0.0.1:1".to_owned();
    let asked = nobody.ask(&[one.url(), dead], request, Duration::from_secs(10));
    assert!(matches!(asked, Ok(Told::Members(m)) if m.cluster_id == 7));
    let none = nobody.ask(&[], PeerRequest::default(), Duration::from_millis(1));
    assert!(matches!(none, Err(AskError::Unreachable(_))));
    nobody.set_members(&[], &BTreeSet::new());
}

#[test]
fn plain_peers_are_not_dialled_unless_that_is_allowed() {
    let one = Lodging::of(1).live();
    let strict = super::super::Peers::start(super::super::PeerOptions::default()).expect("starts");
    let asked = strict.ask(
        &[one.url()],
        PeerRequest::default(),
        Duration::from_millis(1),
    );
    match asked {
        Err(AskError::Unreachable(reason)) => {
            assert!(reason.contains("peer-allow-plain"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}
