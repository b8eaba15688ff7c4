//! A member that runs, with authentication on: every call of its door, by who may and by who may not.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use bytes::{Buf as _, Bytes};
use kvorum_core::MemberId;
use kvorum_core::mvcc::children::ChildrenRequest;
use kvorum_member::{
    AuthEvent, Caller, Error, Handle, Member, MemberCallError, MemberOptions, Need, Replacement,
    SnapshotError, WatchStream,
};
use kvorum_proto::authpb::{Permission, permission::Type};
use kvorum_proto::etcdserverpb as pb;
use kvorum_proto::kvorumpb::{self, auth_op::Op};
use pb::request_op::Request as Operation;
use prost::Message as _;

static DIRECTORIES: AtomicU32 = AtomicU32::new(0);

/// Runs until it is dropped.
struct Running {
    member: Option<Member>,
    handle: Handle,
    directory: PathBuf,
}

impl Running {
    async fn start() -> Self {
        let number = DIRECTORIES.fetch_add(1, Ordering::Relaxed);
        let name = format!("kvorum-auth-{}-{number}", std::process::id());
        Self::start_in(std::env::temp_dir().join(name)).await
    }

    async fn start_in(directory: PathBuf) -> Self {
        let options = MemberOptions {
            data_dir: directory.clone(),
            log_segment_bytes: 1 << 20,
            ..Default::default()
        };
        let member = Member::start(options, None).expect("a member starts");
        let handle = member.handle().expect("a port");
        tokio::spawn(handle.run());
        member.ready().await;
        Self {
            member: Some(member),
            handle,
            directory,
        }
    }

    /// Stops, and starts from what was kept.
    async fn again(mut self) -> Self {
        self.member.take().expect("it runs").stop();
        Self::start_in(std::mem::take(&mut self.directory)).await
    }

    async fn change(&self, op: Op) {
        let changed = self.handle.auth_change(&Caller::own(), op).await;
        changed.expect("it is allowed");
    }

    /// Root, and `u` who may read `r/` and write `w/`; a key in each, and a lease with one of the first.
    async fn with_users() -> Self {
        let running = Self::start().await;
        for op in [
            add("root"),
            role_of("root", "root"),
            add("u"),
            Op::RoleAdd("r".into()),
            grant(Type::Read, "r/", "r0"),
            grant(Type::Write, "w/", "w0"),
            role_of("u", "r"),
        ] {
            running.change(op).await;
        }
        let own = Caller::own();
        let lease = pb::LeaseGrantRequest { id: 7, ttl: 100 };
        let granted = running.handle.lease_grant(&own, lease).await;
        granted.expect("it is new");
        for (key, lease) in [("r/a", 7), ("w/a", 0), ("secret", 0)] {
            let put = running.handle.put(&own, put(key, lease)).await;
            put.expect("nobody is asked yet");
        }
        running.change(Op::Enable(kvorumpb::AuthEnable {})).await;
        running
    }

    fn caller(&self, name: &str) -> Caller {
        Caller::user(name, self.handle.auth().revision())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(member) = self.member.take() {
            member.stop();
            // Another test's directory is another one.
            let _left = std::fs::remove_dir_all(&self.directory);
        }
    }
}

fn add(name: &str) -> Op {
    Op::UserAdd(kvorumpb::UserAdd {
        name: name.into(),
        password_hash: Bytes::from_static(b"$2a$04$hash"),
        no_password: false,
    })
}

fn role_of(user: &str, role: &str) -> Op {
    Op::UserGrantRole(kvorumpb::UserRole {
        user: user.into(),
        role: role.into(),
    })
}

fn grant(kind: Type, key: &str, end: &str) -> Op {
    Op::RoleGrantPermission(kvorumpb::RoleGrant {
        role: "r".into(),
        permission: Some(Permission {
            perm_type: kind as i32,
            key: key.to_owned().into(),
            range_end: end.to_owned().into(),
        }),
    })
}

fn revoke(key: &str, end: &str) -> Op {
    Op::RoleRevokePermission(kvorumpb::RoleInterval {
        role: "r".into(),
        key: key.to_owned().into(),
        range_end: end.to_owned().into(),
    })
}

fn put(key: &str, lease: i64) -> pb::PutRequest {
    pb::PutRequest {
        key: key.to_owned().into(),
        value: "v".into(),
        lease,
        ..Default::default()
    }
}

fn range(key: &str, end: &str, serializable: bool) -> pb::RangeRequest {
    pb::RangeRequest {
        key: key.to_owned().into(),
        range_end: end.to_owned().into(),
        serializable,
        ..Default::default()
    }
}

fn reading(key: &str) -> pb::TxnRequest {
    let operation = Operation::RequestRange(range(key, "", false));
    pb::TxnRequest {
        success: vec![pb::RequestOp {
            request: Some(operation),
        }],
        ..Default::default()
    }
}

/// What comes of every call that takes root.
async fn as_root(handle: &Handle, caller: &Caller) -> Vec<(&'static str, Option<Error>)> {
    let member = |result: Result<(), MemberCallError>| match result {
        Err(MemberCallError::Refused(refused)) => Some(refused),
        _ => None,
    };
    let id = MemberId(5);
    let urls = ["http://127.0.0.1:9".to_owned()];
    let compact = pb::CompactionRequest {
        revision: 1,
        physical: false,
    };
    let raise = pb::AlarmRequest {
        action: pb::alarm_request::AlarmAction::Deactivate as i32,
        ..Default::default()
    };
    let wish = Replacement {
        old: id,
        peer_urls: urls.to_vec(),
        attempt: 0,
    };
    let snapshot = match handle.snapshot(caller).await {
        Err(SnapshotError::Refused(refused)) => Some(refused),
        _ => None,
    };
    vec![
        ("compact", handle.compact(caller, compact).await.err()),
        ("alarm", handle.alarm(caller, raise).await.err()),
        ("hash", handle.hash(caller).await.err()),
        ("hash_kv", handle.hash_kv(caller, 0).await.err()),
        ("defragment", handle.defragment(caller).await.err()),
        ("snapshot", snapshot),
        ("move_leader", handle.move_leader(caller, id).await.err()),
        ("remove", handle.member_remove(caller, id).await.err()),
        ("promote", handle.member_promote(caller, id).await.err()),
        (
            "update",
            member(handle.member_update(caller, id, &urls).await.map(drop)),
        ),
        (
            "replace",
            member(handle.member_replace(caller, wish).await.map(drop)),
        ),
        ("status", handle.auth_status(caller).await.err()),
        ("user_list", handle.user_list(caller).await.err()),
        ("role_list", handle.role_list(caller).await.err()),
        ("user_get", handle.user_get(caller, "root").await.err()),
        ("role_get", handle.role_get(caller, "x").await.err()),
        ("permit", handle.permit(caller, &[Need::Admin]).err()),
        // The last, for it makes the caller's proof old.
        ("auth", handle.auth_change(caller, add("v")).await.err()),
    ]
}

#[tokio::test]
async fn what_concerns_the_cluster_is_refused_to_all_but_root() {
    let running = Running::with_users().await;
    let handle = &running.handle;
    for (caller, wanted) in [
        (Caller::nobody(), Error::UserEmpty),
        (running.caller("u"), Error::PermissionDenied),
        (running.caller("x"), Error::UserNotFound),
        (Caller::user("root", 1), Error::AuthOldRevision),
    ] {
        for (call, refused) in as_root(handle, &caller).await {
            assert_eq!(refused, Some(wanted), "{call} by {caller:?}");
        }
    }
    let own_rights = [
        Error::UserEmpty,
        Error::PermissionDenied,
        Error::UserNotFound,
        Error::AuthOldRevision,
    ];
    for (call, refused) in as_root(handle, &running.caller("root")).await {
        let unknown = ["user_get", "role_get"].contains(&call);
        let right = refused.filter(|e| own_rights.contains(e));
        assert!(right.is_none() || unknown, "{call} by root: {refused:?}");
    }
}

#[tokio::test]
async fn keys_are_read_and_written_by_those_who_may() {
    let running = Running::with_users().await;
    let handle = &running.handle;
    let user = running.caller("u");
    let denied = Some(Error::PermissionDenied);
    for serializable in [false, true] {
        let read = |key, end| range(key, end, serializable);
        assert_eq!(handle.range(&user, read("r/a", "")).await.err(), None);
        assert_eq!(handle.range(&user, read("r/", "r0")).await.err(), None);
        for (key, end) in [("w/a", ""), ("r/", "\0"), ("secret", ""), ("a", "z")] {
            assert_eq!(handle.range(&user, read(key, end)).await.err(), denied);
            let answer = handle.range_answer(&user, read(key, end)).await;
            assert_eq!(answer.err(), denied);
            let pieces = handle.range_pieces(&user, read(key, end), 1 << 10).await;
            assert_eq!(pieces.err(), denied);
        }
    }
    assert_eq!(handle.txn(&user, reading("r/a")).await.err(), None);
    assert_eq!(handle.txn(&user, reading("w/a")).await.err(), denied);
    assert_eq!(handle.put(&user, put("w/b", 0)).await.err(), None);
    assert_eq!(handle.put(&user, put("r/a", 0)).await.err(), denied);
    assert_eq!(handle.put(&user, put("w/b", 7)).await.err(), denied);
    let children = |prefix: &str| ChildrenRequest {
        prefix: prefix.into(),
        limit: 10,
        ..Default::default()
    };
    let listed = handle.list_children(&user, children("r/"), 10).await;
    assert_eq!(listed.err(), None);
    let listed = handle.list_children(&user, children(""), 10).await;
    assert_eq!(listed.err(), denied);
    assert_eq!(handle.key_history(&user, b"r/a").err(), None);
    assert_eq!(handle.key_history(&user, b"secret").err(), denied);
    let nobody = Caller::nobody();
    let empty = Some(Error::UserEmpty);
    let all = range("\0", "\0", true);
    assert_eq!(handle.range(&nobody, all).await.err(), empty);
    assert_eq!(handle.put(&nobody, put("w/b", 0)).await.err(), empty);
    let nothing = pb::TxnRequest::default();
    assert_eq!(handle.txn(&nobody, nothing).await.err(), empty);
}

#[tokio::test]
async fn leases_and_lists_are_for_those_who_are_somebody() {
    let running = Running::with_users().await;
    let handle = &running.handle;
    let (user, nobody) = (running.caller("u"), Caller::nobody());
    let (denied, empty) = (Some(Error::PermissionDenied), Some(Error::UserEmpty));
    let keep = pb::LeaseKeepAliveRequest { id: 7 };
    let left = pb::LeaseTimeToLiveRequest { id: 7, keys: true };
    let grant = pb::LeaseGrantRequest { id: 8, ttl: 100 };
    let revoke = pb::LeaseRevokeRequest { id: 7 };
    assert_eq!(handle.lease_grant(&user, grant).await.err(), None);
    assert_eq!(handle.lease_keep_alive(&user, keep).await.err(), denied);
    assert_eq!(handle.lease_time_to_live(&user, left).await.err(), None);
    assert_eq!(handle.lease_leases(&user).await.err(), None);
    assert_eq!(handle.lease_revoke(&user, revoke).await.err(), denied);
    assert_eq!(handle.member_list(&user, true).await.err(), None);
    assert!(handle.client_status(&user).is_ok());
    let look = pb::AlarmRequest::default();
    assert_eq!(handle.alarm(&user, look).await.err(), None);
    assert_eq!(handle.lease_grant(&nobody, grant).await.err(), empty);
    assert_eq!(handle.lease_keep_alive(&nobody, keep).await.err(), empty);
    assert_eq!(handle.lease_time_to_live(&nobody, left).await.err(), empty);
    assert_eq!(handle.lease_leases(&nobody).await.err(), empty);
    assert_eq!(handle.lease_revoke(&nobody, revoke).await.err(), empty);
    assert_eq!(handle.member_list(&nobody, false).await.err(), empty);
    assert_eq!(handle.client_status(&nobody).err(), empty);
    assert_eq!(handle.alarm(&nobody, look).await.err(), empty);
}

#[tokio::test]
async fn users_see_themselves() {
    let running = Running::with_users().await;
    let (handle, user) = (&running.handle, running.caller("u"));
    let got = handle.user_get(&user, "u").await.expect("oneself");
    assert_eq!(got.roles, ["r"]);
    let got = handle.role_get(&user, "r").await.expect("an own role");
    assert_eq!(got.perm.len(), 2);
    let root = running.caller("root");
    let users = handle.user_list(&root).await.expect("by root").users;
    assert_eq!(users, ["root", "u"]);
    let status = handle.auth_status(&root).await.expect("by root");
    assert!(status.enabled && status.auth_revision == handle.auth().revision());
}

fn create(key: &str, end: &str) -> pb::WatchRequest {
    let create = pb::WatchCreateRequest {
        key: key.to_owned().into(),
        range_end: end.to_owned().into(),
        ..Default::default()
    };
    pb::WatchRequest {
        request_union: Some(pb::watch_request::RequestUnion::CreateRequest(create)),
    }
}

async fn next(stream: &mut WatchStream) -> pb::WatchResponse {
    let frame = stream.next().await.expect("the member runs");
    pb::WatchResponse::decode(frame.head.chain(frame.body)).expect("the member's own")
}

#[tokio::test]
async fn a_watch_begins_and_lasts_only_as_long_as_it_is_allowed() {
    let running = Running::with_users().await;
    let handle = &running.handle;
    let mut stream = handle.watch(usize::MAX);
    let user = running.caller("u");
    for (caller, request, reason) in [
        (
            &user,
            create("r/", "\0"),
            "PermissionDenied desc = etcdserver: permission denied",
        ),
        (
            &user,
            create("secret", ""),
            "PermissionDenied desc = etcdserver: permission denied",
        ),
        (
            &Caller::nobody(),
            create("r/a", ""),
            "InvalidArgument desc = etcdserver: user name is empty",
        ),
        (
            &Caller::user("u", 1),
            create("r/a", ""),
            "InvalidArgument desc = etcdserver: revision of auth store is old",
        ),
    ] {
        stream.request(caller, request);
        let refused = next(&mut stream).await;
        let reason = format!("rpc error: code = {reason}");
        assert_eq!((refused.watch_id, refused.cancel_reason), (-1, reason));
        assert!(refused.created && refused.canceled);
    }
    stream.request_refused(Error::InvalidAuthToken, create("r/a", ""));
    let refused = next(&mut stream).await;
    assert!(
        refused
            .cancel_reason
            .ends_with("etcdserver: invalid auth token")
    );
    stream.request(&user, create("r/", "r0"));
    assert!(!next(&mut stream).await.canceled);
    // Others come and go: the watch goes on.
    running.change(add("v")).await;
    let own = Caller::own();
    handle
        .put(&own, put("r/b", 0))
        .await
        .expect("by the member");
    assert_eq!(next(&mut stream).await.events.len(), 1);
    // What is written after the right is gone never arrives.
    running.change(revoke("r/", "r0")).await;
    handle
        .put(&own, put("r/c", 0))
        .await
        .expect("by the member");
    let ended = next(&mut stream).await;
    assert!(ended.canceled && ended.events.is_empty(), "{ended:?}");
    assert!(
        ended
            .cancel_reason
            .ends_with("etcdserver: permission denied")
    );
    assert_eq!(handle.status().watchers, 0);
}

#[tokio::test]
async fn a_watch_of_nobody_ends_when_authentication_is_switched_on() {
    let running = Running::with_users().await;
    running.change(Op::Disable(kvorumpb::AuthDisable {})).await;
    let mut stream = running.handle.watch(usize::MAX);
    stream.request(&Caller::nobody(), create("a", "z"));
    assert!(!next(&mut stream).await.canceled);
    running.change(Op::Enable(kvorumpb::AuthEnable {})).await;
    let ended = next(&mut stream).await;
    assert!(ended.canceled, "{ended:?}");
    assert!(
        ended
            .cancel_reason
            .ends_with("etcdserver: user name is empty")
    );
}

#[tokio::test]
async fn users_roles_and_the_switch_outlive_the_process() {
    let mut running = Running::with_users().await;
    let before = running.handle.auth();
    for _ in 0..2 {
        running = running.again().await;
        assert_eq!(running.handle.auth(), before);
        assert!(running.handle.is_auth_enabled());
        let nobody = running.handle.put(&Caller::nobody(), put("w/b", 0)).await;
        assert_eq!(nobody.err(), Some(Error::UserEmpty));
    }
}

#[tokio::test]
async fn tokens_are_announced_in_order_and_without_themselves() {
    let running = Running::with_users().await;
    let handle = &running.handle;
    let heard: Arc<Mutex<Vec<AuthEvent>>> = Arc::default();
    let listener = heard.clone();
    handle.on_auth_event(Box::new(move |event| {
        listener.lock().expect("nobody panics").push(event.clone());
    }));
    let now = handle.auth().revision();
    let issued = handle.issue_token("u", [3; 32], now).await;
    let index = issued.expect("it is a user").index;
    let old = handle.issue_token("u", [3; 32], now - 1).await;
    assert_eq!(old.err(), Some(Error::AuthOldRevision));
    running.change(Op::UserDelete("u".into())).await;
    running.change(Op::Disable(kvorumpb::AuthDisable {})).await;
    let wanted = [
        AuthEvent::TokenIssued {
            user: "u".into(),
            token_sha256: [3; 32],
            index,
        },
        AuthEvent::UserForgotten("u".into()),
        AuthEvent::AllForgotten,
    ];
    assert_eq!(*heard.lock().expect("nobody panics"), wanted);
}
