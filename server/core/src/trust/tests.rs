//! What is promised of tokens, denials and rotations, played with random changes.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kvorum_proto::etcdserverpb as pb;
use kvorum_proto::kvorumpb::{
    CertificateKind, IssuerChange, JoinToken, JoinTokenIssued, RotationBegin, RotationDrop,
    RotationForce, TokenBurn, TokenRole, TrustAck, TrustCertificate, TrustDenial, TrustInit,
    TrustIssuer, TrustOp, trust_denial::Subject, trust_op::Op,
};

use super::{Stage, TOKEN_LIFE_MAX_S, Trust, TrustRefused};
use crate::backend::SideChange;
use crate::membership::Members;
use crate::reply::Reply;
use crate::types::MemberId;

mod rotating;

const NOW: i64 = 1_800_000_000;
const DAY: i64 = 24 * 3600;

fn bytes(of: u8, len: usize) -> Bytes {
    vec![of; len].into()
}

fn issuer(root: u64) -> TrustIssuer {
    TrustIssuer {
        der: bytes(3, 300),
        sealed_key: bytes(4, 80),
        root,
        not_before_unix_s: NOW,
        not_after_unix_s: NOW + 90 * DAY,
        ..TrustIssuer::default()
    }
}

fn init() -> Op {
    Op::Init(TrustInit {
        domain: bytes(7, 16),
        root_der: bytes(1, 300),
        sealed_root_key: bytes(2, 80),
        issuer: Some(issuer(0)),
    })
}

fn token(id: u8, role: TokenRole) -> JoinToken {
    JoinToken {
        id: bytes(id, 10),
        secret_sha256: bytes(9, 32),
        expires_unix_s: NOW + 1800,
        role: role.into(),
        name: "new".into(),
        created_by: "root".into(),
        member_id: u64::from(role == TokenRole::Rejoin) * 2,
        ..JoinToken::default()
    }
}

fn burn(id: u8, csr: u8) -> TokenBurn {
    TokenBurn {
        id: bytes(id, 10),
        csr_sha256: bytes(csr, 32),
        role: TokenRole::Voter.into(),
    }
}

fn certificate(serial: u8, user: &str, root: u64) -> Op {
    Op::Issued(TrustCertificate {
        serial: bytes(serial, 16),
        kind: CertificateKind::Client.into(),
        subject: user.into(),
        not_after_unix_s: NOW + 90 * DAY,
        root,
        ..TrustCertificate::default()
    })
}

/// A certificate of the second root that takes the place of another.
fn renewed(serial: u8, old: u8, user: &str) -> Op {
    match certificate(serial, user, 2) {
        Op::Issued(issued) => Op::Issued(TrustCertificate {
            replaces: vec![bytes(old, 16)],
            ..issued
        }),
        other => other,
    }
}

fn ack(member_id: u64, bundle: u64, root: u64) -> Op {
    Op::Ack(TrustAck {
        member_id,
        bundle,
        root,
        ..TrustAck::default()
    })
}

fn deny(subject: Subject) -> TrustDenial {
    TrustDenial {
        subject: Some(subject),
        ..TrustDenial::default()
    }
}

/// A state, the members beside it, and what was noted of it so far.
struct Cluster {
    trust: Trust,
    members: Members,
    meta: BTreeMap<String, Bytes>,
    now: i64,
}

impl Cluster {
    fn of(ids: &[u64]) -> Self {
        let member = |id: &u64| pb::Member {
            id: *id,
            name: format!("m{id}"),
            ..pb::Member::default()
        };
        Self {
            trust: Trust::default(),
            members: Members::founders(ids.iter().map(member)),
            meta: BTreeMap::new(),
            now: NOW,
        }
    }

    fn ready(ids: &[u64]) -> Self {
        let mut cluster = Self::of(ids);
        cluster.does(init());
        cluster
    }

    fn apply(&mut self, op: Op) -> Result<Reply, TrustRefused> {
        let mut notes = Vec::new();
        let op = TrustOp {
            now_unix_s: self.now,
            op: Some(op),
        };
        let before = self.trust.clone();
        let reply = self.trust.apply(&op, &self.members, &mut notes);
        if reply.is_err() {
            assert!(
                notes.is_empty() && self.trust == before,
                "a refusal left a mark"
            );
        }
        for note in notes {
            match note {
                SideChange::MetaPut(key, value) => drop(self.meta.insert(key, value)),
                SideChange::MetaDelete(key) => drop(self.meta.remove(&key)),
                _ => panic!("trust keeps no leases"),
            }
        }
        reply
    }

    fn does(&mut self, op: Op) {
        self.apply(op).expect("allowed");
    }

    fn restored(&self) -> Trust {
        let mut again = Trust::default();
        for (key, value) in &self.meta {
            assert!(again.restore(key, value), "{key}");
        }
        again
    }

    fn stage(&self) -> Stage {
        self.trust.progress(&self.members, self.now).stage
    }

    fn begin(&mut self, grace_s: i64) -> Result<Reply, TrustRefused> {
        let after = self.trust.authority();
        self.apply(Op::RotationBegin(RotationBegin {
            after,
            root_der: bytes(11, 300),
            sealed_root_key: bytes(12, 80),
            grace_s,
            begun_by: "root".into(),
        }))
    }

    fn issue_from(&mut self, root: u64) -> Result<Reply, TrustRefused> {
        let after = self.trust.authority();
        let issuer = Some(issuer(root));
        self.apply(Op::Issuer(IssuerChange { after, issuer }))
    }

    fn drop_old(&mut self) -> Result<Reply, TrustRefused> {
        let after = self.trust.authority();
        self.apply(Op::RotationDrop(RotationDrop { after }))
    }

    fn ack_all(&mut self, root: u64) {
        let bundle = self.trust.bundle();
        for id in self.members.list().iter().map(|m| m.id) {
            self.does(ack(id, bundle, root));
        }
    }
}

#[test]
fn nothing_happens_before_there_is_an_authority_and_there_is_one_only() {
    let mut cluster = Cluster::of(&[1]);
    let early = cluster.apply(Op::TokenCreate(token(1, TokenRole::Voter)));
    assert_eq!(early, Err(TrustRefused::NotReady));
    assert!(!cluster.trust.is_ready());
    cluster.does(init());
    assert_eq!(cluster.apply(init()), Err(TrustRefused::Exists));
    assert_eq!(cluster.trust.roots().count(), 1);
    assert_eq!(cluster.trust.issuer().map(|i| i.root), Some(1));
}

#[test]
fn each_wrong_use_of_a_token_has_words_of_its_own() {
    let mut cluster = Cluster::ready(&[1]);
    for (id, role) in [
        (1, TokenRole::Voter),
        (2, TokenRole::Client),
        (3, TokenRole::Learner),
        (4, TokenRole::Admin),
    ] {
        cluster.does(Op::TokenCreate(token(id, role)));
    }
    let mut wrong = BTreeSet::new();
    let mut expect = |found: Result<Reply, TrustRefused>, refused: TrustRefused| {
        assert_eq!(found, Err(refused));
        assert!(wrong.insert(refused.to_string()), "{refused}");
    };
    expect(
        cluster.apply(Op::TokenBurn(burn(9, 1))),
        TrustRefused::TokenUnknown,
    );
    expect(
        cluster.apply(Op::TokenBurn(burn(2, 1))),
        TrustRefused::TokenRole,
    );
    cluster.does(Op::TokenBurn(burn(1, 1)));
    cluster.does(Op::TokenBurn(burn(1, 1)));
    expect(
        cluster.apply(Op::TokenBurn(burn(1, 2))),
        TrustRefused::TokenUsed,
    );
    cluster.does(Op::TokenBurn(burn(3, 5)));
    // A client does not know what its token lets it do; a member is none.
    assert_eq!(
        cluster.apply(Op::TokenBurn(burn(4, 1))),
        Err(TrustRefused::TokenRole)
    );
    cluster.does(Op::TokenBurn(TokenBurn {
        role: TokenRole::Client.into(),
        ..burn(4, 1)
    }));
    cluster.now += 1800;
    expect(
        cluster.apply(Op::TokenBurn(burn(1, 1))),
        TrustRefused::TokenExpired,
    );
}

#[test]
fn tokens_that_make_no_sense_are_refused() {
    type Change = fn(&mut JoinToken);
    let changes: [Change; 11] = [
        |t| t.id = bytes(1, 9),
        |t| t.secret_sha256 = bytes(1, 31),
        |t| t.secret_sha256 = Bytes::new(),
        |t| t.sealed_digest = bytes(1, 61),
        |t| (t.secret_sha256, t.sealed_digest) = (Bytes::new(), bytes(1, 129)),
        |t| t.role = 77,
        |t| t.expires_unix_s = NOW,
        |t| t.expires_unix_s = NOW + TOKEN_LIFE_MAX_S + 1,
        |t| t.name = "x".repeat(257),
        |t| t.member_id = 5,
        |t| t.set_role(TokenRole::Rejoin),
    ];
    let mut cluster = Cluster::ready(&[1]);
    for change in changes {
        let mut wrong = token(1, TokenRole::Voter);
        change(&mut wrong);
        let refused = cluster.apply(Op::TokenCreate(wrong));
        assert_eq!(refused, Err(TrustRefused::Malformed));
    }
    cluster.does(Op::TokenCreate(JoinToken {
        secret_sha256: Bytes::new(),
        sealed_digest: bytes(1, 61),
        ..token(2, TokenRole::Voter)
    }));
    cluster.does(Op::TokenCreate(token(1, TokenRole::Voter)));
    let double = cluster.apply(Op::TokenCreate(token(1, TokenRole::Client)));
    assert_eq!(double, Err(TrustRefused::Malformed));
}

#[test]
fn two_who_change_the_authority_at_once_do_not_both_succeed() {
    let mut cluster = Cluster::ready(&[1]);
    let after = cluster.trust.authority();
    let change = |der: u8| {
        let issuer = Some(TrustIssuer {
            der: bytes(der, 300),
            ..issuer(1)
        });
        Op::Issuer(IssuerChange { after, issuer })
    };
    cluster.does(change(20));
    assert_eq!(cluster.apply(change(21)), Err(TrustRefused::Stale));
}

#[test]
fn members_that_are_gone_are_not_waited_for() {
    let mut cluster = Cluster::ready(&[1, 2]);
    cluster.ack_all(1);
    cluster.begin(0).expect("allowed");
    let bundle = cluster.trust.bundle();
    cluster.does(ack(1, bundle, 1));
    assert_eq!(cluster.stage(), Stage::Bundle);
    cluster.members = Cluster::of(&[1]).members;
    assert_eq!(cluster.stage(), Stage::Issuer);
    cluster.does(ack(2, bundle, 1));
    assert_eq!(cluster.trust.ack(MemberId(2)), None, "it is no member");
}

/// A small generator, so that a failure can be repeated.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn byte(&mut self, sides: u64) -> u8 {
        u8::try_from(self.roll(sides)).unwrap_or(0)
    }

    fn op(&mut self, cluster: &Cluster) -> Op {
        // Now and then somebody is late.
        let after = cluster.trust.authority() - self.roll(8) / 7;
        let user = format!("u{}", self.roll(3));
        match self.roll(14) {
            0 => {
                let role = [TokenRole::Voter, TokenRole::Learner, TokenRole::Client];
                let mut made = token(self.byte(6), role[self.roll(3) as usize]);
                made.expires_unix_s = cluster.now + 1 + self.roll(3000).cast_signed();
                Op::TokenCreate(made)
            }
            1 => Op::TokenRevoke(bytes(self.byte(6), 10)),
            2..=4 => Op::TokenBurn(burn(self.byte(6), self.byte(4))),
            5 => Op::TokenIssued(JoinTokenIssued {
                id: bytes(self.byte(6), 10),
                member_id: self.roll(5),
            }),
            6 => Op::Deny(deny(Subject::User(user))),
            7 => Op::Allow(deny(Subject::User(user))),
            8 => Op::Issuer(IssuerChange {
                after,
                issuer: Some(issuer(self.roll(4))),
            }),
            9 => Op::RotationBegin(RotationBegin {
                after,
                root_der: bytes(11, 300),
                sealed_root_key: bytes(12, 80),
                grace_s: self.roll(2000).cast_signed(),
                begun_by: user,
            }),
            10 => Op::RotationDrop(RotationDrop { after }),
            11 => Op::Deny(deny(Subject::Serial(bytes(self.byte(4), 16)))),
            12 => certificate(self.byte(8), &user, self.roll(4)),
            _ => {
                let bundle = cluster.trust.bundle() - self.roll(2);
                ack(1 + self.roll(3), bundle, self.roll(4))
            }
        }
    }
}

#[test]
fn whatever_comes_no_token_lets_two_requests_in_and_the_state_comes_back() {
    for seed in 0..300 {
        let mut dice = Dice(seed);
        let mut cluster = Cluster::ready(&[1, 2, 3]);
        // Which request each life of a token let in.
        let mut let_in: BTreeMap<Bytes, Bytes> = BTreeMap::new();
        for _ in 0..200 {
            cluster.now += dice.roll(120).cast_signed();
            let op = dice.op(&cluster);
            let (before, stage) = (cluster.trust.clone(), cluster.stage());
            let reply = cluster.apply(op.clone());
            match (&op, &reply) {
                (Op::TokenCreate(t), Ok(_)) => drop(let_in.remove(&t.id)),
                (Op::TokenBurn(b), Ok(_)) => {
                    let first = let_in.entry(b.id.clone()).or_insert(b.csr_sha256.clone());
                    assert_eq!(*first, b.csr_sha256, "seed {seed}");
                    let known = before.token(&b.id).expect("known before");
                    assert!(cluster.now < known.expires_unix_s, "seed {seed}");
                }
                (Op::RotationDrop(_), Ok(_)) => assert_eq!(stage, Stage::Drop, "seed {seed}"),
                _ => {}
            }
            let issuer = cluster.trust.issuer().expect("there is one");
            assert!(
                cluster.trust.root(issuer.root).is_some(),
                "seed {seed}: what is signed with is trusted"
            );
            assert!((1..=2).contains(&cluster.trust.roots().count()));
            assert_eq!(cluster.restored(), cluster.trust, "seed {seed}");
        }
    }
}

#[test]
fn a_new_cluster_of_the_same_authority_keeps_its_denials_and_no_token() {
    let mut cluster = Cluster::ready(&[1, 2]);
    let user = Subject::User("mallory".into());
    let serial = Subject::Serial(bytes(8, 16));
    cluster.does(Op::TokenCreate(token(1, TokenRole::Voter)));
    cluster.does(certificate(5, "alice", 1));
    cluster.does(Op::Deny(deny(user)));
    cluster.does(Op::Deny(deny(serial)));
    cluster.does(ack(1, 1, 1));
    let begin = RotationBegin {
        after: cluster.trust.authority(),
        root_der: bytes(1, 300),
        sealed_root_key: bytes(2, 80),
        ..RotationBegin::default()
    };
    cluster.does(Op::RotationBegin(begin));
    cluster.does(Op::RotationForce(RotationForce {
        after: cluster.trust.authority(),
        without_members: vec![2],
        end_grace: false,
        without_unreached: true,
        ..RotationForce::default()
    }));
    let read = |rows: Vec<SideChange>| {
        let mut trust = Trust::default();
        for row in rows {
            let SideChange::MetaPut(name, value) = row else {
                panic!("only rows that are put");
            };
            assert!(trust.restore(&name, &value));
        }
        trust
    };
    assert_eq!(read(cluster.trust.rows()), cluster.trust);
    let next = read(cluster.trust.carried_over().rows());
    assert_eq!((next.tokens().count(), next.acks().count()), (0, 0));
    assert_eq!(next.domain(), cluster.trust.domain());
    assert_eq!(next.roots().count(), 2);
    assert_eq!(next.certificates().count(), 1);
    let denied = (next.denied_users().count(), next.denied_serials().count());
    assert_eq!(denied, (1, 1));
    let rotation = next.rotation().expect("goes on");
    assert!(rotation.without_members.is_empty() && !rotation.without_unreached);
    assert_eq!(Trust::default().rows(), []);
}
