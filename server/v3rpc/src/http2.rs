//! One HTTP/2 connection: all its calls run inside one task, and what they answer during one pass leaves in one write.

use std::{
    cell::Cell,
    io,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use h2::{
    Ping, PingPong, Reason, RecvStream,
    server::{Connection, SendResponse},
};
use http::Request;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Instant, Sleep, sleep, timeout},
};

use crate::{
    accept::Stop,
    authority::Lenient,
    connection::Entry,
    context::IoContext,
    early,
    frame::Payload,
    gateway,
    gather::Gather,
    guests::Guests,
    header_block::Followed,
    options::{Options, Scope},
    peer::Peer,
    route::Rpc,
    stream, unary,
};

/// Receive window, of a stream and of the connection.
const WINDOW_BYTES: u32 = 1024 * 1024;
/// The largest there is: streams then hold back each other not at all.
pub(crate) const WINDOW_BYTES_MAX: u32 = (1 << 31) - 1;
/// Headers of one request; tokens fit, floods do not.
const HEADER_BYTES_MAX: u32 = 64 * 1024;
/// Streams that the peer reset before they were looked at. Clients that cancel a batch at once must pass.
const RESET_STREAMS_MAX: usize = 256;
/// Overhead of small DATA frames that may wait: some thousand small requests at once are normal here.
const SMALL_FRAME_BUDGET_BYTES: usize = 16 * 1024 * 1024;
/// What is written to a stream and not yet taken by the peer's window.
const SEND_BUFFER_BYTES: usize = 256 * 1024;
/// Calls that one connection may have open whatever the setting says: each takes memory even if it never sends a byte.
const CALLS_MAX: usize = 64 * 1024;
/// Calls that are begun or answered in one pass over a connection, before others of the thread have their turn.
const PASS_CALLS_MAX: usize = 256;
/// After a GOAWAY, calls that were on their way still arrive for so long.
const LINGER: Duration = Duration::from_millis(100);

/// What calls under way may take once their caller is not accepted any more.
const DISTRUSTED: Duration = Duration::from_secs(1);

/// What a connection that ends may take to say why.
const FAREWELL: Duration = Duration::from_secs(1);
/// What is read meanwhile, and thrown away.
const UNREAD_KIB_MAX: usize = 256;

/// Serves a connection until it ends, or until the listener stops and its calls are answered.
pub(crate) async fn serve<S>(
    cx: Rc<IoContext>,
    entry: Entry,
    socket: S,
    read_ahead: Bytes,
    mut stop: Stop,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (socket, in_header_block) = Followed::new(socket);
    let gather = Gather::new(Lenient::new(socket), read_ahead);
    // Calls that come through the gateway are counted for those who make them, and must not wait for each other.
    let is_gateway = matches!(entry.peer, Peer::Gateway);
    let connection = handshake(&cx.options, &gather, is_gateway).await?;
    let calls_max = if is_gateway { usize::MAX } else { CALLS_MAX };
    let keepalive = Keepalive::new(connection.1, &cx.options);
    let unary_calls = Rc::new(Cell::new(0));
    let mut drain_timeout = cx.options.drain_timeout;
    let (guests, peer) = (Rc::clone(&cx.guests), entry.peer.clone());
    let block_timeout = cx.options.header_timeout;
    let ping_interval_min = cx.options.ping_interval_min;
    let start = {
        let unary_calls = Rc::clone(&unary_calls);
        let entry = Rc::new(entry);
        move |request, respond| {
            dispatch(
                Rc::clone(&cx),
                Rc::clone(&entry),
                Rc::clone(&unary_calls),
                request,
                respond,
            )
        }
    };
    let mut driver = Driver {
        connection: connection.0,
        gather: gather.clone(),
        calls: FuturesUnordered::new(),
        calls_max,
        start,
        keepalive,
        in_header_block,
        block_timeout,
        block_timer: None,
        ping_interval_min,
    };
    let outcome = tokio::select! {
        biased;
        // What arrives after that is not looked at.
        () = std::future::poll_fn(|_| refused(&guests, &peer)) => None,
        outcome = std::future::poll_fn(|task| driver.poll(task)) => Some(outcome),
        () = stop.wait() => None,
        _ = peer.distrusted() => None,
    };
    if peer.refused().is_some() {
        drain_timeout = DISTRUSTED;
    }
    let outcome = match outcome {
        Some(outcome) => outcome,
        None => drain(&mut driver, &unary_calls, drain_timeout).await,
    };
    // What HTTP/2 has to say at the end, such as the reason of a GOAWAY.
    let rest = std::future::poll_fn(|task| gather.poll_drain(task));
    let _ = timeout(FAREWELL, rest).await;
    if outcome.is_err() {
        let _ = timeout(FAREWELL, hang_up(gather)).await;
    }
    outcome
}

/// Ready if the other end is not accepted any more; who wakes the task is somebody else's matter.
fn refused(guests: &Guests, peer: &Peer) -> Poll<()> {
    match guests.accept(peer) {
        Ok(()) => Poll::Pending,
        Err(_) => Poll::Ready(()),
    }
}

/// Closes our side and reads on until the peer closes its own: closed at once with something unread, the socket would
/// be reset, and the reason of the end lost on its way.
async fn hang_up<S>(mut socket: Gather<S>) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    socket.shutdown().await?;
    // Whoever floods is not read to the end.
    let mut unread = [0; 1024];
    for _ in 0..UNREAD_KIB_MAX {
        if socket.read(&mut unread).await? == 0 {
            break;
        }
    }
    Ok(())
}

/// A broken connection or a broken rule, as the connection reports it.
fn broken(error: h2::Error) -> io::Error {
    io::Error::other(error)
}

type Transport<S> = Connection<Gather<S>, Payload>;

async fn handshake<S>(
    options: &Options,
    gather: &Gather<S>,
    is_gateway: bool,
) -> io::Result<(Transport<S>, Option<PingPong>)>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (window_bytes, streams_max) = match is_gateway {
        true => (WINDOW_BYTES_MAX, u32::MAX),
        false => (WINDOW_BYTES, options.max_concurrent_streams),
    };
    let mut handshake = pin!(
        h2::server::Builder::new()
            .initial_window_size(WINDOW_BYTES)
            .initial_connection_window_size(window_bytes)
            .max_concurrent_streams(streams_max)
            .max_header_list_size(HEADER_BYTES_MAX)
            .max_pending_accept_reset_streams(RESET_STREAMS_MAX)
            .max_concurrent_reset_streams(RESET_STREAMS_MAX)
            .max_send_buffer_size(SEND_BUFFER_BYTES)
            .data_frame_budget(SMALL_FRAME_BUDGET_BYTES)
            .handshake(gather.clone())
    );
    let shaken = std::future::poll_fn(|task| {
        let polled = handshake.as_mut().poll(task).map_err(broken);
        match gather.poll_drain(task) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => polled,
        }
    });
    let mut connection = timeout(options.header_timeout, shaken).await??;
    let ping = connection.ping_pong();
    Ok((connection, ping))
}

/// The connection and its calls, polled together.
struct Driver<S, F, C> {
    connection: Transport<S>,
    gather: Gather<S>,
    calls: FuturesUnordered<F>,
    calls_max: usize,
    start: C,
    keepalive: Keepalive,
    in_header_block: Rc<Cell<bool>>,
    block_timeout: Duration,
    /// Runs while the peer is in the middle of a header block.
    block_timer: Option<Pin<Box<Sleep>>>,
    ping_interval_min: Duration,
}

impl<S, F, C> Driver<S, F, C>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = ()>,
    C: FnMut(Request<RecvStream>, SendResponse<Payload>) -> F,
{
    /// One pass: answer what can be answered, take what has arrived, then write everything at once.
    fn poll(&mut self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut answered = 0;
        while answered < PASS_CALLS_MAX {
            while answered < PASS_CALLS_MAX
                && let Poll::Ready(Some(())) = self.calls.poll_next_unpin(task)
            {
                answered += 1;
            }
            let before = self.calls.len();
            if let Poll::Ready(closed) = self.poll_accept(task) {
                return Poll::Ready(closed);
            }
            if self.calls.len() == before {
                break;
            }
        }
        if answered >= PASS_CALLS_MAX {
            // Other connections come first.
            task.waker().wake_by_ref();
        }
        if self
            .gather
            .too_many_pings(self.calls.len(), self.ping_interval_min)
        {
            return Poll::Ready(Err(io::Error::other("the client pings too often")));
        }
        if let Poll::Ready(Err(error)) = self.gather.poll_drain(task) {
            return Poll::Ready(Err(error));
        }
        if self.poll_block(task).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        self.keepalive.poll(task)
    }

    /// Ready if a header block does not end in time.
    fn poll_block(&mut self, task: &mut Context<'_>) -> Poll<()> {
        if !self.in_header_block.get() {
            self.block_timer = None;
            return Poll::Pending;
        }
        let timeout = self.block_timeout;
        let timer = self
            .block_timer
            .get_or_insert_with(|| Box::pin(sleep(timeout)));
        timer.as_mut().poll(task)
    }

    /// Reads and writes frames; starts the calls that have arrived. Ready once the connection is closed.
    fn poll_accept(&mut self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        for _ in 0..PASS_CALLS_MAX {
            match self.connection.poll_accept(task) {
                Poll::Ready(Some(Ok((_, mut respond)))) if self.calls.len() >= self.calls_max => {
                    respond.send_reset(Reason::REFUSED_STREAM);
                }
                Poll::Ready(Some(Ok((request, respond)))) => {
                    self.calls.push((self.start)(request, respond));
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(broken(error))),
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
            }
        }
        task.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Says GOAWAY and answers the unary calls under way. Open streams end with the connection: that is what tells clients
/// to resume elsewhere.
async fn drain<S, F, C>(
    driver: &mut Driver<S, F, C>,
    unary_calls: &Cell<usize>,
    drain_timeout: Duration,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = ()>,
    C: FnMut(Request<RecvStream>, SendResponse<Payload>) -> F,
{
    driver.connection.graceful_shutdown();
    let mut linger = pin!(sleep(LINGER));
    let drained = std::future::poll_fn(|task| {
        if let Poll::Ready(closed) = driver.poll(task) {
            return Poll::Ready(closed);
        }
        if linger.as_mut().poll(task).is_ready() && unary_calls.get() == 0 {
            return Poll::Ready(Ok(()));
        }
        Poll::Pending
    });
    timeout(drain_timeout, drained).await.unwrap_or(Ok(()))
}

/// Counts a unary call as long as it lives.
struct InFlight(Rc<Cell<usize>>);

impl InFlight {
    fn new(calls: Rc<Cell<usize>>) -> Self {
        calls.set(calls.get() + 1);
        Self(calls)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// Serves one HTTP/2 stream.
async fn dispatch(
    cx: Rc<IoContext>,
    entry: Rc<Entry>,
    unary_calls: Rc<Cell<usize>>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Payload>,
) {
    let route = cx.routes.find(request.uri().path()).cloned();
    let is_call = route.is_ok() || early::is_grpc(request.headers());
    if entry.scope != Scope::Client || !is_call {
        let _in_flight = InFlight::new(unary_calls);
        return tokio::select! {
            biased;
            _ = entry.peer.distrusted() => {}
            () = Box::pin(gateway::respond_http2(&cx, &entry, request, respond)) => {}
        };
    }
    if let Some(refusal) = early::refusal(&request) {
        // The caller may be gone; then nobody misses the answer.
        let _ = respond.send_response(refusal, true);
        return;
    }
    let lent = match entry.peer {
        Peer::Gateway => cx.gateway.share_of(request.headers()).map(Some),
        _ => Ok(None),
    };
    let (route, lent) = match route.and_then(|route| Ok((route, lent?))) {
        Ok(found) => found,
        Err(status) => return unary::refuse(&mut respond, &status),
    };
    let share = lent.as_ref().unwrap_or(&entry.share);
    match route.rpc {
        Rpc::Unary(rpc) => {
            let _in_flight = InFlight::new(unary_calls);
            unary::serve(&cx, &entry, share, &route, rpc, request, respond).await;
        }
        Rpc::Stream(rpc) => {
            Box::pin(stream::serve(
                &cx,
                &entry.peer,
                share,
                &route,
                rpc,
                request,
                respond,
            ))
            .await;
        }
    }
}

/// Finds out whether the peer of a silent connection still exists.
struct Keepalive {
    ping: Option<PingPong>,
    timer: Pin<Box<Sleep>>,
    waiting: bool,
    interval: Duration,
    timeout: Duration,
}

impl Keepalive {
    fn new(ping: Option<PingPong>, options: &Options) -> Self {
        let interval = options.keepalive_interval;
        Self {
            ping,
            timer: Box::pin(sleep(interval)),
            waiting: false,
            interval,
            timeout: options.keepalive_timeout,
        }
    }

    /// Ready if the peer did not answer a ping in time.
    fn poll(&mut self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(ping) = &mut self.ping else {
            return Poll::Pending;
        };
        if self.waiting && ping.poll_pong(task).is_ready() {
            self.waiting = false;
            self.timer.as_mut().reset(Instant::now() + self.interval);
        }
        while self.timer.as_mut().poll(task).is_ready() {
            if self.waiting {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            ping.send_ping(Ping::opaque()).map_err(broken)?;
            self.waiting = true;
            self.timer.as_mut().reset(Instant::now() + self.timeout);
            // Asks to be woken by the answer; it cannot be here already.
            let _ = ping.poll_pong(task);
        }
        Poll::Pending
    }
}
