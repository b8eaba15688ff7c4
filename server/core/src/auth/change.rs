//! Changes of users and roles: each is looked at first, and then carried out whole or not at all.
//! (etcd: server/auth/store.go)

use bytes::Bytes;
use kvorum_proto::authpb::{Permission, Role, User, UserAddOptions};
use kvorum_proto::kvorumpb::{self, auth_op::Op};

use super::store::{AuthStore, Edit, ROOT_ROLE, ROOT_USER, has_no_password, text};
use crate::error::Error;
use crate::mvcc::interval::Interval;

/// Bytes of a token's digest.
const DIGEST_BYTES: usize = 32;

/// What the members' memory of tokens has to follow, in the order of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthEvent {
    /// The owner of a token whose SHA-256 this is was found to be a user.
    TokenIssued {
        /// The user.
        user: String,
        /// The digest.
        token_sha256: [u8; DIGEST_BYTES],
        /// The entry that said so.
        index: u64,
    },
    /// The user is gone or has another password: no token of before counts.
    UserForgotten(String),
    /// No token of before counts.
    AllForgotten,
}

/// What a change of users and roles brought about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Users, roles or whether they count are others now.
    pub tables: bool,
    /// What it means for tokens.
    pub event: Option<AuthEvent>,
}

/// A change that is allowed.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) edits: Vec<Edit>,
    pub(super) event: Option<AuthEvent>,
}

impl From<Edit> for Plan {
    fn from(edit: Edit) -> Self {
        Self {
            edits: vec![edit],
            event: None,
        }
    }
}

impl AuthStore {
    /// Applies a change that the entry at `index` holds: all of it or nothing. What has to be kept goes to `notes`.
    ///
    /// # Errors
    /// It breaks a rule of ETCD.md 2.11.
    pub fn apply(
        this: &mut std::sync::Arc<Self>,
        op: &kvorumpb::AuthOp,
        index: u64,
        notes: &mut Vec<crate::backend::SideChange>,
    ) -> Result<Changed, Error> {
        let plan = match &op.op {
            Some(op) => this.plan(op, index)?,
            // A kind of change that only a later version knows.
            None => return Err(Error::InvalidAuthMgmt),
        };
        let tables = !plan.edits.is_empty();
        if tables {
            // A copy only where readers hold on to the tables as they were.
            std::sync::Arc::make_mut(this).carry_out(plan.edits, notes);
        }
        Ok(Changed {
            tables,
            event: plan.event,
        })
    }

    fn plan(&self, op: &Op, index: u64) -> Result<Plan, Error> {
        match op {
            Op::Enable(_) => self.plan_enable(),
            Op::Disable(_) => Ok(self.plan_disable()),
            Op::UserAdd(r) => self.plan_user_add(r),
            Op::UserDelete(name) => self.plan_user_delete(name),
            Op::UserChangePassword(r) => self.plan_password(r),
            Op::UserGrantRole(r) => self.plan_grant_role(r),
            Op::UserRevokeRole(r) => self.plan_revoke_role(r),
            Op::RoleAdd(name) => self.plan_role_add(name),
            Op::RoleDelete(name) => self.plan_role_delete(name),
            Op::RoleGrantPermission(r) => self.plan_grant_permission(r),
            Op::RoleRevokePermission(r) => self.plan_revoke_permission(r),
            Op::TokenIssued(r) => self.plan_token(r, index),
        }
    }

    fn plan_enable(&self) -> Result<Plan, Error> {
        if self.is_enabled() {
            return Ok(Plan::default());
        }
        let root = self.user(ROOT_USER).ok_or(Error::RootUserNotExist)?;
        match root.roles.iter().any(|role| role == ROOT_ROLE) {
            true => Ok(Edit::Enable(true).into()),
            false => Err(Error::RootRoleNotExist),
        }
    }

    fn plan_disable(&self) -> Plan {
        if !self.is_enabled() {
            return Plan::default();
        }
        Plan {
            edits: vec![Edit::Enable(false)],
            event: Some(AuthEvent::AllForgotten),
        }
    }

    fn plan_user_add(&self, r: &kvorumpb::UserAdd) -> Result<Plan, Error> {
        if r.name.is_empty() {
            return Err(Error::UserEmpty);
        }
        if self.user(&r.name).is_some() {
            return Err(Error::UserExists);
        }
        let password = match r.no_password {
            true => Bytes::new(),
            false => r.password_hash.clone(),
        };
        let user = User {
            name: r.name.clone().into(),
            password,
            roles: Vec::new(),
            options: Some(UserAddOptions {
                no_password: r.no_password,
            }),
        };
        Ok(Edit::PutUser(user).into())
    }

    fn plan_user_delete(&self, name: &str) -> Result<Plan, Error> {
        if self.is_enabled() && name == ROOT_USER {
            return Err(Error::InvalidAuthMgmt);
        }
        self.known_user(name)?;
        Ok(Plan {
            edits: vec![Edit::DropUser(name.to_owned())],
            event: Some(AuthEvent::UserForgotten(name.to_owned())),
        })
    }

    fn plan_password(&self, r: &kvorumpb::UserPassword) -> Result<Plan, Error> {
        let user = self.known_user(&r.name)?;
        let password = match has_no_password(user) {
            true => Bytes::new(),
            false => r.password_hash.clone(),
        };
        let user = User {
            password,
            ..user.clone()
        };
        Ok(Plan {
            edits: vec![Edit::PutUser(user)],
            event: Some(AuthEvent::UserForgotten(r.name.clone())),
        })
    }

    fn plan_grant_role(&self, r: &kvorumpb::UserRole) -> Result<Plan, Error> {
        let user = self.known_user(&r.user)?;
        if r.role != ROOT_ROLE {
            self.known_role(&r.role)?;
        }
        // In order, as etcd keeps them.
        let Err(place) = user.roles.binary_search(&r.role) else {
            return Ok(Plan::default());
        };
        let mut user = user.clone();
        user.roles.insert(place, r.role.clone());
        Ok(Edit::PutUser(user).into())
    }

    fn plan_revoke_role(&self, r: &kvorumpb::UserRole) -> Result<Plan, Error> {
        if self.is_enabled() && r.user == ROOT_USER && r.role == ROOT_ROLE {
            return Err(Error::InvalidAuthMgmt);
        }
        let user = self.known_user(&r.user)?;
        match without(user, &r.role) {
            Some(user) => Ok(Edit::PutUser(user).into()),
            None => Err(Error::RoleNotGranted),
        }
    }

    fn plan_role_add(&self, name: &str) -> Result<Plan, Error> {
        if name.is_empty() {
            return Err(Error::RoleEmpty);
        }
        if self.role(name).is_some() {
            return Err(Error::RoleExists);
        }
        let role = Role {
            name: name.to_owned().into(),
            key_permission: Vec::new(),
        };
        Ok(Edit::PutRole(role).into())
    }

    fn plan_role_delete(&self, name: &str) -> Result<Plan, Error> {
        if self.is_enabled() && name == ROOT_ROLE {
            return Err(Error::InvalidAuthMgmt);
        }
        self.known_role(name)?;
        let users = self.users().filter_map(|user| without(user, name));
        let mut edits = vec![Edit::DropRole(name.to_owned())];
        edits.extend(users.map(Edit::PutUser));
        Ok(Plan { edits, event: None })
    }

    fn plan_grant_permission(&self, r: &kvorumpb::RoleGrant) -> Result<Plan, Error> {
        let new = r.permission.as_ref().ok_or(Error::PermissionNotGiven)?;
        if !is_interval(new) {
            return Err(Error::InvalidAuthMgmt);
        }
        let mut role = self.known_role(&r.role)?.clone();
        let permissions = &mut role.key_permission;
        let same = |p: &&mut Permission| p.key == new.key && p.range_end == new.range_end;
        if let Some(known) = permissions.iter_mut().find(same) {
            known.perm_type = new.perm_type;
        } else {
            let place = permissions.partition_point(|p| p.key <= new.key);
            permissions.insert(place, new.clone());
        }
        Ok(Edit::PutRole(role).into())
    }

    fn plan_revoke_permission(&self, r: &kvorumpb::RoleInterval) -> Result<Plan, Error> {
        let mut role = self.known_role(&r.role)?.clone();
        let before = role.key_permission.len();
        let same = |p: &Permission| p.key == r.key && p.range_end == r.range_end;
        role.key_permission.retain(|p| !same(p));
        match role.key_permission.len() == before {
            true => Err(Error::PermissionNotGranted),
            false => Ok(Edit::PutRole(role).into()),
        }
    }

    /// The password was compared before this came into the log: nothing may have changed since.
    fn plan_token(&self, r: &kvorumpb::TokenIssued, index: u64) -> Result<Plan, Error> {
        if !self.is_enabled() {
            return Err(Error::AuthNotEnabled);
        }
        if r.auth_revision != self.revision() {
            return Err(Error::AuthOldRevision);
        }
        let user = self.user(&r.user).filter(|user| !has_no_password(user));
        let (Some(user), Ok(token_sha256)) = (user, r.token_sha256.as_ref().try_into()) else {
            return Err(Error::AuthFailed);
        };
        Ok(Plan {
            edits: Vec::new(),
            event: Some(AuthEvent::TokenIssued {
                user: text(&user.name),
                token_sha256,
                index,
            }),
        })
    }

    fn known_user(&self, name: &str) -> Result<&User, Error> {
        self.user(name).ok_or(Error::UserNotFound)
    }

    fn known_role(&self, name: &str) -> Result<&Role, Error> {
        self.role(name).ok_or(Error::RoleNotFound)
    }
}

/// The user without a role; `None` if there is nothing to take away.
fn without(user: &User, role: &str) -> Option<User> {
    let mut user = user.clone();
    let before = user.roles.len();
    user.roles.retain(|known| known != role);
    (user.roles.len() < before).then_some(user)
}

/// True if a permission names a key, or an interval that can have keys.
fn is_interval(permission: &Permission) -> bool {
    match Interval::new(&permission.key, &permission.range_end) {
        Interval::Key(key) | Interval::From(key) => !key.is_empty(),
        Interval::Span(key, end) => !key.is_empty() && key < end,
    }
}
