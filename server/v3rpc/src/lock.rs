//! The Lock service. (etcd: server/etcdserver/api/v3lock)

use bytes::Bytes;
use kvorum_core::Error;
use kvorum_proto::{
    etcdserverpb::ResponseHeader,
    v3lockpb::{LockRequest, LockResponse, UnlockRequest, UnlockResponse},
};

use crate::{
    client::Client,
    context::IoContext,
    errands::Caller,
    error::Status,
    frame::{decode, frame},
    queue::{self, Place, Queue},
    session::Session,
};

/// Answers once the caller holds the lock. A caller who gives up leaves no key behind.
pub(crate) async fn lock(cx: &IoContext, client: Client, message: Bytes) -> Result<Bytes, Status> {
    let request: LockRequest = decode(message)?;
    let work = |caller| async move { hold(&client, request, caller).await };
    frame(&cx.errands.run(cx.stop.clone(), work).await?)
}

pub(crate) async fn unlock(client: &Client, message: Bytes) -> Result<Bytes, Status> {
    let request: UnlockRequest = decode(message)?;
    let left = queue::leave(client, request.key).await;
    let revision = left.map_err(Status::relayed)?;
    frame(&UnlockResponse {
        header: Some(client.header(revision)),
    })
}

async fn hold(
    client: &Client,
    request: LockRequest,
    mut caller: Caller,
) -> Result<LockResponse, Status> {
    let session = Session::open(client, request.lease)
        .await
        .map_err(Status::relayed)?;
    let queue = Queue::new(&request.name);
    let place = queue
        .enter(client, session.lease(), Bytes::new())
        .await
        .map_err(Status::relayed)?;
    let waited = tokio::select! {
        biased;
        waited = wait(client, &queue, &place) => waited,
        status = caller.leaves() => Err(status),
        never = session.keep(client) => match never {},
    };
    match waited {
        Ok(header) => Ok(LockResponse {
            header: Some(header),
            key: place.key,
        }),
        Err(status) => {
            if let Err(error) = queue::leave(client, place.key).await {
                // It goes with its lease.
                tracing::warn!(%error, "a lock's key could not be removed");
            }
            Err(status)
        }
    }
}

/// Waits for the turn of a place. Its key may have gone with its lease meanwhile.
async fn wait(client: &Client, queue: &Queue, place: &Place) -> Result<ResponseHeader, Status> {
    if place.first {
        return Ok(place.header);
    }
    let own = async {
        queue.wait_turn(client, place.created).await?;
        queue::get(client, place.key.clone()).await
    };
    let (revision, pair) = own.await.map_err(|error: Error| Status::relayed(error))?;
    match pair {
        Some(pair) if pair.create_revision == place.created => Ok(client.header(revision)),
        _ => Err(Status::session_expired()),
    }
}
