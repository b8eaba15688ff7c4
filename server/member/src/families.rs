//! Metric families by etcd's names: made here, so that every crate registers alike.

use prometheus::core::Collector;
use prometheus::{
    GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts,
    Registry, exponential_buckets,
};

/// What can go wrong in this module is written into the source: a name that is no name, or one that is used twice.
const VALID: &str = "families have valid names, each used once";

fn register<C: Collector + Clone + 'static>(registry: &Registry, made: prometheus::Result<C>) -> C {
    let family = made.expect(VALID);
    registry.register(Box::new(family.clone())).expect(VALID);
    family
}

/// A counter without labels.
#[must_use]
pub fn counter(registry: &Registry, name: &str, help: &str) -> IntCounter {
    register(registry, IntCounter::new(name, help))
}

/// Counters that labels tell apart. A series is rendered once it was asked for.
#[must_use]
pub fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    register(registry, IntCounterVec::new(Opts::new(name, help), labels))
}

/// A gauge without labels.
#[must_use]
pub fn gauge(registry: &Registry, name: &str, help: &str) -> IntGauge {
    register(registry, IntGauge::new(name, help))
}

/// Gauges that labels tell apart. A series is rendered once it was asked for.
#[must_use]
pub fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
    register(registry, GaugeVec::new(Opts::new(name, help), labels))
}

/// The first bucket of a histogram and how many there are, each twice the one before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Doubling(pub f64, pub usize);

impl Doubling {
    /// Upper ends of the buckets.
    #[must_use]
    pub fn bounds(self) -> Vec<f64> {
        exponential_buckets(self.0, 2.0, self.1).expect("a first bucket above 0, and at least one")
    }
}

/// A histogram without labels.
#[must_use]
pub fn histogram(registry: &Registry, name: &str, help: &str, buckets: Doubling) -> Histogram {
    let options = HistogramOpts::new(name, help).buckets(buckets.bounds());
    register(registry, Histogram::with_opts(options))
}

/// Histograms that labels tell apart. A series is rendered once it was asked for.
#[must_use]
pub fn histograms(
    registry: &Registry,
    name: &str,
    help: &str,
    bounds: Vec<f64>,
    labels: &[&str],
) -> HistogramVec {
    let options = HistogramOpts::new(name, help).buckets(bounds);
    register(registry, HistogramVec::new(options, labels))
}
