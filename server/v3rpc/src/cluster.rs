//! The Cluster service: who the members are.

use bytes::Bytes;
use kvorum_member::Handle;
use kvorum_proto::etcdserverpb::{MemberListRequest, MemberListResponse, ResponseHeader};

use crate::{
    error::Status,
    frame::{decode, frame},
};

pub(crate) async fn member_list(handle: &Handle, message: Bytes) -> Result<Bytes, Status> {
    let request: MemberListRequest = decode(message)?;
    if request.linearizable {
        handle.read_barrier().await?;
    }
    frame(&MemberListResponse {
        header: Some(header(handle)),
        members: handle.members(),
    })
}

/// Cluster responses carry no revision.
fn header(handle: &Handle) -> ResponseHeader {
    ResponseHeader {
        revision: 0,
        ..handle.header(0)
    }
}
