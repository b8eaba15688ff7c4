//! What has gone wrong in etcd, at the place where a command is applied.

use std::sync::Arc;

use kvorum_proto::authpb::permission::Type;
use kvorum_proto::etcdserverpb as pb;
use kvorum_proto::kvorumpb::{self, Command, auth_op, command::Op};
use pb::request_op::Request as Operation;

use super::{Caller, Error, add, grant, grant_role};
use crate::backend::{BackendError, Record, Records};
use crate::machine::{Applied, Context, Machine, MachineOptions};
use crate::membership::Members;
use crate::mvcc::Store;
use crate::types::Revision;

struct Nothing;

impl Records for Nothing {
    fn get(&self, _: Revision) -> Result<Option<Record>, BackendError> {
        Ok(None)
    }

    fn scan(&self, _: Revision, _: Revision, _: usize) -> Result<Vec<Record>, BackendError> {
        Ok(Vec::new())
    }
}

/// A machine that applies what it is given.
struct Rig {
    machine: Machine,
    store: Store,
    index: u64,
}

impl Rig {
    /// The user `u` may write `w/` and `rw/`, and read `r/` and `rw/`. Lease 1 holds `r/a`, lease 2 `w/a`.
    fn new() -> Self {
        let mut rig = Self {
            machine: Machine::new(MachineOptions {
                quota_bytes: i64::MAX,
                lease_ttl_min_s: 1,
            }),
            store: Store::new(Arc::new(Nothing), 1 << 30),
            index: 0,
        };
        for op in [
            add("root"),
            grant_role("root", "root"),
            add("u"),
            auth_op::Op::RoleAdd("r".into()),
            grant("r", Type::Write, b"w/", b"w0"),
            grant("r", Type::Read, b"r/", b"r0"),
            grant("r", Type::Readwrite, b"rw/", b"rw0"),
            grant_role("u", "r"),
        ] {
            rig.own(Op::Auth(kvorumpb::AuthOp { op: Some(op) }));
        }
        for id in [1, 2] {
            rig.own(Op::LeaseGrant(pb::LeaseGrantRequest { id, ttl: 100 }));
        }
        rig.own(Op::Put(put("r/a", 1)));
        rig.own(Op::Put(put("w/a", 2)));
        let enable = auth_op::Op::Enable(kvorumpb::AuthEnable {});
        rig.own(Op::Auth(kvorumpb::AuthOp { op: Some(enable) }));
        rig
    }

    fn apply(&mut self, caller: &Caller, op: Op) -> Applied {
        self.index += 1;
        let context = Context {
            index: self.index,
            term: 1,
            now_ms: 0,
        };
        let command = Command {
            request_id: self.index,
            op: Some(op),
            stamp: None,
            caller: caller.to_wire(),
        };
        let applied = self.machine.apply(&mut self.store, context, &command);
        applied.expect("nothing is on a disk")
    }

    fn own(&mut self, op: Op) {
        let applied = self.apply(&Caller::own(), op);
        applied.result.expect("the cluster's own doing");
    }

    /// What `u` gets; a refusal leaves no trace.
    fn user(&mut self, op: Op) -> Result<(), Error> {
        let user = Caller::user("u", self.machine.auth().revision());
        self.by(&user, op)
    }

    fn by(&mut self, caller: &Caller, op: Op) -> Result<(), Error> {
        let before = (self.store.current(), self.store.digest());
        let applied = self.apply(caller, op);
        if applied.result.is_err() {
            assert_eq!((self.store.current(), self.store.digest()), before);
            assert!(applied.events.is_empty());
        }
        applied.result.map(drop)
    }
}

fn put(key: &str, lease: i64) -> pb::PutRequest {
    pb::PutRequest {
        key: key.to_owned().into(),
        lease,
        ..Default::default()
    }
}

fn range(key: &str) -> Operation {
    Operation::RequestRange(pb::RangeRequest {
        key: key.to_owned().into(),
        ..Default::default()
    })
}

fn delete(key: &str, prev_kv: bool) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest {
        key: key.to_owned().into(),
        prev_kv,
        ..Default::default()
    }
}

/// A transaction with one operation, so many transactions deep, in one branch or the other.
fn nested(request: Operation, depth: usize, in_failure: bool) -> Op {
    let mut request = request;
    let txn = |request| {
        let operations = vec![pb::RequestOp {
            request: Some(request),
        }];
        match in_failure {
            true => pb::TxnRequest {
                failure: operations,
                ..Default::default()
            },
            false => pb::TxnRequest {
                success: operations,
                ..Default::default()
            },
        }
    };
    for _ in 0..depth {
        request = Operation::RequestTxn(txn(request));
    }
    Op::Txn(txn(request))
}

const DENIED: Result<(), Error> = Err(Error::PermissionDenied);

#[test]
fn cve_2026_33343_what_hides_in_transactions_inside_transactions_is_checked() {
    for depth in 0..4 {
        for in_failure in [false, true] {
            let mut rig = Rig::new();
            let mut deep = |request| rig.user(nested(request, depth, in_failure));
            assert_eq!(deep(range("secret")), DENIED);
            assert_eq!(deep(range("w/a")), DENIED);
            assert_eq!(deep(range("r/a")), Ok(()));
            assert_eq!(deep(Operation::RequestPut(put("r/b", 0))), DENIED);
            assert_eq!(deep(Operation::RequestPut(put("w/b", 0))), Ok(()));
            let gone = |key| Operation::RequestDeleteRange(delete(key, false));
            assert_eq!(deep(gone("r/a")), DENIED);
            assert_eq!(deep(gone("w/b")), Ok(()));
            let conditional = Operation::RequestTxn(pb::TxnRequest {
                compare: vec![pb::Compare {
                    key: "w/a".into(),
                    ..Default::default()
                }],
                ..Default::default()
            });
            assert_eq!(deep(conditional), DENIED);
        }
    }
}

#[test]
fn cve_2026_44283_old_pairs_are_for_readers_only() {
    for depth in 0..3 {
        let mut rig = Rig::new();
        let old = |key: &str| pb::PutRequest {
            prev_kv: true,
            ..put(key, 0)
        };
        let mut deep = |request| rig.user(nested(request, depth, false));
        assert_eq!(deep(Operation::RequestPut(old("w/a"))), DENIED);
        assert_eq!(deep(Operation::RequestPut(old("rw/a"))), Ok(()));
        let gone = |key| Operation::RequestDeleteRange(delete(key, true));
        assert_eq!(deep(gone("w/a")), DENIED);
        assert_eq!(deep(gone("rw/a")), Ok(()));
        assert_eq!(rig.user(Op::Put(old("w/a"))), DENIED);
        assert_eq!(rig.user(Op::DeleteRange(delete("w/a", true))), DENIED);
    }
}

#[test]
fn cve_2026_44283_a_key_is_tied_only_to_a_lease_whose_keys_may_be_written() {
    for depth in 0..3 {
        let mut rig = Rig::new();
        let tied = |lease| Operation::RequestPut(put("w/b", lease));
        let mut deep = |request| rig.user(nested(request, depth, false));
        assert_eq!(deep(tied(1)), DENIED);
        assert_eq!(deep(tied(2)), Ok(()));
        assert_eq!(rig.user(Op::Put(put("w/b", 1))), DENIED);
        // A lease that is not there has no keys.
        let unknown = rig.user(Op::Put(put("w/b", 7)));
        assert_eq!(unknown, Err(Error::LeaseNotFound));
    }
}

#[test]
fn ghsa_xg4h_6gfc_h4m8_a_watch_without_an_end_takes_the_right_to_all_that_follows() {
    let rig = Rig::new();
    let auth = rig.machine.auth();
    let user = Caller::user("u", auth.revision());
    let watch = |key: &'static [u8], range_end: &'static [u8]| {
        let create = pb::WatchCreateRequest {
            key: bytes::Bytes::from_static(key),
            range_end: bytes::Bytes::from_static(range_end),
            ..Default::default()
        };
        auth.authorise(&user, &crate::auth::needs::watch(&create))
    };
    assert_eq!(watch(b"r/a", b""), Ok(()));
    assert_eq!(watch(b"r/", b"r0"), Ok(()));
    assert_eq!(watch(b"r/a", b"\0"), DENIED);
    assert_eq!(watch(b"r/", b"r1"), DENIED);
    assert_eq!(watch(b"", b"\0"), DENIED);
    assert_eq!(watch(b"", b""), DENIED);
    assert_eq!(watch(b"", b"r0"), DENIED);
}

#[test]
fn cve_2026_33413_what_concerns_the_cluster_takes_root() {
    let member = kvorumpb::MemberUpdate::default();
    let publish = kvorumpb::PublishMember::default();
    let version = kvorumpb::SetClusterVersion::default();
    let expire = kvorumpb::LeaseExpire { id: 2, term: 1 };
    let activate = pb::AlarmRequest {
        action: pb::alarm_request::AlarmAction::Activate as i32,
        alarm: pb::AlarmType::Nospace as i32,
        ..Default::default()
    };
    let auth = |op| Op::Auth(kvorumpb::AuthOp { op: Some(op) });
    for op in [
        Op::Compaction(pb::CompactionRequest::default()),
        Op::Alarm(activate),
        Op::MemberUpdate(member),
        Op::Publish(publish),
        Op::ClusterVersion(version),
        Op::LeaseExpire(expire),
        Op::LeaseCheckpoint(pb::LeaseCheckpointRequest::default()),
        auth(auth_op::Op::Disable(kvorumpb::AuthDisable {})),
        auth(grant_role("u", "root")),
        auth(grant("r", Type::Readwrite, b"\0", b"\0")),
        auth(add("v")),
    ] {
        let mut rig = Rig::new();
        assert_eq!(rig.user(op.clone()), DENIED, "{op:?}");
        let nobody = rig.by(&Caller::nobody(), op.clone());
        assert_eq!(nobody, Err(Error::UserEmpty), "{op:?}");
        let stranger = Caller::user("x", rig.machine.auth().revision());
        let stranger = rig.by(&stranger, op.clone());
        assert_eq!(stranger, Err(Error::UserNotFound), "{op:?}");
    }
    let mut rig = Rig::new();
    let look = Op::Alarm(pb::AlarmRequest::default());
    assert_eq!(rig.user(look.clone()), Ok(()));
    assert_eq!(rig.by(&Caller::nobody(), look), Err(Error::UserEmpty));
}

#[test]
fn cve_2026_33413_leases_are_ended_by_those_who_may_write_their_keys() {
    let mut rig = Rig::new();
    let grant = Op::LeaseGrant(pb::LeaseGrantRequest { id: 3, ttl: 100 });
    let revoke = |id| Op::LeaseRevoke(pb::LeaseRevokeRequest { id });
    for op in [grant.clone(), revoke(1), revoke(3)] {
        let nobody = rig.by(&Caller::nobody(), op);
        assert_eq!(nobody, Err(Error::UserEmpty));
    }
    assert_eq!(rig.user(grant), Ok(()));
    assert_eq!(rig.user(revoke(3)), Ok(()));
    assert_eq!(rig.user(revoke(1)), DENIED);
    assert_eq!(rig.user(revoke(2)), Ok(()));
}

#[test]
fn cve_2026_33413_members_are_changed_by_root_only_also_when_it_is_applied() {
    let mut rig = Rig::new();
    let add = kvorumpb::NewMember {
        id: 9,
        peer_urls: vec!["https://h9:2380".into()],
        promote: false,
    };
    let change = |caller: Caller| kvorumpb::MemberChange {
        request_id: 1,
        ops: vec![kvorumpb::MemberOp {
            op: Some(kvorumpb::member_op::Op::Add(add.clone())),
        }],
        caller: caller.to_wire(),
    };
    let now = rig.machine.auth().revision();
    for (caller, wanted) in [
        (Caller::nobody(), Error::UserEmpty),
        (Caller::user("u", now), Error::PermissionDenied),
    ] {
        let changed = rig.machine.change_members(&mut rig.store, &change(caller));
        assert_eq!(changed, Err(wanted));
        assert_eq!(*rig.machine.members(), Members::default());
    }
    let root = change(Caller::user("root", now));
    let changed = rig.machine.change_members(&mut rig.store, &root);
    assert!(changed.is_ok(), "{changed:?}");
}

#[test]
fn a_command_from_before_a_change_of_rights_is_refused() {
    let mut rig = Rig::new();
    let before = Caller::user("u", rig.machine.auth().revision());
    let unrelated = Op::Auth(kvorumpb::AuthOp {
        op: Some(add("somebody")),
    });
    rig.own(unrelated);
    let old = rig.by(&before, Op::Put(put("w/a", 0)));
    assert_eq!(old, Err(Error::AuthOldRevision));
    assert_eq!(rig.user(Op::Put(put("w/a", 0))), Ok(()));
}

#[test]
fn a_command_that_was_proposed_before_authentication_was_switched_on_is_refused_after_it() {
    let mut rig = Rig::new();
    let put = Op::Put(put("w/a", 0));
    let nobody = rig.by(&Caller::nobody(), put);
    assert_eq!(nobody, Err(Error::UserEmpty));
}
