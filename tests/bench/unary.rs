//! Closed-loop load of unary calls: every slot sends its next call when the last one is answered.

use anyhow::Result;

use crate::{
    check,
    http2::{Connection, ConnectionId, Event, Load, Nanos, SlotId},
    keyspace::{KeyNumber, Random, Values},
    reply::{self, Asked, Revision},
    tally::Tally,
    template::Template,
    workload::Workload,
};

/// Share of gets in the mix, in percent.
const MIX_GETS_PERCENT: u64 = 80;

/// What a run does and on what keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) workload: Workload,
    pub(crate) keys: u64,
    pub(crate) value_bytes: usize,
    pub(crate) seed: u64,
    /// Also decode every reply in full and compare.
    pub(crate) check: bool,
    /// Put each key once, in order, and stop.
    pub(crate) fill: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Put,
    Range,
    Txn,
}

/// A slot's call in flight.
#[derive(Clone)]
struct Flight {
    call: Call,
    asked: Asked,
    sent: Nanos,
    verdict: Option<Result<Revision, String>>,
    /// The newest revision this slot was told of.
    seen: Revision,
}

pub(crate) struct Unary {
    pub(crate) tally: Tally,
    plan: Plan,
    random: Random,
    values: Values,
    put: Template,
    range: Template,
    txn: Template,
    /// The next key to fill.
    next_key: u64,
    /// Per connection, per slot.
    flights: Vec<Vec<Flight>>,
}

impl Unary {
    pub(crate) fn new(plan: Plan, slots: &[u32]) -> Result<Self> {
        let mut random = Random::new(plan.seed);
        let values = Values::new(plan.value_bytes, &mut random);
        let asked = Asked {
            first: KeyNumber(0),
            keys: 1,
            value_bytes: plan.value_bytes,
        };
        let flight = Flight {
            call: Call::Put,
            asked,
            sent: Nanos(0),
            verdict: None,
            seen: Revision(0),
        };
        Ok(Self {
            tally: Tally::new()?,
            plan,
            random,
            values,
            put: Template::put(plan.value_bytes),
            range: match plan.workload {
                Workload::Range(_) => Template::range(),
                workload => Template::get(workload == Workload::SerializableGet),
            },
            txn: Template::txn(plan.value_bytes),
            next_key: 0,
            flights: slots
                .iter()
                .map(|slots| vec![flight.clone(); *slots as usize])
                .collect(),
        })
    }

    fn pick_call(&mut self) -> Call {
        match self.plan.workload {
            Workload::Put => Call::Put,
            Workload::Txn => Call::Txn,
            Workload::Mix if self.random.below(100) >= MIX_GETS_PERCENT => Call::Txn,
            _ => Call::Range,
        }
    }

    /// The next keys to use; `None` when the keyspace is filled.
    fn pick_keys(&mut self) -> Option<(KeyNumber, u64)> {
        if self.plan.fill {
            let key = KeyNumber(self.next_key);
            self.next_key += 1;
            return (key.0 < self.plan.keys).then_some((key, 1));
        }
        let keys = match self.plan.workload {
            Workload::Range(keys) => keys,
            _ => 1,
        };
        let first = self.random.below(self.plan.keys - keys + 1);
        Some((KeyNumber(first), keys))
    }

    fn send(&mut self, at: ConnectionId, slot: SlotId, on: &mut Connection, now: Nanos) {
        let call = self.pick_call();
        let Some((first, keys)) = self.pick_keys() else {
            return;
        };
        let template = match call {
            Call::Put => &mut self.put,
            Call::Range => &mut self.range,
            Call::Txn => &mut self.txn,
        };
        template.set_keys(first, keys);
        template.set_value(&self.values, &mut self.random, &[]);
        on.call(slot, &template.path, template.message(), true);
        let flight = &mut self.flights[at.index()][slot.index()];
        flight.call = call;
        flight.asked.first = first;
        flight.asked.keys = keys;
        flight.sent = now;
        flight.verdict = None;
        self.tally.in_flight += 1;
    }

    fn finish(&mut self, at: ConnectionId, slot: SlotId, outcome: Result<(), String>, now: Nanos) {
        self.tally.in_flight -= 1;
        let flight = &mut self.flights[at.index()][slot.index()];
        let verdict = flight.verdict.take();
        let verdict = match (outcome, verdict) {
            (Err(text), _) => Err(text),
            (Ok(()), None) => Err("reply without a message".to_owned()),
            (Ok(()), Some(verdict)) => verdict,
        };
        match verdict.and_then(|revision| in_order(flight, revision)) {
            Ok(()) => self.tally.record(now.since(flight.sent)),
            Err(text) => self.tally.fail(&text),
        }
    }
}

/// A write gets a revision above all its slot knows of; a linearizable read is never behind it.
fn in_order(flight: &mut Flight, revision: Revision) -> Result<(), String> {
    let seen = flight.seen;
    flight.seen = seen.max(revision);
    let fits = if flight.call == Call::Range {
        revision >= seen
    } else {
        revision > seen
    };
    if fits {
        return Ok(());
    }
    Err(format!(
        "{:?} answered at {revision:?} after {seen:?}",
        flight.call
    ))
}

fn judge(call: Call, asked: Asked, bytes: &[u8]) -> Result<Revision> {
    match call {
        Call::Put => reply::put(bytes),
        Call::Range => reply::range(bytes, asked),
        Call::Txn => reply::txn(bytes),
    }
}

fn judge_in_full(call: Call, asked: Asked, bytes: &[u8]) -> Result<Revision> {
    match call {
        Call::Put => check::put(bytes),
        Call::Range => check::range(bytes, asked),
        Call::Txn => check::txn(bytes),
    }
}

impl Load for Unary {
    fn begin(&mut self, at: ConnectionId, slot: SlotId, on: &mut Connection, now: Nanos) {
        self.send(at, slot, on, now);
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
                let bytes = on.bytes(&span);
                let flight = &mut self.flights[at.index()][slot.index()];
                let mut verdict = judge(flight.call, flight.asked, bytes);
                if self.plan.check {
                    verdict =
                        check::compare(verdict, judge_in_full(flight.call, flight.asked, bytes));
                }
                flight.verdict = Some(match flight.verdict {
                    None => verdict.map_err(|error| format!("{error:#}")),
                    Some(_) => Err("more than one message in a unary reply".to_owned()),
                });
            }
            Event::End { slot, outcome } => {
                self.finish(at, slot, outcome, now);
                if self.tally.issues() {
                    self.send(at, slot, on, now);
                }
            }
        }
        Ok(())
    }
}
