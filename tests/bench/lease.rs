//! Keep-alive load: one lease and one stream per slot, the next keep-alive when the last is answered.

use anyhow::{Result, bail};

use crate::{
    check,
    http2::{Connection, ConnectionId, Event, Load, Nanos, Path, SlotId},
    reply::{self, LeaseId},
    tally::Tally,
    template,
};

/// Long enough that no lease expires during a run.
const TTL_SECONDS: i64 = 3600;

#[derive(Clone, Default)]
struct Holder {
    /// Zero until granted.
    lease: LeaseId,
    streaming: bool,
    sent: Nanos,
}

pub(crate) struct Leases {
    pub(crate) tally: Tally,
    check: bool,
    grant: Path,
    keep_alive: Path,
    holders: Vec<Vec<Holder>>,
}

impl Leases {
    pub(crate) fn new(check: bool, slots: &[u32]) -> Result<Self> {
        Ok(Self {
            tally: Tally::new()?,
            check,
            grant: Path::new("/etcdserverpb.Lease/LeaseGrant"),
            keep_alive: Path::new("/etcdserverpb.Lease/LeaseKeepAlive"),
            holders: slots
                .iter()
                .map(|slots| vec![Holder::default(); *slots as usize])
                .collect(),
        })
    }

    fn send(&mut self, at: ConnectionId, slot: SlotId, on: &mut Connection, now: Nanos) {
        let holder = &mut self.holders[at.index()][slot.index()];
        let message = template::lease_keep_alive(holder.lease);
        if holder.streaming {
            on.send(slot, &message);
        } else {
            on.call(slot, &self.keep_alive, &message, false);
            holder.streaming = true;
        }
        holder.sent = now;
        self.tally.in_flight += 1;
    }
}

impl Load for Leases {
    fn begin(&mut self, _: ConnectionId, slot: SlotId, on: &mut Connection, _: Nanos) {
        on.call(slot, &self.grant, &template::lease_grant(TTL_SECONDS), true);
        self.tally.in_flight += 1;
    }

    fn take(
        &mut self,
        at: ConnectionId,
        on: &mut Connection,
        event: Event,
        now: Nanos,
    ) -> Result<()> {
        match event {
            Event::Message { slot, span } => {
                let holder = &mut self.holders[at.index()][slot.index()];
                let bytes = on.bytes(&span);
                if !holder.streaming {
                    holder.lease = reply::lease_grant(bytes)?;
                    return Ok(());
                }
                let mut verdict = reply::lease_keep_alive(bytes, holder.lease);
                if self.check {
                    let full = check::lease_keep_alive(bytes, holder.lease);
                    verdict = check::compare(verdict, full);
                }
                self.tally.in_flight -= 1;
                match verdict {
                    Ok(()) => self.tally.record(now.since(holder.sent)),
                    Err(error) => self.tally.fail(&format!("{error:#}")),
                }
                if self.tally.issues() {
                    self.send(at, slot, on, now);
                }
            }
            Event::End { slot, outcome } => {
                let holder = &self.holders[at.index()][slot.index()];
                match outcome {
                    Err(text) => bail!("lease call ended: {text}"),
                    Ok(()) if holder.streaming => bail!("server ended a keep-alive stream"),
                    Ok(()) => {}
                }
                self.tally.in_flight -= 1;
                self.send(at, slot, on, now);
            }
        }
        Ok(())
    }
}
