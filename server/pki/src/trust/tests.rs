//! Who is accepted, and that everybody else is refused for a reason of their own.

use std::collections::BTreeSet;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, SanType};

use super::*;
use crate::authority::tests::{Cluster, DAY, NOW, admin, client, cluster, node};
use crate::{KeyPair, Root, Subject, identity_of};

fn refused(trust: &Trust, chain: &[CertificateDer<'_>], purpose: Purpose) -> Refused {
    trust.check(chain, purpose, NOW).expect_err("refused")
}

#[test]
fn everybody_is_who_the_uri_says() {
    let cluster = cluster();
    let trust = cluster.trust();
    let who = |subject: &Subject, purpose| {
        let identity = trust
            .check(&cluster.chain(subject), purpose, NOW)
            .expect("accepted");
        assert_eq!(
            identity.root_spki_sha256,
            crate::spki_sha256(cluster.root.certificate()).expect("a root")
        );
        let issuer = crate::spki_sha256(cluster.issuer.certificate()).expect("a CA");
        assert_eq!(identity.issuer_spki_sha256, issuer);
        identity
    };
    let member = who(&node(0xfeed), Purpose::Peer);
    assert_eq!(member.kind, IdentityKind::Node(0xfeed));
    assert_eq!(
        (member.user(), member.member_id(), member.is_admin()),
        (None, Some(0xfeed), false)
    );
    who(&node(1), Purpose::Client);
    who(&node(1), Purpose::Server);
    let alice = who(&client("alice & co/ü"), Purpose::Client);
    assert_eq!(alice.kind, IdentityKind::Client("alice & co/ü".to_owned()));
    assert_eq!(
        (alice.user(), alice.is_admin()),
        (Some("alice & co/ü"), false)
    );
    assert_eq!(alice.common_name, "alice & co/ü");
    let root = who(&admin("root"), Purpose::Client);
    assert_eq!((root.user(), root.is_admin()), (Some("root"), true));
    assert_eq!(root.not_after_unix, NOW + DAY);
    let console = who(
        &Subject::Console {
            names: vec!["10.0.0.1".to_owned()],
        },
        Purpose::Server,
    );
    assert_eq!(
        (console.kind.clone(), console.user()),
        (IdentityKind::Server, None)
    );
    assert_eq!(
        who(&Subject::Join, Purpose::Server).kind,
        IdentityKind::Server
    );
}

#[test]
fn a_member_called_like_a_user_is_not_that_user() {
    let cluster = cluster();
    let subject = Subject::Node {
        member_id: 1,
        member_name: "root".to_owned(),
        names: Vec::new(),
    };
    let identity = cluster
        .trust()
        .check(&cluster.chain(&subject), Purpose::Client, NOW);
    let identity = identity.expect("a member may be a client");
    assert_eq!(
        (identity.common_name.as_str(), identity.user()),
        ("root", None)
    );
}

#[test]
fn only_members_are_peers() {
    let cluster = cluster();
    let trust = cluster.trust();
    for subject in [client("alice"), admin("root")] {
        let wrong = refused(&trust, &cluster.chain(&subject), Purpose::Peer);
        assert!(matches!(wrong, Refused::NotAPeer { .. }), "{wrong}");
    }
    let console = Subject::Console {
        names: vec!["a.example".to_owned()],
    };
    let wrong = refused(&trust, &cluster.chain(&console), Purpose::Peer);
    assert!(matches!(wrong, Refused::WrongUse { .. }), "{wrong}");
}

#[test]
fn clients_do_not_serve_and_listeners_are_no_clients() {
    let cluster = cluster();
    let trust = cluster.trust();
    for subject in [client("alice"), admin("root")] {
        let wrong = refused(&trust, &cluster.chain(&subject), Purpose::Server);
        assert!(
            matches!(
                wrong,
                Refused::WrongUse {
                    used_as: "servers",
                    ..
                }
            ),
            "{wrong}"
        );
    }
    let wrong = refused(&trust, &cluster.chain(&Subject::Join), Purpose::Client);
    assert!(
        matches!(
            wrong,
            Refused::WrongUse {
                used_as: "clients",
                ..
            }
        ),
        "{wrong}"
    );
}

#[test]
fn another_cluster_and_another_root_are_told_apart() {
    let (ours, theirs) = (cluster(), cluster());
    let trust = ours.trust();
    let wrong = refused(&trust, &theirs.chain(&node(1)), Purpose::Peer);
    assert_eq!(
        wrong,
        Refused::OtherDomain {
            theirs: theirs.domain,
            ours: ours.domain
        }
    );
    // Somebody who knows our domain's name and makes an authority for it.
    let root = Root::generate(&ours.domain, NOW).expect("a root");
    let issuer = root.issuing_ca(&ours.domain, NOW).expect("an issuing CA");
    let forged = Cluster {
        domain: ours.domain,
        root,
        issuer,
    };
    for (subject, purpose) in [(node(1), Purpose::Peer), (admin("root"), Purpose::Client)] {
        assert_eq!(
            refused(&trust, &forged.chain(&subject), purpose),
            Refused::UnknownAuthority
        );
    }
    // Another domain's URI, signed by our own authority: nobody but we could have made it, and it is refused.
    let key = KeyPair::generate()
        .expect("random")
        .public()
        .expect("public");
    let validity = Validity::from_now(NOW, DAY);
    let chain = ours
        .issuer
        .sign(&key, &node(1), &theirs.domain, validity)
        .expect("signed");
    let wrong = refused(&trust, chain.certificates(), Purpose::Peer);
    assert!(matches!(wrong, Refused::OtherDomain { .. }), "{wrong}");
}

#[test]
fn time_is_checked_at_both_ends_and_an_hour_of_skew_is_allowed() {
    let cluster = cluster();
    let trust = cluster.trust();
    let chain = cluster.chain(&client("alice"));
    let at = |now| trust.check(&chain, Purpose::Client, now);
    at(NOW - 59 * 60).expect("a clock that is behind");
    at(NOW + DAY).expect("the last second");
    let late = at(NOW + DAY + 1).expect_err("over");
    assert_eq!(
        late,
        Refused::Expired {
            not_after_unix: NOW + DAY,
            now_unix: NOW + DAY + 1
        }
    );
    let early = at(NOW - 2 * 3600).expect_err("not begun");
    assert!(matches!(early, Refused::NotYetValid { .. }), "{early}");
    for now in [i64::MIN, -1, 0, i64::MAX] {
        at(now).expect_err("absurd");
    }
}

#[test]
fn what_was_revoked_is_refused_wherever_it_is_in_the_chain() {
    let cluster = cluster();
    let chain = cluster.chain(&client("alice"));
    let mut trust = cluster.trust();
    let serial = Serial::of(&chain[0]).expect("a serial");
    trust.denied_serials.insert(serial.clone());
    assert_eq!(
        refused(&trust, &chain, Purpose::Client),
        Refused::Revoked {
            serial: serial.clone()
        }
    );
    trust.evicted_serials.insert(serial.clone());
    assert_eq!(
        refused(&trust, &chain, Purpose::Client),
        Refused::Evicted { serial },
        "not told that it can be taken back"
    );
    trust
        .check(&cluster.chain(&client("alice")), Purpose::Client, NOW)
        .expect("another of hers");
    trust.evicted_serials.clear();
    let above = Serial::of(cluster.issuer.certificate()).expect("a serial");
    trust.denied_serials = BTreeSet::from([above]);
    let wrong = refused(&trust, &chain, Purpose::Client);
    assert!(
        wrong.to_string().contains("authority above it was revoked"),
        "{wrong}"
    );
    trust.denied_serials.clear();
    trust.denied_users.insert("alice".to_owned());
    let wrong = refused(&trust, &chain, Purpose::Client);
    assert_eq!(
        wrong,
        Refused::UserDenied {
            user: "alice".to_owned()
        }
    );
    trust
        .check(&cluster.chain(&client("bob")), Purpose::Client, NOW)
        .expect("somebody else");
}

#[test]
fn every_reason_has_its_own_words() {
    let cluster = cluster();
    let mut trust = cluster.trust();
    let chain = cluster.chain(&client("alice"));
    let mut words = BTreeSet::new();
    let mut note = |wrong: Refused| assert!(words.insert(wrong.to_string()), "{wrong} twice");
    note(refused(&trust, &[], Purpose::Client));
    note(refused(
        &trust,
        &[CertificateDer::from(vec![1, 2, 3])],
        Purpose::Client,
    ));
    note(refused(
        &trust,
        &super::tests::cluster().chain(&client("alice")),
        Purpose::Client,
    ));
    note(refused(&trust, &chain, Purpose::Peer));
    note(refused(&trust, &chain, Purpose::Server));
    note(
        trust
            .check(&chain, Purpose::Client, NOW + 2 * DAY)
            .expect_err("over"),
    );
    note(
        trust
            .check(&chain, Purpose::Client, NOW - DAY)
            .expect_err("not begun"),
    );
    note(refused(
        &trust,
        &vec![chain[0].clone(); CHAIN_MAX + 1],
        Purpose::Client,
    ));
    note(refused(&trust, &chain[1..], Purpose::Client));
    trust.denied_users.insert("alice".to_owned());
    note(refused(&trust, &chain, Purpose::Client));
    trust
        .denied_serials
        .insert(Serial::of(&chain[0]).expect("a serial"));
    note(refused(&trust, &chain, Purpose::Client));
    trust.roots.clear();
    note(refused(&trust, &chain, Purpose::Client));
}

#[test]
fn an_operators_authority_names_no_member_and_no_administrator() {
    let cluster = cluster();
    let (foreign_root, chain) = foreign(&cluster.domain);
    let mut trust = cluster.trust();
    assert_eq!(
        refused(&trust, &chain, Purpose::Client),
        Refused::UnknownAuthority
    );
    trust.foreign_roots.push(foreign_root.clone());
    let identity = trust
        .check(&chain, Purpose::Client, NOW)
        .expect("a client of the operator's");
    assert_eq!(
        (identity.kind.clone(), identity.user()),
        (IdentityKind::Foreign, Some("mallory"))
    );
    assert!(!identity.is_admin());
    let wrong = refused(&trust, &chain, Purpose::Peer);
    assert!(matches!(wrong, Refused::NotAPeer { .. }), "{wrong}");
    // Without an authority of our own, the URI means nothing either.
    let identity = Trust::foreign(vec![foreign_root]).check(&chain, Purpose::Client, NOW);
    assert_eq!(identity.expect("accepted").kind, IdentityKind::Foreign);
}

/// An authority that is not ours, and its certificate for whoever claims to be our administrator.
fn foreign(domain: &TrustDomain) -> (CertificateDer<'static>, Vec<CertificateDer<'static>>) {
    let other = cluster();
    let mut params = CertificateParams::default();
    let at = |unix| crate::validity::moment(unix).expect("a date");
    (params.not_before, params.not_after) = (at(NOW - 3600), at(NOW + DAY));
    params
        .distinguished_name
        .push(DnType::CommonName, "mallory");
    let uri = format!("kvorum://{domain}/admin/root");
    params.subject_alt_names = vec![SanType::URI(uri.try_into().expect("ascii"))];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ClientAuth,
        ExtendedKeyUsagePurpose::ServerAuth,
    ];
    let key = KeyPair::generate().expect("random");
    let leaf = params.signed_by(key.signing(), &other.issuer.signer().expect("a signer"));
    let leaf = leaf.expect("signed").der().clone();
    (
        other.root.certificate().clone(),
        vec![leaf, other.issuer.certificate().clone()],
    )
}

#[test]
fn certificates_of_our_own_that_we_would_not_make_are_refused() {
    let cluster = cluster();
    let trust = cluster.trust();
    let domain = cluster.domain;
    let signed = |uris: &[String], usages: &[ExtendedKeyUsagePurpose]| {
        let mut params = CertificateParams::default();
        let at = |unix| crate::validity::moment(unix).expect("a date");
        (params.not_before, params.not_after) = (at(NOW - 3600), at(NOW + DAY));
        let uri = |uri: &String| SanType::URI(uri.as_str().try_into().expect("ascii"));
        params.subject_alt_names = uris.iter().map(uri).collect();
        params.extended_key_usages = usages.to_vec();
        let key = KeyPair::generate().expect("random");
        let signer = cluster.issuer.signer().expect("a signer");
        let leaf = params
            .signed_by(key.signing(), &signer)
            .expect("signed")
            .der()
            .clone();
        vec![leaf, cluster.issuer.certificate().clone()]
    };
    let for_clients = [ExtendedKeyUsagePurpose::ClientAuth];
    let node = format!("kvorum://{domain}/node/1");
    let wrong = refused(
        &trust,
        &signed(std::slice::from_ref(&node), &for_clients),
        Purpose::Peer,
    );
    assert!(
        matches!(wrong, Refused::NotAPeer { .. }),
        "both usages are wanted: {wrong}"
    );
    let two = [node, format!("kvorum://{domain}/admin/root")];
    for uris in [
        &two[..],
        &[],
        &[format!("kvorum://{domain}/node/0x1")],
        &[format!("kvorum://{domain}/node/01")],
        &[format!("kvorum://{domain}/node/+1")],
        &[format!("kvorum://{domain}/node/")],
        &[format!("kvorum://{domain}/owner/root")],
        &[format!("kvorum://{domain}/admin/")],
        &[format!("kvorum://{domain}/admin/%72oot")],
        &[format!("kvorum://{domain}")],
        &["kvorum://".to_owned()],
    ] {
        let wrong = refused(&trust, &signed(uris, &for_clients), Purpose::Client);
        assert!(matches!(wrong, Refused::NoIdentity(_)), "{uris:?}: {wrong}");
    }
}

#[test]
fn an_authority_is_no_client_and_a_client_no_authority() {
    let cluster = cluster();
    let trust = cluster.trust();
    let issuing = [cluster.issuer.certificate().clone()];
    trust
        .check(&issuing, Purpose::Client, NOW)
        .expect_err("an authority's own");
    trust
        .check(&[cluster.root.certificate().clone()], Purpose::Client, NOW)
        .expect_err("the root");
    // A client that signs for others with its own key.
    let alice = cluster.bundle(&client("alice"), Validity::from_now(NOW, DAY));
    let mut params = CertificateParams::default();
    let uri = format!("kvorum://{}/admin/root", cluster.domain);
    params.subject_alt_names = vec![SanType::URI(uri.try_into().expect("ascii"))];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().expect("random");
    let signer = rcgen::Issuer::from_ca_cert_der(alice.chain().leaf(), alice.key().signing());
    let forged = params
        .signed_by(key.signing(), &signer.expect("a signer"))
        .expect("signed");
    let mut chain = vec![forged.der().clone()];
    chain.extend(alice.chain().certificates().iter().cloned());
    trust
        .check(&chain, Purpose::Client, NOW)
        .expect_err("signed by a client");
}

#[test]
fn an_authority_that_is_over_is_seen() {
    let cluster = cluster();
    let trust = cluster.trust();
    let long = Validity::from_now(NOW, 20 * 365 * DAY);
    let chain = cluster
        .bundle(&client("alice"), long)
        .chain()
        .certificates()
        .to_vec();
    let after_issuing = NOW + crate::ISSUING_LIFE_S + 1;
    let wrong = trust
        .check(&chain, Purpose::Client, after_issuing)
        .expect_err("over");
    assert!(matches!(wrong, Refused::AuthorityExpired { .. }), "{wrong}");
    // A member knows the renewed one, so that the client's file goes on working.
    let renewed = cluster
        .root
        .renew_issuing(&cluster.issuer, after_issuing - DAY)
        .expect("renewed");
    let mut knowing = trust.clone();
    knowing.intermediates.push(renewed.certificate().clone());
    knowing
        .check(&chain, Purpose::Client, after_issuing)
        .expect("completed by the member");
    knowing
        .check(&chain[..1], Purpose::Client, after_issuing)
        .expect("shown without a chain");
    let root_end = Validity::of(cluster.root.certificate())
        .expect("a root")
        .not_after_unix;
    let last = cluster
        .root
        .renew_issuing(&cluster.issuer, root_end - DAY)
        .expect("renewed");
    assert_eq!(
        Validity::of(last.certificate())
            .expect("a CA")
            .not_after_unix,
        root_end
    );
    knowing.intermediates.push(last.certificate().clone());
    knowing
        .check(&chain, Purpose::Client, root_end)
        .expect("the root's last second");
    knowing
        .check(&chain, Purpose::Client, root_end + 1)
        .expect_err("the root is over");
}

#[test]
fn a_chain_serves_both_roots_while_they_change() {
    let old = cluster();
    let new_root = Root::generate(&old.domain, NOW).expect("a root");
    let issuer = new_root
        .issuing_ca(&old.domain, NOW)
        .expect("an issuing CA");
    let cross = old.root.cross_sign(&issuer, NOW).expect("cross-signed");
    let issuer = issuer.with_cross(vec![cross]).expect("of the same key");
    let rotated = Cluster {
        domain: old.domain,
        root: new_root,
        issuer,
    };
    let chain = rotated.chain(&node(7));
    assert_eq!(chain.len(), 3);
    for trust in [old.trust(), rotated.trust()] {
        trust
            .check(&chain, Purpose::Peer, NOW)
            .expect("accepted by either root");
    }
    let mut both = old.trust();
    both.roots.push(rotated.root.certificate().clone());
    assert_eq!(both.bundle_hash(), {
        let mut turned = both.clone();
        turned.roots.reverse();
        turned.bundle_hash()
    });
    assert_ne!(both.bundle_hash(), old.trust().bundle_hash());
    both.check(&chain, Purpose::Peer, NOW)
        .expect("accepted by both");
    both.check(&old.chain(&node(7)), Purpose::Peer, NOW)
        .expect("the old one's are still good");
    let gone = rotated.trust();
    assert_eq!(
        refused(&gone, &old.chain(&node(7)), Purpose::Peer),
        Refused::UnknownAuthority
    );
}

#[test]
fn damaged_chains_are_refused_and_nothing_panics() {
    let cluster = cluster();
    let trust = cluster.trust();
    let chain = cluster.chain(&client("alice"));
    let mut seed = 1_u64;
    let mut random = || {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).expect("31 bits")
    };
    for _ in 0..4000 {
        let mut changed = chain.clone();
        let which = random() % changed.len();
        let mut der = changed[which].to_vec();
        match random() % 3 {
            0 => der.truncate(random() % der.len()),
            1 => der.extend_from_slice(&[0]),
            _ => {
                let bit = random() % (der.len() * 8);
                der[bit / 8] ^= 1 << (bit % 8);
            }
        }
        changed[which] = CertificateDer::from(der);
        trust
            .check(&changed, Purpose::Client, NOW)
            .expect_err("changed");
        let _ = identity_of(&changed, Some(&cluster.domain));
    }
}
