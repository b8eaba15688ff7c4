//! Maintenance.Snapshot: the file in pieces, then its digest. Responses have no header, as etcd's have none.

use bytes::Bytes;
use kvorum_member::{Handle, SnapshotChunk};
use kvorum_proto::etcdserverpb::{SnapshotRequest, SnapshotResponse};

use crate::{
    error::Status,
    frame::{Payload, decode_streamed, frame},
    identity::Credentials,
    incoming::Messages,
    stream::{Ending, Outgoing},
    version::STORAGE_VERSION,
};

/// Sends the snapshot as fast as the caller reads; ends its making as soon as the caller is gone.
pub(crate) async fn snapshot(
    handle: &Handle,
    credentials: &Credentials,
    messages: &mut Messages,
    out: &mut Outgoing<'_>,
) -> Result<(), Ending> {
    let message = messages.only().await?;
    out.count_received(message.len());
    let _: SnapshotRequest = decode_streamed(message)?;
    let caller = credentials.caller(handle).await.map_err(Status::from)?;
    let mut stream = handle.snapshot(&caller).await.map_err(Status::from)?;
    loop {
        let chunk = tokio::select! {
            chunk = stream.next() => chunk.map_err(Status::from)?,
            ending = out.gone() => return Err(ending),
        };
        match chunk {
            Some(chunk) => out.send(Payload::One(response(chunk)?), 1).await?,
            None => return Ok(()),
        }
    }
}

fn response(chunk: SnapshotChunk) -> Result<Bytes, Status> {
    frame(&SnapshotResponse {
        header: None,
        remaining_bytes: chunk.remaining_bytes,
        blob: chunk.blob,
        version: STORAGE_VERSION.to_owned(),
    })
}
