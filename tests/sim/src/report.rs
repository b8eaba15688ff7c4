//! Figures of a run, and calls in a line.

use std::collections::BTreeMap;
use std::fmt;

use kvorum_tests::harness::history::{Reply, Request};

use crate::client::{Outcome, What};
use crate::plan::Fault;

/// What a run, or many, came to.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Runs.
    pub seeds: u64,
    /// Calls that were answered.
    pub answered: u64,
    /// Calls that a member did not take.
    pub refusals: u64,
    /// Calls without an answer.
    pub unknown: u64,
    /// Events of the simulation.
    pub events: u64,
    /// Messages between members, and how many were lost.
    pub messages: u64,
    /// See `messages`.
    pub lost: u64,
    /// Messages that a guard refused.
    pub refused: u64,
    /// Starts of members.
    pub starts: u64,
    /// Faults, by kind.
    pub faults: BTreeMap<Fault, u64>,
    /// Cuts of the network.
    pub cuts: u64,
    /// Members whose files were found damaged.
    pub damaged: u64,
    /// Changes of the members that were asked for.
    pub changes: u64,
    /// Members that learnt that they are none any more.
    pub removed: u64,
    /// Snapshots that were sent, and that took the place of a state.
    pub snapshots: u64,
    /// See `snapshots`.
    pub installs: u64,
    /// Terms that had a leader.
    pub elections: u64,
    /// Entries that were applied.
    pub entries: u64,
    /// Events that watchers got.
    pub watched: u64,
    /// Keys whose order took too long to look for.
    pub gave_up: u64,
    /// Virtual time, ms.
    pub virtual_ms: u64,
}

impl Figures {
    pub(crate) fn count(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Unknown => self.unknown += 1,
            Outcome::Refused(_) => self.refusals += 1,
            _ => self.answered += 1,
        }
    }

    pub(crate) fn fault(&mut self, fault: Fault) {
        *self.faults.entry(fault).or_default() += 1;
    }

    /// Adds another run.
    pub fn add(&mut self, other: &Self) {
        for (mine, more) in [
            (&mut self.seeds, other.seeds),
            (&mut self.answered, other.answered),
            (&mut self.refusals, other.refusals),
            (&mut self.unknown, other.unknown),
            (&mut self.events, other.events),
            (&mut self.messages, other.messages),
            (&mut self.lost, other.lost),
            (&mut self.refused, other.refused),
            (&mut self.starts, other.starts),
            (&mut self.cuts, other.cuts),
            (&mut self.damaged, other.damaged),
            (&mut self.changes, other.changes),
            (&mut self.removed, other.removed),
            (&mut self.snapshots, other.snapshots),
            (&mut self.installs, other.installs),
            (&mut self.elections, other.elections),
            (&mut self.entries, other.entries),
            (&mut self.watched, other.watched),
            (&mut self.gave_up, other.gave_up),
            (&mut self.virtual_ms, other.virtual_ms),
        ] {
            *mine += more;
        }
        for (fault, times) in &other.faults {
            *self.faults.entry(*fault).or_default() += times;
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |kinds: &[Fault]| -> u64 { kinds.iter().filter_map(|k| self.faults.get(k)).sum() };
        write!(
            f,
            "{} seeds, {} s of virtual time, {} events\n\
             calls: {} answered, {} refused, {} without an answer; {} watch events\n\
             members: {} starts, {} power failures of one, {} of all, {} kills, {} pauses, {} changes asked for, {} removed\n\
             network: {} messages, {} lost, {} cuts, {} refused by a guard\n\
             disks: {} slow, {} hung, {} sync errors, {} full, {} with flipped bits, {} members given up\n\
             raft: {} terms with a leader, {} entries applied, {} snapshots sent, {} installed\n\
             {} keys whose order was not found in time",
            self.seeds,
            self.virtual_ms / 1000,
            self.events,
            self.answered,
            self.refusals,
            self.unknown,
            self.watched,
            self.starts,
            of(&[Fault::Crash]),
            of(&[Fault::CrashAll]),
            of(&[Fault::Kill]),
            of(&[Fault::Pause]),
            self.changes,
            self.removed,
            self.messages,
            self.lost,
            self.cuts,
            self.refused,
            of(&[Fault::SlowDisk]),
            of(&[Fault::HangDisk]),
            of(&[Fault::SyncError]),
            of(&[Fault::FullDisk]),
            of(&[Fault::BitFlip]),
            self.damaged,
            self.elections,
            self.entries,
            self.snapshots,
            self.installs,
            self.gave_up,
        )
    }
}

/// A call in a line.
pub(crate) fn brief(what: &What) -> String {
    let text = |bytes: &bytes::Bytes| String::from_utf8_lossy(bytes).into_owned();
    match what {
        What::Keys(Request::Range(r)) => {
            let kind = if r.serializable { "serializable " } else { "" };
            let end = if r.range_end.is_empty() {
                String::new()
            } else {
                format!("..{}", text(&r.range_end))
            };
            let at = if r.revision > 0 {
                format!(" at {}", r.revision)
            } else {
                String::new()
            };
            format!("{kind}get {}{end}{at}", text(&r.key))
        }
        What::Keys(Request::Put(r)) => {
            let lease = if r.lease == 0 {
                String::new()
            } else {
                format!(" lease {}", r.lease)
            };
            format!("put {}={}{lease}", text(&r.key), text(&r.value))
        }
        What::Keys(Request::DeleteRange(r)) => {
            format!("delete {}..{}", text(&r.key), text(&r.range_end))
        }
        What::Keys(Request::Txn(r)) => format!(
            "txn of {} compares, {} and {} operations",
            r.compare.len(),
            r.success.len(),
            r.failure.len()
        ),
        other => format!("{other:?}"),
    }
}

/// An outcome in a line.
pub(crate) fn brief_outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Keys(reply) => {
            let rest = match reply {
                Reply::Range(r) => r
                    .kvs
                    .iter()
                    .map(|kv| {
                        format!(
                            " {}={}",
                            String::from_utf8_lossy(&kv.key),
                            String::from_utf8_lossy(&kv.value)
                        )
                    })
                    .collect(),
                Reply::DeleteRange(r) => format!(" {} deleted", r.deleted),
                Reply::Txn(r) => format!(" succeeded {}", r.succeeded),
                Reply::Put(_) => String::new(),
            };
            format!("@{}{rest}", reply.revision())
        }
        other => format!("{other:?}"),
    }
}
