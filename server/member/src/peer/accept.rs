//! Those who dial us: few of them at a time until they say who they are, and each only for a while.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kvorum_core::MemberId;
use kvorum_proto::kvorumpb::{Hello, PeerLane, PeerRefusalReason as Reason};
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::dial::tune;
use super::hello::{Guest, judge, refusal, refusal_name, welcome};
use super::hub::Hub;
use super::incoming::{Farewell, receive};
use super::join::Asked;
use super::own_tls::Came;
use super::wire::Wire;
use super::{ask, snapshot};

/// Connections that have not introduced themselves yet.
const STRANGERS_MAX: usize = 64;
/// How long to wait when no more connections can be accepted, as when file descriptors are used up.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// Who is on the doorstep, oldest first. A new one takes the place of the oldest: members introduce themselves at
/// once, so that it is hardly ever one of them.
#[derive(Debug, Default)]
pub(crate) struct Doorstep {
    next: u64,
    waiting: VecDeque<(u64, AbortHandle)>,
}

impl Doorstep {
    fn ticket(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn enter(&mut self, ticket: u64, stranger: AbortHandle) {
        if self.waiting.len() >= STRANGERS_MAX
            && let Some((_, oldest)) = self.waiting.pop_front()
        {
            oldest.abort();
        }
        self.waiting.push_back((ticket, stranger));
    }

    fn leave(&mut self, ticket: u64) {
        self.waiting.retain(|(waiting, _)| *waiting != ticket);
    }
}

/// A place on the doorstep, given back when it is dropped.
struct Place {
    doorstep: Arc<Mutex<Doorstep>>,
    ticket: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.doorstep.lock().leave(self.ticket);
    }
}

/// Accepts for as long as the runtime runs.
pub(crate) async fn accept(
    hub: Arc<Hub>,
    listener: TcpListener,
    tls: bool,
    doorstep: Arc<Mutex<Doorstep>>,
) {
    loop {
        match listener.accept().await {
            Ok((socket, from)) => {
                let mut entering = doorstep.lock();
                let place = Place {
                    doorstep: doorstep.clone(),
                    ticket: entering.ticket(),
                };
                let ticket = place.ticket;
                let task = hub
                    .runtime
                    .spawn(introduced(hub.clone(), socket, from, tls, place));
                entering.enter(ticket, task.abort_handle());
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a peer connection");
                tokio::time::sleep(RETRY_AFTER).await;
            }
        }
    }
}

async fn introduced(hub: Arc<Hub>, socket: TcpStream, from: SocketAddr, tls: bool, place: Place) {
    let met = timeout(hub.timing.handshake, meet(&hub, socket, tls)).await;
    let met = met.unwrap_or_else(|_| Err("it did not introduce itself in time".into()));
    drop(place);
    match met {
        Ok(Met::Guest(wire, hello, guest)) => serve(hub, *wire, hello, guest).await,
        Ok(Met::Joiner(asked)) => asked.answer(&hub, from).await,
        Ok(Met::Refused) => {}
        Err(reason) => {
            if hub.is_news(format!("{} {reason}", from.ip())) {
                tracing::warn!(remote = %from, reason, "rejected connection on peer endpoint");
            }
        }
    }
}

/// What came of a handshake.
enum Met {
    Guest(Box<Wire>, Hello, Guest),
    /// Somebody who wants to become a member, and has said so.
    Joiner(Asked),
    /// It was told so in the proper form.
    Refused,
}

/// The handshake.
async fn meet(hub: &Hub, socket: TcpStream, tls: bool) -> Result<Met, String> {
    tune(&socket, hub.timing.patience);
    let patience = hub.timing.handshake;
    let came = match (&hub.tls, tls) {
        (Some(config), true) => config.accept(socket).await?,
        (None, true) => return Err("an https:// listener without a certificate".into()),
        (_, false) => Came::Member(Box::new(socket), None),
    };
    let (stream, shown) = match came {
        Came::Member(stream, shown) => (stream, shown),
        Came::Joiner(stream) => return Ok(Met::Joiner(Asked::read(*stream).await?)),
    };
    let mut wire = Wire::new(stream, shown);
    let hello = wire.greeted(patience).await.map_err(|e| e.to_string())?;
    let shown = wire.shown.as_ref().map(|shown| shown.member.0);
    if shown.is_some_and(|id| hello.from != 0 && id != hello.from) {
        return Err(format!(
            "it says that it is {:x}, and shows the certificate of another member",
            hello.from
        ));
    }
    let home = hub.identity();
    let removed = hub.removed();
    let judged = judge(&hello, home, &removed)
        .map(|guest| Guest {
            // Who was removed is no stranger for keeping silent about who it is.
            from: guest
                .from
                .or(shown.map(MemberId).filter(|id| removed.contains(id))),
            ..guest
        })
        .and_then(|guest| hub.incoming.lock().has_room(guest).map(|()| guest));
    match judged {
        Ok(guest) => {
            let answer = welcome(home, &hello);
            let welcomed = wire.welcome(&answer, patience).await;
            welcomed.map_err(|e| e.to_string())?;
            Ok(Met::Guest(Box::new(wire), hello, guest))
        }
        Err(reason) => {
            let refusal = refusal(reason, home);
            complain(hub, &hello, reason);
            wire.refuse(&refusal, patience).await;
            Ok(Met::Refused)
        }
    }
}

fn complain(hub: &Hub, hello: &Hello, reason: Reason) {
    let name = refusal_name(&refusal(reason, None));
    let (from, cluster) = (
        format!("{:x}", hello.from),
        format!("{:x}", hello.cluster_id),
    );
    if reason != Reason::Starting && hub.is_news(format!("{from} {cluster} {name}")) {
        tracing::warn!(
            from,
            cluster,
            to = format!("{:x}", hello.to),
            urls = ?hello.peer_urls,
            version = hello.server_version,
            reason = name,
            "refused a peer"
        );
    }
}

/// Somebody who may stay.
async fn serve(hub: Arc<Hub>, wire: Wire, hello: Hello, guest: Guest) {
    let (kept, farewell) = hub.incoming.lock().enter(guest, hello.boot);
    if kept.is_double {
        tracing::error!(
            peer = format!("{:x}", hello.from),
            "two processes claim to be this member: one of them has a copied data directory"
        );
    }
    let ended = match (guest.from, guest.lane, hub.home()) {
        (Some(from), PeerLane::Control | PeerLane::Append, Some(home)) => {
            hub.learn(&home, &hello);
            receive(&hub, &home, from, wire, farewell).await
        }
        _ => bulk(&hub, guest.from, wire, farewell).await,
    };
    hub.incoming.lock().leave(&kept);
    if let (Err(broken), Some(from)) = (ended, guest.from) {
        if matches!(broken, super::wire::Broken::Frame(_)) {
            hub.meters.unreadable(from);
            tracing::warn!(peer = format!("{:x}", from.0), error = %broken, "a peer's connection is unreadable");
        } else {
            tracing::debug!(peer = format!("{:x}", from.0), error = %broken, "a peer's connection ended");
        }
    }
}

async fn bulk(
    hub: &Arc<Hub>,
    from: Option<MemberId>,
    mut wire: Wire,
    farewell: Farewell,
) -> Result<(), super::wire::Broken> {
    use super::frame::{FrameError, Kind};
    let shown = wire.shown.clone();
    let work = async {
        let first = wire.receiver.next(hub.timing.handshake).await?;
        match (first.kind, from) {
            (Kind::Request, _) => {
                let request = first.read(Kind::Request)?;
                ask::answer(hub, from, request, &mut wire).await
            }
            (Kind::SnapshotOffer, Some(from)) if !hub.removed().contains(&from) => {
                let offer = first.read(Kind::SnapshotOffer)?;
                snapshot::receive(hub, from, offer, wire).await
            }
            (kind, _) => Err(FrameError::Unexpected { kind }.into()),
        }
    };
    tokio::select! {
        ended = work => ended,
        _ = farewell => Ok(()),
        broken = hub.distrusted(shown.as_ref()) => Err(broken),
    }
}
