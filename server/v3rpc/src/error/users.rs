//! Codes and texts of what concerns users, roles and permissions.

use kvorum_core::Error;

use super::Code;

/// What no refusal of the machine says: a test asks all of them.
const NO_WORDS: &str = "kvorum: refused";

/// As `super::wire`.
pub(super) const fn wire(error: Error) -> (Code, &'static str) {
    use Code::{FailedPrecondition, InvalidArgument, PermissionDenied, Unauthenticated, Unknown};
    match error {
        Error::RootUserNotExist => (FailedPrecondition, "etcdserver: root user does not exist"),
        Error::RootRoleNotExist => (
            FailedPrecondition,
            "etcdserver: root user does not have root role",
        ),
        Error::UserExists => (FailedPrecondition, "etcdserver: user name already exists"),
        Error::UserEmpty => (InvalidArgument, "etcdserver: user name is empty"),
        Error::UserNotFound => (FailedPrecondition, "etcdserver: user name not found"),
        Error::RoleExists => (FailedPrecondition, "etcdserver: role name already exists"),
        Error::RoleNotFound => (FailedPrecondition, "etcdserver: role name not found"),
        Error::RoleEmpty => (InvalidArgument, "etcdserver: role name is empty"),
        Error::AuthFailed => (
            InvalidArgument,
            "etcdserver: authentication failed, invalid user ID or password",
        ),
        Error::PermissionNotGiven => (InvalidArgument, "etcdserver: permission not given"),
        Error::RoleNotGranted => (
            FailedPrecondition,
            "etcdserver: role is not granted to the user",
        ),
        Error::PermissionNotGranted => (
            FailedPrecondition,
            "etcdserver: permission is not granted to the role",
        ),
        Error::AuthNotEnabled => (
            FailedPrecondition,
            "etcdserver: authentication is not enabled",
        ),
        Error::InvalidAuthToken => (Unauthenticated, "etcdserver: invalid auth token"),
        Error::InvalidAuthMgmt => (InvalidArgument, "etcdserver: invalid auth management"),
        Error::AuthOldRevision => (InvalidArgument, "etcdserver: revision of auth store is old"),
        // etcd knows no code for it, and passes its own text on.
        Error::NoPasswordUser => (
            Unknown,
            "auth: authentication failed, password was given for no password user",
        ),
        Error::PermissionDenied => (PermissionDenied, "etcdserver: permission denied"),
        _ => (Unknown, NO_WORDS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_words() {
        // Numbers that no error has are timeouts.
        for error in (0..1000).map(Error::from_code) {
            assert_ne!(super::super::wire(error).1, NO_WORDS, "{error:?}");
        }
    }
}
