//! One step of a story: what both servers are asked, byte for byte the same.

use std::fmt;

use bytes::Bytes;
use kvorum_proto::etcdserverpb as pb;
use kvorum_tests::harness::generate::Operation;
use prost::Message;

use crate::{messages::Rpc, wire::Head};

/// One step.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A call with one message each way, well framed; the message may be anything.
    Call(Rpc, Bytes),
    /// A message on the stream of lease renewals.
    KeepAlive(Bytes),
    /// A message on a watch stream.
    Watch(usize, Bytes),
    /// A watch stream is dropped, and another one opened in its place.
    Reconnect(usize),
    /// The client says that it will send no more on that stream, and goes on listening.
    HalfClose(usize),
    /// The client has no more leases to renew.
    HalfCloseKeepAlive,
    /// All that is due on watch streams must have come.
    Settle,
    /// A lease with keys is granted, and its time passes.
    Expire { lease: i64, keys: Vec<Bytes> },
    /// Anything over HTTP/2, compared as it comes back.
    Odd { head: Head, body: Bytes },
}

impl Step {
    /// A step for an operation of the common generator; `None` for what is no request.
    pub(crate) fn of(operation: Operation) -> Option<Self> {
        fn call(rpc: Rpc, request: &impl Message) -> Option<Step> {
            Some(Step::Call(rpc, request.encode_to_vec().into()))
        }
        match operation {
            Operation::Range(request) => call(Rpc::Range, &request),
            Operation::Put(request) => call(Rpc::Put, &request),
            Operation::DeleteRange(request) => call(Rpc::DeleteRange, &request),
            Operation::Txn(request) => call(Rpc::Txn, &request),
            Operation::Compact(request) => call(Rpc::Compact, &request),
            Operation::LeaseGrant(request) => call(Rpc::LeaseGrant, &request),
            Operation::LeaseRevoke(request) => call(Rpc::LeaseRevoke, &request),
            Operation::LeaseTimeToLive(request) => call(Rpc::LeaseTimeToLive, &request),
            Operation::LeaseLeases => call(Rpc::LeaseLeases, &pb::LeaseLeasesRequest {}),
            Operation::Alarm(request) => call(Rpc::Alarm, &request),
            Operation::HashKv(request) => call(Rpc::HashKv, &request),
            Operation::LeaseKeepAlive(request) => {
                Some(Self::KeepAlive(request.encode_to_vec().into()))
            }
            Operation::Watch(stream, request) => {
                Some(Self::Watch(stream, request.encode_to_vec().into()))
            }
            Operation::Reconnect(stream) => Some(Self::Reconnect(stream)),
            Operation::Deliver(_) => Some(Self::Settle),
            Operation::Pass(_) | Operation::Flush | Operation::Restart => None,
        }
    }

    /// True if a field 2 may be spelled out as empty, which no client's library does.
    pub(crate) fn spells_out_nothing(&self) -> bool {
        let (bytes, plain) = match self {
            Self::Call(rpc, bytes) => (bytes, rpc.is_plain(bytes)),
            Self::Watch(_, bytes) => {
                let message = pb::WatchRequest::decode(bytes.clone());
                let plain = message.is_ok_and(|message| message.encode_to_vec() == *bytes);
                (bytes, plain)
            }
            _ => return false,
        };
        !plain && bytes.windows(2).any(|pair| pair == [0x12, 0])
    }

    /// What kind of request it is, for the count.
    pub(crate) fn kind(&self) -> String {
        match self {
            Self::Call(rpc, bytes) if rpc.shown(bytes).is_some() => format!("{rpc:?}"),
            Self::Call(rpc, _) => format!("{rpc:?}, no message"),
            Self::KeepAlive(_) => "LeaseKeepAlive".to_owned(),
            Self::Watch(..) => "Watch".to_owned(),
            Self::Reconnect(_) | Self::HalfClose(_) | Self::HalfCloseKeepAlive => {
                "stream ended by the client".to_owned()
            }
            Self::Settle => "watch streams compared".to_owned(),
            Self::Expire { .. } => "lease expired".to_owned(),
            Self::Odd { .. } => "odd header, path or body".to_owned(),
        }
    }
}

/// Bytes as a reader can copy them into a test; long ones by their beginning.
fn literal(bytes: &Bytes) -> String {
    const SHOWN: usize = 400;
    let shown = &bytes[..bytes.len().min(SHOWN)];
    let more = bytes.len() - shown.len();
    let text = format!("b\"{}\"", shown.escape_ascii());
    if more == 0 {
        text
    } else {
        format!("{text} and {more} more")
    }
}

fn shown(message: Option<String>, bytes: &Bytes) -> String {
    match message {
        Some(text) if text.len() < 2_000 => text,
        _ => format!("the bytes {}", literal(bytes)),
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(rpc, bytes) => write!(f, "{rpc:?} {}", shown(rpc.shown(bytes), bytes)),
            Self::KeepAlive(bytes) => {
                let request = pb::LeaseKeepAliveRequest::decode(bytes.clone()).ok();
                let text = request.map(|request| format!("{request:?}"));
                write!(f, "keep alive {}", shown(text, bytes))
            }
            Self::Watch(stream, bytes) => {
                let request = pb::WatchRequest::decode(bytes.clone()).ok();
                let text = request.map(|request| format!("{request:?}"));
                write!(f, "stream {stream}: {}", shown(text, bytes))
            }
            Self::Reconnect(stream) => write!(f, "stream {stream}: reconnect"),
            Self::HalfClose(stream) => write!(f, "stream {stream}: half-close"),
            Self::HalfCloseKeepAlive => write!(f, "half-close the renewals"),
            Self::Settle => write!(f, "settle"),
            Self::Expire { lease, keys } => write!(f, "expire lease {lease} with {keys:?}"),
            Self::Odd { head, body } => {
                write!(f, "{} {}", head.method, head.path)?;
                for (name, value) in &head.headers {
                    write!(f, ", {name}: {}", literal(value))?;
                }
                write!(f, ", body {}", literal(body))
            }
        }
    }
}
