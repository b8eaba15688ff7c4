//! Maintenance.Snapshot: the file in pieces, then its digest. Responses have no header, as etcd's have none.

use bytes::Bytes;
use kvorum_member::SnapshotChunk;
use kvorum_proto::etcdserverpb::{SnapshotRequest, SnapshotResponse};

use crate::{
    context::IoContext,
    error::Status,
    frame::{Payload, decode_streamed, frame},
    identity::Credentials,
    incoming::Messages,
    shares::{Load, Share},
    stream::{Ending, Outgoing},
    version::STORAGE_VERSION,
};

/// Sends the snapshot as fast as the caller reads; ends its making as soon as the caller is gone.
pub(crate) async fn snapshot(
    cx: &IoContext,
    share: &Share,
    credentials: &Credentials,
    messages: &mut Messages,
    out: &mut Outgoing<'_>,
) -> Result<(), Ending> {
    let (message, hold) = messages.only().await?;
    out.count_received(message.len());
    let load = Load {
        budget: &cx.receiving.budget,
        bytes: message.len(),
        hold,
    };
    let place = share.enter(load).await.map_err(Status::from)?;
    let _: SnapshotRequest = decode_streamed(message)?;
    let caller = credentials.caller(&cx.handle).await;
    let caller = caller.map_err(Status::from)?;
    // The file is made on a thread of its own, of which there are a few: no client has all of them.
    let _one = share.snapshot().map_err(Status::from)?;
    let snapshot = cx.handle.snapshot(&caller).await;
    let mut stream = snapshot.map_err(Status::from)?;
    drop(place);
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
