//! The rules on membership, in tables.

use std::collections::{BTreeMap, BTreeSet};

use kvorum_proto::etcdserverpb as pb;
use kvorum_proto::kvorumpb::{
    MemberChange, MemberOp, MemberUpdate, NewMember, PublishMember, member_op::Op,
};

use super::*;
use crate::backend::SideChange;
use crate::error::Error;
use crate::types::{Index, MemberId};

fn member(id: u64, name: &str, is_learner: bool) -> pb::Member {
    pb::Member {
        id,
        name: name.into(),
        peer_ur_ls: vec![url(id)],
        client_ur_ls: Vec::new(),
        is_learner,
    }
}

fn url(id: u64) -> String {
    format!("https://10.0.0.{id}:2380")
}

/// Members 1 to `started` run, those up to `voters` were added and never started.
fn cluster(started: u64, voters: u64) -> Members {
    Members::founders((1..=voters).map(|id| {
        let name = if id <= started { "m" } else { "" };
        member(id, name, false)
    }))
}

fn change(ops: impl IntoIterator<Item = Op>) -> MemberChange {
    let ops = ops.into_iter().map(|op| MemberOp { op: Some(op) });
    MemberChange {
        request_id: 7,
        ops: ops.collect(),
        caller: None,
    }
}

fn new(id: u64) -> NewMember {
    NewMember {
        id,
        peer_urls: vec![url(id)],
        promote: false,
    }
}

/// What a leader with id 1 knows, connected for long to these.
fn known(steady: &[u64]) -> Reconfiguration {
    let steady: BTreeSet<_> = steady.iter().map(|id| MemberId(*id)).collect();
    Reconfiguration {
        strict: true,
        learners_max: 1,
        own: MemberId(1),
        reached: steady.clone(),
        matched: steady
            .iter()
            .chain([&MemberId(1)])
            .map(|id| (*id, Index(100)))
            .collect(),
        steady,
    }
}

/// All that is asked before a change is proposed.
fn check(members: &Members, change: &MemberChange, known: &Reconfiguration) -> Result<(), Error> {
    check_connections(members, change, known)?;
    super::check(members, change, known)
}

fn applied(members: &mut Members, ops: impl IntoIterator<Item = Op>) -> Result<(), Error> {
    members.change(&change(ops), &mut Vec::new()).map(drop)
}

#[test]
fn adding_a_voter_needs_enough_started_and_connected_ones() {
    // Started, voters, connected besides the leader, verdict: etcd's own table for these rules.
    for (started, voters, steady, verdict) in [
        (1, 1, &[][..], Ok(())),
        (2, 2, &[2], Ok(())),
        (1, 2, &[], Err(Error::NotEnoughStarted)),
        (2, 3, &[2], Err(Error::NotEnoughStarted)),
        (3, 3, &[2, 3], Ok(())),
        (3, 3, &[2], Err(Error::Unhealthy)),
        (3, 4, &[2, 3], Ok(())),
        (2, 2, &[], Err(Error::Unhealthy)),
    ] {
        let members = cluster(started, voters);
        let verdict_found = check(&members, &change([Op::Add(new(9))]), &known(steady));
        assert_eq!(verdict_found, verdict, "{started} of {voters}, {steady:?}");
        let lax = Reconfiguration {
            strict: false,
            ..known(steady)
        };
        assert_eq!(check(&members, &change([Op::Add(new(9))]), &lax), Ok(()));
    }
}

#[test]
fn a_learner_needs_connections_and_room() {
    let mut members = cluster(3, 3);
    let add = |id| change([Op::AddLearner(new(id))]);
    assert_eq!(check(&members, &add(9), &known(&[2, 3])), Ok(()));
    assert_eq!(
        check(&members, &add(9), &known(&[2])),
        Err(Error::Unhealthy)
    );
    applied(&mut members, [Op::AddLearner(new(9))]).expect("allowed");
    let full = check(&members, &add(10), &known(&[2, 3]));
    assert_eq!(full, Err(Error::TooManyLearners));
    let exists = check(&members, &add(9), &known(&[2, 3]));
    assert_eq!(exists, Err(Error::MemberExists));
}

#[test]
fn removing_a_voter_needs_a_quorum_of_the_rest() {
    for (started, voters, steady, id, verdict) in [
        (1, 1, &[][..], 1, Err(Error::NotEnoughStarted)),
        (1, 1, &[], 5, Err(Error::MemberNotFound)),
        (1, 2, &[], 2, Ok(())),
        (1, 2, &[], 1, Err(Error::NotEnoughStarted)),
        (2, 2, &[2], 1, Ok(())),
        (3, 3, &[2, 3], 1, Ok(())),
        (3, 3, &[2, 3], 3, Ok(())),
        (3, 3, &[2], 3, Ok(())),
        (3, 3, &[2], 2, Err(Error::Unhealthy)),
        (3, 3, &[2], 1, Err(Error::Unhealthy)),
        (3, 5, &[2, 3], 5, Ok(())),
        (3, 5, &[2, 3], 3, Err(Error::NotEnoughStarted)),
    ] {
        let members = cluster(started, voters);
        let verdict_found = check(&members, &change([Op::Remove(id)]), &known(steady));
        assert_eq!(verdict_found, verdict, "{started}/{voters} - {id}");
    }
}

#[test]
fn the_last_voter_stays_even_where_nothing_is_checked() {
    let mut members = cluster(1, 1);
    applied(&mut members, [Op::AddLearner(new(2))]).expect("allowed");
    let lax = Reconfiguration::default();
    let remove = change([Op::Remove(1)]);
    assert_eq!(check(&members, &remove, &lax), Err(Error::NotEnoughStarted));
    let before = members.clone();
    let refused = applied(&mut members, [Op::Remove(1)]);
    assert_eq!(refused, Err(Error::NotEnoughStarted));
    assert_eq!(members, before, "all or nothing");
}

#[test]
fn only_a_learner_that_has_caught_up_is_promoted() {
    let mut members = cluster(3, 3);
    applied(&mut members, [Op::AddLearner(new(4))]).expect("allowed");
    let promote = |id| change([Op::Promote(id)]);
    let at = |matched| {
        let mut known = known(&[2, 3, 4]);
        known.matched.insert(MemberId(4), Index(matched));
        known
    };
    for (id, matched, verdict) in [
        (4, 100, Ok(())),
        (4, 90, Ok(())),
        (4, 89, Err(Error::LearnerNotReady)),
        (2, 100, Err(Error::MemberNotLearner)),
        (1, 100, Err(Error::MemberNotLearner)),
        (9, 100, Err(Error::MemberNotFound)),
    ] {
        assert_eq!(check(&members, &promote(id), &at(matched)), verdict, "{id}");
    }
    applied(&mut members, [Op::Promote(4)]).expect("allowed");
    let again = applied(&mut members, [Op::Promote(4)]);
    assert_eq!(again, Err(Error::MemberNotLearner));
    assert_eq!(members.voters().count(), 4);
}

#[test]
fn what_every_member_checks_gives_etcds_refusals() {
    let mut members = cluster(2, 2);
    applied(&mut members, [Op::Remove(2)]).expect("allowed");
    let same_url = NewMember {
        peer_urls: vec![url(1)],
        ..new(3)
    };
    let no_url = NewMember {
        peer_urls: Vec::new(),
        ..new(3)
    };
    for (op, refusal) in [
        (Op::Add(new(1)), Error::MemberExists),
        (Op::Add(new(2)), Error::MemberNotFound),
        (Op::AddLearner(same_url), Error::PeerUrlExists),
        (Op::AddLearner(no_url), Error::MemberBadUrls),
        (Op::Remove(2), Error::MemberNotFound),
        (Op::Remove(77), Error::MemberNotFound),
        (Op::Promote(2), Error::MemberNotFound),
        (Op::Promote(1), Error::MemberNotLearner),
    ] {
        let refused = applied(&mut members, [op.clone()]);
        assert_eq!(refused, Err(refusal), "{op:?}");
    }
    let unknown_kind = MemberChange {
        request_id: 1,
        ops: vec![MemberOp { op: None }],
        caller: None,
    };
    assert!(members.change(&unknown_kind, &mut Vec::new()).is_err());
}

#[test]
fn a_dead_member_is_replaced_at_its_own_address_in_one_change() {
    let mut members = cluster(3, 3);
    let replacement = NewMember {
        id: 30,
        peer_urls: vec![url(3)],
        promote: true,
    };
    let replace = change([Op::Remove(3), Op::AddLearner(replacement)]);
    assert_eq!(check(&members, &replace, &known(&[2])), Ok(()));
    let mut notes = Vec::new();
    members.change(&replace, &mut notes).expect("allowed");
    assert_eq!(members.list().len(), 3);
    assert_eq!(members.voters().count(), 2);
    assert!(members.is_removed(MemberId(3)));
    assert_eq!(members.to_promote().collect::<Vec<_>>(), [MemberId(30)]);
    // Once more: the old one is gone.
    let again = members.change(&replace, &mut Vec::new());
    assert_eq!(again, Err(Error::MemberNotFound));
    // A voter that the others need is not given up for a learner.
    let needed = change([Op::Remove(2), Op::AddLearner(new(20))]);
    assert_eq!(
        check(&cluster(3, 3), &needed, &known(&[2])),
        Err(Error::Unhealthy)
    );
}

#[test]
fn the_table_comes_back_from_what_was_noted() {
    let mut members = Members::default();
    let mut notes = Members::founders([member(1, "a", false), member(2, "b", false)]).rows();
    for note in &notes {
        let SideChange::MetaPut(key, value) = note else {
            unreachable!("founders delete nothing")
        };
        assert!(members.restore(key, value));
    }
    let wish = NewMember {
        promote: true,
        ..new(4)
    };
    let steps = [
        change([Op::Add(new(3)), Op::AddLearner(wish)]),
        change([Op::Remove(2)]),
    ];
    for step in &steps {
        members.change(step, &mut notes).expect("allowed");
    }
    let update = MemberUpdate {
        member_id: 3,
        peer_urls: vec!["https://other:2380".into()],
    };
    members.update(&update, &mut notes).expect("allowed");
    let told = PublishMember {
        member_id: 4,
        name: "d".into(),
        client_urls: vec!["https://d:2379".into()],
        ..Default::default()
    };
    members.publish(&told, &mut notes);
    let mut kept: BTreeMap<String, bytes::Bytes> = BTreeMap::new();
    for note in notes {
        match note {
            SideChange::MetaPut(key, value) => {
                kept.insert(key, value);
            }
            SideChange::MetaDelete(key) => {
                kept.remove(&key).expect("was put before");
            }
            other => panic!("{other:?}"),
        }
    }
    let mut restored = Members::default();
    for (key, value) in &kept {
        assert!(restored.restore(key, value), "{key}");
    }
    assert!(!restored.restore("alarm/0000000000000001/1", &bytes::Bytes::new()));
    assert_eq!(restored, members);
    let mut again = Members::default();
    for row in restored.rows() {
        let SideChange::MetaPut(key, value) = row else {
            unreachable!("rows are put")
        };
        again.restore(&key, &value);
    }
    assert_eq!(again, members);
}

#[test]
fn an_update_touches_only_the_peer_urls_of_a_member() {
    let mut members = cluster(2, 2);
    let update = |member_id, url: &str| MemberUpdate {
        member_id,
        peer_urls: vec![url.into()],
    };
    let mut try_update = |id, url: &str| members.update(&update(id, url), &mut Vec::new());
    assert_eq!(try_update(9, "http://x:1"), Err(Error::MemberNotFound));
    assert_eq!(try_update(2, &url(1)), Err(Error::PeerUrlExists));
    // Its own URL is no conflict.
    assert!(try_update(2, &url(2)).is_ok());
    assert!(try_update(2, "http://x:1").is_ok());
    let changed = members.get(MemberId(2)).expect("is a member");
    assert_eq!(changed.peer_ur_ls, ["http://x:1"]);
    assert_eq!(changed.name, "m");
}

#[test]
fn only_members_are_heard_when_they_publish() {
    let mut members = cluster(1, 2);
    applied(&mut members, [Op::Remove(2)]).expect("allowed");
    let told = |member_id| PublishMember {
        member_id,
        name: "ghost".into(),
        ..Default::default()
    };
    let mut notes = Vec::new();
    members.publish(&told(2), &mut notes);
    members.publish(&told(3), &mut notes);
    assert!(notes.is_empty());
    assert_eq!(members.list().len(), 1);
    // A voter's wish to be promoted means nothing.
    let wish = PublishMember {
        promote: true,
        ..told(1)
    };
    members.publish(&wish, &mut notes);
    assert_eq!(members.to_promote().count(), 0);
}

#[test]
fn a_learner_is_promoted_by_itself_only_if_it_was_asked_for() {
    let mut members = cluster(3, 3);
    applied(&mut members, [Op::AddLearner(new(4))]).expect("allowed");
    let mut known = known(&[2, 3, 4]);
    let tell = |members: &mut Members, promote| {
        let told = PublishMember {
            member_id: 4,
            name: "d".into(),
            promote,
            ..Default::default()
        };
        members.publish(&told, &mut Vec::new());
    };
    tell(&mut members, false);
    assert_eq!(due_promotion(&members, &known, Index(100)), None);
    tell(&mut members, true);
    let due = due_promotion(&members, &known, Index(100)).expect("caught up");
    assert_eq!(due.ops, change([Op::Promote(4)]).ops);
    // Too far behind, or out of reach.
    known.matched.insert(MemberId(1), Index(5000));
    known.matched.insert(MemberId(4), Index(3999));
    assert_eq!(due_promotion(&members, &known, Index(5000)), None);
    known.matched.insert(MemberId(4), Index(4600));
    assert!(due_promotion(&members, &known, Index(5000)).is_some());
    known.reached.remove(&MemberId(4));
    assert_eq!(due_promotion(&members, &known, Index(5000)), None);
}

#[test]
fn the_cluster_version_is_the_lowest_and_never_falls() {
    for (current, members, decided) in [
        (None, &[Some("3.6.14"), Some("3.6.2")][..], Some("3.6.0")),
        (None, &[Some("3.6.14"), None], Some(MIN_CLUSTER_VERSION)),
        (Some("3.0.0"), &[Some("3.6.14"), None], None),
        (
            Some("3.0.0"),
            &[Some("3.6.14"), Some("3.7.0-rc.1")],
            Some("3.6.0"),
        ),
        (Some("3.6.0"), &[Some("3.6.14"), Some("3.6.1")], None),
        (
            Some("3.6.0"),
            &[Some("3.10.0"), Some("3.7.1")],
            Some("3.7.0"),
        ),
        (Some("3.7.0"), &[Some("3.6.14")], None),
        (None, &[Some("nonsense")], Some(MIN_CLUSTER_VERSION)),
    ] {
        let found = decide_cluster_version(current, members.iter().copied());
        assert_eq!(found.as_deref(), decided, "{current:?} {members:?}");
    }
}

#[test]
fn contact_counts_from_its_beginning_and_ends_with_silence() {
    let mut contacts = Contacts::new(1000);
    let id = MemberId(2);
    contacts.heard(id, 0);
    contacts.heard(id, 900);
    assert!(contacts.in_touch(1800, 1800).contains(&id));
    assert!(contacts.in_touch(1901, 0).is_empty(), "silent for too long");
    contacts.heard(id, 3000);
    assert!(contacts.in_touch(3500, 1000).is_empty(), "a new beginning");
    contacts.connected(id, 3600);
    contacts.connected(id, 9000);
    assert!(contacts.in_touch(9000, 5400).contains(&id));
    contacts.disconnected(id);
    assert!(contacts.in_touch(9000, 0).is_empty());
}

#[test]
fn peer_urls_are_read_as_etcd_reads_them() {
    let good = [
        ("http://localhost:2380", "http://localhost:2380"),
        (" HTTPS://a.example:1 ", "https://a.example:1"),
        ("https://[::1]:2380", "https://[::1]:2380"),
    ];
    for (given, kept) in good {
        assert_eq!(peer_urls(&[given.into()]), Ok(vec![kept.into()]), "{given}");
    }
    for bad in [
        "",
        "a:1",
        "localhost",
        "http://",
        "http://a",
        "http://a:",
        "http://a:0",
        "http://a:+1",
        "http://a:65536",
        "http://:1",
        "http://a:1/",
        "http://a:1/members",
        "http://a:1?x",
        "http://u@a:1",
        "http://a b:1",
        "http://[::1:1",
        "http://[x]:1",
        "http://a\n:1",
        "ftp://a:1",
        "unix://a:1",
        "http//a:1",
    ] {
        assert_eq!(
            peer_urls(&[bad.into()]),
            Err(Error::MemberBadUrls),
            "{bad:?}"
        );
    }
    assert_eq!(peer_urls(&[]), Err(Error::MemberBadUrls));
    let two = ["http://b:1".to_owned(), "http://a:1".to_owned()];
    assert_eq!(
        peer_urls(&two),
        Ok(vec!["http://a:1".into(), "http://b:1".into()])
    );
    for (url, loopback) in [
        ("http://127.9.9.9:1", true),
        ("http://LOCALHOST.:1", true),
        ("http://[::1]:1", true),
        ("http://10.0.0.1:1", false),
        ("http://a.example:1", false),
    ] {
        let parsed = PeerUrl::parse(url).expect("a URL");
        assert_eq!(parsed.is_loopback(), loopback, "{url}");
    }
}
