//! A seeded generator of requests: what clients send, what they should not send, and what happens around them.
//!
//! One seed gives one sequence for one server behaviour: the next operation depends on the model's state, so that
//! revisions, leases and watch ids are mostly ones that mean something.

mod describe;
mod dice;
mod requests;
#[cfg(test)]
mod tests;
mod txn;

use bytes::Bytes;
use kvorum_proto::etcdserverpb as pb;

use super::model::{Model, WatchStream};
pub use dice::Dice;

/// One step of a story.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// A range.
    Range(pb::RangeRequest),
    /// A put.
    Put(pb::PutRequest),
    /// A delete.
    DeleteRange(pb::DeleteRangeRequest),
    /// A transaction.
    Txn(pb::TxnRequest),
    /// A compaction.
    Compact(pb::CompactionRequest),
    /// A lease grant, with an id of its own.
    LeaseGrant(pb::LeaseGrantRequest),
    /// A revoke.
    LeaseRevoke(pb::LeaseRevokeRequest),
    /// A keep-alive.
    LeaseKeepAlive(pb::LeaseKeepAliveRequest),
    /// A question for the rest of a lease's time.
    LeaseTimeToLive(pb::LeaseTimeToLiveRequest),
    /// The list of leases.
    LeaseLeases,
    /// An alarm request.
    Alarm(pb::AlarmRequest),
    /// A hash.
    HashKv(pb::HashKvRequest),
    /// A request on a watch stream.
    Watch(usize, pb::WatchRequest),
    /// A client drops a watch stream and opens a new one in its place.
    Reconnect(usize),
    /// A client reads what its watch stream has for it. Stream 0 is read after every operation.
    Deliver(usize),
    /// Time passes, milliseconds; leases whose time is up are ended.
    Pass(i64),
    /// The state store writes down what it has not.
    Flush,
    /// The server stops without warning and starts from its state store, then applies its log again.
    Restart,
}

/// What a run is mostly made of, drawn once per seed so that seeds differ from each other.
#[derive(Clone, Debug)]
struct Habits {
    keys: Vec<Bytes>,
    /// Of 1,000 operations.
    compactions: u64,
    flushes: u64,
    restarts: u64,
    alarms: u64,
    txn_depth: usize,
    /// Deletes for every hundred puts.
    deletes: u64,
}

/// The generator.
#[derive(Clone, Debug)]
pub struct Generator {
    dice: Dice,
    habits: Habits,
    max_txn_ops: usize,
    next_lease: i64,
    values: u64,
}

/// How many watch streams a story has.
pub const STREAMS: usize = 3;
const WATCHERS_PER_STREAM: usize = 6;

impl Generator {
    /// A generator for a server with that `--max-txn-ops`.
    #[must_use]
    pub fn new(seed: u64, max_txn_ops: usize) -> Self {
        let mut dice = Dice::new(seed);
        let habits = Habits {
            keys: requests::key_space(&mut dice),
            compactions: dice.pick(&[0, 3, 10, 30, 60]),
            flushes: dice.pick(&[0, 5, 20, 100]),
            restarts: dice.pick(&[0, 1, 5, 10]),
            alarms: dice.pick(&[0, 1, 3]),
            txn_depth: dice.pick(&[1, 2, 3, 4]),
            deletes: dice.pick(&[10, 30, 70]),
        };
        Self {
            dice,
            habits,
            max_txn_ops,
            next_lease: 1,
            values: 0,
        }
    }

    /// The next operation on a server that should be in the state of `model`.
    pub fn next(&mut self, model: &Model, streams: &[WatchStream]) -> Operation {
        if model.alarms().next().is_some() && self.dice.one_in(8) {
            return self.disarm(model);
        }
        self.surroundings()
            .unwrap_or_else(|| match self.dice.below(100) {
                0..24 => Operation::Put(self.put(model)),
                24..32 => Operation::DeleteRange(self.delete_range()),
                32..50 => Operation::Range(self.range(model)),
                50..68 => {
                    let depth = self.habits.txn_depth;
                    Operation::Txn(self.txn(model, depth, self.max_txn_ops))
                }
                68..78 => self.lease(model),
                78..90 => self.watch(model, streams),
                90..97 => Operation::Deliver(self.stream()),
                97 => Operation::HashKv(pb::HashKvRequest {
                    revision: self.revision(model),
                }),
                _ => Operation::Pass(self.dice.pick(&[1, 100, 999, 1_000, 2_500, 10_000])),
            })
    }

    /// What happens rarely, and as often as this seed's habits have it.
    fn surroundings(&mut self) -> Option<Operation> {
        let habits = &self.habits;
        let mut roll = self.dice.below(1_000);
        let mut falls = |share: u64| {
            let hit = roll < share;
            roll = roll.saturating_sub(share);
            hit && share > 0
        };
        if falls(habits.flushes) {
            Some(Operation::Flush)
        } else if falls(habits.restarts) {
            Some(Operation::Restart)
        } else if falls(habits.alarms) {
            Some(Operation::Alarm(self.alarm()))
        } else {
            None
        }
    }

    /// Compactions are drawn apart because they need the model's revision.
    pub fn compaction(&mut self, model: &Model) -> Option<Operation> {
        let due = self.dice.below(1_000) < self.habits.compactions;
        due.then(|| {
            let span = (model.revision() - model.compact_revision().max(1)).max(1);
            let revision = match self.dice.below(12) {
                0 => self.revision(model),
                1 => model.revision(),
                2 => model.revision() + 1,
                3 => model.compact_revision(),
                _ => model.compact_revision().max(1) + self.dice.up_to(span),
            };
            Operation::Compact(pb::CompactionRequest {
                revision,
                physical: self.dice.one_in(2),
            })
        })
    }

    fn stream(&mut self) -> usize {
        self.dice.index(STREAMS)
    }
}
