//! Overview: one sentence, the figures that matter, their last minutes, and where things stand.

mod cards;
mod curves;
mod tiles;

use leptos::prelude::*;
use leptos_router::hooks::use_query_map;

use crate::app::now;
use crate::components::{Choice, LinkSwitch, Skeleton};
use crate::live::Link;
use crate::verdict::{self, Verdict};

use cards::{DatabaseCard, MemberCard, RaftCard};
use curves::{ApplyChart, SyncChart, ThroughputChart};
use tiles::Tiles;

const SPANS: [(u64, &str); 3] = [(1, "1 min"), (5, "5 min"), (10, "10 min")];
const SPAN_DEFAULT: u64 = 5;

#[component]
pub(crate) fn OverviewPage() -> impl IntoView {
    let now = now();
    let minutes = use_query_map();
    let minutes = Memo::new(move |_| span(minutes.with(|query| query.get("span")).as_deref()));
    let span_ms = Memo::new(move |_| minutes.get() * 60_000);
    let known = Memo::new(move |_| now.live.with(|live| live.overview.is_some()));
    let stale = move || matches!(now.link(), Link::Stale | Link::Reconnecting);
    view! {
        <div class="page overview" class:stale=stale>
            <header class="head">
                <h1 tabindex="-1">"Overview"</h1>
                <VerdictLine/>
                <LinkSwitch label="Time shown" choices=choices(minutes)/>
            </header>
            <Show when=move || known.get() fallback=|| view! { <Skeleton lines=9/> }>
                <Tiles span_ms/>
                <Curves span_ms/>
                <MemberCard/>
            </Show>
        </div>
    }
}

#[component]
fn Curves(span_ms: Memo<u64>) -> impl IntoView {
    let cursor = RwSignal::new(None);
    view! {
        <section class="grid" aria-label="Last minutes">
            <ThroughputChart span_ms cursor/>
            <DatabaseCard/>
            <SyncChart span_ms cursor/>
            <ApplyChart span_ms cursor/>
            <RaftCard/>
        </section>
    }
}

/// The verdict, in a sentence.
#[component]
fn VerdictLine() -> impl IntoView {
    let live = now().live;
    let verdict = Memo::new(move |_| {
        live.with(|live| {
            let samples: Vec<_> = live.samples.iter().copied().collect();
            live.overview
                .as_ref()
                .map(|overview| verdict::judge(overview, &samples))
        })
    });
    let line = |verdict: Verdict| {
        view! {
            <p class="verdict" data-level=verdict.level.word()>
                <i class="dot"></i>
                <strong>{verdict.title}</strong>
                <span>{verdict.reason}</span>
            </p>
        }
    };
    move || match verdict.get() {
        Some(verdict) => line(verdict).into_any(),
        None => view! { <p class="verdict quiet">"Waiting for the first figures."</p> }.into_any(),
    }
}

fn choices(minutes: Memo<u64>) -> Memo<Vec<Choice>> {
    Memo::new(move |_| {
        let choice = |(span, label)| Choice {
            label,
            href: if span == SPAN_DEFAULT {
                "/".to_owned()
            } else {
                format!("/?span={span}")
            },
            chosen: minutes.get() == span,
        };
        SPANS.map(choice).to_vec()
    })
}

/// The minutes shown; an unknown number counts as the default.
fn span(named: Option<&str>) -> u64 {
    let named = named.and_then(|named| named.parse().ok());
    named
        .filter(|named| SPANS.iter().any(|(span, _)| span == named))
        .unwrap_or(SPAN_DEFAULT)
}

#[cfg(test)]
mod tests {
    use super::span;

    #[test]
    fn an_unknown_span_is_the_default() {
        assert_eq!(span(Some("10")), 10);
        assert_eq!([span(Some("7")), span(Some("x")), span(None)], [5, 5, 5]);
    }
}
