//! The log's disk, seen from the machine: groups that were handed out and are not durable yet. A leader whose disk
//! hangs hands the leadership over, and nobody with such a disk campaigns.

use std::collections::VecDeque;

/// Groups on their way to the disk.
#[derive(Debug, Default)]
pub(super) struct DiskWatch {
    /// Number, and when it was handed out.
    in_flight: VecDeque<(u64, u64)>,
    /// The disk has hung since this moment, and the leadership was offered to another.
    offered_ms: Option<u64>,
}

/// What a leader whose disk hangs does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relief {
    /// Offers the leadership to another.
    Offer,
    /// Nobody took it: it lets go.
    LetGo,
}

impl DiskWatch {
    pub(super) fn handed_out(&mut self, number: u64, now_ms: u64) {
        self.in_flight.push_back((number, now_ms));
    }

    pub(super) fn durable(&mut self, number: u64) {
        while self.in_flight.front().is_some_and(|(n, _)| *n <= number) {
            self.in_flight.pop_front();
        }
        self.offered_ms = None;
    }

    /// How long the oldest group has been waiting, milliseconds.
    pub(super) fn waiting_ms(&self, now_ms: u64) -> u64 {
        self.in_flight
            .front()
            .map_or(0, |(_, since)| now_ms.saturating_sub(*since))
    }

    /// What the leader should do about it, where `limit_ms` is too long.
    pub(super) fn relief(&mut self, now_ms: u64, limit_ms: u64) -> Option<Relief> {
        if self.waiting_ms(now_ms) < limit_ms {
            return None;
        }
        match self.offered_ms {
            None => {
                self.offered_ms = Some(now_ms);
                Some(Relief::Offer)
            }
            Some(since) if now_ms.saturating_sub(since) >= limit_ms / 2 => Some(Relief::LetGo),
            Some(_) => None,
        }
    }
}
