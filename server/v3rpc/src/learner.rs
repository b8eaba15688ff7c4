//! What a learner serves: it may be far behind, so only what says so or cannot be wrong.
//! (etcd: isRPCSupportedForLearner in api/v3rpc/util.go)

use bytes::Bytes;
use kvorum_proto::etcdserverpb::RangeRequest;

use crate::{
    error::Status,
    frame::decode,
    route::{Stream, Unary},
};

/// True if a learner answers this call.
pub(crate) fn serves(rpc: Unary, message: &Bytes) -> Result<bool, Status> {
    match rpc {
        Unary::Status => Ok(true),
        Unary::Range => decode(message.clone()).map(|range: RangeRequest| range.serializable),
        _ => Ok(false),
    }
}

/// True if a learner serves this stream.
pub(crate) const fn streams(rpc: Stream) -> bool {
    matches!(rpc, Stream::Snapshot)
}
