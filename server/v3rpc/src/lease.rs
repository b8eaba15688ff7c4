//! The Lease service.

use bytes::Bytes;
use kvorum_core::Error;
use kvorum_member::{Caller, Handle};
use kvorum_proto::etcdserverpb::LeaseLeasesRequest;

use crate::{
    error::Status,
    frame::{Payload, decode, decode_streamed, frame},
    incoming::Messages,
    stream::{Ending, Outgoing},
    unary::complete,
};

pub(crate) async fn grant(handle: &Handle, message: Bytes) -> Result<Bytes, Status> {
    let mut response = handle
        .lease_grant(&Caller::nobody(), decode(message)?)
        .await?;
    complete(handle, &mut response.header);
    frame(&response)
}

pub(crate) async fn revoke(handle: &Handle, message: Bytes) -> Result<Bytes, Status> {
    let mut response = handle
        .lease_revoke(&Caller::nobody(), decode(message)?)
        .await?;
    complete(handle, &mut response.header);
    frame(&response)
}

pub(crate) async fn time_to_live(handle: &Handle, message: Bytes) -> Result<Bytes, Status> {
    let mut response = handle
        .lease_time_to_live(&Caller::nobody(), decode(message)?)
        .await?;
    complete(handle, &mut response.header);
    frame(&response)
}

pub(crate) async fn leases(handle: &Handle, message: Bytes) -> Result<Bytes, Status> {
    let _: LeaseLeasesRequest = decode(message)?;
    let mut response = handle.lease_leases(&Caller::nobody()).await?;
    complete(handle, &mut response.header);
    frame(&response)
}

/// One response per request, in order, until the caller sends no more.
pub(crate) async fn keep_alive(
    handle: &Handle,
    messages: &mut Messages,
    out: &mut Outgoing<'_>,
) -> Result<(), Ending> {
    while let Some(message) = messages.next().await? {
        out.count_received(message.len());
        let request = decode_streamed(message)?;
        let mut response = handle
            .lease_keep_alive(&Caller::nobody(), request)
            .await
            .map_err(keep_alive_error)?;
        complete(handle, &mut response.header);
        out.send(Payload::One(frame(&response)?), 1).await?;
    }
    Ok(())
}

fn keep_alive_error(error: Error) -> Status {
    match error {
        Error::NotLeader => Status::not_primary_lessor(),
        other => other.into(),
    }
}
