//! Users and roles in a cluster: members decide alike, and lease calls, which no log carries, are decided by who answers
//! them.

use kvorum_proto::authpb::{Permission, permission::Type};
use kvorum_proto::etcdserverpb as pb;
use kvorum_proto::kvorumpb::{self, auth_op, command::Op};

use super::super::{Answer, Ask};
use super::cluster::Cluster;
use crate::auth::Caller;
use crate::error::Error;
use crate::lease::TimeLeft;
use crate::types::LeaseId;

fn auth(op: auth_op::Op) -> Op {
    Op::Auth(kvorumpb::AuthOp { op: Some(op) })
}

fn user(name: &str, role: &str) -> [Op; 2] {
    let add = kvorumpb::UserAdd {
        name: name.into(),
        ..Default::default()
    };
    let grant = kvorumpb::UserRole {
        user: name.into(),
        role: role.into(),
    };
    [
        auth(auth_op::Op::UserAdd(add)),
        auth(auth_op::Op::UserGrantRole(grant)),
    ]
}

fn grant(kind: Type, prefix: &str, end: &str) -> Op {
    auth(auth_op::Op::RoleGrantPermission(kvorumpb::RoleGrant {
        role: "r".into(),
        permission: Some(Permission {
            perm_type: kind as i32,
            key: prefix.to_owned().into(),
            range_end: end.to_owned().into(),
        }),
    }))
}

fn put(key: &str, lease: i64) -> Op {
    Op::Put(pb::PutRequest {
        key: key.to_owned().into(),
        lease,
        ..Default::default()
    })
}

/// Three members with root and `u`, who may write `w/` and read `r/`. Lease 1 holds `w/a`, lease 2 `r/a`, lease 3 both,
/// lease 4 nothing.
fn cluster() -> (Cluster, u64) {
    let mut cluster = Cluster::new(&[1, 2, 3]);
    let leader = cluster.elect();
    let mut ops = vec![auth(auth_op::Op::RoleAdd("r".into()))];
    ops.extend(user("root", "root"));
    ops.extend(user("u", "r"));
    ops.push(grant(Type::Write, "w/", "w0"));
    ops.push(grant(Type::Read, "r/", "r0"));
    for id in 1..=4 {
        ops.push(Op::LeaseGrant(pb::LeaseGrantRequest { id, ttl: 100 }));
    }
    ops.extend([put("w/a", 1), put("r/a", 2), put("w/b", 3), put("r/b", 3)]);
    ops.push(auth(auth_op::Op::Enable(kvorumpb::AuthEnable {})));
    for op in ops {
        let id = cluster.propose_of(&Caller::own(), leader, op);
        let answer = cluster.answer(leader, id);
        assert!(matches!(answer, Some(Answer::Applied(Ok(_)))), "{answer:?}");
    }
    (cluster, leader)
}

fn known(cluster: &Cluster, member: u64, name: &str) -> Caller {
    Caller::user(name, cluster.machine(member).auth().revision())
}

#[test]
fn etcd_14571_members_decide_alike_whatever_they_knew_when_it_was_proposed() {
    let (mut cluster, leader) = cluster();
    let follower = cluster.other_than(leader);
    let disable = auth(auth_op::Op::Disable(kvorumpb::AuthDisable {}));
    let enable = auth(auth_op::Op::Enable(kvorumpb::AuthEnable {}));
    let root = known(&cluster, leader, "root");
    let before = known(&cluster, follower, "u");
    // A write that was let in by old rights meets whatever the log has come to.
    for (caller, op, wanted) in [
        (&before, put("w/1", 0), Ok(())),
        (&root, disable.clone(), Ok(())),
        (&before, put("secret", 0), Ok(())),
        (&Caller::nobody(), put("w/2", 0), Ok(())),
        (&root, enable.clone(), Ok(())),
        (&before, put("w/3", 0), Err(Error::AuthOldRevision)),
        (&Caller::nobody(), put("w/4", 0), Err(Error::UserEmpty)),
    ] {
        let id = cluster.propose_of(caller, follower, op.clone());
        let answer = cluster.answer(follower, id);
        let Some(Answer::Applied(result)) = answer else {
            panic!("{op:?}: {answer:?}");
        };
        assert_eq!(result.map(drop), wanted, "{op:?}");
    }
    cluster.ticks(20);
    cluster.assert_equal();
    let tables = cluster.machine(leader).auth();
    assert!(tables.is_enabled());
    for member in [1, 2, 3] {
        assert_eq!(cluster.machine(member).auth(), tables);
    }
}

/// What a renewal brought: the time, or why not.
fn renewed(cluster: &mut Cluster, member: u64, lease: i64, caller: &Caller) -> Result<i64, Error> {
    let ask = |id| Ask::KeepAlive(id, LeaseId(lease), caller.clone());
    let id = cluster.ask(member, ask);
    match cluster.answer(member, id) {
        Some(Answer::Renewed(ttl_s)) => Ok(ttl_s),
        Some(Answer::Refused(refused)) => Err(refused),
        other => panic!("{other:?}"),
    }
}

fn left(
    cluster: &mut Cluster,
    member: u64,
    (lease, keys): (i64, bool),
    caller: &Caller,
) -> Result<Option<TimeLeft>, Error> {
    let ask = |id| Ask::TimeLeft(id, LeaseId(lease), keys, caller.clone());
    let id = cluster.ask(member, ask);
    match cluster.answer(member, id) {
        Some(Answer::TimeLeft(left)) => Ok(left),
        Some(Answer::Refused(refused)) => Err(refused),
        other => panic!("{other:?}"),
    }
}

fn all(cluster: &mut Cluster, member: u64, caller: &Caller) -> Result<usize, Error> {
    let id = cluster.ask(member, |id| Ask::Leases(id, caller.clone()));
    match cluster.answer(member, id) {
        Some(Answer::Leases(leases)) => Ok(leases.len()),
        Some(Answer::Refused(refused)) => Err(refused),
        other => panic!("{other:?}"),
    }
}

#[test]
fn cve_2026_33413_leases_are_renewed_by_those_who_may_write_their_keys() {
    let (mut cluster, leader) = cluster();
    for member in [leader, cluster.other_than(leader)] {
        let u = known(&cluster, member, "u");
        let root = known(&cluster, member, "root");
        let denied = Err(Error::PermissionDenied);
        for (lease, caller, wanted) in [
            (1, &u, Ok(100)),
            (2, &u, denied),
            (3, &u, denied),
            (4, &u, Ok(100)),
            (5, &u, Ok(0)),
            (2, &root, Ok(100)),
            (2, &Caller::own(), Ok(100)),
            (1, &Caller::nobody(), Err(Error::UserEmpty)),
            (4, &Caller::nobody(), Err(Error::UserEmpty)),
            (5, &Caller::nobody(), Err(Error::UserEmpty)),
            (1, &Caller::user("u", 1), Err(Error::AuthOldRevision)),
        ] {
            let found = renewed(&mut cluster, member, lease, caller);
            assert_eq!(found, wanted, "lease {lease} by {caller:?}");
        }
    }
}

#[test]
fn cve_2023_32082_the_keys_of_a_lease_are_shown_to_their_readers_only() {
    let (mut cluster, leader) = cluster();
    for member in [leader, cluster.other_than(leader)] {
        let u = known(&cluster, member, "u");
        let (root, nobody) = (known(&cluster, member, "root"), Caller::nobody());
        let mut keys = |of, caller| {
            let left = left(&mut cluster, member, of, caller)?;
            Ok(left.map(|left| left.keys.len()))
        };
        assert_eq!(keys((1, true), &u), Err(Error::PermissionDenied));
        assert_eq!(keys((3, true), &u), Err(Error::PermissionDenied));
        assert_eq!(keys((2, true), &u), Ok(Some(1)));
        assert_eq!(keys((4, true), &u), Ok(Some(0)));
        assert_eq!(keys((5, true), &u), Ok(None));
        assert_eq!(keys((1, false), &u), Ok(Some(0)));
        assert_eq!(keys((3, true), &root), Ok(Some(2)));
        for of in [(1, false), (1, true), (4, true), (5, true)] {
            assert_eq!(keys(of, &nobody), Err(Error::UserEmpty));
        }
        let denied = all(&mut cluster, member, &u);
        assert_eq!(denied, Err(Error::PermissionDenied));
        assert_eq!(all(&mut cluster, member, &root), Ok(4));
        let none = all(&mut cluster, member, &nobody);
        assert_eq!(none, Err(Error::UserEmpty));
    }
}
