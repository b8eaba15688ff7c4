//! All 63 errors of etcd's dictionary (ETCD.md §3), and which of them can be raised here.

use kvorum_core::Error;

use super::{Code, Status};

/// What raises an error.
enum Raised {
    /// A refusal of the machine.
    By(Error),
    /// The edge.
    Here(fn() -> Status),
    /// Nothing yet: more members, and timeouts that only they know.
    NotYet,
}

use Raised::{By, Here, NotYet};

/// Text, the code on the wire, what raises it. Two texts travel without their code, by etcd's own doing.
const TABLE: &[(&str, Code, Raised)] = &[
    (
        "etcdserver: key is not provided",
        Code::InvalidArgument,
        By(Error::EmptyKey),
    ),
    (
        "etcdserver: key not found",
        Code::InvalidArgument,
        By(Error::KeyNotFound),
    ),
    (
        "etcdserver: value is provided",
        Code::InvalidArgument,
        By(Error::ValueProvided),
    ),
    (
        "etcdserver: lease is provided",
        Code::InvalidArgument,
        By(Error::LeaseProvided),
    ),
    (
        "etcdserver: too many operations in txn request",
        Code::InvalidArgument,
        By(Error::TooManyOps),
    ),
    (
        "etcdserver: duplicate key given in txn request",
        Code::InvalidArgument,
        By(Error::DuplicateKey),
    ),
    (
        "etcdserver: invalid client api version",
        Code::InvalidArgument,
        Here(Status::invalid_client_api_version),
    ),
    (
        "etcdserver: invalid sort option",
        Code::InvalidArgument,
        By(Error::InvalidSortOption),
    ),
    (
        "etcdserver: mvcc: required revision has been compacted",
        Code::OutOfRange,
        By(Error::Compacted),
    ),
    (
        "etcdserver: mvcc: required revision is a future revision",
        Code::OutOfRange,
        By(Error::FutureRevision),
    ),
    (
        "etcdserver: mvcc: database space exceeded",
        Code::ResourceExhausted,
        By(Error::NoSpace),
    ),
    (
        "etcdserver: requested lease not found",
        Code::NotFound,
        By(Error::LeaseNotFound),
    ),
    (
        "etcdserver: lease already exists",
        Code::FailedPrecondition,
        By(Error::LeaseExists),
    ),
    (
        "etcdserver: too large lease TTL",
        Code::OutOfRange,
        By(Error::LeaseTtlTooLarge),
    ),
    (
        "etcdserver: watch canceled",
        Code::Canceled,
        Here(Status::watch_canceled),
    ),
    (
        "etcdserver: member ID already exist",
        Code::FailedPrecondition,
        By(Error::MemberExists),
    ),
    (
        "etcdserver: Peer URLs already exists",
        Code::FailedPrecondition,
        By(Error::PeerUrlExists),
    ),
    (
        "etcdserver: re-configuration failed due to not enough started members",
        Code::Unknown,
        By(Error::NotEnoughStarted),
    ),
    (
        "etcdserver: given member URLs are invalid",
        Code::InvalidArgument,
        By(Error::MemberBadUrls),
    ),
    (
        "etcdserver: member not found",
        Code::NotFound,
        By(Error::MemberNotFound),
    ),
    (
        "etcdserver: can only promote a learner member",
        Code::FailedPrecondition,
        By(Error::MemberNotLearner),
    ),
    (
        "etcdserver: can only promote a learner member which is in sync with leader",
        Code::FailedPrecondition,
        By(Error::LearnerNotReady),
    ),
    (
        "etcdserver: too many learner members in cluster",
        Code::FailedPrecondition,
        By(Error::TooManyLearners),
    ),
    (
        "etcdserver: cluster ID mismatch",
        Code::FailedPrecondition,
        NotYet,
    ),
    (
        "etcdserver: request is too large",
        Code::InvalidArgument,
        By(Error::RequestTooLarge),
    ),
    (
        "etcdserver: too many requests",
        Code::Unknown,
        By(Error::TooManyRequests),
    ),
    (
        "etcdserver: root user does not exist",
        Code::FailedPrecondition,
        By(Error::RootUserNotExist),
    ),
    (
        "etcdserver: root user does not have root role",
        Code::FailedPrecondition,
        By(Error::RootRoleNotExist),
    ),
    (
        "etcdserver: user name already exists",
        Code::FailedPrecondition,
        By(Error::UserExists),
    ),
    (
        "etcdserver: user name is empty",
        Code::InvalidArgument,
        By(Error::UserEmpty),
    ),
    (
        "etcdserver: user name not found",
        Code::FailedPrecondition,
        By(Error::UserNotFound),
    ),
    (
        "etcdserver: role name already exists",
        Code::FailedPrecondition,
        By(Error::RoleExists),
    ),
    (
        "etcdserver: role name not found",
        Code::FailedPrecondition,
        By(Error::RoleNotFound),
    ),
    (
        "etcdserver: role name is empty",
        Code::InvalidArgument,
        By(Error::RoleEmpty),
    ),
    (
        "etcdserver: authentication failed, invalid user ID or password",
        Code::InvalidArgument,
        By(Error::AuthFailed),
    ),
    (
        "etcdserver: permission not given",
        Code::InvalidArgument,
        By(Error::PermissionNotGiven),
    ),
    (
        "etcdserver: permission denied",
        Code::PermissionDenied,
        By(Error::PermissionDenied),
    ),
    (
        "etcdserver: role is not granted to the user",
        Code::FailedPrecondition,
        By(Error::RoleNotGranted),
    ),
    (
        "etcdserver: permission is not granted to the role",
        Code::FailedPrecondition,
        By(Error::PermissionNotGranted),
    ),
    (
        "etcdserver: authentication is not enabled",
        Code::FailedPrecondition,
        By(Error::AuthNotEnabled),
    ),
    (
        "etcdserver: invalid auth token",
        Code::Unauthenticated,
        By(Error::InvalidAuthToken),
    ),
    (
        "etcdserver: invalid auth management",
        Code::InvalidArgument,
        By(Error::InvalidAuthMgmt),
    ),
    (
        "etcdserver: revision of auth store is old",
        Code::InvalidArgument,
        By(Error::AuthOldRevision),
    ),
    (
        "etcdserver: no leader",
        Code::Unavailable,
        By(Error::NoLeader),
    ),
    (
        "etcdserver: not leader",
        Code::FailedPrecondition,
        By(Error::NotLeader),
    ),
    (
        "etcdserver: leader changed",
        Code::Unavailable,
        By(Error::LeaderChanged),
    ),
    (
        "etcdserver: not capable",
        Code::FailedPrecondition,
        By(Error::NotCapable),
    ),
    (
        "etcdserver: server stopped",
        Code::Unavailable,
        By(Error::Stopped),
    ),
    (
        "etcdserver: request timed out",
        Code::Unavailable,
        By(Error::Timeout),
    ),
    (
        "etcdserver: request timed out, possibly due to previous leader failure",
        Code::Unavailable,
        NotYet,
    ),
    (
        "etcdserver: request timed out, possibly due to connection lost",
        Code::Unavailable,
        NotYet,
    ),
    (
        "etcdserver: request timed out, waiting for the applied index took too long",
        Code::Unavailable,
        NotYet,
    ),
    (
        "etcdserver: unhealthy cluster",
        Code::Unavailable,
        By(Error::Unhealthy),
    ),
    (
        "etcdserver: corrupt cluster",
        Code::DataLoss,
        By(Error::Corrupt),
    ),
    (
        "etcdserver: rpc not supported for learner",
        Code::FailedPrecondition,
        By(Error::NotForLearner),
    ),
    (
        "etcdserver: bad leader transferee",
        Code::FailedPrecondition,
        By(Error::BadLeaderTransferee),
    ),
    (
        "etcdserver: wrong downgrade target version format",
        Code::InvalidArgument,
        Here(Status::wrong_downgrade_version_format),
    ),
    (
        "etcdserver: invalid downgrade target version",
        Code::InvalidArgument,
        Here(Status::invalid_downgrade_target_version),
    ),
    (
        "etcdserver: cluster version not found during downgrade",
        Code::FailedPrecondition,
        NotYet,
    ),
    (
        "etcdserver: cluster has a downgrade job in progress",
        Code::FailedPrecondition,
        NotYet,
    ),
    (
        "etcdserver: no inflight downgrade job",
        Code::FailedPrecondition,
        NotYet,
    ),
    ("etcdserver: request canceled", Code::Canceled, NotYet),
    (
        "etcdserver: context deadline exceeded",
        Code::DeadlineExceeded,
        NotYet,
    ),
];

#[test]
fn the_dictionary_is_complete_and_what_is_raised_agrees_with_it() {
    assert_eq!(TABLE.len(), 63);
    for (text, code, raised) in TABLE {
        let status = match raised {
            By(error) => Status::from(*error),
            Here(status) => status(),
            NotYet => continue,
        };
        assert_eq!((&*status.message, status.code), (*text, *code));
    }
}

#[test]
fn what_the_machine_refuses_is_in_the_dictionary() {
    let raised = |error: Error| {
        TABLE
            .iter()
            .any(|(_, _, raised)| matches!(raised, By(known) if *known == error))
    };
    for error in ALL {
        assert!(
            raised(*error)
                || matches!(
                    error,
                    // etcd has the last two and sends them as they are.
                    Error::UnknownAlarm
                        | Error::NoMemory
                        | Error::TransferTimeout
                        | Error::NoPasswordUser
                ),
            "{error:?}"
        );
    }
}

/// Every variant.
const ALL: &[Error] = &[
    Error::EmptyKey,
    Error::KeyNotFound,
    Error::ValueProvided,
    Error::LeaseProvided,
    Error::TooManyOps,
    Error::DuplicateKey,
    Error::InvalidSortOption,
    Error::Compacted,
    Error::FutureRevision,
    Error::NoSpace,
    Error::Corrupt,
    Error::LeaseNotFound,
    Error::LeaseExists,
    Error::LeaseTtlTooLarge,
    Error::RequestTooLarge,
    Error::TooManyRequests,
    Error::Timeout,
    Error::LeaderChanged,
    Error::NoLeader,
    Error::NotLeader,
    Error::Stopped,
    Error::NotCapable,
    Error::UnknownAlarm,
    Error::NoMemory,
    Error::MemberNotFound,
    Error::BadLeaderTransferee,
    Error::TransferTimeout,
    Error::MemberExists,
    Error::PeerUrlExists,
    Error::MemberBadUrls,
    Error::TooManyLearners,
    Error::NotEnoughStarted,
    Error::Unhealthy,
    Error::MemberNotLearner,
    Error::LearnerNotReady,
    Error::NotForLearner,
    Error::RootUserNotExist,
    Error::RootRoleNotExist,
    Error::UserExists,
    Error::UserEmpty,
    Error::UserNotFound,
    Error::RoleExists,
    Error::RoleNotFound,
    Error::RoleEmpty,
    Error::AuthFailed,
    Error::NoPasswordUser,
    Error::PermissionNotGiven,
    Error::PermissionDenied,
    Error::RoleNotGranted,
    Error::PermissionNotGranted,
    Error::AuthNotEnabled,
    Error::InvalidAuthToken,
    Error::InvalidAuthMgmt,
    Error::AuthOldRevision,
];
