//! The tables of users and roles, and what each user may do by them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use kvorum_proto::authpb::{Permission, Role, User, permission::Type};
use prost::Message;

use super::grants::Grants;
use crate::backend::SideChange;
use crate::error::Error;
use crate::mvcc::interval::Interval;

/// The user that cannot be deleted while authentication is on.
pub(super) const ROOT_USER: &str = "root";
/// The role that may do everything.
pub(super) const ROOT_ROLE: &str = "root";
/// Revision of tables that never changed.
const FIRST_REVISION: u64 = 1;

/// Meta keys; the value is one byte, eight bytes, an encoded `authpb.User`, an encoded `authpb.Role`.
const META_ENABLED: &str = "auth/enabled";
const META_REVISION: &str = "auth/revision";
const META_USER: &str = "auth/user/";
const META_ROLE: &str = "auth/role/";

/// A user, and what the roles come to.
#[derive(Clone, Debug, PartialEq)]
struct Account {
    user: User,
    rights: Rights,
}

/// What a user may do.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Rights {
    /// Everything.
    pub(super) root: bool,
    pub(super) read: Grants,
    pub(super) write: Grants,
}

/// Users, roles, and whether they count.
#[derive(Clone, PartialEq)]
pub struct AuthStore {
    enabled: bool,
    revision: u64,
    users: BTreeMap<String, Arc<Account>>,
    roles: BTreeMap<String, Arc<Role>>,
}

impl fmt::Debug for AuthStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the hashes of passwords.
        f.debug_struct("AuthStore")
            .field("enabled", &self.enabled)
            .field("revision", &self.revision)
            .field("users", &self.users.keys())
            .field("roles", &self.roles)
            .finish()
    }
}

impl Default for AuthStore {
    fn default() -> Self {
        Self {
            enabled: false,
            revision: FIRST_REVISION,
            users: BTreeMap::new(),
            roles: BTreeMap::new(),
        }
    }
}

/// One step of a change.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Edit {
    Enable(bool),
    PutUser(User),
    DropUser(String),
    PutRole(Role),
    DropRole(String),
}

/// A name as text. Names come as text and are kept as bytes, as in etcd's tables.
pub(super) fn text(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

impl AuthStore {
    /// True while users and roles count.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Grows with every change.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// One user, with the hash of the password.
    #[must_use]
    pub fn user(&self, name: &str) -> Option<&User> {
        self.users.get(name).map(|account| &account.user)
    }

    /// All users, by name.
    pub fn users(&self) -> impl Iterator<Item = &User> {
        self.users.values().map(|account| &account.user)
    }

    /// One role.
    #[must_use]
    pub fn role(&self, name: &str) -> Option<&Role> {
        self.roles.get(name).map(|role| &**role)
    }

    /// All roles, by name.
    pub fn roles(&self) -> impl Iterator<Item = &Role> {
        self.roles.values().map(|role| &**role)
    }

    /// What a role permits: for root everything, whatever it was granted.
    ///
    /// # Errors
    /// There is no such role.
    pub fn permissions(&self, role: &str) -> Result<Vec<Permission>, Error> {
        let known = self.role(role).ok_or(Error::RoleNotFound)?;
        if role != ROOT_ROLE {
            return Ok(known.key_permission.clone());
        }
        Ok(vec![Permission {
            perm_type: Type::Readwrite as i32,
            key: Bytes::new(),
            range_end: Bytes::from_static(&[0]),
        }])
    }

    /// The hash that a password is to be compared with; whoever asks names the user that it was given for.
    ///
    /// # Errors
    /// Authentication is off, or the user is unknown or has no password.
    pub fn password_hash(&self, name: &str) -> Result<&Bytes, Error> {
        if !self.enabled {
            return Err(Error::AuthNotEnabled);
        }
        let user = self.user(name).ok_or(Error::AuthFailed)?;
        match has_no_password(user) {
            true => Err(Error::NoPasswordUser),
            false => Ok(&user.password),
        }
    }

    pub(super) fn rights(&self, user: &str) -> Option<&Rights> {
        self.users.get(user).map(|account| &account.rights)
    }

    /// Carries a change out that was found to be allowed; what has to be kept goes to `notes`.
    pub(super) fn carry_out(&mut self, edits: Vec<Edit>, notes: &mut Vec<SideChange>) {
        // Switching it on changes nobody's rights; everything else makes what was proved before doubtful.
        let counts = edits.iter().any(|e| !matches!(e, Edit::Enable(true)));
        for edit in edits {
            notes.push(row(&edit));
            self.edit(edit);
        }
        if counts {
            self.revision += 1;
            let value = Bytes::copy_from_slice(&self.revision.to_be_bytes());
            notes.push(SideChange::MetaPut(META_REVISION.into(), value));
        }
    }

    fn edit(&mut self, edit: Edit) {
        match edit {
            Edit::Enable(on) => self.enabled = on,
            Edit::PutUser(user) => self.put_user(user),
            Edit::DropUser(name) => drop(self.users.remove(&name)),
            Edit::PutRole(role) => {
                let name = text(&role.name);
                self.roles.insert(name.clone(), Arc::new(role));
                self.refresh(|user| user.roles.contains(&name));
            }
            Edit::DropRole(name) => {
                self.roles.remove(&name);
                self.refresh(|user| user.roles.contains(&name));
            }
        }
    }

    fn put_user(&mut self, user: User) {
        let rights = self.rights_of(&user);
        let name = text(&user.name);
        self.users.insert(name, Arc::new(Account { user, rights }));
    }

    /// Finds out anew what some users may do.
    fn refresh(&mut self, whom: impl Fn(&User) -> bool) {
        let users: Vec<User> = self.users().filter(|u| whom(u)).cloned().collect();
        users.into_iter().for_each(|user| self.put_user(user));
    }

    fn rights_of(&self, user: &User) -> Rights {
        let roles = user.roles.iter().filter_map(|role| self.role(role));
        let permissions: Vec<&Permission> = roles.flat_map(|r| &r.key_permission).collect();
        let of = |wanted: Type| {
            let kinds = [wanted as i32, Type::Readwrite as i32];
            let granted = permissions.iter().filter(|p| kinds.contains(&p.perm_type));
            Grants::union(granted.map(|p| Interval::new(&p.key, &p.range_end)))
        };
        Rights {
            root: user.roles.iter().any(|role| role == ROOT_ROLE),
            read: of(Type::Read),
            write: of(Type::Write),
        }
    }

    /// All that has to be kept, as changes of an empty meta table.
    #[must_use]
    pub fn rows(&self) -> Vec<SideChange> {
        if *self == Self::default() {
            return Vec::new();
        }
        let revision = Bytes::copy_from_slice(&self.revision.to_be_bytes());
        let mut rows = vec![
            row(&Edit::Enable(self.enabled)),
            SideChange::MetaPut(META_REVISION.into(), revision),
        ];
        rows.extend(self.users().map(|u| row(&Edit::PutUser(u.clone()))));
        rows.extend(self.roles().map(|r| row(&Edit::PutRole(r.clone()))));
        rows
    }

    /// Takes a row back from the state store. False if it belongs to somebody else. `restored` ends it.
    pub fn restore(&mut self, key: &str, value: &Bytes) -> bool {
        if key == META_ENABLED {
            self.enabled = value.as_ref() == [1];
        } else if key == META_REVISION {
            let number = value.as_ref().try_into().map(u64::from_be_bytes);
            self.revision = number.unwrap_or(FIRST_REVISION);
        } else if key.starts_with(META_USER) {
            if let Ok(user) = User::decode(value.clone()) {
                self.put_user(user);
            }
        } else if key.starts_with(META_ROLE) {
            if let Ok(role) = Role::decode(value.clone()) {
                self.roles.insert(text(&role.name), Arc::new(role));
            }
        } else {
            return false;
        }
        true
    }

    /// Takes a user as another cluster had it. `restored` ends it.
    pub fn import_user(&mut self, user: User) {
        self.put_user(user);
    }

    /// Takes a role as another cluster had it. `restored` ends it.
    pub fn import_role(&mut self, role: Role) {
        self.roles.insert(text(&role.name), Arc::new(role));
    }

    /// Takes over whether users counted in another cluster, and the revision there.
    pub fn import_state(&mut self, enabled: bool, revision: u64) {
        self.enabled = enabled;
        self.revision = revision.max(FIRST_REVISION);
    }

    /// All rows are back: what the users may do follows from them.
    pub fn restored(&mut self) {
        self.refresh(|_| true);
    }
}

pub(super) fn has_no_password(user: &User) -> bool {
    user.options.as_ref().is_some_and(|o| o.no_password)
}

fn row(edit: &Edit) -> SideChange {
    let name = |prefix: &str, name: &[u8]| format!("{prefix}{}", text(name));
    match edit {
        Edit::Enable(on) => {
            let value = Bytes::from_static(if *on { &[1] } else { &[0] });
            SideChange::MetaPut(META_ENABLED.into(), value)
        }
        Edit::PutUser(user) => {
            let value = user.encode_to_vec().into();
            SideChange::MetaPut(name(META_USER, &user.name), value)
        }
        Edit::DropUser(user) => SideChange::MetaDelete(name(META_USER, user.as_bytes())),
        Edit::PutRole(role) => {
            let value = role.encode_to_vec().into();
            SideChange::MetaPut(name(META_ROLE, &role.name), value)
        }
        Edit::DropRole(role) => SideChange::MetaDelete(name(META_ROLE, role.as_bytes())),
    }
}
