//! The only place with gRPC codes and etcd's exact texts (ETCD.md §3).
//!
//! Clients look errors up by their text, so every text here is an interface. Two of etcd's errors carry no code of
//! their own on the wire and arrive as `Unknown`; that is kept.

mod users;

use std::borrow::Cow;

use kvorum_core::Error;
use kvorum_member::{MemberCallError, SnapshotError};

/// A gRPC status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// Success.
    Ok = 0,
    /// The caller gave up.
    Canceled = 1,
    /// Anything without a code of its own.
    Unknown = 2,
    /// The request can never succeed as it is.
    InvalidArgument = 3,
    /// The caller's deadline passed.
    DeadlineExceeded = 4,
    /// What was asked for does not exist.
    NotFound = 5,
    /// What was to be created exists.
    AlreadyExists = 6,
    /// The caller may not do this.
    PermissionDenied = 7,
    /// A limit or quota is reached.
    ResourceExhausted = 8,
    /// The system is not in the state the request needs.
    FailedPrecondition = 9,
    /// A conflict; try again.
    Aborted = 10,
    /// A revision or number outside what is kept.
    OutOfRange = 11,
    /// The method does not exist here.
    Unimplemented = 12,
    /// A broken message.
    Internal = 13,
    /// Try another member, or later.
    Unavailable = 14,
    /// The data is damaged.
    DataLoss = 15,
    /// The caller is unknown.
    Unauthenticated = 16,
}

impl Code {
    /// All codes by number.
    pub const ALL: [Self; 17] = [
        Self::Ok,
        Self::Canceled,
        Self::Unknown,
        Self::InvalidArgument,
        Self::DeadlineExceeded,
        Self::NotFound,
        Self::AlreadyExists,
        Self::PermissionDenied,
        Self::ResourceExhausted,
        Self::FailedPrecondition,
        Self::Aborted,
        Self::OutOfRange,
        Self::Unimplemented,
        Self::Internal,
        Self::Unavailable,
        Self::DataLoss,
        Self::Unauthenticated,
    ];

    /// The name that etcd's metrics use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Canceled => "Canceled",
            Self::Unknown => "Unknown",
            Self::InvalidArgument => "InvalidArgument",
            Self::DeadlineExceeded => "DeadlineExceeded",
            Self::NotFound => "NotFound",
            Self::AlreadyExists => "AlreadyExists",
            Self::PermissionDenied => "PermissionDenied",
            Self::ResourceExhausted => "ResourceExhausted",
            Self::FailedPrecondition => "FailedPrecondition",
            Self::Aborted => "Aborted",
            Self::OutOfRange => "OutOfRange",
            Self::Unimplemented => "Unimplemented",
            Self::Internal => "Internal",
            Self::Unavailable => "Unavailable",
            Self::DataLoss => "DataLoss",
            Self::Unauthenticated => "Unauthenticated",
        }
    }

    /// The number as it stands in the `grpc-status` trailer.
    #[must_use]
    pub const fn digits(self) -> &'static str {
        const DIGITS: [&str; 17] = [
            "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15",
            "16",
        ];
        DIGITS[self as usize]
    }
}

/// A refusal as a client sees it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Status {
    /// The code.
    pub code: Code,
    /// The text, unescaped.
    pub message: Cow<'static, str>,
}

impl Status {
    /// A status of one's own.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    pub(crate) fn internal(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::Internal, message)
    }

    pub(crate) fn unimplemented(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::Unimplemented, message)
    }

    /// The caller's deadline passed; gRPC's own text, without etcd's prefix.
    pub(crate) const fn deadline_exceeded() -> Self {
        Self::of(Code::DeadlineExceeded, "context deadline exceeded")
    }

    /// The caller reset the stream or its connection is gone.
    pub(crate) const fn canceled() -> Self {
        Self::of(Code::Canceled, "context canceled")
    }

    /// The member ends a watch stream.
    pub(crate) const fn watch_canceled() -> Self {
        Self::of(Code::Canceled, "etcdserver: watch canceled")
    }

    /// `client-api-version` is not UTF-8.
    pub(crate) const fn invalid_client_api_version() -> Self {
        Self::of(
            Code::InvalidArgument,
            "etcdserver: invalid client api version",
        )
    }

    /// The member cannot prove that it may renew leases; clients move on to another one.
    pub(crate) const fn not_primary_lessor() -> Self {
        Self::of(Code::Unknown, "not a primary lessor")
    }

    /// An error behind a lock or an election: etcd's own client passes it on there, and drops its code.
    pub(crate) fn relayed(error: Error) -> Self {
        Self {
            code: Code::Unknown,
            ..error.into()
        }
    }

    /// A lock's key has gone with its lease.
    pub(crate) const fn session_expired() -> Self {
        Self::of(Code::Unknown, "mutex: session is expired")
    }

    /// Proclaim or Resign without saying who leads.
    pub(crate) const fn missing_leader_key() -> Self {
        Self::of(Code::Unknown, "\"leader\" field must be provided")
    }

    /// There is no candidate.
    pub(crate) const fn no_elected_leader() -> Self {
        Self::of(Code::Unknown, "election: no leader")
    }

    /// The caller's key is not the leader's any more.
    pub(crate) const fn not_elected() -> Self {
        Self::of(Code::Unknown, "election: not leader")
    }

    /// A number outside the enum of actions.
    pub(crate) const fn unknown_method() -> Self {
        Self::of(Code::Unknown, "etcdserver: unknown method")
    }

    /// The version to downgrade to cannot be read.
    pub(crate) const fn wrong_downgrade_version_format() -> Self {
        Self::of(
            Code::InvalidArgument,
            "etcdserver: wrong downgrade target version format",
        )
    }

    /// A downgrade goes one minor version down.
    pub(crate) const fn invalid_downgrade_target_version() -> Self {
        Self::of(
            Code::InvalidArgument,
            "etcdserver: invalid downgrade target version",
        )
    }

    /// etcd would begin a downgrade here.
    pub(crate) const fn no_earlier_version() -> Self {
        Self::of(
            Code::FailedPrecondition,
            "kvorum: there is no earlier version to downgrade to",
        )
    }

    const fn of(code: Code, message: &'static str) -> Self {
        Self {
            code,
            message: Cow::Borrowed(message),
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let (code, message) = wire(error);
        Self::of(code, message)
    }
}

/// etcd has no words for these: its snapshot needs no room on the disk.
impl From<SnapshotError> for Status {
    fn from(error: SnapshotError) -> Self {
        let code = match error {
            SnapshotError::Refused(refused) => return refused.into(),
            SnapshotError::TooMany | SnapshotError::NoRoom { .. } => Code::ResourceExhausted,
            SnapshotError::NotFlushed => Code::Unavailable,
            SnapshotError::Storage(_) => Code::Internal,
        };
        Self::new(code, format!("kvorum: {error}"))
    }
}

/// etcd has no words for a URL that is well formed and of no use.
impl From<MemberCallError> for Status {
    fn from(error: MemberCallError) -> Self {
        match error {
            MemberCallError::Refused(refused) => refused.into(),
            MemberCallError::Url { .. } => {
                Self::new(Code::InvalidArgument, format!("kvorum: {error}"))
            }
        }
    }
}

const NO_MEMORY: &str = "kvorum: too many large requests at once: try again, or read in pages with a limit \
                         (an operator can raise large-request-memory)";

/// Code and text of each refusal of the machine.
const fn wire(error: Error) -> (Code, &'static str) {
    use Code::{
        DataLoss, FailedPrecondition, InvalidArgument, NotFound, OutOfRange, ResourceExhausted,
        Unavailable, Unknown,
    };
    match error {
        Error::Trust(refused) => trust::wire(refused),
        Error::EmptyKey => (InvalidArgument, "etcdserver: key is not provided"),
        Error::KeyNotFound => (InvalidArgument, "etcdserver: key not found"),
        Error::ValueProvided => (InvalidArgument, "etcdserver: value is provided"),
        Error::LeaseProvided => (InvalidArgument, "etcdserver: lease is provided"),
        Error::TooManyOps => (
            InvalidArgument,
            "etcdserver: too many operations in txn request",
        ),
        Error::DuplicateKey => (
            InvalidArgument,
            "etcdserver: duplicate key given in txn request",
        ),
        Error::InvalidSortOption => (InvalidArgument, "etcdserver: invalid sort option"),
        Error::Compacted => (
            OutOfRange,
            "etcdserver: mvcc: required revision has been compacted",
        ),
        Error::FutureRevision => (
            OutOfRange,
            "etcdserver: mvcc: required revision is a future revision",
        ),
        Error::NoSpace => (
            ResourceExhausted,
            "etcdserver: mvcc: database space exceeded",
        ),
        Error::Corrupt => (DataLoss, "etcdserver: corrupt cluster"),
        Error::LeaseNotFound => (NotFound, "etcdserver: requested lease not found"),
        Error::LeaseExists => (FailedPrecondition, "etcdserver: lease already exists"),
        Error::LeaseTtlTooLarge => (OutOfRange, "etcdserver: too large lease TTL"),
        Error::RequestTooLarge => (InvalidArgument, "etcdserver: request is too large"),
        // etcd's own mapping misses this one, so it travels without a code.
        Error::TooManyRequests => (Unknown, "etcdserver: too many requests"),
        // Clients of etcd try reads again by themselves on this code only.
        Error::NoMemory => (Unavailable, NO_MEMORY),
        Error::Timeout => (Unavailable, "etcdserver: request timed out"),
        Error::LeaderChanged => (Unavailable, "etcdserver: leader changed"),
        Error::NoLeader => (Unavailable, "etcdserver: no leader"),
        Error::NotLeader => (FailedPrecondition, "etcdserver: not leader"),
        Error::Stopped => (Unavailable, "etcdserver: server stopped"),
        Error::NotCapable => (FailedPrecondition, "etcdserver: not capable"),
        Error::UnknownAlarm => (
            InvalidArgument,
            "kvorum: alarm types are NONE, NOSPACE and CORRUPT, actions GET, ACTIVATE and DEACTIVATE",
        ),
        Error::MemberNotFound
        | Error::MemberExists
        | Error::PeerUrlExists
        | Error::MemberBadUrls
        | Error::TooManyLearners
        | Error::NotEnoughStarted
        | Error::Unhealthy
        | Error::MemberNotLearner
        | Error::LearnerNotReady
        | Error::NotForLearner
        | Error::BadLeaderTransferee
        | Error::TransferTimeout => wire_of_members(error),
        _ => users::wire(error),
    }
}

/// The same for what concerns members; the last of them has no arm of its own.
const fn wire_of_members(error: Error) -> (Code, &'static str) {
    use Code::{FailedPrecondition, InvalidArgument, NotFound, Unavailable, Unknown};
    match error {
        Error::MemberNotFound => (NotFound, "etcdserver: member not found"),
        Error::MemberExists => (FailedPrecondition, "etcdserver: member ID already exist"),
        Error::PeerUrlExists => (FailedPrecondition, "etcdserver: Peer URLs already exists"),
        Error::MemberBadUrls => (InvalidArgument, "etcdserver: given member URLs are invalid"),
        Error::TooManyLearners => (
            FailedPrecondition,
            "etcdserver: too many learner members in cluster",
        ),
        // As with too many requests: the code is lost on etcd's way out.
        Error::NotEnoughStarted => (
            Unknown,
            "etcdserver: re-configuration failed due to not enough started members",
        ),
        Error::Unhealthy => (Unavailable, "etcdserver: unhealthy cluster"),
        Error::MemberNotLearner => (
            FailedPrecondition,
            "etcdserver: can only promote a learner member",
        ),
        Error::LearnerNotReady => (
            FailedPrecondition,
            "etcdserver: can only promote a learner member which is in sync with leader",
        ),
        Error::NotForLearner => (
            FailedPrecondition,
            "etcdserver: rpc not supported for learner",
        ),
        Error::BadLeaderTransferee => (FailedPrecondition, "etcdserver: bad leader transferee"),
        _ => (
            Unknown,
            "etcdserver: request timed out, leader transfer took too long",
        ),
    }
}

#[cfg(test)]
mod dictionary;
mod trust;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_know_their_number() {
        for (number, code) in Code::ALL.into_iter().enumerate() {
            assert_eq!(code as usize, number);
            assert_eq!(code.digits(), number.to_string());
        }
    }
}
