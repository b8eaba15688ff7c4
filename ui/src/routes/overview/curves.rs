//! The three charts: throughput, log sync, apply.

use kvorum_api::{Quantiles, Sample};
use leptos::prelude::*;

use crate::app::now;
use crate::components::{Chart, Line};
use crate::format;
use crate::plot::Points;

#[component]
pub(super) fn ThroughputChart(span_ms: Memo<u64>, cursor: RwSignal<Option<f64>>) -> impl IntoView {
    let lines = lines(|samples| {
        vec![
            Line {
                name: "puts",
                tone: "a",
                points: points(samples, |s| Some(s.puts_per_s)),
            },
            Line {
                name: "gets",
                tone: "b",
                points: points(samples, |s| Some(s.gets_per_s)),
            },
        ]
    });
    view! {
        <div class="wide">
            <Chart title="Throughput" note="requests per second" lines span_ms least=10.0 show=format::rate cursor/>
        </div>
    }
}

#[component]
pub(super) fn SyncChart(span_ms: Memo<u64>, cursor: RwSignal<Option<f64>>) -> impl IntoView {
    let lines = lines(|samples| quantiles(samples, |s| s.sync));
    view! {
        <div class="third">
            <Chart title="Log sync" note="until a write is durable" lines span_ms least=0.1 show=format::millis cursor/>
        </div>
    }
}

#[component]
pub(super) fn ApplyChart(span_ms: Memo<u64>, cursor: RwSignal<Option<f64>>) -> impl IntoView {
    let lines = lines(|samples| quantiles(samples, |s| s.apply));
    view! {
        <div class="third">
            <Chart title="Apply" note="from commit to visible" lines span_ms least=0.1 show=format::millis cursor/>
        </div>
    }
}

fn lines(of: fn(&[Sample]) -> Vec<Line>) -> Signal<Vec<Line>> {
    let live = now().live;
    let lines = Memo::new(move |_| {
        live.with(|live| {
            let samples: Vec<Sample> = live.samples.iter().copied().collect();
            of(&samples)
        })
    });
    lines.into()
}

fn quantiles(samples: &[Sample], of: fn(&Sample) -> Option<Quantiles>) -> Vec<Line> {
    let line = |name, tone, pick: fn(Quantiles) -> f64| Line {
        name,
        tone,
        points: points(samples, |sample| of(sample).map(pick)),
    };
    vec![
        line("p99", "b", |q| q.p99_ms),
        line("p50", "a", |q| q.p50_ms),
    ]
}

fn points(samples: &[Sample], of: impl Fn(&Sample) -> Option<f64>) -> Points {
    samples
        .iter()
        .map(|sample| (sample.unix_ms, of(sample)))
        .collect()
}
