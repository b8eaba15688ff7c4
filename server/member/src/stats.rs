//! Figures of the last second, for people who look on: rates, latencies, sizes.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::shared::Shared;

/// Buckets per doubling, as a power of two.
const FINE_BITS: u32 = 3;
const BUCKETS: usize = 40 << FINE_BITS;

/// A histogram of one second: log-linear buckets over nanoseconds, an eighth of a doubling wide.
#[derive(Debug)]
pub(crate) struct LatencyMeter {
    buckets: [AtomicU32; BUCKETS],
}

impl Default for LatencyMeter {
    fn default() -> Self {
        Self {
            buckets: [const { AtomicU32::new(0) }; BUCKETS],
        }
    }
}

fn bucket(ns: u64) -> usize {
    let ns = ns.max(1 << FINE_BITS);
    let exponent = ns.ilog2();
    let fine = (ns >> (exponent - FINE_BITS)) & ((1 << FINE_BITS) - 1);
    (((exponent - FINE_BITS) as usize) << FINE_BITS) + usize::try_from(fine).unwrap_or(0)
}

/// Upper end of a bucket, ns.
fn upper(bucket: usize) -> f64 {
    let exponent = (bucket >> FINE_BITS) as f64;
    let fine = (bucket & ((1 << FINE_BITS) - 1)) as f64;
    (8.0 + fine + 1.0) * exponent.exp2()
}

/// Latencies of the last second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Latency {
    /// How many were measured.
    pub count: u64,
    /// Half were at most this, milliseconds; none if there was nothing to measure.
    pub p50_ms: Option<f64>,
    /// 99 of 100 were at most this, milliseconds.
    pub p99_ms: Option<f64>,
}

impl LatencyMeter {
    pub(crate) fn record(&self, took: Duration) {
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        if let Some(b) = self.buckets.get(bucket(ns).min(BUCKETS - 1)) {
            b.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes what was measured since the last call.
    fn take(&self) -> Latency {
        let counts: Vec<u64> = self
            .buckets
            .iter()
            .map(|b| u64::from(b.swap(0, Ordering::Relaxed)))
            .collect();
        let count: u64 = counts.iter().sum();
        let quantile = |q: f64| {
            let rank = (count as f64 * q).ceil() as u64;
            let mut seen = 0;
            let at = counts.iter().position(|c| {
                seen += c;
                seen >= rank
            });
            at.filter(|_| count > 0).map(|b| upper(b) / 1e6)
        };
        Latency {
            count,
            p50_ms: quantile(0.5),
            p99_ms: quantile(0.99),
        }
    }
}

/// Figures of one second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stats {
    /// Seconds since the member started, when the second ended.
    pub uptime_s: u64,
    /// Puts, deletes and transactions applied.
    pub puts: u64,
    /// Ranges answered.
    pub gets: u64,
    /// Log syncs.
    pub sync: Latency,
    /// Apply passes of the core thread.
    pub apply: Latency,
}

/// Seconds that are kept.
const KEPT: usize = 600;

/// The last ten minutes, a second each.
#[derive(Debug, Default)]
pub(crate) struct Sampler {
    seconds: std::collections::VecDeque<Stats>,
    puts: u64,
    gets: u64,
}

impl Sampler {
    pub(crate) fn recent(&self) -> Vec<Stats> {
        self.seconds.iter().copied().collect()
    }

    pub(crate) fn last(&self) -> Stats {
        self.seconds.back().copied().unwrap_or_default()
    }
}

/// Takes the figures of the second that ended.
pub(crate) fn sample(shared: &Shared) {
    let m = &shared.meters;
    let (puts, gets) = (
        m.writes.load(Ordering::Relaxed),
        m.reads.load(Ordering::Relaxed),
    );
    let (sync, apply) = (m.sync.take(), m.pass.take());
    let uptime_s = shared.clock.now_ms() / 1000;
    let mut sampler = shared.sampler.lock();
    let stats = Stats {
        uptime_s,
        puts: puts - sampler.puts,
        gets: gets - sampler.gets,
        sync,
        apply,
    };
    (sampler.puts, sampler.gets) = (puts, gets);
    if sampler.seconds.len() == KEPT {
        sampler.seconds.pop_front();
    }
    sampler.seconds.push_back(stats);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_bucket_of_the_truth() {
        let meter = LatencyMeter::default();
        for us in 1..=1000 {
            meter.record(Duration::from_micros(us));
        }
        let latency = meter.take();
        assert_eq!(latency.count, 1000);
        let p50 = latency.p50_ms.expect("there were samples");
        let p99 = latency.p99_ms.expect("there were samples");
        assert!((0.5..0.5 * 1.13).contains(&p50), "{p50}");
        assert!((0.99..0.99 * 1.13).contains(&p99), "{p99}");
        assert_eq!(meter.take(), Latency::default());
    }
}
