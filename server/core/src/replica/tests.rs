//! Scripted clusters of replicas: disks that are always in time, unless a test says otherwise, and a network that
//! delivers at once.

mod auth;
mod cluster;
mod strangers;

use kvorum_proto::kvorumpb::{MemberChange, MemberOp, NewMember, member_op};

use super::Answer;
use crate::error::Error;
use crate::reply::Reply;
use crate::types::{LeaseId, MemberId};
use cluster::Cluster;

#[test]
fn three_members_elect_one_and_apply_the_same() {
    let mut cluster = Cluster::new(&[1, 2, 3]);
    let leader = cluster.elect();
    for (n, member) in [leader, 1, 2, 3].into_iter().enumerate() {
        let id = cluster.put(member, "k", &format!("v{n}"));
        assert!(matches!(
            cluster.answer(member, id),
            Some(Answer::Applied(Ok(Reply::Put(_))))
        ));
    }
    cluster.settle();
    cluster.assert_equal();
}

#[test]
fn a_read_at_a_follower_sees_what_was_acknowledged() {
    let mut cluster = Cluster::new(&[1, 2, 3]);
    let leader = cluster.elect();
    let follower = cluster.other_than(leader);
    let id = cluster.put(leader, "k", "v");
    assert!(cluster.answer(leader, id).is_some());
    let id = cluster.read(follower);
    assert!(matches!(
        cluster.answer(follower, id),
        Some(Answer::Readable)
    ));
}

#[test]
fn a_leader_without_its_quorum_confirms_no_read() {
    let mut cluster = Cluster::new(&[1, 2, 3]);
    let leader = cluster.elect();
    cluster.isolate(leader);
    let id = cluster.read(leader);
    cluster.ticks(30);
    assert!(cluster.answer(leader, id).is_none());
    assert_ne!(cluster.leader(), Some(leader));
}

#[test]
fn a_write_at_a_follower_survives_the_end_of_its_leader() {
    let mut cluster = Cluster::new(&[1, 2, 3]);
    let leader = cluster.elect();
    let follower = cluster.other_than(leader);
    cluster.isolate(leader);
    let id = cluster.put(follower, "k", "v");
    cluster.ticks(40);
    assert!(matches!(
        cluster.answer(follower, id),
        Some(Answer::Applied(Ok(_)))
    ));
    cluster.heal();
    cluster.ticks(10);
    cluster.assert_equal();
}

#[test]
fn what_was_forwarded_twice_is_applied_once() {
    let mut cluster = Cluster::new(&[1, 2, 3]);
    let leader = cluster.elect();
    let follower = cluster.other_than(leader);
    cluster.repeat_forwards = true;
    let before = cluster.revision(leader);
    let id = cluster.put(follower, "k", "v");
    assert!(cluster.answer(follower, id).is_some());
    cluster.ticks(3);
    assert_eq!(cluster.revision(leader), before + 1);
    cluster.assert_equal();
}

#[test]
fn a_commit_needs_no_leader_whose_disk_sleeps() {
    let mut cluster = Cluster::new(&[1, 2, 3]);
    let leader = cluster.elect();
    cluster.hang_disk(leader);
    let follower = cluster.other_than(leader);
    let id = cluster.put(follower, "k", "v");
    assert!(
        matches!(cluster.answer(follower, id), Some(Answer::Applied(Ok(_)))),
        "two followers are a majority"
    );
}

#[test]
fn a_leader_whose_disk_hangs_denies_no_lease_that_its_followers_granted() {
    let mut cluster = Cluster::new(&[1, 2, 3]);
    let leader = cluster.elect();
    cluster.hang_disk(leader);
    let follower = cluster.other_than(leader);
    let granted = cluster.grant(follower, 7, 60);
    let granted = cluster.answer(follower, granted);
    assert!(matches!(granted, Some(Answer::Applied(Ok(_)))));
    for asked in [leader, follower] {
        let id = cluster.keep_alive(asked, LeaseId(7));
        cluster.ticks(60);
        let answer = cluster.answer(asked, id);
        assert!(!matches!(answer, Some(Answer::Renewed(0))), "{answer:?}");
    }
}

#[test]
fn a_leader_whose_disk_hangs_hands_over() {
    let mut cluster = Cluster::new(&[1, 2, 3]);
    let leader = cluster.elect();
    cluster.hang_disk(leader);
    let _waiting = cluster.put(leader, "k", "v");
    cluster.ticks(30);
    let next = cluster.leader().expect("the others agree on one");
    assert_ne!(next, leader);
    let id = cluster.put(next, "k", "w");
    assert!(cluster.answer(next, id).is_some());
    cluster.wake_disk(leader);
    cluster.ticks(5);
    cluster.assert_equal();
}

#[test]
fn a_lease_is_renewed_through_a_follower() {
    let mut cluster = Cluster::new(&[1, 2, 3]);
    let leader = cluster.elect();
    let follower = cluster.other_than(leader);
    let id = cluster.grant(follower, 7, 60);
    assert!(matches!(
        cluster.answer(follower, id),
        Some(Answer::Applied(Ok(_)))
    ));
    let id = cluster.keep_alive(follower, LeaseId(7));
    assert!(matches!(
        cluster.answer(follower, id),
        Some(Answer::Renewed(60))
    ));
    let id = cluster.keep_alive(follower, LeaseId(8));
    assert!(matches!(
        cluster.answer(follower, id),
        Some(Answer::Renewed(0))
    ));
}

#[test]
fn the_leadership_moves_where_it_is_asked_to() {
    let mut cluster = Cluster::new(&[1, 2, 3]);
    let leader = cluster.elect();
    let follower = cluster.other_than(leader);
    let id = cluster.transfer(leader, MemberId(follower));
    cluster.ticks(3);
    assert!(matches!(
        cluster.answer(leader, id),
        Some(Answer::Transferred)
    ));
    assert_eq!(cluster.leader(), Some(follower));
    let id = cluster.transfer(leader, MemberId(follower));
    assert!(matches!(
        cluster.answer(leader, id),
        Some(Answer::Refused(Error::NotLeader))
    ));
}

#[test]
fn a_member_is_replaced_in_one_change() {
    let mut cluster = Cluster::new(&[1, 2, 3]);
    let leader = cluster.elect();
    let follower = cluster.other_than(leader);
    cluster.ticks(60);
    let learner = NewMember {
        id: 9,
        peer_urls: vec!["https://h9:2380".into()],
        promote: false,
    };
    let change = MemberChange {
        request_id: 0,
        ops: vec![
            MemberOp {
                op: Some(member_op::Op::Remove(follower)),
            },
            MemberOp {
                op: Some(member_op::Op::AddLearner(learner)),
            },
        ],
        caller: None,
    };
    let id = cluster.change(leader, change);
    cluster.ticks(5);
    assert!(matches!(
        cluster.answer(leader, id),
        Some(Answer::Applied(Ok(_)))
    ));
    let voters = cluster.voters(leader);
    assert_eq!(voters.len(), 2, "{voters:?}");
    assert!(!voters.contains(&MemberId(follower)));
    assert!(cluster.was_removed(follower));
}

#[test]
fn a_leader_that_removed_itself_tells_those_who_lack_its_removal() {
    let mut cluster = Cluster::new(&[1, 2, 3]);
    let leader = cluster.elect();
    let late = cluster.other_than(leader);
    cluster.ticks(60);
    cluster.isolate(late);
    cluster.put(leader, "a", "1");
    let change = MemberChange {
        caller: None,
        request_id: 0,
        ops: vec![MemberOp {
            op: Some(member_op::Op::Remove(leader)),
        }],
    };
    cluster.change(leader, change);
    cluster.ticks(3);
    // One of the two that are left has its removal: they are no majority without the other.
    assert!(!cluster.was_removed(leader));
    cluster.heal();
    cluster.ticks(5);
    assert!(cluster.was_removed(leader));
    cluster.ticks(60);
    let next = cluster.leader().expect("the two others elect one");
    assert_ne!(next, leader);
    assert_eq!(cluster.voters(late).len(), 2);
}
