//! Pauses that grow and differ, so that members that lost each other at the same moment do not meet again in step.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Spreads durations; the seed is the shell's.
#[derive(Debug)]
pub(crate) struct Jitter(AtomicU64);

impl Jitter {
    pub(crate) fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// The next number of the sequence. (splitmix64)
    pub(crate) fn next(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let state = self.0.fetch_add(STEP, Ordering::Relaxed);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Something between half of it and one and a half.
    pub(crate) fn spread(&self, pause: Duration) -> Duration {
        let share = (self.next() >> 32) as f64 / f64::from(u32::MAX);
        pause.mul_f64(0.5 + share)
    }
}

/// A pause that doubles with every failure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(first: Duration, max: Duration) -> Self {
        Self {
            first,
            max: max.max(first),
            next: first,
        }
    }

    /// The pause after one more failure.
    pub(crate) fn after_failure(&mut self, jitter: &Jitter) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.max);
        jitter.spread(pause)
    }

    /// It went well: the next pause is a short one.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_differ_by_seed() {
        let ms = Duration::from_millis;
        let pauses = |seed| {
            let jitter = Jitter::new(seed);
            let mut backoff = Backoff::new(ms(50), ms(500));
            let pauses: Vec<_> = (0..20).map(|_| backoff.after_failure(&jitter)).collect();
            backoff.reset();
            assert!(backoff.after_failure(&jitter) <= ms(75));
            pauses
        };
        let one = pauses(1);
        assert!(one[0] >= ms(25) && one[0] <= ms(75), "{one:?}");
        assert!(
            one[10..].iter().all(|p| *p >= ms(250) && *p <= ms(750)),
            "{one:?}"
        );
        assert_eq!(one, pauses(1));
        assert_ne!(one, pauses(2));
    }
}
