//! Calls that answer with a stream: sending under back-pressure, and the ways a stream ends.

use std::{
    future::{pending, poll_fn},
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::{Buf, Bytes};
use h2::{RecvStream, SendStream, server::SendResponse};
use http::{HeaderMap, Request};
use kvorum_core::Error;

use crate::{
    client::Client,
    context::IoContext,
    election,
    error::{Code, Status},
    frame::{self, PREFIX_BYTES, Payload},
    health,
    identity::Credentials,
    incoming::Messages,
    large::{self, Reply},
    learner, lease,
    metadata::Metadata,
    metrics::{ByteMetrics, MethodMetrics},
    peer::Peer,
    range_stream,
    route::{Route, Stream},
    rule::Rule,
    shares::{Open, Share},
    snapshot,
    unary::refuse,
    watch,
};

/// Checks without a leader, one per election timeout, after which a stream that requires one ends.
const LEADERLESS_CHECKS: u32 = 3;

/// Why a stream ends before the caller's last message is answered.
#[derive(Debug)]
pub(crate) enum Ending {
    /// With an error for the caller.
    Failed(Status),
    /// The caller reset it, or its connection is gone.
    Gone,
}

impl From<Status> for Ending {
    fn from(status: Status) -> Self {
        Self::Failed(status)
    }
}

impl From<h2::Error> for Ending {
    fn from(_: h2::Error) -> Self {
        Self::Gone
    }
}

/// Counts the end of a call, also if its connection goes away under it.
pub(crate) struct Ended<'a> {
    metrics: &'a MethodMetrics,
    begun: Option<Instant>,
    pub(crate) code: Code,
}

impl<'a> Ended<'a> {
    pub(crate) fn new(metrics: &'a MethodMetrics) -> Self {
        Self {
            metrics,
            begun: metrics.begin(),
            code: Code::Canceled,
        }
    }
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.metrics.handled(self.code);
        self.metrics.took(self.begun);
    }
}

/// The way to the caller.
pub(crate) struct Outgoing<'a> {
    stream: SendStream<Payload>,
    metrics: &'a MethodMetrics,
    bytes: &'a ByteMetrics,
}

impl Outgoing<'_> {
    /// Sends `messages` messages, once the caller's window has room for some of it: what is not taken by the window is
    /// never more than one payload.
    pub(crate) async fn send(&mut self, payload: Payload, messages: usize) -> Result<(), Ending> {
        wait_for_window(&mut self.stream, payload.remaining()).await?;
        self.metrics.sent.increment(messages as u64);
        let content_bytes = payload.remaining().saturating_sub(messages * PREFIX_BYTES);
        self.bytes.sent.increment(content_bytes as u64);
        self.stream.send_data(payload, false)?;
        Ok(())
    }

    /// Sends one message as fast as the caller takes it, and gives back what it holds of the budget meanwhile.
    pub(crate) async fn send_held(&mut self, message: Reply) -> Result<(), Ending> {
        self.metrics.sent.increment(1);
        self.bytes.sent.increment(message.message_bytes() as u64);
        large::send_slowly(&mut self.stream, message).await?;
        Ok(())
    }

    /// Waits until the caller has taken what was sent before.
    pub(crate) async fn room(&mut self) -> Result<(), Ending> {
        wait_for_window(&mut self.stream, 1).await?;
        Ok(())
    }

    /// Counts a message of the caller.
    pub(crate) fn count_received(&self, message_bytes: usize) {
        self.metrics.received.increment(1);
        self.bytes.received.increment(message_bytes as u64);
    }

    /// Waits until the caller resets the stream.
    pub(crate) async fn gone(&mut self) -> Ending {
        poll_fn(|task| self.poll_gone(task)).await;
        Ending::Gone
    }

    /// Ready once the caller has reset the stream or the connection is gone.
    pub(crate) fn poll_gone(&mut self, task: &mut Context<'_>) -> Poll<()> {
        self.stream.poll_reset(task).map(|_| ())
    }

    /// Sends the trailers.
    fn finish(mut self, outcome: Result<(), Ending>) -> Code {
        let (code, trailers) = match outcome {
            Ok(()) => (Code::Ok, frame::ok_trailers()),
            Err(Ending::Failed(status)) => (status.code, frame::error_trailers(&status)),
            Err(Ending::Gone) => return Code::Canceled,
        };
        match self.stream.send_trailers(trailers) {
            Ok(()) => code,
            Err(_) => Code::Canceled,
        }
    }
}

/// Waits until the caller's window takes at least one byte; gives how many of `wanted` it takes.
pub(crate) async fn wait_for_window(
    stream: &mut SendStream<Payload>,
    wanted: usize,
) -> Result<usize, h2::Error> {
    stream.reserve_capacity(wanted);
    while stream.capacity() == 0 {
        match poll_fn(|task| stream.poll_capacity(task)).await {
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error),
            None => return Err(h2::Reason::CANCEL.into()),
        }
    }
    Ok(stream.capacity())
}

/// Serves one stream and counts it.
pub(crate) async fn serve(
    cx: &IoContext,
    peer: &Peer,
    share: &Arc<Share>,
    route: &Route,
    rpc: Stream,
    request: Request<RecvStream>,
    mut respond: SendResponse<Payload>,
) {
    route.metrics.started.increment(1);
    let mut ended = Ended::new(&route.metrics);
    let (head, body) = request.into_parts();
    let credentials = Credentials::read(cx, peer, &head.headers);
    let admitted = async {
        let open = share.open()?;
        cx.guests.accept(peer)?;
        let metadata = admit(cx, route, rpc, &head.headers, &credentials).await?;
        Ok::<_, Status>((open, metadata))
    };
    let (open, metadata) = match admitted.await {
        Ok(admitted) => admitted,
        Err(status) => {
            ended.code = status.code;
            refuse(&mut respond, &status);
            return;
        }
    };
    let Ok(stream) = respond.send_response(frame::response_head(), false) else {
        return;
    };
    let mut messages = Messages::new(body, &cx.receiving, share, metadata.encoding);
    let mut out = Outgoing {
        stream,
        metrics: &route.metrics,
        bytes: &cx.bytes,
    };
    let outcome = tokio::select! {
        biased;
        status = revoked(cx, peer, credentials.clone()) => Err(status.into()),
        outcome = run(cx, open.keep(share), rpc, credentials, &mut messages, &mut out) => outcome,
        status = cut_short(cx, &metadata) => Err(status.into()),
    };
    ended.code = out.finish(outcome);
    // What the server itself ends a stream with has other codes.
    if matches!(ended.code, Code::Internal | Code::ResourceExhausted) {
        match rpc {
            Stream::Watch => cx.metrics.stream_broken("watch"),
            Stream::LeaseKeepAlive => cx.metrics.stream_broken("lease-keepalive"),
            _ => {}
        }
    }
}

/// What is checked before anything is read.
async fn admit<'a>(
    cx: &IoContext,
    route: &Route,
    rpc: Stream,
    headers: &'a HeaderMap,
    credentials: &Credentials,
) -> Result<Metadata<'a>, Status> {
    let metadata = cx.admit(headers, true)?;
    if cx.handle.is_learner() && !learner::streams(rpc) {
        return Err(Error::NotForLearner.into());
    }
    // What is decided with each request of a stream is not decided here.
    if !matches!(route.rule, Rule::Open | Rule::ByNeeds) {
        let caller = credentials.caller(&cx.handle).await?;
        route.rule.check(&cx.handle, &caller, &Bytes::new())?;
    }
    Ok(metadata)
}

async fn run(
    cx: &IoContext,
    open: Open<Arc<Share>>,
    rpc: Stream,
    credentials: Credentials,
    messages: &mut Messages,
    out: &mut Outgoing<'_>,
) -> Result<(), Ending> {
    let (handle, share) = (&cx.handle, open.share());
    match rpc {
        Stream::Watch => watch::watch(cx, &credentials, messages, out).await,
        Stream::LeaseKeepAlive => {
            lease::keep_alive(handle, share, &credentials, messages, out).await
        }
        Stream::RangePieces => {
            range_stream::range_stream(cx, share, &credentials, messages, out).await
        }
        Stream::Observe => {
            let client = Client::new(handle.clone(), credentials).in_turn(open);
            election::observe(&client, messages, out).await
        }
        Stream::HealthWatch => health::watch(messages, out).await,
        Stream::Snapshot => snapshot::snapshot(cx, share, &credentials, messages, out).await,
    }
}

/// Whoever calls is not accepted any more, by certificate or as a user.
pub(crate) async fn revoked(cx: &IoContext, peer: &Peer, credentials: Credentials) -> Status {
    tokio::select! {
        status = peer.distrusted() => status,
        refused = credentials.denied(&cx.handle) => refused.into(),
    }
}

/// The caller's deadline, or the loss of the leader for a caller who needs one.
async fn cut_short(cx: &IoContext, metadata: &Metadata<'_>) -> Status {
    tokio::select! {
        status = deadline(metadata.timeout) => status,
        status = leader_lost(cx, metadata.require_leader) => status,
    }
}

async fn deadline(timeout: Option<Duration>) -> Status {
    match timeout {
        None => pending().await,
        Some(timeout) => {
            tokio::time::sleep(timeout).await;
            Status::deadline_exceeded()
        }
    }
}

async fn leader_lost(cx: &IoContext, required: bool) -> Status {
    if !required {
        return pending().await;
    }
    let mut leaderless = 0;
    while leaderless < LEADERLESS_CHECKS {
        tokio::time::sleep(cx.options.election_timeout).await;
        leaderless = if cx.has_leader() { 0 } else { leaderless + 1 };
    }
    Error::NoLeader.into()
}
