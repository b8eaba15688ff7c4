//! The network between the members: each lane of each direction is one connection, which keeps its order, may lose
//! what was on it, and never delivers anything twice.

use std::collections::BTreeMap;

use kvorum_core::replica::Lane;
use kvorum_tests::harness::generate::Dice;

use crate::plan::{Plan, within};

/// A connection.
type Line = (u64, u64, Lane);

/// The network.
#[derive(Debug)]
pub(crate) struct Net {
    dice: Dice,
    cuts: BTreeMap<(u64, u64), u32>,
    /// When the last message of a line arrives: the next one comes after it.
    last_us: BTreeMap<Line, u64>,
    delay_us: (u64, u64),
    lost_ppm: u64,
    late_ppm: u64,
    doubled_ppm: u64,
}

/// What becomes of a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It arrives at these times.
    Arrives(Vec<u64>),
    /// It is lost; true if its sender notices.
    Lost(bool),
}

impl Net {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self {
            dice: Dice::new(plan.order.seed ^ 0x006e_6574),
            cuts: BTreeMap::new(),
            last_us: BTreeMap::new(),
            delay_us: plan.delay_us,
            lost_ppm: plan.lost_ppm,
            late_ppm: plan.late_ppm,
            doubled_ppm: plan.doubled_ppm,
        }
    }

    /// Cuts one direction; as often as it was cut it has to be mended.
    pub(crate) fn cut(&mut self, from: u64, to: u64) {
        *self.cuts.entry((from, to)).or_default() += 1;
    }

    pub(crate) fn mend(&mut self, from: u64, to: u64) {
        if let Some(times) = self.cuts.get_mut(&(from, to)) {
            *times -= 1;
            if *times == 0 {
                self.cuts.remove(&(from, to));
            }
        }
    }

    pub(crate) fn mend_all(&mut self) {
        self.cuts.clear();
    }

    /// From now on nothing is lost, late or doubled any more.
    pub(crate) fn calm_down(&mut self) {
        self.mend_all();
        self.lost_ppm = 0;
        self.late_ppm = 0;
        self.doubled_ppm = 0;
    }

    pub(crate) fn is_cut(&self, from: u64, to: u64) -> bool {
        self.cuts.contains_key(&(from, to))
    }

    /// Whether another thing sent now gets through at all.
    pub(crate) fn passes(&mut self, from: u64, to: u64) -> bool {
        !self.is_cut(from, to) && self.dice.below(1_000_000) >= self.lost_ppm
    }

    /// A way's time, µs.
    pub(crate) fn way_us(&mut self) -> u64 {
        let delay = within(&mut self.dice, self.delay_us);
        if self.dice.below(1_000_000) < self.late_ppm {
            delay + self.dice.below(200_000)
        } else {
            delay
        }
    }

    pub(crate) fn send(&mut self, now_us: u64, from: u64, to: u64, lane: Lane) -> Fate {
        if !self.passes(from, to) {
            return Fate::Lost(self.dice.one_in(2));
        }
        let mut arrivals = Vec::new();
        let times = 1 + usize::from(self.dice.below(1_000_000) < self.doubled_ppm);
        for _ in 0..times {
            let line = (from, to, lane);
            let after = self.last_us.get(&line).copied().unwrap_or(0);
            let at = (now_us + self.way_us()).max(after + 1);
            self.last_us.insert(line, at);
            arrivals.push(at);
        }
        Fate::Arrives(arrivals)
    }
}
