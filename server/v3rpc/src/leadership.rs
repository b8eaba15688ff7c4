//! Handing the lead to another member.

use bytes::Bytes;
use kvorum_core::Error;
use kvorum_member::Handle;
use kvorum_proto::etcdserverpb::{Member, MoveLeaderRequest, MoveLeaderResponse};

use crate::{
    error::Status,
    frame::{decode, frame},
};

/// Only the leader can, and only to a voter. The one that leads already has it; there is no other voter yet. The
/// response has no header.
pub(crate) fn move_leader(handle: &Handle, message: Bytes) -> Result<Bytes, Status> {
    let request: MoveLeaderRequest = decode(message)?;
    let own = handle.header(0).member_id;
    if handle.leader() != own {
        return Err(Error::NotLeader.into());
    }
    let voter = |member: &Member| member.id == request.target_id && !member.is_learner;
    if !handle.members().iter().any(voter) {
        return Err(Status::bad_leader_transferee());
    }
    if request.target_id != own {
        return Err(Status::unimplemented(
            "kvorum: the lead cannot be handed to another member yet",
        ));
    }
    frame(&MoveLeaderResponse { header: None })
}
