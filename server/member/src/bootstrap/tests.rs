//! Every way to begin, in tables: who may, who may not, and what the operator reads.

use std::cell::RefCell;

use super::*;

/// Answers by the first URL of each member that is asked.
#[derive(Default)]
struct Told {
    replies: Vec<(&'static str, PeerMembersReply)>,
    asked: RefCell<usize>,
    /// Replies from the second time on.
    later: Option<PeerMembersReply>,
}

impl Elders for Told {
    fn members(&self, urls: &[Vec<String>], _: Duration) -> Vec<Result<PeerMembersReply, String>> {
        *self.asked.borrow_mut() += 1;
        let answer = |urls: &Vec<String>| {
            let found = self.replies.iter().find(|(url, _)| urls[0] == *url);
            let reply = found.map(|(_, reply)| reply.clone());
            match (&self.later, *self.asked.borrow() > 1) {
                (Some(later), true) => Ok(later.clone()),
                _ => reply.ok_or_else(|| "connection refused".to_owned()),
            }
        };
        urls.iter().map(answer).collect()
    }
}

const A: &str = "http://10.0.0.1:2380";
const B: &str = "http://10.0.0.2:2380";
const C: &str = "http://10.0.0.3:2380";

fn options(name: &str, url: &str, cluster: &[(&str, &str)], state: ClusterState) -> MemberOptions {
    MemberOptions {
        name: name.into(),
        peer_urls: vec![url.into()],
        initial_cluster: cluster
            .iter()
            .map(|(name, url)| InitialMember {
                name: (*name).into(),
                peer_urls: vec![(*url).into()],
            })
            .collect(),
        cluster_state: state,
        cluster_token: "tkn".into(),
        heartbeat_interval: Duration::from_millis(1),
        ..MemberOptions::default()
    }
}

const THREE: &[(&str, &str)] = &[("a", A), ("b", B), ("c", C)];

fn founders() -> Identity {
    begin(&options("a", A, THREE, ClusterState::New), &Told::default()).expect("nobody objects")
}

/// What a member of the founded cluster answers, after `change`.
fn reply(change: impl FnOnce(&mut PeerMembersReply)) -> PeerMembersReply {
    let identity = founders();
    let mut reply = PeerMembersReply {
        cluster_id: identity.cluster_id.0,
        member_id: identity.members[1].id.0,
        members: identity.members.iter().map(member_of).collect(),
        cluster_version: "3.6.0".into(),
        ..Default::default()
    };
    change(&mut reply);
    reply
}

fn text(result: Result<Identity, BootstrapError>) -> String {
    result.expect_err("must be refused").to_string()
}

#[test]
fn founders_agree_on_all_ids() {
    let at = |name, url| {
        begin(
            &options(name, url, THREE, ClusterState::New),
            &Told::default(),
        )
        .expect("founded")
    };
    let (a, b) = (at("a", A), at("b", B));
    assert_eq!(a.cluster_id, b.cluster_id);
    assert_eq!(a.members, b.members);
    assert_eq!(a.members[1].id, b.member_id);
    assert_ne!(a.member_id, b.member_id);
    assert_eq!(a.origin, Origin::Founding);
}

#[test]
fn a_member_alone_asks_nobody_and_has_etcds_ids() {
    let told = Told::default();
    let alone = MemberOptions {
        cluster_token: "etcd-cluster".into(),
        ..MemberOptions::default()
    };
    let identity = begin(&alone, &told).expect("founded");
    assert_eq!(identity.member_id.0, 0x8e9e_05c5_2164_694d);
    assert_eq!(*told.asked.borrow(), 0);
}

#[test]
fn settings_that_contradict_each_other_are_refused_in_etcds_words() {
    for (name, url, cluster, expected) in [
        (
            "d",
            A,
            THREE,
            "couldn't find local name \"d\" in the initial cluster configuration",
        ),
        (
            "a",
            B,
            THREE,
            "--initial-cluster has a=http://10.0.0.1:2380 but missing from \
             --initial-advertise-peer-urls=http://10.0.0.2:2380",
        ),
        ("a", A, &[("a", A), ("b", A)], "has duplicate url"),
        ("a", A, &[("a", "nonsense")], "are no peer URLs"),
        ("a", "ftp://x:1", &[("a", A)], "is no list of peer URLs"),
    ] {
        let refused = begin(
            &options(name, url, cluster, ClusterState::New),
            &Told::default(),
        );
        let refused = text(refused);
        assert!(refused.contains(expected), "{refused}");
    }
    let mut two = options("a", A, &[("a", A)], ClusterState::New);
    two.peer_urls.push(B.into());
    let refused = text(begin(&two, &Told::default()));
    let expected = "--initial-advertise-peer-urls has http://10.0.0.2:2380 but missing from --initial-cluster=a=";
    assert!(refused.contains(expected), "{refused}");
}

#[test]
fn a_founder_is_refused_where_the_cluster_knows_better() {
    let ran = reply(|r| {
        r.members[0]
            .client_ur_ls
            .push("http://10.0.0.1:2379".into())
    });
    let fresh = reply(|_| {});
    let removed = reply(|r| {
        let gone = r.members.remove(0);
        r.removed.push(gone.id);
    });
    let other = reply(|r| r.cluster_id = 5);
    let new = |reply: &PeerMembersReply| {
        let told = Told {
            replies: vec![(C, reply.clone())],
            ..Told::default()
        };
        begin(&options("a", A, THREE, ClusterState::New), &told)
    };
    assert!(new(&fresh).is_ok());
    let wiped = text(new(&ran));
    let id = format!("{:x}", founders().member_id.0);
    assert!(wiped.contains("has already been bootstrapped"), "{wiped}");
    let command = format!("kvorum member replace {id} --name a --peer-urls {A}");
    assert!(wiped.contains(&command), "{wiped}");
    let gone = new(&removed).expect_err("removed");
    assert!(matches!(gone, BootstrapError::Removed(_)), "{gone}");
    let elsewhere = text(new(&other));
    assert!(elsewhere.contains("belongs to cluster 5"), "{elsewhere}");
    assert!(elsewhere.contains("kvorum member add a"), "{elsewhere}");
}

#[test]
fn whoever_joins_takes_the_id_that_the_cluster_gave_it() {
    let known = reply(|r| r.members[0].id = 77);
    let told = Told {
        replies: vec![(B, known)],
        ..Told::default()
    };
    let joined = begin(&options("a", A, THREE, ClusterState::Existing), &told).expect("known");
    assert_eq!(joined.member_id, MemberId(77));
    assert_eq!(joined.cluster_id, founders().cluster_id);
    assert_eq!(joined.origin, Origin::Joined);
    assert_eq!(joined.members.len(), 3);
}

#[test]
fn whoever_joins_waits_until_somebody_knows_it() {
    let told = Told {
        replies: vec![(B, reply(|r| r.members.truncate(2)))],
        later: Some(reply(|_| {})),
        ..Told::default()
    };
    let c = options("c", C, THREE, ClusterState::Existing);
    assert!(begin(&c, &told).is_ok());
    assert_eq!(*told.asked.borrow(), 2);
}

#[test]
fn joining_is_refused_with_etcds_words_or_a_command() {
    let once = |reply: Option<PeerMembersReply>| {
        let told = Told {
            replies: reply.map(|r| (B, r)).into_iter().collect(),
            ..Told::default()
        };
        let options = options("a", A, THREE, ClusterState::Existing);
        let initial = initial_members(&options, &[A.into()]).expect("well formed");
        let others = others(&initial, &initial[0]);
        text(join_once(
            &initial,
            &initial[0],
            &others,
            &told,
            Duration::ZERO,
        ))
    };
    for (reply, expected) in [
        (
            None,
            "could not retrieve cluster information from the given URLs",
        ),
        (
            Some(reply(|r| r.members.truncate(2))),
            "error validating peerURLs a=http://10.0.0.1:2380,b=http://10.0.0.2:2380,c=http://10.0.0.3:2380: member \
             count is unequal",
        ),
        (
            Some(reply(|r| {
                r.members[2].peer_ur_ls = vec!["http://x:1".into()]
            })),
            "no match found for existing member",
        ),
        (
            Some(reply(|r| {
                r.members[0].client_ur_ls = vec!["http://x:1".into()]
            })),
            "has already been bootstrapped",
        ),
        (
            Some(reply(|r| r.cluster_version = "3.9.0".into())),
            "incompatible with current running cluster",
        ),
    ] {
        let refused = once(reply);
        assert!(refused.contains(expected), "{refused}");
    }
}

#[test]
fn files_of_another_member_are_refused_with_the_command_to_run() {
    let of_b = Identity {
        member_id: founders().members[1].id,
        name: "b".into(),
        ..founders()
    };
    let at = |name, url| check_own(&of_b, &options(name, url, THREE, ClusterState::New));
    assert_eq!(at("b", B), Ok(()));
    // A new name or a new address is its own business.
    assert_eq!(at("renamed", B), Ok(()));
    assert_eq!(at("b", "http://10.0.0.9:2380"), Ok(()));
    let swapped = at("a", A).expect_err("a's address").to_string();
    let a = format!("{:x}", founders().member_id.0);
    let command = format!("kvorum member replace {a} --name a --peer-urls {A}");
    assert!(swapped.contains("holds the files of member"), "{swapped}");
    assert!(swapped.contains(&command), "{swapped}");
    // An old directory does not know the members.
    let old = Identity {
        members: Vec::new(),
        ..of_b.clone()
    };
    assert_eq!(
        check_own(&old, &options("a", A, THREE, ClusterState::New)),
        Ok(())
    );
}
