//! The Lease service.

use bytes::Bytes;
use kvorum_core::Error;
use kvorum_member::{Caller, Handle};
use kvorum_proto::etcdserverpb::LeaseLeasesRequest;

use crate::{
    error::Status,
    frame::{Payload, decode, decode_streamed, frame},
    identity::Credentials,
    incoming::Messages,
    shares::Share,
    stream::{Ending, Outgoing},
    unary::complete,
};

pub(crate) async fn grant(
    handle: &Handle,
    caller: &Caller,
    message: Bytes,
) -> Result<Bytes, Status> {
    let mut response = handle.lease_grant(caller, decode(message)?).await?;
    complete(handle, &mut response.header);
    frame(&response)
}

pub(crate) async fn revoke(
    handle: &Handle,
    caller: &Caller,
    message: Bytes,
) -> Result<Bytes, Status> {
    let mut response = handle.lease_revoke(caller, decode(message)?).await?;
    complete(handle, &mut response.header);
    frame(&response)
}

pub(crate) async fn time_to_live(
    handle: &Handle,
    caller: &Caller,
    message: Bytes,
) -> Result<Bytes, Status> {
    let mut response = handle.lease_time_to_live(caller, decode(message)?).await?;
    complete(handle, &mut response.header);
    frame(&response)
}

pub(crate) async fn leases(
    handle: &Handle,
    caller: &Caller,
    message: Bytes,
) -> Result<Bytes, Status> {
    let _: LeaseLeasesRequest = decode(message)?;
    let mut response = handle.lease_leases(caller).await?;
    complete(handle, &mut response.header);
    frame(&response)
}

/// One response per request, in order, until the caller sends no more. Each is done in its client's turn.
pub(crate) async fn keep_alive(
    handle: &Handle,
    share: &Share,
    credentials: &Credentials,
    messages: &mut Messages,
    out: &mut Outgoing<'_>,
) -> Result<(), Ending> {
    while let Some(message) = messages.next().await? {
        out.count_received(message.len());
        let request = decode_streamed(message)?;
        // A stream may live longer than a token: as in etcd, each request is looked at for itself.
        let place = share.turn().await;
        let caller = credentials.caller(handle).await.map_err(Status::from)?;
        let mut response = handle
            .lease_keep_alive(&caller, request)
            .await
            .map_err(keep_alive_error)?;
        drop(place);
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
