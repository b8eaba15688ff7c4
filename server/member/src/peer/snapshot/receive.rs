//! The receiving side of a snapshot: one at a time.

use std::sync::Arc;
use std::time::Duration;

use kvorum_core::MemberId;
use kvorum_proto::kvorumpb::{
    RaftMessage, SnapshotChunk, SnapshotEnd, SnapshotOffer, SnapshotProgress, SnapshotVerdict,
};
use prost::Message;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, interval, sleep};

use super::{SnapshotIntake, Staged};
use crate::peer::PeerEvent;
use crate::peer::frame::{FrameError, Kind};
use crate::peer::hub::{Home, Hub};
use crate::peer::meters::Transfer;
use crate::peer::wire::{Broken, Wire};

/// A transfer that does not move makes way for one that wants to begin after this long.
const STALE: Duration = Duration::from_secs(10);

/// The one place for a state that comes in.
#[derive(Default)]
pub(crate) struct Slot {
    /// Rises with every connection that takes over: the one before may no longer touch it.
    holder: u64,
    coming: Option<Coming>,
}

struct Coming {
    from: MemberId,
    transfer: u64,
    intake: Box<dyn SnapshotIntake>,
    moved: Instant,
}

/// What an offer leads to.
enum Taken {
    /// Go on with this chunk; the slot is held under this number.
    Yes {
        holder: u64,
        due: u64,
    },
    Busy,
    No(String),
}

/// Takes in a snapshot.
pub(crate) async fn receive(
    hub: &Arc<Hub>,
    from: MemberId,
    offer: SnapshotOffer,
    mut wire: Wire,
) -> Result<(), Broken> {
    let Some(home) = hub.home() else {
        return Ok(());
    };
    let raft = RaftMessage::decode(offer.raft.clone()).map_err(|error| FrameError::Message {
        kind: Kind::SnapshotOffer,
        reason: error.to_string(),
    })?;
    let (holder, due) = match take(hub, &home, from, offer.transfer).await {
        Taken::Yes { holder, due } => (holder, due),
        Taken::Busy => return say(hub, &mut wire, refused(true, "busy")).await,
        Taken::No(reason) => return say(hub, &mut wire, refused(false, &reason)).await,
    };
    let peer = format!("{:x}", from.0);
    tracing::info!(peer, chunk = due, "taking in a snapshot");
    let meter = hub.meters.receiving(from);
    let incoming = Receipt {
        hub,
        home: &home,
        from,
        holder,
        raft,
    };
    let ended = incoming.run(due, &mut wire, meter).await;
    if let Err(broken) = &ended {
        tracing::warn!(peer, error = %broken, "a snapshot broke off");
        let (hub, home) = (hub.clone(), home.clone());
        let forget = async move { forget(&hub, &home, from, holder).await };
        tokio::spawn(forget);
    }
    ended
}

fn refused(busy: bool, reason: &str) -> SnapshotVerdict {
    SnapshotVerdict {
        ok: false,
        busy,
        reason: reason.to_owned(),
    }
}

async fn say(hub: &Hub, wire: &mut Wire, verdict: SnapshotVerdict) -> Result<(), Broken> {
    let patience = hub.timing.bulk_patience;
    wire.sender
        .send(Kind::SnapshotVerdict, &verdict, patience)
        .await?;
    wire.sender.close().await;
    Ok(())
}

/// Whether an offer is taken: its own continuation always, another one if nothing moves.
async fn take(hub: &Hub, home: &Home, from: MemberId, transfer: u64) -> Taken {
    let mut slot = hub.slot.lock().await;
    slot.holder += 1;
    let holder = slot.holder;
    if let Some(coming) = &mut slot.coming {
        if (coming.from, coming.transfer) == (from, transfer) {
            coming.moved = Instant::now();
            let due = coming.intake.due();
            return Taken::Yes { holder, due };
        }
        if coming.from != from && coming.moved.elapsed() < STALE {
            slot.holder -= 1;
            return Taken::Busy;
        }
    }
    // Whatever was there is thrown away before its successor is made.
    slot.coming = None;
    let staging = home.staging.clone();
    let made = spawn_blocking(move || staging.begin()).await;
    match made.unwrap_or_else(|error| Err(error.to_string())) {
        Ok(intake) => {
            let due = intake.due();
            slot.coming = Some(Coming {
                from,
                transfer,
                intake,
                moved: Instant::now(),
            });
            Taken::Yes { holder, due }
        }
        Err(reason) => Taken::No(reason),
    }
}

/// Throws away what nobody has come back for.
async fn forget(hub: &Hub, home: &Home, from: MemberId, holder: u64) {
    sleep(hub.timing.snapshot * 2).await;
    let mut slot = hub.slot.lock().await;
    if slot.holder == holder && slot.coming.take().is_some() {
        let peer = format!("{:x}", from.0);
        tracing::warn!(peer, "a snapshot that broke off was given up");
        home.tell(PeerEvent::SnapshotAborted { from });
    }
}

struct Receipt<'a> {
    hub: &'a Hub,
    home: &'a Home,
    from: MemberId,
    holder: u64,
    raft: RaftMessage,
}

impl Receipt<'_> {
    async fn run(self, due: u64, wire: &mut Wire, meter: Transfer<'_>) -> Result<(), Broken> {
        let patience = self.hub.timing.bulk_patience;
        let counted = self.hub.meters.received(self.from);
        let mut counted_bytes = 0;
        let mut next_chunk = due;
        loop {
            let progress = SnapshotProgress { next_chunk };
            wire.sender
                .send(Kind::SnapshotProgress, &progress, patience)
                .await?;
            let frame = wire.receiver.next(patience).await?;
            let bytes = wire.receiver.bytes;
            counted.inc_by(bytes - std::mem::replace(&mut counted_bytes, bytes));
            if frame.kind == Kind::SnapshotEnd {
                let end: SnapshotEnd = frame.read(Kind::SnapshotEnd)?;
                if end.chunks != next_chunk {
                    return Err(Broken::Ours("chunks are missing at the end"));
                }
                return self.finish(wire, meter).await;
            }
            let chunk: SnapshotChunk = frame.read(Kind::SnapshotChunk)?;
            if chunk.number != next_chunk {
                return Err(Broken::Ours("a chunk came out of turn"));
            }
            if let Err(reason) = self.write(chunk).await? {
                self.hub.slot.lock().await.coming = None;
                self.home
                    .tell(PeerEvent::SnapshotAborted { from: self.from });
                tracing::warn!(reason, "a snapshot cannot be taken in");
                return say(self.hub, wire, refused(false, &reason)).await;
            }
            next_chunk += 1;
        }
    }

    /// Writes a chunk where it may block. The slot is held meanwhile, so that nobody takes over half-way.
    async fn write(&self, chunk: SnapshotChunk) -> Result<Result<(), String>, Broken> {
        let mut slot = self.hub.slot.lock().await;
        let ours = slot.holder == self.holder;
        let Some(mut coming) = slot.coming.take_if(|_| ours) else {
            return Err(Broken::Ours("another connection took over"));
        };
        let written = spawn_blocking(move || {
            let written = coming.intake.take(&chunk.content);
            (coming, written)
        });
        match written.await {
            Ok((mut coming, written)) => {
                coming.moved = Instant::now();
                slot.coming = Some(coming);
                Ok(written)
            }
            Err(error) => Ok(Err(error.to_string())),
        }
    }

    /// Completes the state; the sender hears that we are at it.
    async fn finish(self, wire: &mut Wire, meter: Transfer<'_>) -> Result<(), Broken> {
        let coming = {
            let mut slot = self.hub.slot.lock().await;
            let ours = slot.holder == self.holder;
            slot.coming.take_if(|_| ours)
        };
        let Some(coming) = coming else {
            return Err(Broken::Ours("another connection took over"));
        };
        let patience = self.hub.timing.bulk_patience;
        let mut finishing = spawn_blocking(move || coming.intake.finish());
        let mut ticks = interval(self.hub.timing.bulk_patience / 4);
        let finished = loop {
            tokio::select! {
                finished = &mut finishing => break finished,
                _ = ticks.tick() => {
                    // Who is gone will ask again; the state is completed all the same.
                    let _ = wire.sender.probe(0, false, patience).await;
                }
            }
        };
        let finished: Result<Staged, String> =
            finished.unwrap_or_else(|error| Err(error.to_string()));
        match finished {
            Ok(staged) => {
                meter.succeeded();
                self.home.tell(PeerEvent::SnapshotArrived {
                    from: self.from,
                    raft: Box::new(self.raft),
                    staged,
                });
                let ok = SnapshotVerdict {
                    ok: true,
                    ..SnapshotVerdict::default()
                };
                say(self.hub, wire, ok).await
            }
            Err(reason) => {
                self.home
                    .tell(PeerEvent::SnapshotAborted { from: self.from });
                say(self.hub, wire, refused(false, &reason)).await
            }
        }
    }
}
