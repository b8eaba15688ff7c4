//! One lane to one peer: dials, keeps the connection, writes what waits, and notices when nobody listens any more.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;

use kvorum_core::replica::Lane;
use kvorum_proto::kvorumpb::{PeerLane, PeerProbe, PeerRefusalReason, Welcome};
use parking_lot::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::PeerEvent;
use super::dial::{NotReached, PeerUrl, dial};
use super::frame::{FrameError, Kind};
use super::hub::{Home, Hub, Route};
use super::jitter::Backoff;
use super::own_tls::Shown;
use super::wire::{Broken, Receiver, Sender, WRITE_BYTES, Wire};

/// Dials whenever there is no connection, for as long as the peer is a member.
pub(crate) async fn keep(hub: Arc<Hub>, home: Arc<Home>, route: Arc<Route>, lane: Lane) {
    let mut backoff = Backoff::new(hub.timing.backoff_first, hub.timing.backoff_max);
    let mut told = None;
    loop {
        match dial_in_turn(&hub, &route, lane).await {
            Ok((wire, url, welcome)) => {
                told = None;
                let begin = Instant::now();
                connected(&hub, &home, &route, lane, &url, &welcome);
                let Err(broken) = carry(&hub, &route, lane, wire).await;
                if matches!(broken, Broken::Outdated) {
                    // Nothing was lost: what comes meanwhile waits for the next connection.
                    continue;
                }
                lost(&hub, &home, &route, lane, &broken);
                if begin.elapsed() > hub.timing.backoff_max * 2 {
                    backoff.reset();
                }
            }
            Err((url, error)) => complain(&home, &route, lane, &url, &error, &mut told),
        }
        let pause = backoff.after_failure(&hub.jitter);
        // Either the time is up, or the peer dialled us and so is there.
        let _ = timeout(pause, route.retry.notified()).await;
    }
}

/// All addresses of the peer, one after the other; the error is the first one's that says something.
async fn dial_in_turn(
    hub: &Hub,
    route: &Route,
    lane: Lane,
) -> Result<(Wire, PeerUrl, Welcome), (String, NotReached)> {
    let lane = match lane {
        Lane::Control => PeerLane::Control,
        Lane::Append => PeerLane::Append,
    };
    let hello = hub.hello(Some(route.id), lane);
    let none = NotReached::Failed("the member has no peer URL that can be dialled".into());
    let mut failure = (String::new(), none);
    for url in route.urls().iter() {
        match dial(hub, url, &hello).await {
            Ok((wire, welcome)) => return Ok((wire, url.clone(), welcome)),
            Err(error) => failure = (url.to_string(), error),
        }
    }
    Err(failure)
}

/// Says once why a peer cannot be reached, until that changes.
fn complain(
    home: &Home,
    route: &Route,
    lane: Lane,
    url: &str,
    error: &NotReached,
    told: &mut Option<String>,
) {
    let reason = match error {
        NotReached::Refused { refusal, .. } => Some(refusal.reason()),
        NotReached::Failed(_) => None,
    };
    if reason == Some(PeerRefusalReason::Removed) {
        home.tell(PeerEvent::Removed { by: route.id });
    }
    let text = error.to_string();
    let quiet = lane == Lane::Append || reason == Some(PeerRefusalReason::Starting);
    if quiet || told.as_ref() == Some(&text) {
        return;
    }
    let peer = format!("{:x}", route.id.0);
    tracing::warn!(peer, url, error = text, "cannot reach a peer; dialling on");
    *told = Some(text);
}

fn connected(hub: &Hub, home: &Home, route: &Route, lane: Lane, url: &PeerUrl, to: &Welcome) {
    route.queue(lane).open();
    if lane == Lane::Control {
        let peer = format!("{:x}", route.id.0);
        tracing::info!(peer, %url, version = to.server_version, "connected to a peer");
        hub.came_up(route);
        home.tell(PeerEvent::Connected {
            peer: route.id,
            version: to.server_version.clone(),
        });
    }
}

fn lost(hub: &Hub, home: &Home, route: &Route, lane: Lane, broken: &Broken) {
    let dropped = route.queue(lane).close() as u64;
    route.meters.sent_failures.inc_by(dropped);
    if lane == Lane::Control {
        let peer = format!("{:x}", route.id.0);
        tracing::warn!(peer, error = %broken, "lost the connection to a peer");
        hub.went_down(route);
    }
    if let Broken::Refused(refusal) = broken
        && refusal.reason() == PeerRefusalReason::Removed
    {
        home.tell(PeerEvent::Removed { by: route.id });
    }
    if lane == Lane::Control {
        home.tell(PeerEvent::Disconnected(route.id));
    }
    home.tell(PeerEvent::Unreachable(route.id));
}

/// The probe that is on its way, and since when.
type Probe = Mutex<Option<(u64, Instant)>>;

/// Writes and listens until one of both fails.
async fn carry(hub: &Hub, route: &Route, lane: Lane, wire: Wire) -> Result<Infallible, Broken> {
    let Wire {
        sender,
        receiver,
        shown,
    } = wire;
    let probe = Probe::default();
    tokio::select! {
        ended = write(hub, route, lane, sender, shown.as_ref(), &probe) => ended,
        ended = listen(hub, route, receiver, &probe) => ended,
        broken = hub.distrusted(shown.as_ref()) => Err(broken),
    }
}

async fn write(
    hub: &Hub,
    route: &Route,
    lane: Lane,
    mut sender: Sender,
    shown: Option<&Shown>,
    probe: &Probe,
) -> Result<Infallible, Broken> {
    let mut outdated = pin!(hub.outdated(shown));
    let queue = route.queue(lane);
    let mut batch = Vec::new();
    let mut number = 0;
    let mut ticks = interval(hub.timing.probe);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        queue.take(&mut batch);
        for message in batch.drain(..) {
            sender.push(Kind::Message, &message);
            if sender.waiting() >= WRITE_BYTES {
                route.meters.sent_bytes.inc_by(sender.flush().await?);
            }
        }
        if sender.waiting() > 0 {
            route.meters.sent_bytes.inc_by(sender.flush().await?);
        }
        tokio::select! {
            () = queue.arrived() => {}
            // Between two messages, so that all of them arrive.
            () = &mut outdated => {
                sender.close().await;
                return Err(Broken::Outdated);
            }
            _ = ticks.tick() => {
                number += 1;
                probe.lock().get_or_insert((number, Instant::now()));
                sender.push(Kind::Probe, &PeerProbe { number, echo: false });
            }
        }
    }
}

/// The other end says nothing but that it is there, and that we are no longer a member.
async fn listen(
    hub: &Hub,
    route: &Route,
    mut receiver: Receiver,
    probe: &Probe,
) -> Result<Infallible, Broken> {
    loop {
        let frame = receiver.next(hub.timing.patience).await?;
        match frame.kind {
            Kind::Probe => {
                let echo: PeerProbe = frame.read(Kind::Probe)?;
                let mut waiting = probe.lock();
                if let Some((_, sent)) = waiting.take_if(|(n, _)| echo.echo && *n == echo.number) {
                    let took = sent.elapsed().as_secs_f64();
                    route.meters.round_trip.observe(took);
                }
            }
            Kind::Refusal => return Err(Broken::Refused(frame.read(Kind::Refusal)?)),
            kind => return Err(FrameError::Unexpected { kind }.into()),
        }
    }
}
