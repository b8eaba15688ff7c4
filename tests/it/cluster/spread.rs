//! Times of one kind, and how they are spread.

use std::{fmt, time::Duration};

/// Durations that were measured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spread(Vec<Duration>);

impl Spread {
    pub(crate) fn add(&mut self, duration: Duration) {
        self.0.push(duration);
    }

    /// The one that this part of all do not exceed.
    pub(crate) fn quantile(&self, part: f64) -> Duration {
        let mut all = self.0.clone();
        all.sort_unstable();
        let last = all.len().saturating_sub(1);
        let place = (all.len() as f64 * part).ceil() as usize;
        let found = all.get(place.saturating_sub(1).min(last));
        found.copied().unwrap_or_default()
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |part| self.quantile(part).as_secs_f64();
        write!(
            f,
            "{} times, p50 {:.3} s, p99 {:.3} s, longest {:.3} s",
            self.0.len(),
            seconds(0.5),
            seconds(0.99),
            seconds(1.0)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_seen() {
        let mut spread = Spread::default();
        assert_eq!(spread.quantile(0.99), Duration::ZERO);
        for ms in (1..=200).rev() {
            spread.add(Duration::from_millis(ms));
        }
        assert_eq!(spread.quantile(0.5), Duration::from_millis(100));
        assert_eq!(spread.quantile(0.99), Duration::from_millis(198));
        assert_eq!(spread.quantile(1.0), Duration::from_millis(200));
    }
}
