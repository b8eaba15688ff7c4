//! The sending side of a snapshot.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kvorum_core::MemberId;
use kvorum_proto::kvorumpb::{
    PeerLane, RaftMessage, SnapshotChunk, SnapshotEnd, SnapshotOffer, SnapshotProgress,
    SnapshotVerdict,
};
use prost::Message;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use super::SnapshotChunks;
use crate::peer::PeerEvent;
use crate::peer::dial::dial;
use crate::peer::frame::{FrameError, Kind};
use crate::peer::hub::{Hub, Route};
use crate::peer::jitter::Backoff;
use crate::peer::wire::{Broken, Wire};

/// Chunks on their way that the receiver has not acknowledged.
const WINDOW: u64 = 4;
/// How long a chunk waits for more urgent messages, at most.
const YIELD_STEPS: u32 = 20;
const YIELD_STEP: Duration = Duration::from_millis(5);

/// Why one attempt ended.
enum Ended {
    /// Worth another try.
    Broken(String),
    /// Not worth one.
    Over(String),
}

impl From<Broken> for Ended {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken.to_string())
    }
}

impl From<FrameError> for Ended {
    fn from(error: FrameError) -> Self {
        Self::Broken(error.to_string())
    }
}

/// The transfer, across all its connections.
struct Sending {
    transfer: u64,
    raft: Bytes,
    chunks: Option<Box<dyn SnapshotChunks>>,
    /// Chunks that the receiver has.
    acknowledged: u64,
    /// When it last got further.
    moved: Instant,
}

/// Sends a snapshot, and tells how that went.
pub(crate) async fn send(
    hub: Arc<Hub>,
    to: MemberId,
    raft: RaftMessage,
    chunks: Box<dyn SnapshotChunks>,
) {
    // It is never closed.
    let _place = hub.sending.acquire().await;
    let meter = hub.meters.sending(to);
    let peer = format!("{:x}", to.0);
    let mut sending = Sending {
        transfer: hub.jitter.next(),
        raft: raft.encode_to_vec().into(),
        chunks: Some(chunks),
        acknowledged: 0,
        moved: Instant::now(),
    };
    tracing::info!(peer, "sending a snapshot");
    let ok = match sending.attempts(&hub, to).await {
        Ok(()) => {
            tracing::info!(
                peer,
                chunks = sending.acknowledged,
                "a snapshot has arrived"
            );
            meter.succeeded();
            true
        }
        Err(reason) => {
            tracing::warn!(peer, reason, "a snapshot did not arrive");
            false
        }
    };
    if let Some(home) = hub.home() {
        home.tell(PeerEvent::SnapshotSent { to, ok });
    }
}

impl Sending {
    async fn attempts(&mut self, hub: &Hub, to: MemberId) -> Result<(), String> {
        let mut backoff = Backoff::new(hub.timing.backoff_first, hub.timing.backoff_max);
        loop {
            let route = hub.route(to).ok_or("the peer is no longer a member")?;
            let before = self.acknowledged;
            let reason = match self.attempt(hub, &route).await {
                Ok(()) => return Ok(()),
                Err(Ended::Over(reason)) => return Err(reason),
                Err(Ended::Broken(reason)) => reason,
            };
            if self.acknowledged > before {
                backoff.reset();
            }
            if self.moved.elapsed() > hub.timing.snapshot {
                return Err(reason);
            }
            tracing::debug!(
                peer = format!("{:x}", to.0),
                reason,
                "a snapshot goes on soon"
            );
            sleep(backoff.after_failure(&hub.jitter)).await;
        }
    }

    async fn attempt(&mut self, hub: &Hub, route: &Route) -> Result<(), Ended> {
        let hello = hub.hello(Some(route.id), PeerLane::Bulk);
        let mut failure = Ended::Broken("the peer has no address".into());
        for url in route.urls().iter() {
            match dial(hub, url, &hello).await {
                Ok((wire, _)) => return self.carry(hub, route, wire).await,
                Err(error) => failure = Ended::Broken(format!("{url}: {error}")),
            }
        }
        Err(failure)
    }

    async fn carry(&mut self, hub: &Hub, route: &Route, mut wire: Wire) -> Result<(), Ended> {
        let patience = hub.timing.bulk_patience;
        let offer = SnapshotOffer {
            transfer: self.transfer,
            raft: self.raft.clone(),
            header: Bytes::new(),
        };
        wire.sender
            .send(Kind::SnapshotOffer, &offer, patience)
            .await?;
        let mut next = None;
        let mut complete = false;
        loop {
            match wire.receiver.next(patience).await? {
                frame if frame.kind == Kind::Probe => continue,
                frame if frame.kind == Kind::SnapshotVerdict => {
                    return judge(&frame.read(Kind::SnapshotVerdict)?);
                }
                frame => {
                    let progress: SnapshotProgress = frame.read(Kind::SnapshotProgress)?;
                    self.note(progress.next_chunk);
                }
            }
            let due = match next {
                Some(due) => due,
                None => self.resume().await?,
            };
            let mut due: u64 = due;
            while !complete && due < self.acknowledged + WINDOW {
                make_way(route).await;
                complete = !self.pass_on(due, &mut wire, patience).await?;
                due += u64::from(!complete);
            }
            next = Some(due);
        }
    }

    fn note(&mut self, next_chunk: u64) {
        if next_chunk > self.acknowledged {
            self.moved = Instant::now();
        }
        self.acknowledged = next_chunk;
    }

    /// Goes back to where the receiver is.
    async fn resume(&mut self) -> Result<u64, Ended> {
        let due = self.acknowledged;
        let found = self.work(move |chunks| Ok(chunks.resume(due))).await?;
        match found {
            true => Ok(due),
            false => Err(Ended::Over(format!("the peer asks for chunk {due}"))),
        }
    }

    /// Sends one chunk, or the end; false if it was the end.
    async fn pass_on(
        &mut self,
        number: u64,
        wire: &mut Wire,
        patience: Duration,
    ) -> Result<bool, Ended> {
        match self.work(|chunks| chunks.next_chunk()).await? {
            Some(content) => {
                let chunk = SnapshotChunk { number, content };
                wire.sender
                    .send(Kind::SnapshotChunk, &chunk, patience)
                    .await?;
                Ok(true)
            }
            None => {
                let end = SnapshotEnd { chunks: number };
                wire.sender.send(Kind::SnapshotEnd, &end, patience).await?;
                Ok(false)
            }
        }
    }

    /// Does something with the chunks where it may block.
    async fn work<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut dyn SnapshotChunks) -> Result<T, String> + Send + 'static,
    ) -> Result<T, Ended> {
        let Some(mut chunks) = self.chunks.take() else {
            return Err(Ended::Over("the state was lost on the way".into()));
        };
        let worked = spawn_blocking(move || {
            let worked = work(chunks.as_mut());
            (chunks, worked)
        });
        let (chunks, worked) = worked
            .await
            .map_err(|error| Ended::Over(error.to_string()))?;
        self.chunks = Some(chunks);
        worked.map_err(Ended::Over)
    }
}

fn judge(verdict: &SnapshotVerdict) -> Result<(), Ended> {
    match verdict {
        SnapshotVerdict { ok: true, .. } => Ok(()),
        SnapshotVerdict { busy: true, .. } => {
            Err(Ended::Broken("the peer takes in another one".into()))
        }
        SnapshotVerdict { reason, .. } => Err(Ended::Over(reason.clone())),
    }
}

/// Entries and heartbeats for the same peer go first.
async fn make_way(route: &Route) {
    for _ in 0..YIELD_STEPS {
        if !route.is_busy() {
            return;
        }
        sleep(YIELD_STEP).await;
    }
}
