//! What a member's edges ask of its machine, and what they get.

use kvorum_proto::kvorumpb::{Command, MemberChange};

use crate::auth::Caller;
use crate::error::Error;
use crate::lease::TimeLeft;
use crate::reply::Reply;
use crate::types::{LeaseId, MemberId, RequestId};

/// One request of a client of this member.
#[derive(Clone, Debug)]
pub enum Ask {
    /// To be applied by all; its `request_id` names who waits.
    Propose(Command),
    /// To renew a lease.
    KeepAlive(RequestId, LeaseId, Caller),
    /// What is left of a lease; true with its keys.
    TimeLeft(RequestId, LeaseId, bool, Caller),
    /// All leases, as this member knows them.
    Leases(RequestId, Caller),
    /// When everything acknowledged before is visible here.
    ReadIndex(RequestId),
    /// A change of the members; its `request_id` names who waits.
    Change(MemberChange),
    /// To hand the leadership to this member.
    Transfer(RequestId, MemberId),
    /// To offer the leadership to whoever is fittest, if there is somebody; answered at once.
    HandOver(RequestId),
}

/// The answer to an `Ask`.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A command was applied.
    Applied(Result<Reply, Error>),
    /// A lease was renewed for this many seconds; 0 if there is no such lease.
    Renewed(i64),
    /// What is left of a lease.
    TimeLeft(Option<TimeLeft>),
    /// All leases.
    Leases(Vec<LeaseId>),
    /// Everything acknowledged before is visible.
    Readable,
    /// The leadership has moved, or was offered.
    Transferred,
    /// Refused before it was proposed.
    Refused(Error),
}
