//! What travels: order, loss, and never twice.

use kvorum_core::MemberId;
use kvorum_core::replica::Lane;

use super::super::PeerEvent;
use super::number_of;
use super::rig::{Lodging, Network, TestMember, eventually};

/// Two members that are connected, the first one through a network of its own.
fn pair() -> (TestMember, TestMember, Network) {
    let (one, two) = (Lodging::of(1).live(), Lodging::of(2).live());
    let network = Network::before(two.address);
    one.knows(&[(1, one.url()), (2, network.url())]);
    two.knows(&[(1, one.url()), (2, two.url())]);
    one.wait_connected(2);
    (one, two, network)
}

#[test]
fn both_lanes_keep_their_order_and_lose_nothing_while_all_is_well() {
    let (one, two, _network) = pair();
    let mut next = 0;
    one.send_until_heard(&two, Lane::Control, &mut next);
    let mut next = 1 << 32;
    one.send_until_heard(&two, Lane::Append, &mut next);
    two.told();
    for number in 0..5000 {
        one.send(2, Lane::Control, 1000 + number, 20);
        one.send(2, Lane::Append, (2 << 32) + number, 200);
    }
    let (mut control, mut append) = (Vec::new(), Vec::new());
    while control.len() + append.len() < 10_000 {
        match two.wait_number() {
            number if number >= 2 << 32 => append.push(number - (2 << 32)),
            number if number >= 1 << 32 => {}
            number if number >= 1000 => control.push(number - 1000),
            _ => {}
        }
    }
    let all: Vec<u64> = (0..5000).collect();
    assert_eq!(control, all);
    assert_eq!(append, all);
}

#[test]
fn nothing_comes_twice_however_often_the_connection_breaks() {
    let (one, two, network) = pair();
    let mut next = 0;
    let mut last = 0;
    for _ in 0..10 {
        let heard = one.send_until_heard(&two, Lane::Append, &mut next);
        assert!(heard > last, "{heard} after {last}");
        last = heard;
        for _ in 0..500 {
            next += 1;
            one.send(2, Lane::Append, next, 100);
        }
        network.cut();
        for event in two.told() {
            if let PeerEvent::Message { message, .. } = event {
                let number = number_of(&message);
                assert!(number > last, "{number} after {last}");
                last = number;
            }
        }
    }
}

#[test]
fn a_peer_that_takes_nothing_costs_a_bounded_queue() {
    let (one, two, network) = pair();
    let mut next = 0;
    one.send_until_heard(&two, Lane::Append, &mut next);
    network.set_frozen(true);
    for number in 0..200 {
        one.send(2, Lane::Append, number, 1 << 20);
    }
    one.wait_unreachable(2);
    let route = one.peers.hub.route(MemberId(2)).expect("a member");
    assert!(route.queue(Lane::Append).bytes() <= 32 << 20);
    assert!(route.meters.sent_failures.get() > 0);
    network.set_frozen(false);
    // What was on its way may still come first.
    next = 10_000;
    while one.send_until_heard(&two, Lane::Append, &mut next) <= 10_000 {}
}

#[test]
fn a_damaged_frame_ends_its_connection_and_the_next_one_works() {
    let (one, two, network) = pair();
    let mut next = 0;
    let mut last = one.send_until_heard(&two, Lane::Append, &mut next);
    network.damage_at(5000);
    let unreadable = |member: &TestMember| {
        let families = member.peers.registry().gather();
        families
            .iter()
            .filter(|family| family.name() == "etcd_network_peer_received_failures_total")
            .flat_map(|family| family.get_metric())
            .map(|metric| metric.get_counter().get_value())
            .sum::<f64>()
    };
    eventually("the damage is noticed", || {
        next += 1;
        one.send(2, Lane::Append, next, 100);
        unreadable(&two) > 0.0
    });
    one.wait_unreachable(2);
    for _ in 0..5 {
        let heard = one.send_until_heard(&two, Lane::Append, &mut next);
        assert!(heard > last, "{heard} after {last}");
        last = heard;
    }
}

#[test]
fn a_half_open_connection_is_noticed_and_replaced() {
    let (one, two, network) = pair();
    let mut next = 0;
    one.send_until_heard(&two, Lane::Control, &mut next);
    network.set_frozen(true);
    one.wait_unreachable(2);
    eventually("the peer counts as lost", || !one.is_connected(2));
    network.cut();
    network.set_frozen(false);
    eventually("the peer is back", || one.is_connected(2));
    one.send_until_heard(&two, Lane::Control, &mut next);
}

#[test]
fn an_idle_connection_stays() {
    let (one, two, _network) = pair();
    let mut next = 0;
    one.send_until_heard(&two, Lane::Control, &mut next);
    one.told();
    // Three times as long as silence is borne.
    std::thread::sleep(one.peers.hub.timing.patience * 3);
    assert!(one.is_connected(2));
    let events = one.told();
    assert!(events.is_empty(), "{events:?}");
    let rtt = one.peers.hub.route(MemberId(2)).expect("a member");
    assert!(rtt.meters.round_trip.get_sample_count() > 3);
}

#[test]
fn all_addresses_of_a_peer_are_tried_and_new_ones_taken_up() {
    let (one, two) = (Lodging::of(1).live(), Lodging::of(2).live());
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let dead = format!("http://{}", nobody.local_addr().expect("bound"));
    drop(nobody);
    let member = |urls: Vec<String>| kvorum_proto::etcdserverpb::Member {
        id: 2,
        peer_ur_ls: urls,
        ..Default::default()
    };
    let none = std::collections::BTreeSet::new();
    one.peers.set_members(&[member(vec![dead.clone()])], &none);
    assert!(!one.is_connected(2));
    one.peers
        .set_members(&[member(vec![dead, two.url()])], &none);
    one.wait_connected(2);
}

#[test]
fn a_member_that_nobody_announced_gets_its_answers() {
    let (one, two) = (Lodging::of(1).live(), Lodging::of(2).live());
    one.knows(&[(1, one.url()), (2, two.url())]);
    two.knows(&[(2, two.url())]);
    two.wait_connected(1);
    let mut next = 0;
    two.send_until_heard(&one, Lane::Append, &mut next);
    two.knows(&[(1, one.url()), (2, two.url())]);
    two.wait_connected(1);
    two.send_until_heard(&one, Lane::Append, &mut next);
}

#[test]
fn what_was_sent_before_the_end_is_written_out() {
    let (one, two, _network) = pair();
    let mut next = 0;
    one.send_until_heard(&two, Lane::Control, &mut next);
    two.told();
    one.send(2, Lane::Control, 1 << 40, 10);
    drop(one);
    while two.wait_number() != 1 << 40 {}
}
