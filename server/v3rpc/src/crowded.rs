//! What a client is told that gets no more.

use crate::error::{Code, Status};

/// Snapshots on their way to one client. One more is left for others.
pub(crate) const SNAPSHOTS_MAX: usize = 3;

/// Why a client gets no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crowded {
    /// So many calls wait for their turn.
    Calls(usize),
    /// So many streams, and calls that wait for others, are open.
    Open(usize),
    /// What waits is too large together.
    Bytes(usize),
    /// What has come in part is too large together.
    Arriving(usize),
    /// The answers that it does not take are too large together.
    Unread(usize),
    /// What has come of JSON messages is too large together.
    Bodies(usize),
    /// There is no memory for what would wait.
    Memory,
    /// So many snapshots are on their way.
    Snapshots,
}

impl From<Crowded> for Status {
    fn from(crowded: Crowded) -> Self {
        let text = match crowded {
            Crowded::Calls(calls) => format!(
                "kvorum: {calls} requests of this client wait for their turn already: send fewer at once, or raise \
                 --max-client-calls"
            ),
            Crowded::Open(open) => format!(
                "kvorum: this client has {open} streams, locks and campaigns open already: close some, or raise \
                 --max-client-streams"
            ),
            Crowded::Bytes(bytes) => format!(
                "kvorum: requests of this client that wait take {bytes} bytes already: send fewer or smaller ones at \
                 once, or raise --large-request-memory"
            ),
            Crowded::Arriving(bytes) => format!(
                "kvorum: messages of this client that are on their way take {bytes} bytes already: send fewer or \
                 smaller ones at once, or raise --large-request-memory"
            ),
            Crowded::Unread(bytes) => format!(
                "kvorum: answers that this client does not read take {bytes} bytes already: read them before asking for \
                 more"
            ),
            Crowded::Bodies(bytes) => format!(
                "kvorum: unfinished JSON messages of this client take {bytes} bytes already: send fewer or smaller \
                 ones at once"
            ),
            Crowded::Memory => return kvorum_core::Error::NoMemory.into(),
            Crowded::Snapshots => format!(
                "kvorum: {SNAPSHOTS_MAX} snapshots are being sent to this client already: wait for one to end"
            ),
        };
        Self::new(Code::ResourceExhausted, text)
    }
}
