//! The Election service. (etcd: server/etcdserver/api/v3election)

use bytes::Bytes;
use kvorum_core::Error;
use kvorum_proto::{
    etcdserverpb::{DeleteRangeRequest, PutRequest, ResponseHeader, request_op::Request},
    mvccpb::{KeyValue, event::EventType},
    v3electionpb::{
        CampaignRequest, CampaignResponse, LeaderKey, LeaderRequest, LeaderResponse,
        ProclaimRequest, ProclaimResponse, ResignRequest, ResignResponse,
    },
};

use crate::{
    client::Client,
    context::IoContext,
    errands::Caller,
    error::Status,
    follow::Follow,
    frame::{Payload, decode, decode_streamed, frame},
    incoming::Messages,
    queue::{self, Place, Queue},
    session::Session,
    stream::{Ending, Outgoing},
};

/// Answers once the caller leads. A caller who gives up leaves no key behind.
pub(crate) async fn campaign(
    cx: &IoContext,
    client: Client,
    message: Bytes,
) -> Result<Bytes, Status> {
    let request: CampaignRequest = decode(message)?;
    let work = |caller| async move { win(&client, request, caller).await };
    frame(&cx.errands.run(cx.stop.clone(), work).await?)
}

pub(crate) async fn proclaim(client: &Client, message: Bytes) -> Result<Bytes, Status> {
    let request: ProclaimRequest = decode(message)?;
    let leader = request.leader.ok_or_else(Status::missing_leader_key)?;
    let session = Session::open(client, leader.lease)
        .await
        .map_err(Status::relayed)?;
    let (lease, rev) = (session.lease(), leader.rev);
    let revision = say(client, &leader.key, rev, lease, request.value).await?;
    frame(&ProclaimResponse {
        header: Some(client.header(revision)),
    })
}

pub(crate) async fn leader(client: &Client, message: Bytes) -> Result<Bytes, Status> {
    let request: LeaderRequest = decode(message)?;
    let head = Queue::new(&request.name).head(client).await;
    let (revision, pair) = head.map_err(Status::relayed)?;
    frame(&LeaderResponse {
        header: Some(client.header(revision)),
        kv: Some(pair.ok_or_else(Status::no_elected_leader)?),
    })
}

/// That the caller did not lead is no error.
pub(crate) async fn resign(client: &Client, message: Bytes) -> Result<Bytes, Status> {
    let request: ResignRequest = decode(message)?;
    let leader = request.leader.ok_or_else(Status::missing_leader_key)?;
    let revision = step_down(client, &leader.key, leader.rev)
        .await
        .map_err(Status::relayed)?;
    frame(&ResignResponse {
        header: Some(client.header(revision)),
    })
}

/// Who leads, then all that leaders say, then who leads next, for as long as the caller listens.
pub(crate) async fn observe(
    client: &Client,
    messages: &mut Messages,
    out: &mut Outgoing<'_>,
) -> Result<(), Ending> {
    let (message, _) = messages.only().await?;
    out.count_received(message.len());
    let request: LeaderRequest = decode_streamed(message)?;
    let queue = Queue::new(&request.name);
    loop {
        let Some((header, pair)) = unless_gone(out, elected(client, &queue)).await? else {
            continue;
        };
        let next = header.revision + 1;
        let mut follow = Follow::key(client, pair.key.clone(), next)
            .await
            .map_err(Status::relayed)?;
        tell(out, header, pair).await?;
        'leads: while let Some((header, events)) = unless_gone(out, follow.next()).await? {
            for event in events {
                match (event.r#type(), event.kv) {
                    (EventType::Put, Some(pair)) => tell(out, header, pair).await?,
                    _ => break 'leads,
                }
            }
        }
    }
}

async fn unless_gone<T>(
    out: &mut Outgoing<'_>,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Ending> {
    tokio::select! {
        biased;
        done = work => done.map_err(|error| Status::relayed(error).into()),
        ending = out.gone() => Err(ending),
    }
}

async fn tell(
    out: &mut Outgoing<'_>,
    header: ResponseHeader,
    pair: KeyValue,
) -> Result<(), Ending> {
    let response = LeaderResponse {
        header: Some(header),
        kv: Some(pair),
    };
    out.send(Payload::One(frame(&response)?), 1).await
}

/// The leader now, or the first one to come; `None` if history was compacted under the watch, or the caller may not watch
/// any more: the next look tells which.
async fn elected(
    client: &Client,
    queue: &Queue,
) -> Result<Option<(ResponseHeader, KeyValue)>, Error> {
    let (revision, pair) = queue.head(client).await?;
    if let Some(pair) = pair {
        return Ok(Some((client.header(revision), pair)));
    }
    let mut follow = queue.follow(client, revision).await?;
    while let Some((header, events)) = follow.next().await? {
        let put = events
            .into_iter()
            .find(|event| event.r#type() == EventType::Put);
        if let Some(pair) = put.and_then(|event| event.kv) {
            // Later events of the same response must be found again.
            let header = ResponseHeader {
                revision: pair.mod_revision,
                ..header
            };
            return Ok(Some((header, pair)));
        }
    }
    Ok(None)
}

async fn win(
    client: &Client,
    request: CampaignRequest,
    mut caller: Caller,
) -> Result<CampaignResponse, Status> {
    let session = Session::open(client, request.lease)
        .await
        .map_err(Status::relayed)?;
    let queue = Queue::new(&request.name);
    let lease = session.lease();
    let place = queue
        .enter(client, lease, request.value.clone())
        .await
        .map_err(Status::relayed)?;
    let won = tokio::select! {
        biased;
        won = run(client, &queue, &place, lease, request.value) => won,
        status = caller.leaves() => Err(status),
        never = session.keep(client) => match never {},
    };
    if let Err(status) = won {
        if let Err(error) = step_down(client, &place.key, place.created).await {
            // It goes with its lease.
            tracing::warn!(%error, "a candidate's key could not be removed");
        }
        return Err(status);
    }
    Ok(CampaignResponse {
        // As in etcd: of the entry into the queue, however long the turn was waited for.
        header: Some(place.header),
        leader: Some(LeaderKey {
            name: request.name,
            key: place.key,
            rev: place.created,
            lease,
        }),
    })
}

/// Says the value, if the place has another one, and waits for its turn.
async fn run(
    client: &Client,
    queue: &Queue,
    place: &Place,
    lease: i64,
    value: Bytes,
) -> Result<(), Status> {
    if place
        .before
        .as_ref()
        .is_some_and(|pair| pair.value != value)
    {
        say(client, &place.key, place.created, lease, value).await?;
    }
    if place.first {
        return Ok(());
    }
    let own = async {
        queue.wait_turn(client, place.created).await?;
        queue::get(client, place.key.clone()).await
    };
    // etcd does not look again, and so elects a candidate whose lease has ended: two could lead.
    match own.await.map_err(|error: Error| Status::relayed(error))?.1 {
        Some(pair) if pair.create_revision == place.created => Ok(()),
        _ => Err(Status::not_elected()),
    }
}

/// Puts a leader's value; gives the revision.
async fn say(
    client: &Client,
    key: &Bytes,
    created: i64,
    lease: i64,
    value: Bytes,
) -> Result<i64, Status> {
    let put = PutRequest {
        key: key.clone(),
        value,
        lease,
        ..Default::default()
    };
    let (leads, revision) = queue::if_created_at(client, key, created, Request::RequestPut(put))
        .await
        .map_err(Status::relayed)?;
    if leads {
        Ok(revision)
    } else {
        Err(Status::not_elected())
    }
}

async fn step_down(client: &Client, key: &Bytes, created: i64) -> Result<i64, Error> {
    let delete = DeleteRangeRequest {
        key: key.clone(),
        ..Default::default()
    };
    let op = Request::RequestDeleteRange(delete);
    let (_, revision) = queue::if_created_at(client, key, created, op).await?;
    Ok(revision)
}
