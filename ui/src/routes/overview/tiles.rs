//! The figures on top: large, with what they did during the time shown below.

use kvorum_api::Sample;
use leptos::prelude::*;

use crate::app::now;
use crate::format;

#[component]
pub(super) fn Tiles(span_ms: Memo<u64>) -> impl IntoView {
    let live = now().live;
    let shown = Memo::new(move |_| {
        let span_ms = span_ms.get();
        live.with(|live| within(live.samples.iter().copied(), span_ms))
    });
    let tile =
        move |name: &'static str, value: fn(&Sample) -> String, note: fn(&[Sample]) -> String| {
            let value = move || shown.with(|shown| shown.last().map(value));
            let note = move || shown.with(|shown| note(shown));
            view! {
                <div class="tile">
                    <dt>{name}</dt>
                    <dd class="figure">{value}</dd>
                    <dd class="quiet small">{note}</dd>
                </div>
            }
        };
    view! {
        <dl class="card tiles">
            {tile("Revision", |now| format::signed(now.store.revision), |shown| compaction(shown.last()))}
            {tile("Keys", |now| format::count(now.store.keys), |shown| change(shown, |s| s.store.keys))}
            {tile("Puts per second", |now| format::rate(now.puts_per_s), |shown| peak(shown, |s| s.puts_per_s))}
            {tile("Gets per second", |now| format::rate(now.gets_per_s), |shown| peak(shown, |s| s.gets_per_s))}
            {tile("Watchers", |now| format::count(now.watchers), |shown| change(shown, |s| s.watchers))}
            {tile("Leases", |now| format::count(now.leases), |shown| change(shown, |s| s.leases))}
        </dl>
    }
}

/// The samples of the last `span_ms` before the newest.
fn within(samples: impl Iterator<Item = Sample>, span_ms: u64) -> Vec<Sample> {
    let samples: Vec<Sample> = samples.collect();
    let end_ms = samples.last().map_or(0, |last| last.unix_ms);
    samples
        .into_iter()
        .filter(|sample| sample.unix_ms + span_ms >= end_ms)
        .collect()
}

fn compaction(now: Option<&Sample>) -> String {
    match now.map_or(-1, |now| now.store.compact_revision) {
        revision if revision > 0 => format!("compacted to {}", format::signed(revision)),
        _ => "never compacted".to_owned(),
    }
}

fn change(shown: &[Sample], of: fn(&Sample) -> u64) -> String {
    let (Some(first), Some(last)) = (shown.first(), shown.last()) else {
        return String::new();
    };
    let change = of(last) as i64 - of(first) as i64;
    let minutes = (last.unix_ms.saturating_sub(first.unix_ms) / 60_000).max(1);
    match change {
        0 => "steady".to_owned(),
        change if change > 0 => format!("+{} in {minutes} min", format::signed(change)),
        change => format!("{} in {minutes} min", format::signed(change)),
    }
}

fn peak(shown: &[Sample], of: fn(&Sample) -> f64) -> String {
    format!(
        "peak {}",
        format::rate(shown.iter().map(of).fold(0.0, f64::max))
    )
}

#[cfg(test)]
mod tests {
    use kvorum_api::Store;

    use super::*;

    fn sample(unix_ms: u64, keys: u64) -> Sample {
        Sample {
            unix_ms,
            store: Store {
                keys,
                ..Store::default()
            },
            ..Sample::default()
        }
    }

    #[test]
    fn a_note_tells_the_change_over_the_time_shown() {
        let keys: fn(&Sample) -> u64 = |sample| sample.store.keys;
        assert_eq!(
            change(&[sample(0, 5), sample(300_000, 1205)], keys),
            "+1,200 in 5 min"
        );
        assert_eq!(
            change(&[sample(0, 5), sample(1000, 2)], keys),
            "−3 in 1 min"
        );
        assert_eq!(change(&[sample(0, 5)], keys), "steady");
        assert_eq!(change(&[], keys), "");
    }

    #[test]
    fn only_the_time_shown_counts() {
        let shown = within(
            [sample(0, 1), sample(50_000, 2), sample(100_000, 3)].into_iter(),
            60_000,
        );
        assert_eq!(shown.len(), 2);
    }
}
