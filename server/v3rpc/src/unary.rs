//! Calls with one message each way, from HTTP/2 stream to trailers.

use std::{
    cell::Cell,
    future::poll_fn,
    net::IpAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use bytes::Bytes;
use h2::{RecvStream, server::SendResponse};
use http::{HeaderMap, Request};
use kvorum_core::Error;
use kvorum_member::{Caller, Handle};
use kvorum_proto::etcdserverpb::ResponseHeader;
use tokio::{sync::SemaphorePermit, time::Sleep};

use crate::{
    administrator,
    audit::{self, Author},
    auth,
    client::Client,
    cluster,
    compression::Encoding,
    connection::Entry,
    context::IoContext,
    downgrade, election,
    error::{Code, Status},
    frame::{self, Payload},
    health,
    identity::{self, Credentials},
    incoming::Messages,
    kv,
    large::{self, Reply},
    leadership, learner, lease, lock, maintenance,
    peer::Peer,
    route::{Route, Unary},
    rule::Rule,
    shares::{Load, Open, Share},
    stream::{self, Ended},
    trust,
};

/// Answers one call and counts it.
pub(crate) async fn serve(
    cx: &IoContext,
    entry: &Entry,
    share: &Arc<Share>,
    route: &Route,
    rpc: Unary,
    request: Request<RecvStream>,
    mut respond: SendResponse<Payload>,
) {
    route.metrics.started.increment(1);
    let mut ended = Ended::new(&route.metrics);
    let arrived = Instant::now();
    let (head, body) = request.into_parts();
    let admitted = open(share, rpc).and_then(|open| Ok((open, cx.admit(&head.headers, false)?)));
    let outcome = match admitted {
        Err(status) => Some(Err(status)),
        Ok((open, metadata)) => {
            // Pinned here: handed over by value it would lie twice in the memory of every call.
            let asked = Asked {
                entry,
                headers: &head.headers,
                encoding: metadata.encoding,
                share,
                open: Cell::new(open),
            };
            let answer = pin!(answer(cx, route, rpc, &asked, body));
            until(metadata.timeout, &mut respond, answer).await
        }
    };
    // Whoever waits for a lock or an election waits for others.
    if !rpc.waits() {
        warn_if_slow(cx, route, arrived.elapsed());
    }
    match outcome {
        // The caller is gone; `ended` counts it as canceled.
        None => {}
        Some(Err(status)) => {
            ended.code = status.code;
            refuse(&mut respond, &status);
        }
        Some(Ok((reply, place))) => {
            ended.code = Code::Ok;
            route.metrics.sent.increment(1);
            cx.bytes.sent.increment(reply.message_bytes() as u64);
            if large::send(&mut respond, (share, &entry.unread), place, reply)
                .await
                .is_err()
            {
                ended.code = Code::Canceled;
            }
        }
    }
}

/// Counts a call that waits for others: it is open for as long as they like.
fn open(share: &Share, rpc: Unary) -> Result<Option<Open<&Share>>, Status> {
    let opened = rpc.waits().then(|| share.open());
    Ok(opened.transpose()?)
}

/// Sends a failure; whether the caller is still there to read it does not matter.
pub(crate) fn refuse(respond: &mut SendResponse<Payload>, status: &Status) {
    let _ = respond.send_response(frame::error_response(status), true);
}

/// Puts cluster, member and term beside the revision that the machine reported.
pub(crate) fn complete(handle: &Handle, header: &mut Option<ResponseHeader>) {
    let revision = header.as_ref().map_or(0, |header| header.revision);
    *header = Some(handle.header(revision));
}

/// Whose call it is.
pub(crate) struct Who {
    pub(crate) caller: Caller,
    /// For calls that wait long; nothing where nobody is asked.
    credentials: Option<Box<Credentials>>,
    /// The name of an administrator, for calls that are for those.
    administrator: Option<String>,
    /// Where it comes from; none within this process.
    from: Option<IpAddr>,
    /// The user whom the connection's certificate names, for calls that are written down.
    certified: Option<Arc<str>>,
    /// What a call that waits counts as, until its work takes it along.
    open: Cell<Option<Open<Arc<Share>>>>,
}

impl Who {
    async fn of(cx: &IoContext, rule: Rule, rpc: Unary, asked: &Asked<'_>) -> Result<Self, Error> {
        let from = identity::source(asked.entry, asked.headers);
        let is_noted = matches!(rpc, Unary::Auth(_));
        let certified = asked.entry.peer.user().filter(|_| is_noted).cloned();
        let credentials = || Box::new(Credentials::read(cx, &asked.entry.peer, asked.headers));
        // What is open to everybody is so to who comes with a token from yesterday, to get another one.
        if rule != Rule::Open && cx.handle.is_auth_enabled() {
            let credentials = credentials();
            return Ok(Self {
                caller: credentials.caller(&cx.handle).await?,
                credentials: Some(credentials),
                administrator: None,
                from,
                certified,
                open: Cell::default(),
            });
        }
        // Authentication may come to be while these wait.
        let waits = rpc.waits();
        Ok(Self {
            caller: Caller::nobody(),
            credentials: waits.then(credentials),
            administrator: None,
            from,
            certified,
            open: Cell::default(),
        })
    }

    /// Who is said to have done it.
    fn author(&self) -> Author {
        let caller = self.administrator.as_deref().or(self.caller.user_name());
        let name = caller.or(self.certified.as_deref());
        Author {
            name: name.unwrap_or("nobody").to_owned(),
            from: self.from,
        }
    }

    fn credentials(&self) -> Credentials {
        self.credentials.as_deref().cloned().unwrap_or_default()
    }

    fn client(&self, cx: &IoContext) -> Client {
        Client::new(cx.handle.clone(), self.credentials())
    }

    /// For a call that waits: it has a place in its client's share with each step, and none in between.
    fn patient_client(&self, cx: &IoContext) -> Client {
        let client = self.client(cx);
        match self.open.take() {
            Some(open) => client.in_turn(open),
            None => client,
        }
    }
}

/// The head of a call.
struct Asked<'a> {
    entry: &'a Entry,
    headers: &'a HeaderMap,
    encoding: Encoding,
    share: &'a Arc<Share>,
    open: Cell<Option<Open<&'a Share>>>,
}

/// The answer, and the place in its caller's share that it still has.
async fn answer<'a>(
    cx: &IoContext,
    route: &Route,
    rpc: Unary,
    asked: &Asked<'a>,
    body: RecvStream,
) -> Result<(Reply, Option<SemaphorePermit<'a>>), Status> {
    let (message, hold) =
        Messages::of_unary(body, &cx.receiving, asked.share, asked.encoding).await?;
    route.metrics.received.increment(1);
    cx.bytes.received.increment(message.len() as u64);
    if cx.handle.is_learner() && !learner::serves(rpc, &message)? {
        return Err(Error::NotForLearner.into());
    }
    // Taken when all of it is there: what comes slowly holds nobody else of its client back.
    let load = Load {
        budget: &cx.receiving.budget,
        bytes: message.len(),
        hold,
    };
    let place = asked.share.enter(load).await?;
    // Each step of what waits for others takes a place again.
    let place = (!rpc.waits()).then_some(place);
    // Only now is it complete: its caller may have been revoked since it began.
    cx.guests.accept(&asked.entry.peer)?;
    let who = Who::of(cx, route.rule, rpc, asked).await;
    let mut who = who.map_err(|refused| route.refusal(refused))?;
    match route.rule {
        Rule::Administrator => {
            let name =
                administrator::name(&cx.handle, &who.caller, &asked.entry.peer, asked.headers);
            who.administrator = Some(name?);
        }
        Rule::RootMaker if !cx.handle.is_auth_enabled() && cx.guests.knows_administrators() => {
            let name =
                administrator::name(&cx.handle, &who.caller, &asked.entry.peer, asked.headers);
            who.administrator = Some(name?);
        }
        rule => rule.check(&cx.handle, &who.caller, &message)?,
    }
    if rpc.waits() {
        who.open
            .set(asked.open.take().map(|open| open.keep(asked.share)));
        let waited = Box::pin(wait(cx, &asked.entry.peer, &who, rpc, message)).await;
        return waited.map(|reply| (reply, None));
    }
    let answered = large::answer(cx, &who, rpc, message).await;
    answered.map(|reply| (reply, place))
}

/// Answers a call that waits for others, as long as its caller is accepted.
async fn wait(
    cx: &IoContext,
    peer: &Peer,
    who: &Who,
    rpc: Unary,
    message: Bytes,
) -> Result<Reply, Status> {
    tokio::select! {
        biased;
        status = stream::revoked(cx, peer, who.credentials()) => Err(status),
        answered = large::answer(cx, who, rpc, message) => answered,
    }
}

pub(crate) async fn call(
    cx: &IoContext,
    who: &Who,
    rpc: Unary,
    message: Bytes,
) -> Result<Bytes, Status> {
    let (handle, caller) = (&cx.handle, &who.caller);
    match rpc {
        Unary::Range => kv::range(handle, caller, message).await,
        Unary::Put => kv::put(handle, caller, message).await,
        Unary::DeleteRange => kv::delete_range(handle, caller, message).await,
        Unary::Txn => kv::txn(handle, caller, message).await,
        Unary::Compact => kv::compact(handle, caller, message).await,
        Unary::LeaseGrant => lease::grant(handle, caller, message).await,
        Unary::LeaseRevoke => lease::revoke(handle, caller, message).await,
        Unary::LeaseTimeToLive => lease::time_to_live(handle, caller, message).await,
        Unary::LeaseLeases => lease::leases(handle, caller, message).await,
        // Calls that are rare and wait long are on the heap, so that short ones stay small.
        Unary::MemberAdd => Box::pin(cluster::member_add(handle, caller, message)).await,
        Unary::MemberRemove => Box::pin(cluster::member_remove(handle, caller, message)).await,
        Unary::MemberUpdate => Box::pin(cluster::member_update(handle, caller, message)).await,
        Unary::MemberList => cluster::member_list(handle, caller, message).await,
        Unary::MemberPromote => Box::pin(cluster::member_promote(handle, caller, message)).await,
        Unary::MemberReplace => Box::pin(cluster::member_replace(handle, caller, message)).await,
        Unary::Alarm => maintenance::alarm(handle, caller, message).await,
        Unary::Status => maintenance::status(handle, caller, message),
        Unary::Defragment => maintenance::defragment(handle, caller, message).await,
        Unary::Hash => maintenance::hash(handle, caller, message).await,
        Unary::HashKv => maintenance::hash_kv(handle, caller, message).await,
        Unary::Auth(_) | Unary::Trust(_) => Box::pin(noted(cx, who, rpc, message)).await,
        Unary::MoveLeader => Box::pin(leadership::move_leader(handle, caller, message)).await,
        Unary::Downgrade => downgrade::downgrade(handle, message).await,
        Unary::Lock => Box::pin(lock::lock(cx, who.patient_client(cx), message)).await,
        Unary::Unlock => Box::pin(lock::unlock(&who.client(cx), message)).await,
        Unary::Campaign => Box::pin(election::campaign(cx, who.patient_client(cx), message)).await,
        Unary::Proclaim => Box::pin(election::proclaim(&who.client(cx), message)).await,
        Unary::Leader => Box::pin(election::leader(&who.client(cx), message)).await,
        Unary::Resign => Box::pin(election::resign(&who.client(cx), message)).await,
        Unary::HealthCheck => health::check(message),
        Unary::HealthList => health::list(message),
    }
}

/// Answers a call about users or trust. Changes are written down, also if their caller has left meanwhile.
async fn noted(cx: &IoContext, who: &Who, rpc: Unary, message: Bytes) -> Result<Bytes, Status> {
    let ask = (who.administrator.clone(), who.caller.clone(), who.from);
    let handle = cx.handle.clone();
    let Some(told) = audit::change(rpc, &message) else {
        return ask_about_access(&handle, ask, rpc, message).await;
    };
    let author = who.author();
    let changing = async move |_| {
        let answered = ask_about_access(&handle, ask, rpc, message).await?;
        audit::write(&handle, author, told).await;
        Ok(answered)
    };
    cx.errands.run(cx.stop.clone(), changing).await
}

async fn ask_about_access(
    handle: &Handle,
    (by, caller, from): (Option<String>, Caller, Option<IpAddr>),
    rpc: Unary,
    message: Bytes,
) -> Result<Bytes, Status> {
    match rpc {
        Unary::Auth(rpc) => auth::call(handle, &caller, from, rpc, message).await,
        Unary::Trust(rpc) => {
            // Without a name nobody has looked at who calls.
            let by = by.ok_or(Error::PermissionDenied)?;
            trust::call(handle, &by, rpc, message).await
        }
        _ => Err(Status::internal("kvorum: this is no call about access")),
    }
}

/// Waits for the answer, the caller's deadline, or the caller's end, which gives `None`.
async fn until<T>(
    timeout: Option<Duration>,
    respond: &mut SendResponse<Payload>,
    mut answer: Pin<&mut impl Future<Output = Result<T, Status>>>,
) -> Option<Result<T, Status>> {
    // Made only if the first poll does not answer: most reads need no timer.
    let mut timer: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|task| {
        if let Poll::Ready(answered) = answer.as_mut().poll(task) {
            return Poll::Ready(Some(answered));
        }
        if let Some(timeout) = timeout {
            let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
            if timer.as_mut().poll(task).is_ready() {
                return Poll::Ready(Some(Err(Status::deadline_exceeded())));
            }
        }
        respond.poll_reset(task).map(|_| None)
    })
    .await
}

fn warn_if_slow(cx: &IoContext, route: &Route, took: Duration) {
    if took >= cx.options.slow_request {
        tracing::warn!(
            service = route.service,
            method = route.name,
            took_ms = took.as_millis(),
            expected_ms = cx.options.slow_request.as_millis(),
            "request took too long"
        );
    }
}
