//! Requests of somebody who can connect, and is no member.

use kvorum_proto::etcdserverpb as pb;
use kvorum_proto::kvorumpb::{
    Command, Forward, ForwardedAsk, MemberChange, MemberOp, command::Op, forwarded_ask, member_op,
    peer_message::Body,
};

use super::super::peers::message;
use super::cluster::Cluster;
use crate::types::MemberId;

fn forwarded_put() -> Body {
    let put = pb::PutRequest {
        key: "a".into(),
        ..Default::default()
    };
    let command = Command {
        request_id: 77,
        op: Some(Op::Put(put)),
        ..Command::default()
    };
    Body::Forward(Forward {
        session: 1,
        floor: 1,
        asks: vec![ForwardedAsk {
            sequence: 1,
            ask: Some(forwarded_ask::Ask::Propose(command)),
            ..ForwardedAsk::default()
        }],
    })
}

#[test]
fn who_is_no_member_has_nothing_proposed() {
    let mut cluster = Cluster::new(&[1, 2, 3]);
    let leader = cluster.elect();
    // So long they have been in touch, and one may go.
    cluster.ticks(60);
    let before = cluster.revision(leader);
    cluster.receive(leader, MemberId(99), message(forwarded_put()));
    cluster.ticks(5);
    assert_eq!(cluster.revision(leader), before, "nobody knows 99");
    let other = MemberId(cluster.other_than(leader));
    cluster.receive(leader, other, message(forwarded_put()));
    cluster.ticks(5);
    assert_eq!(cluster.revision(leader), before + 1, "a member may");
    let removal = MemberOp {
        op: Some(member_op::Op::Remove(other.0)),
    };
    cluster.change(
        leader,
        MemberChange {
            ops: vec![removal],
            ..MemberChange::default()
        },
    );
    cluster.ticks(20);
    assert_eq!(cluster.voters(leader).len(), 2);
    let before = cluster.revision(leader);
    cluster.receive(leader, other, message(forwarded_put()));
    cluster.ticks(5);
    assert_eq!(cluster.revision(leader), before, "it was removed");
}
