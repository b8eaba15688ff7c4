//! The rules of ETCD.md 2.11, one by one.

mod advisories;
mod rules;

use std::sync::Arc;

use kvorum_proto::authpb::{Permission, permission::Type};
use kvorum_proto::kvorumpb::{self, auth_op::Op};

use super::{AuthEvent, AuthStore, Caller, Changed, Need};
use crate::error::Error;

/// Users and roles that are changed as the log does.
#[derive(Clone, Debug, Default)]
pub(super) struct Tables {
    pub(super) auth: Arc<AuthStore>,
    /// What was kept, as a state store would have it.
    kept: std::collections::BTreeMap<String, bytes::Bytes>,
    index: u64,
}

impl Tables {
    pub(super) fn change(&mut self, op: Op) -> Result<Changed, Error> {
        self.index += 1;
        let mut notes = Vec::new();
        let op = kvorumpb::AuthOp { op: Some(op) };
        let changed = AuthStore::apply(&mut self.auth, &op, self.index, &mut notes);
        assert!(changed.is_ok() || notes.is_empty(), "{notes:?}");
        for note in notes {
            match note {
                crate::backend::SideChange::MetaPut(key, value) => {
                    self.kept.insert(key, value);
                }
                crate::backend::SideChange::MetaDelete(key) => {
                    self.kept.remove(&key).expect("only what is there goes");
                }
                lease => panic!("{lease:?} is no change of users"),
            }
        }
        changed
    }

    pub(super) fn done(&mut self, op: Op) {
        self.change(op).expect("it is allowed");
    }

    /// A user with a password and these roles, which are made where they are missing.
    pub(super) fn with_user(mut self, name: &str, roles: &[&str]) -> Self {
        self.done(add(name));
        for role in roles {
            if *role != "root" && self.auth.role(role).is_none() {
                self.done(Op::RoleAdd((*role).into()));
            }
            self.done(grant_role(name, role));
        }
        self
    }

    pub(super) fn with_grant(mut self, role: &str, kind: Type, key: &[u8], end: &[u8]) -> Self {
        if self.auth.role(role).is_none() {
            self.done(Op::RoleAdd(role.into()));
        }
        self.done(grant(role, kind, key, end));
        self
    }

    /// With authentication on, and root there.
    pub(super) fn enabled(self) -> Self {
        let mut tables = self.with_user("root", &["root"]);
        tables.done(Op::Enable(kvorumpb::AuthEnable {}));
        tables
    }

    pub(super) fn caller(&self, user: &str) -> Caller {
        Caller::user(user, self.auth.revision())
    }

    pub(super) fn may(&self, user: &str, need: Need<'_>) -> Result<(), Error> {
        self.auth.authorise(&self.caller(user), &[need])
    }
}

pub(super) fn add(name: &str) -> Op {
    Op::UserAdd(kvorumpb::UserAdd {
        name: name.into(),
        password_hash: bytes::Bytes::from_static(b"$2a$10$hash"),
        no_password: false,
    })
}

pub(super) fn grant_role(user: &str, role: &str) -> Op {
    Op::UserGrantRole(kvorumpb::UserRole {
        user: user.into(),
        role: role.into(),
    })
}

fn revoke_role(user: &str, role: &str) -> Op {
    Op::UserRevokeRole(kvorumpb::UserRole {
        user: user.into(),
        role: role.into(),
    })
}

pub(super) fn grant(role: &str, kind: Type, key: &[u8], end: &[u8]) -> Op {
    Op::RoleGrantPermission(kvorumpb::RoleGrant {
        role: role.into(),
        permission: Some(Permission {
            perm_type: kind as i32,
            key: key.to_vec().into(),
            range_end: end.to_vec().into(),
        }),
    })
}

fn revoke(role: &str, key: &[u8], end: &[u8]) -> Op {
    Op::RoleRevokePermission(kvorumpb::RoleInterval {
        role: role.into(),
        key: key.to_vec().into(),
        range_end: end.to_vec().into(),
    })
}

fn token(user: &str, auth_revision: u64) -> Op {
    Op::TokenIssued(kvorumpb::TokenIssued {
        user: user.into(),
        token_sha256: vec![7; 32].into(),
        auth_revision,
    })
}

fn forgotten(user: &str) -> Option<AuthEvent> {
    Some(AuthEvent::UserForgotten(user.into()))
}
