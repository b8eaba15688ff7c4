//! Users, roles, permissions: what may be changed, and what it brings about.

use kvorum_proto::authpb::permission::Type;
use kvorum_proto::kvorumpb::{self, auth_op::Op};

use super::{
    AuthEvent, AuthStore, Caller, Error, Need, Tables, add, forgotten, grant, grant_role, revoke,
    revoke_role, token,
};

const ENABLE: Op = Op::Enable(kvorumpb::AuthEnable {});
const DISABLE: Op = Op::Disable(kvorumpb::AuthDisable {});

/// Tables, a change, what comes of it: an error, or by how much the revision grows.
fn check(mut tables: Tables, op: Op, wanted: Result<u64, Error>) {
    let before = tables.auth.revision();
    let (was, shown) = (tables.auth.clone(), format!("{op:?}"));
    let changed = tables.change(op);
    let grown = changed.map(|_| tables.auth.revision() - before);
    assert_eq!(grown, wanted, "{shown}");
    if wanted.is_err() {
        assert_eq!(
            was, tables.auth,
            "{shown} was refused and changed something"
        );
    }
    let mut restored = AuthStore::default();
    for (key, value) in &tables.kept {
        assert!(restored.restore(key, value), "{key}");
    }
    restored.restored();
    assert_eq!(restored, *tables.auth, "what is kept after {shown}");
    let rows = tables.auth.rows();
    assert!(rows.len() >= tables.kept.len(), "{rows:?}");
}

fn named(user: &str, no_password: bool) -> Op {
    Op::UserAdd(kvorumpb::UserAdd {
        name: user.into(),
        password_hash: bytes::Bytes::new(),
        no_password,
    })
}

#[test]
fn authentication_is_switched_on_only_for_root_with_its_role() {
    let empty = Tables::default;
    check(empty(), ENABLE, Err(Error::RootUserNotExist));
    let powerless = empty().with_user("root", &["a"]);
    check(powerless, ENABLE, Err(Error::RootRoleNotExist));
    check(empty().with_user("root", &["root"]), ENABLE, Ok(0));
    check(empty().enabled(), ENABLE, Ok(0));
}

#[test]
fn switching_off_counts_once_and_forgets_all_tokens() {
    check(Tables::default(), DISABLE, Ok(0));
    check(Tables::default().enabled(), DISABLE, Ok(1));
    let mut on = Tables::default().enabled();
    let off = on.change(DISABLE).expect("always allowed");
    assert_eq!(off.event, Some(AuthEvent::AllForgotten));
    let again = on.change(DISABLE).expect("always allowed");
    assert_eq!((again.tables, again.event), (false, None));
}

#[test]
fn users_are_added_once_and_with_a_name() {
    let some = || Tables::default().with_user("a", &[]);
    check(some(), add("b"), Ok(1));
    check(some(), named("b", true), Ok(1));
    check(some(), add("a"), Err(Error::UserExists));
    check(some(), add(""), Err(Error::UserEmpty));
}

#[test]
fn users_are_deleted_but_not_root_while_it_counts() {
    let some = || Tables::default().with_user("a", &["r"]);
    let delete = |name: &str| Op::UserDelete(name.into());
    check(some(), delete("a"), Ok(1));
    check(some(), delete("b"), Err(Error::UserNotFound));
    check(
        some().enabled(),
        delete("root"),
        Err(Error::InvalidAuthMgmt),
    );
    check(some().with_user("root", &["root"]), delete("root"), Ok(1));
    let deleted = some().change(delete("a")).expect("it is there");
    assert_eq!(deleted.event, forgotten("a"));
}

#[test]
fn a_new_password_makes_the_tokens_of_the_user_worthless() {
    let change = |name: &str| {
        Op::UserChangePassword(kvorumpb::UserPassword {
            name: name.into(),
            password_hash: bytes::Bytes::from_static(b"new"),
        })
    };
    let mut some = Tables::default().with_user("a", &["r"]).enabled();
    check(some.clone(), change("a"), Ok(1));
    check(some.clone(), change("b"), Err(Error::UserNotFound));
    let changed = some.change(change("a")).expect("it is there");
    assert_eq!(changed.event, forgotten("a"));
    assert_eq!(some.auth.password_hash("a").expect("one"), "new");
    assert_eq!(some.auth.user("a").expect("it stays").roles, ["r"]);
}

#[test]
fn a_user_without_a_password_never_gets_one() {
    let mut some = Tables::default().enabled();
    some.done(named("a", true));
    some.done(Op::UserChangePassword(kvorumpb::UserPassword {
        name: "a".into(),
        password_hash: bytes::Bytes::from_static(b"new"),
    }));
    assert_eq!(some.auth.password_hash("a"), Err(Error::NoPasswordUser));
    assert!(
        some.auth
            .user("a")
            .expect("it is there")
            .password
            .is_empty()
    );
}

#[test]
fn a_password_is_compared_only_while_authentication_is_on() {
    let off = Tables::default().with_user("a", &[]);
    assert_eq!(off.auth.password_hash("a"), Err(Error::AuthNotEnabled));
    let on = off.enabled();
    assert_eq!(on.auth.password_hash("a").expect("one"), "$2a$10$hash");
    assert_eq!(on.auth.password_hash("b"), Err(Error::AuthFailed));
}

#[test]
fn roles_are_granted_once_and_taken_back() {
    let some = || Tables::default().with_user("a", &["r"]);
    check(some(), grant_role("a", "r"), Ok(0));
    check(some(), grant_role("a", "root"), Ok(1));
    check(some(), grant_role("a", "s"), Err(Error::RoleNotFound));
    check(some(), grant_role("b", "r"), Err(Error::UserNotFound));
    check(some(), revoke_role("a", "r"), Ok(1));
    check(some(), revoke_role("a", "s"), Err(Error::RoleNotGranted));
    check(some(), revoke_role("b", "r"), Err(Error::UserNotFound));
    let on = some().enabled();
    let protected = revoke_role("root", "root");
    check(on, protected.clone(), Err(Error::InvalidAuthMgmt));
    let off = some().with_user("root", &["root"]);
    check(off, protected, Ok(1));
}

#[test]
fn roles_of_a_user_are_in_order() {
    let some = Tables::default().with_user("a", &["z", "b", "root", "m"]);
    let user = some.auth.user("a").expect("it is there");
    assert_eq!(user.roles, ["b", "m", "root", "z"]);
}

#[test]
fn roles_come_and_go_with_all_that_users_had_of_them() {
    let some = || {
        Tables::default()
            .with_user("a", &["r", "s"])
            .with_grant("r", Type::Read, b"k", b"")
    };
    check(some(), Op::RoleAdd("t".into()), Ok(1));
    check(some(), Op::RoleAdd("r".into()), Err(Error::RoleExists));
    check(some(), Op::RoleAdd(String::new()), Err(Error::RoleEmpty));
    check(some(), Op::RoleDelete("r".into()), Ok(1));
    check(some(), Op::RoleDelete("t".into()), Err(Error::RoleNotFound));
    let mut with_root = some();
    with_root.done(Op::RoleAdd("root".into()));
    let delete = Op::RoleDelete("root".into());
    check(with_root.clone(), delete.clone(), Ok(1));
    check(with_root.enabled(), delete, Err(Error::InvalidAuthMgmt));
    let mut on = some().enabled();
    on.may("a", Need::read(b"k", b"")).expect("granted");
    on.done(Op::RoleDelete("r".into()));
    assert_eq!(on.auth.user("a").expect("it stays").roles, ["s"]);
    let refused = on.may("a", Need::read(b"k", b""));
    assert_eq!(refused, Err(Error::PermissionDenied));
}

#[test]
fn permissions_name_a_key_or_an_interval() {
    let some = || Tables::default().with_grant("r", Type::Read, b"k", b"");
    let read = |key: &[u8], end: &[u8]| grant("r", Type::Read, key, end);
    for (key, end) in [
        (&b"a"[..], &b""[..]),
        (b"a", b"\0"),
        (b"a", b"b"),
        (b"\0", b"\0"),
    ] {
        check(some(), read(key, end), Ok(1));
    }
    for (key, end) in [
        (&b"b"[..], &b"a"[..]),
        (b"a", b"a"),
        (b"", b""),
        (b"", b"\0"),
        (b"", b"z"),
    ] {
        check(some(), read(key, end), Err(Error::InvalidAuthMgmt));
    }
    let nothing = Op::RoleGrantPermission(kvorumpb::RoleGrant {
        role: "r".into(),
        permission: None,
    });
    check(some(), nothing, Err(Error::PermissionNotGiven));
    let unknown = grant("s", Type::Read, b"a", b"");
    check(some(), unknown, Err(Error::RoleNotFound));
    check(some(), revoke("r", b"k", b""), Ok(1));
    check(
        some(),
        revoke("r", b"k", b"l"),
        Err(Error::PermissionNotGranted),
    );
    check(some(), revoke("s", b"k", b""), Err(Error::RoleNotFound));
}

#[test]
fn a_permission_on_the_same_interval_takes_the_place_of_the_old_one() {
    let some = Tables::default()
        .with_grant("r", Type::Readwrite, b"a", b"")
        .with_grant("r", Type::Readwrite, b"a", b"b")
        .with_grant("r", Type::Read, b"a", b"b");
    let role = some.auth.role("r").expect("it is there");
    let kinds: Vec<i32> = role.key_permission.iter().map(|p| p.perm_type).collect();
    assert_eq!(kinds, [Type::Readwrite as i32, Type::Read as i32]);
}

#[test]
fn the_role_root_shows_one_permission_for_everything() {
    let mut some = Tables::default().with_grant("r", Type::Read, b"a", b"b");
    assert_eq!(some.auth.permissions("root"), Err(Error::RoleNotFound));
    some.done(Op::RoleAdd("root".into()));
    some.done(grant("root", Type::Read, b"x", b""));
    let shown = some.auth.permissions("root").expect("it is there");
    let shown: Vec<_> = shown
        .iter()
        .map(|p| (p.perm_type, p.key.as_ref(), p.range_end.as_ref()))
        .collect();
    assert_eq!(shown, [(Type::Readwrite as i32, &b""[..], &b"\0"[..])]);
    assert_eq!(some.auth.permissions("r").expect("there").len(), 1);
}

#[test]
fn a_token_is_issued_for_what_the_password_was_compared_with() {
    let mut on = Tables::default().with_user("a", &[]).enabled();
    let now = on.auth.revision();
    let issued = on.change(token("a", now)).expect("allowed");
    assert!(!issued.tables);
    assert_eq!(
        issued.event,
        Some(AuthEvent::TokenIssued {
            user: "a".into(),
            token_sha256: [7; 32],
            index: on.index,
        })
    );
    assert_eq!(on.change(token("b", now)), Err(Error::AuthFailed));
    assert_eq!(on.change(token("a", now - 1)), Err(Error::AuthOldRevision));
    let mut none = on.clone();
    none.done(named("b", true));
    let now = none.auth.revision();
    assert_eq!(none.change(token("b", now)), Err(Error::AuthFailed));
    on.done(DISABLE);
    let now = on.auth.revision();
    assert_eq!(on.change(token("a", now)), Err(Error::AuthNotEnabled));
}

#[test]
fn grants_that_touch_cover_what_lies_across_them() {
    let on = Tables::default()
        .with_user("u", &["r", "s"])
        .with_grant("r", Type::Read, b"a", b"b")
        .with_grant("s", Type::Readwrite, b"b", b"d")
        .with_grant("r", Type::Read, b"d", b"")
        .with_grant("r", Type::Write, b"x", b"\0")
        .enabled();
    let read = |key: &[u8], end: &[u8]| on.may("u", Need::read(key, end));
    let write = |key: &[u8], end: &[u8]| on.may("u", Need::write(key, end));
    let denied = Err(Error::PermissionDenied);
    assert_eq!(read(b"a", b"d"), Ok(()));
    assert_eq!(read(b"a", b"d\0"), Ok(()));
    assert_eq!(read(b"a", b"d\0\0"), denied);
    assert_eq!(read(b"a", b"\0"), denied);
    assert_eq!(read(b"d", b""), Ok(()));
    assert_eq!(read(b"d\0", b""), denied);
    assert_eq!(read(b"A", b"b"), denied);
    assert_eq!(read(b"x", b""), denied);
    assert_eq!(write(b"a", b""), denied);
    assert_eq!(write(b"c", b"d"), Ok(()));
    assert_eq!(write(b"y", b"\0"), Ok(()));
    assert_eq!(write(b"w", b"\0"), denied);
    assert_eq!(write(b"x", b"zzz"), Ok(()));
    // An interval without keys counts as its first.
    assert_eq!(read(b"b", b"a"), Ok(()));
    assert_eq!(read(b"x", b"a"), denied);
}

#[test]
fn whoever_is_not_known_well_enough_is_refused_by_name() {
    let mut on = Tables::default().with_user("u", &[]).enabled();
    let (key, admin) = (Need::read(b"k", b""), Need::Admin);
    for (caller, need, wanted) in [
        (Caller::nobody(), key, Err(Error::UserEmpty)),
        (Caller::nobody(), admin, Err(Error::UserEmpty)),
        (Caller::nobody(), Need::Authenticated, Err(Error::UserEmpty)),
        (Caller::user("", 9), key, Err(Error::UserEmpty)),
        (on.caller("stranger"), key, Err(Error::PermissionDenied)),
        (on.caller("stranger"), admin, Err(Error::UserNotFound)),
        (on.caller("stranger"), Need::Authenticated, Ok(())),
        (on.caller("u"), admin, Err(Error::PermissionDenied)),
        (on.caller("root"), admin, Ok(())),
        (on.caller("root"), key, Ok(())),
        (Caller::user("root", 1), key, Err(Error::AuthOldRevision)),
        (Caller::user("root", 1), admin, Ok(())),
        (Caller::own(), key, Ok(())),
        (Caller::own(), admin, Ok(())),
    ] {
        let found = on.auth.authorise(&caller, &[need]);
        assert_eq!(found, wanted, "{caller:?} {need:?}");
    }
    on.done(DISABLE);
    assert_eq!(on.auth.authorise(&Caller::nobody(), &[key, admin]), Ok(()));
}

#[test]
fn everybody_sees_the_own_user_and_the_own_roles() {
    let on = Tables::default().with_user("u", &["r"]).enabled();
    let denied = Err(Error::PermissionDenied);
    assert_eq!(on.may("u", Need::OwnUser("u")), Ok(()));
    assert_eq!(on.may("u", Need::OwnUser("root")), denied);
    assert_eq!(on.may("u", Need::OwnRole("r")), Ok(()));
    assert_eq!(on.may("u", Need::OwnRole("s")), denied);
    assert_eq!(on.may("root", Need::OwnUser("u")), Ok(()));
    assert_eq!(on.may("root", Need::OwnRole("r")), Ok(()));
}

#[test]
fn any_user_with_the_role_root_may_do_everything() {
    let on = Tables::default().with_user("u", &["root"]).enabled();
    assert_eq!(on.may("u", Need::Admin), Ok(()));
    assert_eq!(on.may("u", Need::write(b"\0", b"\0")), Ok(()));
}

#[test]
fn a_caller_comes_out_of_the_log_as_it_went_in() {
    for caller in [Caller::own(), Caller::nobody(), Caller::user("u", 7)] {
        let wire = caller.to_wire();
        assert_eq!(Caller::from_wire(wire.as_ref()), caller);
    }
}
