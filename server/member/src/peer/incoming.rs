//! Connections of members that dialled us: who is there, and what the lanes bring.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;

use kvorum_core::MemberId;
use kvorum_proto::kvorumpb::{PeerLane, PeerProbe, PeerRefusalReason as Reason};
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval};

use super::PeerEvent;
use super::frame::{FrameError, Kind};
use super::hello::{Guest, refusal};
use super::hub::{Home, Hub};
use super::wire::{Broken, Wire};

/// Bulk connections of one member, and those of everybody who is none.
const BULK_MAX: usize = 8;

/// Tells a connection that it ends; with a reason if its member was removed.
pub(crate) type Farewell = oneshot::Receiver<Option<Reason>>;

/// One connection in the list.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    from: MemberId,
    lane: PeerLane,
    number: u64,
    /// A process that was thought to be gone has come back as well.
    pub(crate) is_double: bool,
}

/// Connections from one member.
#[derive(Debug, Default)]
struct Guests {
    open: BTreeMap<(PeerLane, u64), oneshot::Sender<Option<Reason>>>,
    boot: u64,
    boot_before: u64,
}

/// All connections that others opened.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    next: u64,
    by_member: BTreeMap<MemberId, Guests>,
}

impl Incoming {
    /// Lanes take the place of their predecessor; bulk connections are counted.
    pub(crate) fn has_room(&self, guest: Guest) -> Result<(), Reason> {
        let from = guest.from.unwrap_or_default();
        let bulk = self.by_member.get(&from).map_or(0, |guests| {
            let lanes = guests.open.keys().map(|(lane, _)| *lane);
            lanes.filter(|lane| *lane == PeerLane::Bulk).count()
        });
        if guest.lane == PeerLane::Bulk && bulk >= BULK_MAX {
            return Err(Reason::Busy);
        }
        Ok(())
    }

    /// A connection stays. The one that it takes the place of, if any, ends.
    pub(crate) fn enter(&mut self, guest: Guest, boot: u64) -> (Kept, Farewell) {
        self.next += 1;
        let (farewell, ended) = oneshot::channel();
        let from = guest.from.unwrap_or_default();
        let guests = self.by_member.entry(from).or_default();
        let mut is_double = false;
        if guest.lane == PeerLane::Control && guests.boot != boot {
            is_double = guests.boot_before == boot;
            guests.boot_before = std::mem::replace(&mut guests.boot, boot);
        }
        if guest.lane != PeerLane::Bulk {
            guests.open.retain(|(lane, _), _| *lane != guest.lane);
        }
        guests.open.insert((guest.lane, self.next), farewell);
        let kept = Kept {
            from,
            lane: guest.lane,
            number: self.next,
            is_double,
        };
        (kept, ended)
    }

    /// A connection has ended.
    pub(crate) fn leave(&mut self, kept: &Kept) {
        if let Some(guests) = self.by_member.get_mut(&kept.from) {
            guests.open.remove(&(kept.lane, kept.number));
        }
    }

    /// Ends what removed members have open, and tells them why.
    pub(crate) fn dismiss(&mut self, removed: &BTreeSet<MemberId>) {
        for id in removed {
            let guests = self.by_member.remove(id).unwrap_or_default();
            for (_, farewell) in guests.open {
                // Who has hung up meanwhile hears it at the next dial.
                let _ = farewell.send(Some(Reason::Removed));
            }
        }
    }
}

/// Counts ticks at which nothing new had come. Ticks rather than time: a process that was stopped for a while has not
/// listened, and must not take that for silence.
#[derive(Debug, Default)]
struct Silence {
    bytes: u64,
    ticks: u32,
}

impl Silence {
    fn at_tick(&mut self, bytes: u64) -> u32 {
        let heard = std::mem::replace(&mut self.bytes, bytes) != bytes;
        self.ticks = if heard { 0 } else { self.ticks + 1 };
        self.ticks
    }
}

/// Takes what a lane brings until it ends.
pub(crate) async fn receive(
    hub: &Hub,
    home: &Home,
    from: MemberId,
    wire: Wire,
    mut farewell: Farewell,
) -> Result<(), Broken> {
    let Wire {
        mut sender,
        mut receiver,
        shown,
    } = wire;
    let mut distrusted = pin!(hub.distrusted(shown.as_ref()));
    let patience = hub.timing.patience;
    let counted = hub.meters.received(from);
    let mut counted_bytes = 0;
    let mut spoke = false;
    let mut silence = Silence::default();
    let mut ticks = interval(hub.timing.probe);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let frame = tokio::select! {
            biased;
            said = &mut farewell => {
                if let Ok(Some(reason)) = said {
                    let last = refusal(reason, Some(home.identity));
                    sender.send(Kind::Refusal, &last, patience).await?;
                    sender.close().await;
                }
                return Ok(());
            }
            broken = &mut distrusted => {
                sender.close().await;
                return Err(broken);
            }
            _ = ticks.tick() => {
                if silence.at_tick(receiver.bytes) > patience.div_duration_f32(hub.timing.probe) as u32 {
                    return Err(Broken::Silent(patience));
                }
                // A probe that waits behind large messages must not look as if nobody were here.
                if !std::mem::replace(&mut spoke, false) {
                    sender.probe(0, false, patience).await?;
                }
                continue;
            }
            // The ticks above begin this wait anew, so it is they who notice silence.
            frame = receiver.next(patience) => frame?,
        };
        counted.inc_by(receiver.bytes - std::mem::replace(&mut counted_bytes, receiver.bytes));
        match frame.kind {
            Kind::Message => {
                let message = frame.read(Kind::Message)?;
                home.tell(PeerEvent::Message { from, message });
            }
            Kind::Probe => {
                let probe: PeerProbe = frame.read(Kind::Probe)?;
                spoke = true;
                sender.probe(probe.number, true, patience).await?;
            }
            kind => return Err(FrameError::Unexpected { kind }.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guest(from: u64, lane: PeerLane) -> Guest {
        Guest {
            from: Some(MemberId(from)),
            lane,
        }
    }

    #[test]
    fn a_lane_takes_the_place_of_the_one_before() {
        let mut incoming = Incoming::default();
        let (old, mut ended) = incoming.enter(guest(1, PeerLane::Append), 5);
        let (_, mut control) = incoming.enter(guest(1, PeerLane::Control), 5);
        let (_, mut other) = incoming.enter(guest(2, PeerLane::Append), 6);
        assert!(ended.try_recv() == Err(oneshot::error::TryRecvError::Empty));
        let (_, mut new) = incoming.enter(guest(1, PeerLane::Append), 5);
        assert!(ended.try_recv() == Err(oneshot::error::TryRecvError::Closed));
        incoming.leave(&old);
        for still in [&mut control, &mut other, &mut new] {
            assert!(still.try_recv() == Err(oneshot::error::TryRecvError::Empty));
        }
    }

    #[test]
    fn bulk_connections_are_counted_and_given_back() {
        let mut incoming = Incoming::default();
        let bulk = guest(1, PeerLane::Bulk);
        let kept: Vec<_> = (0..BULK_MAX).map(|_| incoming.enter(bulk, 5)).collect();
        assert_eq!(incoming.has_room(bulk), Err(Reason::Busy));
        assert_eq!(incoming.has_room(guest(1, PeerLane::Append)), Ok(()));
        assert_eq!(incoming.has_room(guest(2, PeerLane::Bulk)), Ok(()));
        incoming.leave(&kept[0].0);
        assert_eq!(incoming.has_room(bulk), Ok(()));
    }

    #[test]
    fn two_processes_of_one_member_are_told_apart_from_a_restart() {
        let mut incoming = Incoming::default();
        let mut double = |boot| {
            let (kept, _) = incoming.enter(guest(1, PeerLane::Control), boot);
            kept.is_double
        };
        assert!(!double(5));
        assert!(!double(6), "a restart");
        assert!(!double(6), "a new connection");
        assert!(double(5), "the one that was gone");
    }

    #[test]
    fn removed_members_are_told() {
        let mut incoming = Incoming::default();
        let (_, mut one) = incoming.enter(guest(1, PeerLane::Control), 5);
        let (_, mut two) = incoming.enter(guest(2, PeerLane::Control), 5);
        incoming.dismiss(&BTreeSet::from([MemberId(1)]));
        assert_eq!(one.try_recv(), Ok(Some(Reason::Removed)));
        assert!(two.try_recv().is_err());
    }
}
