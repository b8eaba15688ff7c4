//! For each RPC of the surface: a request that shows its rule, and the rule.

use kvorum_proto::{Method, authpb, etcdserverpb as pb, kvorumpb, v3electionpb, v3lockpb};
use prost::{Message, bytes::Bytes};

/// The lease that has the key `k`.
pub(crate) const LEASE: i64 = 77;

/// Who may call. Written down a second time on purpose: the table of the server is what is tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum May {
    /// Everybody.
    All,
    /// Whoever says who he is.
    Known,
    /// Who has the keys from `k` on, and root.
    User,
    /// Root.
    Root,
    /// An administrator of trust, who has a certificate of his own; beside him root.
    Administrator,
}

/// A request.
pub(crate) struct Shown {
    pub(crate) may: May,
    pub(crate) message: Bytes,
}

fn shown(may: May, message: &impl Message) -> Vec<Shown> {
    let message = message.encode_to_vec().into();
    vec![Shown { may, message }]
}

fn empty(may: May) -> Vec<Shown> {
    let message = Bytes::new();
    vec![Shown { may, message }]
}

/// Requests of a method. `who` keeps the places of several callers in queues apart.
///
/// # Panics
/// If the method is not known here: then nobody has thought about who may call it.
pub(crate) fn requests(method: &Method, who: &str) -> Vec<Shown> {
    match method.service {
        "etcdserverpb.KV" => kv(method.name),
        "etcdserverpb.Watch" => watch(),
        "etcdserverpb.Lease" => lease(method.name),
        "etcdserverpb.Cluster" => cluster(method.name),
        "etcdserverpb.Maintenance" => maintenance(method.name),
        "etcdserverpb.Auth" => auth(method.name),
        "v3lockpb.Lock" => lock(method.name, who),
        "v3electionpb.Election" => election(method.name, who),
        "grpc.health.v1.Health" => empty(May::All),
        "kvorumpb.Membership" => shown(May::Root, &kvorumpb::ReplaceMemberRequest::default()),
        "kvorumpb.Trust" => empty(May::Administrator),
        _ => panic!("{}: who may call it?", method.path()),
    }
}

fn k() -> Bytes {
    Bytes::from_static(b"k")
}

fn kv(name: &str) -> Vec<Shown> {
    let range = pb::RangeRequest {
        key: k(),
        ..Default::default()
    };
    let put = pb::PutRequest {
        key: k(),
        ..Default::default()
    };
    match name {
        "Range" | "RangeStream" => shown(May::User, &range),
        "Put" => shown(May::User, &put),
        "DeleteRange" => {
            let key = Bytes::from_static(b"kx");
            let delete = pb::DeleteRangeRequest {
                key,
                ..Default::default()
            };
            shown(May::User, &delete)
        }
        "Txn" => {
            let op = pb::RequestOp {
                request: Some(pb::request_op::Request::RequestPut(put)),
            };
            let txn = pb::TxnRequest {
                success: vec![op],
                ..Default::default()
            };
            shown(May::User, &txn)
        }
        "Compact" => empty(May::Root),
        _ => panic!("KV.{name}: who may call it?"),
    }
}

fn watch() -> Vec<Shown> {
    let create = pb::WatchCreateRequest {
        key: k(),
        ..Default::default()
    };
    let union = pb::watch_request::RequestUnion::CreateRequest(create);
    let request = pb::WatchRequest {
        request_union: Some(union),
    };
    shown(May::User, &request)
}

fn lease(name: &str) -> Vec<Shown> {
    let id = LEASE;
    match name {
        "LeaseGrant" => shown(May::Known, &pb::LeaseGrantRequest { ttl: 60, id: 0 }),
        "LeaseRevoke" => shown(May::User, &pb::LeaseRevokeRequest { id }),
        "LeaseKeepAlive" => shown(May::User, &pb::LeaseKeepAliveRequest { id }),
        "LeaseTimeToLive" => {
            let with = |keys| pb::LeaseTimeToLiveRequest { id, keys };
            let mut both = shown(May::User, &with(true));
            both.extend(shown(May::Known, &with(false)));
            both
        }
        "LeaseLeases" => empty(May::User),
        _ => panic!("Lease.{name}: who may call it?"),
    }
}

fn cluster(name: &str) -> Vec<Shown> {
    match name {
        "MemberList" => empty(May::Known),
        // None of these names a member, or one that could be.
        "MemberAdd" => shown(
            May::Root,
            &pb::MemberAddRequest {
                peer_ur_ls: vec!["none".to_owned()],
                is_learner: true,
            },
        ),
        "MemberRemove" => shown(May::Root, &pb::MemberRemoveRequest { id: 1 }),
        "MemberUpdate" => {
            let peer_ur_ls = vec!["http://127.0.0.1:1".to_owned()];
            shown(May::Root, &pb::MemberUpdateRequest { id: 1, peer_ur_ls })
        }
        "MemberPromote" => shown(May::Root, &pb::MemberPromoteRequest { id: 1 }),
        _ => panic!("Cluster.{name}: who may call it?"),
    }
}

fn maintenance(name: &str) -> Vec<Shown> {
    match name {
        "Status" => empty(May::Known),
        "Alarm" => {
            let with = |action: pb::alarm_request::AlarmAction| pb::AlarmRequest {
                action: action.into(),
                alarm: pb::AlarmType::Nospace.into(),
                ..Default::default()
            };
            let mut both = shown(May::Known, &with(pb::alarm_request::AlarmAction::Get));
            let lower = with(pb::alarm_request::AlarmAction::Deactivate);
            both.extend(shown(May::Root, &lower));
            both
        }
        "Defragment" | "Hash" | "HashKV" | "Snapshot" | "MoveLeader" | "Downgrade" => {
            empty(May::Root)
        }
        _ => panic!("Maintenance.{name}: who may call it?"),
    }
}

fn auth(name: &str) -> Vec<Shown> {
    let text = |text: &str| text.to_owned();
    match name {
        "Authenticate" => shown(
            May::All,
            &pb::AuthenticateRequest {
                name: text("user"),
                password: text("user"),
            },
        ),
        "UserGet" => {
            let of = |name| pb::AuthUserGetRequest { name };
            let mut both = shown(May::User, &of(text("user")));
            both.extend(shown(May::Root, &of(text("ghost"))));
            both
        }
        "RoleGet" => {
            let of = |role| pb::AuthRoleGetRequest { role };
            let mut both = shown(May::User, &of(text("user")));
            both.extend(shown(May::Root, &of(text("ghost"))));
            both
        }
        "RoleGrantPermission" => {
            let perm = Some(authpb::Permission::default());
            let name = text("ghost");
            shown(
                May::Root,
                &pb::AuthRoleGrantPermissionRequest { name, perm },
            )
        }
        "UserAdd" => {
            let name = text("newcomer");
            let add = pb::AuthUserAddRequest {
                name,
                ..Default::default()
            };
            shown(May::Root, &add)
        }
        "AuthEnable"
        | "AuthDisable"
        | "AuthStatus"
        | "UserList"
        | "UserDelete"
        | "UserChangePassword"
        | "UserGrantRole"
        | "UserRevokeRole"
        | "RoleAdd"
        | "RoleList"
        | "RoleDelete"
        | "RoleRevokePermission" => empty(May::Root),
        _ => panic!("Auth.{name}: who may call it?"),
    }
}

fn lock(name: &str, who: &str) -> Vec<Shown> {
    let lock = v3lockpb::LockRequest {
        name: format!("k-lock-{who}").into(),
        lease: 0,
    };
    match name {
        "Lock" => shown(May::User, &lock),
        "Unlock" => shown(May::User, &v3lockpb::UnlockRequest { key: lock.name }),
        _ => panic!("Lock.{name}: who may call it?"),
    }
}

fn election(name: &str, who: &str) -> Vec<Shown> {
    let of = Bytes::from(format!("k-vote-{who}"));
    let leader = Some(v3electionpb::LeaderKey {
        name: of.clone(),
        key: k(),
        rev: 1,
        lease: 0,
    });
    match name {
        "Campaign" => {
            let request = v3electionpb::CampaignRequest {
                name: of,
                ..Default::default()
            };
            shown(May::User, &request)
        }
        "Leader" | "Observe" => shown(May::User, &v3electionpb::LeaderRequest { name: of }),
        "Proclaim" => {
            let value = Bytes::new();
            shown(May::User, &v3electionpb::ProclaimRequest { leader, value })
        }
        "Resign" => shown(May::User, &v3electionpb::ResignRequest { leader }),
        _ => panic!("Election.{name}: who may call it?"),
    }
}
