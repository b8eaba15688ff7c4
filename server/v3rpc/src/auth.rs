//! The Auth service as far as it goes without users: authentication is off, and nothing can switch it on.

use bytes::Bytes;
use kvorum_member::{Error, Handle};
use kvorum_proto::etcdserverpb::{
    AuthDisableRequest, AuthDisableResponse, AuthEnableRequest, AuthStatusRequest,
    AuthStatusResponse, AuthenticateRequest,
};

use crate::{
    error::Status,
    frame::{decode, frame},
};

/// What the revision of users, roles and permissions starts with.
const FIRST_REVISION: u64 = 1;

/// There are no users yet, so nobody can have switched authentication on.
pub(crate) fn authenticate(message: Bytes) -> Result<Bytes, Status> {
    let _: AuthenticateRequest = decode(message)?;
    Err(Error::AuthNotEnabled.into())
}

/// Without users there is no root, who must exist first.
pub(crate) fn enable(message: Bytes) -> Result<Bytes, Status> {
    let _: AuthEnableRequest = decode(message)?;
    Err(Error::RootUserNotExist.into())
}

/// Nothing to switch off, which is a success.
pub(crate) async fn disable(handle: &Handle, message: Bytes) -> Result<Bytes, Status> {
    let _: AuthDisableRequest = decode(message)?;
    handle.read_barrier().await?;
    frame(&AuthDisableResponse {
        header: Some(handle.header(0)),
    })
}

/// etcd asks its log; a barrier answers the same question without an entry.
pub(crate) async fn status(handle: &Handle, message: Bytes) -> Result<Bytes, Status> {
    let _: AuthStatusRequest = decode(message)?;
    handle.read_barrier().await?;
    frame(&AuthStatusResponse {
        header: Some(handle.header(0)),
        enabled: false,
        auth_revision: FIRST_REVISION,
    })
}
