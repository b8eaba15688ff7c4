//! Fan-out load: every watcher sees every put, and a putter goes on when all have seen its last one.
//!
//! Waiting for delivery keeps the backlog bounded, so that the rate is one the server sustains and the
//! delay is not that of an ever longer queue.

use anyhow::{Result, bail, ensure};

use crate::{
    check,
    http2::{Connection, ConnectionId, Event, Load, Nanos, Path, SlotId},
    keyspace::{KeyNumber, Random, Values},
    reply::{self, Change, Revision, WatchReply},
    tally::Tally,
    template::{self, Template},
    unary::Plan,
};

/// A put's mark in its value: which putter, and its how-manieth put.
const STAMP_BYTES: usize = 16;

#[derive(Clone)]
struct Putter {
    at: ConnectionId,
    slot: SlotId,
    round: u64,
    sent: Nanos,
    deliveries_left: u64,
    answered: bool,
    written: bool,
}

#[derive(Clone, Default)]
struct Watcher {
    /// The newest revision seen.
    seen: Revision,
}

pub(crate) struct Watch {
    pub(crate) tally: Tally,
    plan: Plan,
    random: Random,
    values: Values,
    put: Template,
    path: Path,
    watchers: Vec<Vec<Watcher>>,
    /// Watches that the server has not confirmed yet.
    unconfirmed: u64,
    total: u64,
    putters: Vec<Putter>,
    /// Putters sit on the connections from this one on, in order.
    putter_slots: Vec<Vec<usize>>,
    free: Vec<usize>,
}

impl Watch {
    /// `slots` are those of the watchers' connections, then `putters` those of the putters'.
    pub(crate) fn new(plan: Plan, slots: &[u32], putters: &[u32]) -> Result<Self> {
        ensure!(
            plan.value_bytes >= STAMP_BYTES,
            "watch needs values of at least {STAMP_BYTES} bytes"
        );
        let mut random = Random::new(plan.seed);
        let values = Values::new(plan.value_bytes, &mut random);
        let mut all = Vec::new();
        let mut putter_slots = Vec::new();
        for (at, count) in (slots.len() as u32..).zip(putters) {
            let first = all.len();
            all.extend((0..*count).map(|slot| Putter {
                at: ConnectionId(at),
                slot: SlotId(slot),
                round: 0,
                sent: Nanos(0),
                deliveries_left: 0,
                answered: true,
                written: true,
            }));
            putter_slots.push((first..all.len()).collect());
        }
        let total = slots.iter().copied().map(u64::from).sum();
        Ok(Self {
            tally: Tally::new()?,
            plan,
            random,
            values,
            put: Template::put(plan.value_bytes),
            path: Path::new("/etcdserverpb.Watch/Watch"),
            watchers: slots
                .iter()
                .map(|slots| vec![Watcher::default(); *slots as usize])
                .collect(),
            unconfirmed: total,
            total,
            free: (0..all.len()).collect(),
            putters: all,
            putter_slots,
        })
    }

    fn is_watcher(&self, at: ConnectionId) -> bool {
        at.index() < self.watchers.len()
    }

    fn putter(&self, at: ConnectionId, slot: SlotId) -> usize {
        self.putter_slots[at.index() - self.watchers.len()][slot.index()]
    }

    fn send(&mut self, number: usize, on: &mut Connection, now: Nanos) {
        let putter = &mut self.putters[number];
        putter.round += 1;
        putter.sent = now;
        putter.deliveries_left = self.total;
        putter.answered = false;
        putter.written = false;
        let mut stamp = [0; STAMP_BYTES];
        stamp[..8].copy_from_slice(&(number as u64).to_be_bytes());
        stamp[8..].copy_from_slice(&putter.round.to_be_bytes());
        self.put
            .set_keys(KeyNumber(self.random.below(self.plan.keys)), 1);
        self.put.set_value(&self.values, &mut self.random, &stamp);
        on.call(putter.slot, &self.put.path, self.put.message(), true);
        self.tally.in_flight += 1;
    }

    fn settle(&mut self, number: usize) {
        let putter = &self.putters[number];
        if putter.answered && putter.deliveries_left == 0 {
            self.tally.in_flight -= 1;
            if self.tally.issues() {
                self.free.push(number);
            }
        }
    }

    fn take_change(
        &mut self,
        at: ConnectionId,
        slot: SlotId,
        change: Change<'_>,
        now: Nanos,
    ) -> Result<()> {
        let watcher = &mut self.watchers[at.index()][slot.index()];
        ensure!(
            change.mod_revision > watcher.seen,
            "watcher was sent {:?} after {:?}",
            change.mod_revision,
            watcher.seen
        );
        watcher.seen = change.mod_revision;
        let (number, round) = stamp(change.value)?;
        let Some(putter) = self.putters.get_mut(number) else {
            bail!("event of an unknown putter {number}")
        };
        ensure!(
            putter.round == round,
            "event of put {round} during put {}",
            putter.round
        );
        ensure!(
            putter.deliveries_left > 0,
            "put {round} was delivered more often than watched"
        );
        putter.deliveries_left -= 1;
        self.tally.record(now.since(putter.sent));
        self.settle(number);
        Ok(())
    }

    fn take_events(
        &mut self,
        at: ConnectionId,
        slot: SlotId,
        bytes: &[u8],
        now: Nanos,
    ) -> Result<()> {
        if self.plan.check {
            let mut quick = Vec::new();
            reply::watch(bytes, |change| {
                quick.push((change.value.to_vec(), change.mod_revision));
                Ok(())
            })?;
            check::compare(Ok(quick), check::watch(bytes))?;
        }
        match reply::watch(bytes, |change| self.take_change(at, slot, change, now))? {
            WatchReply::Created => self.unconfirmed -= 1,
            WatchReply::Changes(count) => ensure!(count > 0, "watch reply without events"),
        }
        Ok(())
    }

    fn take_put(&mut self, number: usize, outcome: Result<(), String>) -> Result<()> {
        // A put that fails is never delivered, so there is nothing to go on with.
        if let Err(text) = outcome {
            bail!("put under watch failed: {text}");
        }
        let putter = &mut self.putters[number];
        ensure!(putter.written, "put reply without a message");
        putter.answered = true;
        self.settle(number);
        Ok(())
    }
}

fn stamp(value: &[u8]) -> Result<(usize, u64)> {
    match (
        value.first_chunk::<8>(),
        value.get(8..).and_then(|rest| rest.first_chunk::<8>()),
    ) {
        (Some(number), Some(round)) => Ok((
            u64::from_be_bytes(*number) as usize,
            u64::from_be_bytes(*round),
        )),
        _ => bail!("event with a value of {} bytes", value.len()),
    }
}

impl Load for Watch {
    fn begin(&mut self, at: ConnectionId, slot: SlotId, on: &mut Connection, now: Nanos) {
        if self.is_watcher(at) {
            on.call(slot, &self.path, &template::watch_create(), false);
        } else if self.tally.issues() {
            self.send(self.putter(at, slot), on, now);
        }
    }

    fn take(
        &mut self,
        at: ConnectionId,
        on: &mut Connection,
        event: Event,
        now: Nanos,
    ) -> Result<()> {
        match (event, self.is_watcher(at)) {
            (Event::Message { slot, span }, true) => {
                self.take_events(at, slot, on.bytes(&span), now)
            }
            (Event::End { outcome, .. }, true) => bail!("server ended a watch: {outcome:?}"),
            (Event::Message { slot, span }, false) => {
                reply::put(on.bytes(&span))?;
                let number = self.putter(at, slot);
                self.putters[number].written = true;
                Ok(())
            }
            (Event::End { slot, outcome }, false) => self.take_put(self.putter(at, slot), outcome),
        }
    }

    /// Putters start, and go on, once every watch is confirmed.
    fn next_free(&mut self) -> Option<(ConnectionId, SlotId)> {
        if self.unconfirmed > 0 {
            return None;
        }
        let putter = &self.putters[self.free.pop()?];
        Some((putter.at, putter.slot))
    }
}
