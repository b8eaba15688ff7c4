//! The Cluster service: who the members are, and changes of them.

use bytes::Bytes;
use kvorum_core::MemberId;
use kvorum_member::{Caller, Handle, Replacement};
use kvorum_proto::etcdserverpb::{
    MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse,
    MemberPromoteRequest, MemberPromoteResponse, MemberRemoveRequest, MemberRemoveResponse,
    MemberUpdateRequest, MemberUpdateResponse, ResponseHeader,
};
use kvorum_proto::kvorumpb::{ReplaceMemberRequest, ReplaceMemberResponse};

use crate::{
    error::Status,
    frame::{decode, frame},
};

pub(crate) async fn member_list(
    handle: &Handle,
    caller: &Caller,
    message: Bytes,
) -> Result<Bytes, Status> {
    let request: MemberListRequest = decode(message)?;
    let members = handle.member_list(caller, request.linearizable).await?;
    frame(&MemberListResponse {
        header: header(handle),
        members,
    })
}

pub(crate) async fn member_add(
    handle: &Handle,
    caller: &Caller,
    message: Bytes,
) -> Result<Bytes, Status> {
    let request: MemberAddRequest = decode(message)?;
    let added = handle
        .member_add(caller, &request.peer_ur_ls, request.is_learner)
        .await?;
    frame(&MemberAddResponse {
        header: header(handle),
        member: Some(added.member),
        members: added.members,
    })
}

pub(crate) async fn member_remove(
    handle: &Handle,
    caller: &Caller,
    message: Bytes,
) -> Result<Bytes, Status> {
    let request: MemberRemoveRequest = decode(message)?;
    let members = handle.member_remove(caller, MemberId(request.id)).await?;
    frame(&MemberRemoveResponse {
        header: header(handle),
        members,
    })
}

pub(crate) async fn member_update(
    handle: &Handle,
    caller: &Caller,
    message: Bytes,
) -> Result<Bytes, Status> {
    let request: MemberUpdateRequest = decode(message)?;
    let members = handle
        .member_update(caller, MemberId(request.id), &request.peer_ur_ls)
        .await?;
    frame(&MemberUpdateResponse {
        header: header(handle),
        members,
    })
}

pub(crate) async fn member_promote(
    handle: &Handle,
    caller: &Caller,
    message: Bytes,
) -> Result<Bytes, Status> {
    let request: MemberPromoteRequest = decode(message)?;
    let members = handle.member_promote(caller, MemberId(request.id)).await?;
    frame(&MemberPromoteResponse {
        header: header(handle),
        members,
    })
}

/// Not one of etcd's: a lost member and its successor in one change.
pub(crate) async fn member_replace(
    handle: &Handle,
    caller: &Caller,
    message: Bytes,
) -> Result<Bytes, Status> {
    let request: ReplaceMemberRequest = decode(message)?;
    let wish = Replacement {
        old: MemberId(request.old_member),
        peer_urls: request.peer_urls,
        attempt: 0,
    };
    let added = handle.member_replace(caller, wish).await?;
    frame(&ReplaceMemberResponse {
        header: header(handle),
        member: Some(added.member),
        members: added.members,
    })
}

/// Cluster responses carry no revision.
fn header(handle: &Handle) -> Option<ResponseHeader> {
    Some(ResponseHeader {
        revision: 0,
        ..handle.header(0)
    })
}
