//! What a run has seen: latencies, how many calls succeeded, what went wrong.

use anyhow::Result;
use hdrhistogram::Histogram;

/// Latencies outside these are counted at the edge.
const LATENCY_MIN_NS: u64 = 1_000;
const LATENCY_MAX_NS: u64 = 60_000_000_000;
const DIGITS: u8 = 3;
const ERRORS_KEPT: usize = 3;

/// Whether calls are made, and whether they count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    WarmUp,
    Measure,
    /// Calls in flight end; no new ones start.
    Drain,
}

pub(crate) struct Tally {
    pub(crate) phase: Phase,
    pub(crate) in_flight: u64,
    pub(crate) operations: u64,
    pub(crate) errors: u64,
    /// The first few, in words.
    pub(crate) error_texts: Vec<String>,
    latency: Histogram<u64>,
}

impl Tally {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            phase: Phase::WarmUp,
            in_flight: 0,
            operations: 0,
            errors: 0,
            error_texts: Vec::new(),
            latency: Histogram::new_with_bounds(LATENCY_MIN_NS, LATENCY_MAX_NS, DIGITS)?,
        })
    }

    pub(crate) fn issues(&self) -> bool {
        self.phase != Phase::Drain
    }

    /// Counts a success.
    pub(crate) fn record(&mut self, latency_ns: u64) {
        if self.phase == Phase::Measure {
            self.operations += 1;
            self.latency
                .saturating_record(latency_ns.max(LATENCY_MIN_NS));
        }
    }

    /// Counts a failure, whatever the phase: a warm-up that fails is no success either.
    pub(crate) fn fail(&mut self, text: &str) {
        self.errors += 1;
        if self.error_texts.len() < ERRORS_KEPT && !self.error_texts.iter().any(|kept| kept == text)
        {
            self.error_texts.push(text.to_owned());
        }
    }

    /// The latency that `share` of the calls stayed within, in microseconds.
    pub(crate) fn latency_us(&self, share: f64) -> f64 {
        self.latency.value_at_quantile(share) as f64 / 1000.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_measured_phase_counts_and_every_error_does() {
        let mut tally = Tally::new().expect("valid bounds");
        tally.record(5_000);
        tally.phase = Phase::Measure;
        for latency_us in 1..=1000 {
            tally.record(latency_us * 1000);
        }
        tally.fail("no");
        tally.phase = Phase::Drain;
        tally.record(5_000);
        tally.fail("no");
        assert_eq!((tally.operations, tally.errors), (1000, 2));
        assert_eq!(tally.error_texts, ["no"]);
        assert!((tally.latency_us(0.5) - 500.0).abs() < 1.0);
        assert!((tally.latency_us(0.999) - 999.0).abs() < 1.0);
    }
}
