//! Handing the lead to another member.

use bytes::Bytes;
use kvorum_core::{Error, MemberId};
use kvorum_member::{Caller, Handle};
use kvorum_proto::etcdserverpb::{Member, MoveLeaderRequest, MoveLeaderResponse};

use crate::{
    error::Status,
    frame::{decode, frame},
};

/// Only the leader can, and only to a voter. The response has no header.
pub(crate) async fn move_leader(
    handle: &Handle,
    caller: &Caller,
    message: Bytes,
) -> Result<Bytes, Status> {
    let request: MoveLeaderRequest = decode(message)?;
    let own = handle.header(0).member_id;
    if handle.leader() != own {
        return Err(Error::NotLeader.into());
    }
    let voter = |member: &Member| member.id == request.target_id && !member.is_learner;
    if !handle.members().iter().any(voter) {
        return Err(Error::BadLeaderTransferee.into());
    }
    if request.target_id != own {
        handle
            .move_leader(caller, MemberId(request.target_id))
            .await?;
    }
    frame(&MoveLeaderResponse { header: None })
}
