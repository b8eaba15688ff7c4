//! Every refusal a client can see, one variant each; the gRPC codes and etcd's exact texts live at the edge.

use crate::trust::TrustRefused;

/// A request that the machine refuses. The display text is for logs; clients get etcd's own text from the edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A key is required.
    #[error("key is not provided")]
    EmptyKey,
    /// `ignore_value` or `ignore_lease` on a key that does not exist, or a request operation without content.
    #[error("key not found")]
    KeyNotFound,
    /// `ignore_value` together with a value.
    #[error("value is provided")]
    ValueProvided,
    /// `ignore_lease` together with a lease.
    #[error("lease is provided")]
    LeaseProvided,
    /// More operations than `max_txn_ops`.
    #[error("too many operations in txn request")]
    TooManyOps,
    /// A transaction writes one key twice.
    #[error("duplicate key given in txn request")]
    DuplicateKey,
    /// Sort order or target outside their enums.
    #[error("invalid sort option")]
    InvalidSortOption,
    /// The revision is below the compact revision.
    #[error("required revision has been compacted")]
    Compacted,
    /// The revision is above the current one.
    #[error("required revision is a future revision")]
    FutureRevision,
    /// The quota is reached, or a NOSPACE alarm is raised.
    #[error("database space exceeded")]
    NoSpace,
    /// A CORRUPT alarm is raised.
    #[error("corrupt cluster")]
    Corrupt,
    /// The lease does not exist.
    #[error("requested lease not found")]
    LeaseNotFound,
    /// The lease id is taken.
    #[error("lease already exists")]
    LeaseExists,
    /// A member with this id exists.
    #[error("member ID already exists")]
    MemberExists,
    /// Another member has this peer URL.
    #[error("peer URL exists")]
    PeerUrlExists,
    /// Peer URLs that are none.
    #[error("given member URLs are invalid")]
    MemberBadUrls,
    /// The cluster has as many learners as it may.
    #[error("too many learner members in cluster")]
    TooManyLearners,
    /// The change would leave too few voters that ever started.
    #[error("not enough started members")]
    NotEnoughStarted,
    /// The change could cost the quorum, with the members that are connected now.
    #[error("unhealthy cluster")]
    Unhealthy,
    /// Only learners are promoted.
    #[error("can only promote a learner member")]
    MemberNotLearner,
    /// The learner lacks too much of the leader's log.
    #[error("can only promote a learner member which is in sync with leader")]
    LearnerNotReady,
    /// A learner does not serve this.
    #[error("rpc not supported for learner")]
    NotForLearner,
    /// TTL above 9,000,000,000 s.
    #[error("too large lease TTL")]
    LeaseTtlTooLarge,
    /// The encoded request exceeds `max_request_bytes`.
    #[error("request is too large")]
    RequestTooLarge,
    /// Too many entries are committed and not yet applied, or too many proposals wait.
    #[error("too many requests")]
    TooManyRequests,
    /// Large requests take all the memory there is for them.
    #[error("no memory for a large request now")]
    NoMemory,
    /// No answer within the request timeout.
    #[error("request timed out")]
    Timeout,
    /// The leader was lost while the request waited.
    #[error("leader changed")]
    LeaderChanged,
    /// No leader is known.
    #[error("no leader")]
    NoLeader,
    /// Only the leader can do this.
    #[error("not leader")]
    NotLeader,
    /// The member is stopping.
    #[error("server stopped")]
    Stopped,
    /// The cluster version is not decided yet.
    #[error("not capable")]
    NotCapable,
    /// An alarm type or action outside its enum.
    #[error("unknown alarm type or action")]
    UnknownAlarm,
    /// The member id is unknown.
    #[error("member not found")]
    MemberNotFound,
    /// The leadership cannot go to this member.
    #[error("bad leader transferee")]
    BadLeaderTransferee,
    /// Nobody took the leadership over in time.
    #[error("leader transfer took too long")]
    TransferTimeout,
    /// Authentication needs a user root first.
    #[error("root user does not exist")]
    RootUserNotExist,
    /// Authentication needs a user root with the role root.
    #[error("root user does not have root role")]
    RootRoleNotExist,
    /// The user name is taken.
    #[error("user name already exists")]
    UserExists,
    /// A user needs a name, or the caller has none while authentication is on.
    #[error("user name is empty")]
    UserEmpty,
    /// There is no such user.
    #[error("user name not found")]
    UserNotFound,
    /// The role name is taken.
    #[error("role name already exists")]
    RoleExists,
    /// There is no such role.
    #[error("role name not found")]
    RoleNotFound,
    /// A role needs a name.
    #[error("role name is empty")]
    RoleEmpty,
    /// No such user, or not this password.
    #[error("authentication failed, invalid user ID or password")]
    AuthFailed,
    /// The user has no password and is known by a certificate only.
    #[error("password was given for no password user")]
    NoPasswordUser,
    /// A grant without a permission.
    #[error("permission not given")]
    PermissionNotGiven,
    /// The caller may not do this.
    #[error("permission denied")]
    PermissionDenied,
    /// The user does not have this role.
    #[error("role is not granted to the user")]
    RoleNotGranted,
    /// The role does not have this permission.
    #[error("permission is not granted to the role")]
    PermissionNotGranted,
    /// Nobody logs in while authentication is off.
    #[error("authentication is not enabled")]
    AuthNotEnabled,
    /// The token is unknown, or its time is up.
    #[error("invalid auth token")]
    InvalidAuthToken,
    /// It would take root from root, or the interval of a permission is none.
    #[error("invalid auth management")]
    InvalidAuthMgmt,
    /// Users or roles have changed since the caller was identified.
    #[error("revision of auth store is old")]
    AuthOldRevision,
    /// What the trust state refuses.
    #[error(transparent)]
    Trust(#[from] TrustRefused),
}

/// Every error, by its code between members: the place here. New ones come at the end.
const CODES: [Error; 68] = [
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
    Error::NoMemory,
    Error::Timeout,
    Error::LeaderChanged,
    Error::NoLeader,
    Error::NotLeader,
    Error::Stopped,
    Error::NotCapable,
    Error::UnknownAlarm,
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
    Error::Trust(TrustRefused::NotReady),
    Error::Trust(TrustRefused::Exists),
    Error::Trust(TrustRefused::Malformed),
    Error::Trust(TrustRefused::Stale),
    Error::Trust(TrustRefused::TokenUnknown),
    Error::Trust(TrustRefused::TokenExpired),
    Error::Trust(TrustRefused::TokenUsed),
    Error::Trust(TrustRefused::TokenRole),
    Error::Trust(TrustRefused::TooMany),
    Error::Trust(TrustRefused::NotDenied),
    Error::Trust(TrustRefused::RotationUnderway),
    Error::Trust(TrustRefused::NoRotation),
    Error::Trust(TrustRefused::RotationWaits),
    Error::Trust(TrustRefused::MemberRemoved),
];

impl Error {
    /// Its number in messages between members.
    #[must_use]
    pub fn code(self) -> u32 {
        let place = CODES.iter().position(|e| *e == self);
        place
            .and_then(|p| u32::try_from(p).ok())
            .unwrap_or(u32::MAX)
    }

    /// The error of a number; one that a newer member made up is as good as no answer.
    #[must_use]
    pub fn from_code(code: u32) -> Self {
        let place = usize::try_from(code).unwrap_or(usize::MAX);
        CODES.get(place).copied().unwrap_or(Self::Timeout)
    }
}
