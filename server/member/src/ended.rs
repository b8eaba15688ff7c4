//! Why a member ends by itself; each has a line for the operator and an exit code in the binary.

/// Why a member ended without being asked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The disk failed, or what is on it is damaged: nothing more is acknowledged.
    DiskFailed(String),
    /// The cluster has removed this member; its data directory is of no use any more.
    Removed,
    /// The data directory is not the one that this member's peers know: it was wiped, or is an older copy.
    Foreign(String),
    /// The state of this member is not to be trusted; what the others have is. It must be built anew from them.
    Rebuild(String),
}
