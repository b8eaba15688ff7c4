//! How a change of the root goes on, whom it waits for, and for how long.

use kvorum_proto::kvorumpb::{
    RotationForce, TrustCertificate, TrustSeen, trust_denial::Subject, trust_op::Op,
};

use super::{Cluster, DAY, NOW, ack, bytes, certificate, deny, renewed};
use crate::trust::{SEEN_MAX, Stage, TrustRefused};
use crate::types::MemberId;

#[test]
fn a_rotation_waits_for_each_machine_of_a_user_who_has_several() {
    let mut cluster = Cluster::ready(&[1, 2, 3]);
    cluster.ack_all(1);
    for serial in [1, 2, 3] {
        cluster.does(certificate(serial, "apiserver", 1));
    }
    cluster.begin(30 * DAY).expect("begun");
    cluster.ack_all(1);
    cluster.issue_from(2).expect("all trust it");
    cluster.ack_all(2);
    // One more machine of that name is not one that has been renewed.
    cluster.does(certificate(7, "apiserver", 2));
    for (serial, old) in [(4, 1), (5, 2), (6, 2)] {
        cluster.does(renewed(serial, old, "apiserver"));
        let progress = cluster.trust.progress(&cluster.members, cluster.now);
        assert_eq!(progress.users, ["apiserver"]);
    }
    cluster.does(renewed(8, 3, "apiserver"));
    cluster.now += 3 * DAY;
    assert_eq!(cluster.stage(), Stage::Drop);
}

#[test]
fn a_certificate_that_is_shown_on_is_waited_for_to_the_end_of_the_grace_period() {
    let mut cluster = Cluster::ready(&[1]);
    cluster.ack_all(1);
    cluster.does(certificate(1, "ann", 1));
    let seen = |of: u8| {
        let serials = vec![bytes(of, 16)];
        Op::Seen(TrustSeen { serials })
    };
    assert_eq!(cluster.apply(seen(1)), Err(TrustRefused::NoRotation));
    cluster.begin(30 * DAY).expect("begun");
    cluster.ack_all(1);
    cluster.issue_from(2).expect("all trust it");
    cluster.ack_all(2);
    let waited = |cluster: &Cluster| {
        let progress = cluster.trust.progress(&cluster.members, cluster.now);
        let until = progress.certificates.iter().map(|old| old.until_unix_s);
        (progress.stage, until.collect::<Vec<_>>())
    };
    assert_eq!(waited(&cluster), (Stage::Grace, vec![0]));
    cluster.does(renewed(2, 1, "ann"));
    assert_eq!(waited(&cluster), (Stage::Grace, vec![NOW + 3 * DAY]));
    // The answer was lost, or there is a copy on another machine.
    for day in (2..30).step_by(2) {
        cluster.now = NOW + day * DAY;
        assert_eq!(cluster.stage(), Stage::Grace, "day {day}");
        cluster.does(seen(1));
        // Of others nothing is noted: it would wait for nothing.
        cluster.does(seen(2));
        cluster.does(seen(9));
        assert_eq!(waited(&cluster).1, [cluster.now + 3 * DAY]);
        assert_eq!(cluster.drop_old(), Err(TrustRefused::RotationWaits));
        assert_eq!(cluster.restored(), cluster.trust);
    }
    cluster.now = NOW + 30 * DAY;
    assert_eq!(cluster.stage(), Stage::Drop, "no longer than was promised");
    let many = vec![bytes(1, 16); SEEN_MAX + 1];
    let many = cluster.apply(Op::Seen(TrustSeen { serials: many }));
    assert_eq!(many, Err(TrustRefused::Malformed));
    cluster.does(Op::Deny(deny(Subject::Serial(bytes(1, 16)))));
    assert_eq!(waited(&cluster), (Stage::Drop, vec![]));
}

#[test]
fn one_that_was_replaced_before_the_root_changed_is_watched_before_it_is_given_up() {
    let mut cluster = Cluster::ready(&[1]);
    cluster.ack_all(1);
    cluster.does(certificate(1, "ann", 1));
    let Op::Issued(next) = renewed(2, 1, "ann") else {
        panic!("a certificate");
    };
    cluster.does(Op::Issued(TrustCertificate { root: 1, ..next }));
    cluster.now += 40 * DAY;
    cluster.begin(10 * DAY).expect("begun");
    cluster.ack_all(1);
    cluster.issue_from(2).expect("all trust it");
    cluster.ack_all(2);
    cluster.does(renewed(3, 2, "ann"));
    let progress = cluster.trust.progress(&cluster.members, cluster.now);
    assert_eq!(progress.certificates.len(), 2);
    cluster.now += DAY;
    assert_eq!(cluster.stage(), Stage::Drop);
}

#[test]
fn to_go_on_without_members_and_to_end_the_grace_period_are_two_decisions() {
    let mut cluster = Cluster::ready(&[1, 2]);
    cluster.ack_all(1);
    cluster.does(certificate(1, "ann", 1));
    cluster.begin(30 * DAY).expect("begun");
    let bundle = cluster.trust.bundle();
    cluster.does(ack(1, bundle, 1));
    let force = |cluster: &Cluster| RotationForce {
        after: cluster.trust.authority(),
        ..RotationForce::default()
    };
    let wish = RotationForce {
        without_unreached: true,
        ..force(&cluster)
    };
    cluster.does(Op::RotationForce(wish));
    let rotation = |cluster: &Cluster| cluster.trust.rotation().expect("goes on").clone();
    assert!(rotation(&cluster).without_unreached);
    assert_eq!(
        cluster.stage(),
        Stage::Bundle,
        "the leader has not said which"
    );
    let named = RotationForce {
        without_members: vec![2],
        unreached_named: true,
        ..force(&cluster)
    };
    cluster.does(Op::RotationForce(named));
    assert!(!rotation(&cluster).without_unreached);
    assert_eq!(cluster.stage(), Stage::Issuer);
    cluster.issue_from(2).expect("allowed");
    cluster.does(ack(1, bundle, 2));
    assert_eq!(cluster.stage(), Stage::Grace, "clients have their time");
    let end = RotationForce {
        end_grace: true,
        ..force(&cluster)
    };
    cluster.does(Op::RotationForce(end));
    assert_eq!(cluster.stage(), Stage::Drop);
}

#[test]
fn a_rotation_goes_through_its_stages_and_skips_none() {
    let mut cluster = Cluster::ready(&[1, 2, 3]);
    cluster.ack_all(1);
    cluster.does(certificate(1, "ann", 1));
    assert_eq!(cluster.begin(30 * DAY).map(drop), Ok(()));
    assert_eq!(cluster.begin(0), Err(TrustRefused::RotationUnderway));
    assert_eq!(cluster.trust.roots().count(), 2, "both are trusted");
    assert_eq!(cluster.stage(), Stage::Bundle);
    assert_eq!(cluster.issue_from(2), Err(TrustRefused::RotationWaits));
    // The old root may still sign meanwhile.
    cluster.issue_from(1).expect("of the old root");
    let bundle = cluster.trust.bundle();
    for id in [1, 2] {
        cluster.does(ack(id, bundle, 1));
        assert_eq!(cluster.stage(), Stage::Bundle);
    }
    let waiting = cluster.trust.progress(&cluster.members, NOW).members;
    assert_eq!(waiting, [MemberId(3)]);
    cluster.does(ack(3, bundle, 1));
    assert_eq!(cluster.stage(), Stage::Issuer);
    assert_eq!(cluster.drop_old(), Err(TrustRefused::RotationWaits));
    cluster.issue_from(2).expect("all trust it");
    assert_eq!(cluster.stage(), Stage::Reissue);
    assert_eq!(
        cluster.issue_from(1),
        Err(TrustRefused::RotationWaits),
        "never back"
    );
    cluster.ack_all(2);
    let progress = cluster.trust.progress(&cluster.members, NOW);
    assert_eq!(progress.stage, Stage::Grace);
    assert_eq!(progress.users, ["ann"]);
    assert_eq!(progress.grace_until_unix_s, NOW + 30 * DAY);
    assert_eq!(cluster.drop_old(), Err(TrustRefused::RotationWaits));
    // Ann gets a certificate of the new root.
    cluster.does(renewed(2, 1, "ann"));
    let progress = cluster.trust.progress(&cluster.members, NOW);
    assert_eq!((progress.stage, progress.users.len()), (Stage::Grace, 1));
    assert_eq!(cluster.drop_old(), Err(TrustRefused::RotationWaits));
    // It may be on its way to her still, or lost.
    cluster.now += 3 * DAY - 1;
    assert_eq!(cluster.stage(), Stage::Grace);
    cluster.now += 1;
    assert_eq!(cluster.stage(), Stage::Drop);
    cluster.drop_old().expect("nothing needs it");
    assert_eq!(cluster.stage(), Stage::None);
    assert_eq!(cluster.trust.roots().map(|r| r.id).collect::<Vec<_>>(), [2]);
    assert_eq!(cluster.drop_old(), Err(TrustRefused::NoRotation));
}

#[test]
fn the_grace_period_ends_by_itself_or_by_force() {
    for force in [false, true] {
        let mut cluster = Cluster::ready(&[1, 2]);
        cluster.does(certificate(1, "ann", 1));
        cluster.begin(DAY).expect("allowed");
        let bundle = cluster.trust.bundle();
        cluster.does(ack(1, bundle, 1));
        if !force {
            cluster.does(ack(2, bundle, 1));
        } else {
            let force = RotationForce {
                after: cluster.trust.authority(),
                without_members: vec![2],
                end_grace: true,
                ..RotationForce::default()
            };
            cluster.does(Op::RotationForce(force));
        }
        assert_eq!(cluster.stage(), Stage::Issuer);
        cluster.issue_from(2).expect("allowed");
        cluster.does(ack(1, bundle, 2));
        if !force {
            assert_eq!(cluster.stage(), Stage::Reissue);
            cluster.does(ack(2, bundle, 2));
            assert_eq!(cluster.stage(), Stage::Grace);
            cluster.now += DAY;
        }
        assert_eq!(cluster.stage(), Stage::Drop);
        cluster.drop_old().expect("over");
    }
}
