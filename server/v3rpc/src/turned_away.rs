//! The log of those who do not get in: whoever looks for why a client fails finds it, and whoever knocks without end does
//! not fill the disk.

use std::{
    cell::Cell,
    net::IpAddr,
    time::{Duration, Instant},
};

/// Of those who come in between only the number is told.
const PAUSE: Duration = Duration::from_secs(1);

/// What an I/O thread has told of connections that it refused.
#[derive(Debug, Default)]
pub(crate) struct TurnedAway {
    told: Cell<Option<Instant>>,
    untold: Cell<u64>,
}

impl TurnedAway {
    /// Notes one more.
    pub(crate) fn note(&self, from: IpAddr, reason: &str) {
        if let Some(untold) = self.turn(Instant::now()) {
            tracing::warn!(remote = %from, reason, untold, "rejected connection on client endpoint");
        }
    }

    /// How many were not told of since the last time; none if it is not yet time again.
    fn turn(&self, now: Instant) -> Option<u64> {
        let told = self.told.get();
        if told.is_some_and(|told| now.saturating_duration_since(told) < PAUSE) {
            self.untold.set(self.untold.get() + 1);
            return None;
        }
        self.told.set(Some(now));
        Some(self.untold.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_and_then_one_a_second_with_the_number_of_the_others() {
        let log = TurnedAway::default();
        let begin = Instant::now();
        assert_eq!(log.turn(begin), Some(0));
        for ms in [0, 1, 500, 999] {
            assert_eq!(log.turn(begin + Duration::from_millis(ms)), None);
        }
        assert_eq!(log.turn(begin + PAUSE), Some(4));
        assert_eq!(log.turn(begin + 2 * PAUSE), Some(0));
    }
}
