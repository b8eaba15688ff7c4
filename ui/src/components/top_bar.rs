//! Above every page: which cluster, how it is, whether the figures are live, theme.

use leptos::prelude::*;

use crate::access::access;
use crate::app::{Now, now};
use crate::components::{Icon, Shape};
use crate::format;
use crate::live::Link;
use crate::settings::{Theme, settings};
use crate::verdict::{self, Level};

#[component]
pub(crate) fn TopBar(help: RwSignal<bool>) -> impl IntoView {
    let now = now();
    let cluster = move || {
        let named = |live: &crate::live::Live| {
            let name = live
                .overview
                .as_ref()
                .map(|overview| overview.identity.cluster_name.clone());
            name.filter(|name| !name.is_empty())
        };
        now.live.with(named).unwrap_or_else(|| "kvorum".to_owned())
    };
    view! {
        <header class="top">
            <p class="cluster"><span class="quiet">"Cluster"</span> <strong>{cluster}</strong></p>
            <Health/>
            <span class="spring"></span>
            <Connection/>
            <ThemeSwitch/>
            <Account/>
            <button
                class="ghost square"
                aria-label="Keyboard shortcuts"
                title="Keyboard shortcuts (?)"
                on:click=move |_| help.set(true)
            >
                "?"
            </button>
        </header>
    }
}

/// Who is signed in, and the way out; nothing where there is no login.
#[component]
fn Account() -> impl IntoView {
    let access = access();
    let who = access.who();
    move || {
        who.get().map(|name| {
            view! {
                <p class="account">
                    <a href="/security" title="Your account">{name}</a>
                    <button
                        class="ghost square"
                        aria-label="Sign out"
                        title="Sign out"
                        on:click=move |_| access.sign_out()
                    >
                        <Icon shape=Shape::Leave/>
                    </button>
                </p>
            }
        })
    }
}

/// The verdict in two words.
#[component]
fn Health() -> impl IntoView {
    let live = now().live;
    let found = Memo::new(move |_| {
        live.with(|live| {
            let samples: Vec<_> = live.samples.iter().copied().collect();
            let verdict = verdict::judge(live.overview.as_ref()?, &samples);
            Some((verdict.level, verdict.title))
        })
    });
    let level = move || {
        found
            .get()
            .map_or("unknown", |(level, _): (Level, _)| level.word())
    };
    view! {
        <p class="pill" data-level=level role="status" aria-label="Health">
            <i class="dot"></i>
            {move || found.get().map_or("Unknown", |(_, title)| title)}
        </p>
    }
}

/// Live, stale or reconnecting, and since when.
#[component]
fn Connection() -> impl IntoView {
    let now = now();
    let word = move || match now.link() {
        Link::Connecting => "Connecting",
        Link::Live => "Live",
        Link::Stale => "Stale",
        Link::Reconnecting => "Reconnecting",
    };
    let state = move || match now.link() {
        Link::Live => "live",
        Link::Connecting => "connecting",
        Link::Stale | Link::Reconnecting => "lost",
    };
    view! {
        <p class="link" data-state=state>
            <i class="beat"></i>
            {word}
            {move || age(now)}
        </p>
    }
}

/// How old the figures are, once that matters.
fn age(now: Now) -> Option<String> {
    let link = now.link();
    let clock_ms = now.clock_ms.get();
    let age_ms = now.live.with(|live| live.age_ms(clock_ms));
    matches!(link, Link::Stale | Link::Reconnecting)
        .then(|| format!(" · figures are {} old", format::duration(age_ms)))
}

#[component]
pub(crate) fn ThemeSwitch() -> impl IntoView {
    let theme = settings().theme;
    let button = move |choice: Theme| {
        let (shape, label) = match choice {
            Theme::System => (Shape::Screen, "Theme of the system"),
            Theme::Light => (Shape::Sun, "Light theme"),
            Theme::Dark => (Shape::Moon, "Dark theme"),
        };
        view! {
            <button
                aria-label=label
                title=label
                aria-pressed=move || (theme.get() == choice).to_string()
                on:click=move |_| theme.set(choice)
            >
                <Icon shape/>
            </button>
        }
    };
    view! {
        <div class="switch icons" role="group" aria-label="Theme">
            {Theme::ALL.map(button).into_iter().collect_view()}
        </div>
    }
}
