//! About: who answers, who may look, and the person's own preferences.

use kvorum_api::Identity;
use leptos::prelude::*;

use crate::access::access;
use crate::app::now;
use crate::components::{Copy, Shortcuts};
use crate::format;
use crate::settings::{Theme, settings};

#[component]
pub(crate) fn AboutPage() -> impl IntoView {
    view! {
        <div class="page narrow">
            <header class="head"><h1 tabindex="-1">"About"</h1></header>
            <Server/>
            <Access/>
            <Preferences/>
        </div>
    }
}

#[component]
fn Server() -> impl IntoView {
    let now = now();
    let identity = Memo::new(move |_| {
        now.live
            .with(|live| live.overview.as_ref().map(|it| it.identity.clone()))
    });
    let of = move |pick: fn(&Identity) -> &String| {
        Signal::derive(move || {
            identity.with(|it| it.as_ref().map(|it| pick(it).clone()).unwrap_or_default())
        })
    };
    let (version, member) = (of(|it| &it.version), of(|it| &it.member_name));
    let (cluster_id, member_id) = (of(|it| &it.cluster_id), of(|it| &it.member_id));
    let uptime = move || {
        let started = identity.with(|it| it.as_ref().map(|it| it.started_unix_ms));
        started.map(|started| format::duration(now.clock_ms.get().saturating_sub(started)))
    };
    view! {
        <section class="card">
            <h2>"This member"</h2>
            <dl class="facts">
                <div><dt>"Name"</dt><dd>{member}</dd></div>
                <div><dt>"Version"</dt><dd>"kvorum "{version}</dd></div>
                <div><dt>"Running for"</dt><dd>{uptime}</dd></div>
                <div><dt>"Member id"</dt><dd><code>{member_id}</code><Copy text=member_id what="member id"/></dd></div>
                <div><dt>"Cluster id"</dt><dd><code>{cluster_id}</code><Copy text=cluster_id what="cluster id"/></dd></div>
            </dl>
        </section>
    }
}

/// Said plainly, because people decide by it where to expose the port.
#[component]
fn Access() -> impl IntoView {
    let who = access().who();
    let open = || {
        view! {
            <p>
                "This console has no login: whoever can reach this port can read every key. That is why it is bound to "
                "loopback, answers only for host names it knows, and refuses requests that come from other sites."
            </p>
        }
    };
    view! {
        <section class="card prose">
            <h2>"Who may use this console"</h2>
            <Show when=move || who.get().is_some() fallback=open>
                <p>
                    "Whoever is signed in. Sessions end after half an hour without use, after twelve hours, when the "
                    "password changes, and when somebody ends them under "<a href="/security">"Security"</a>
                    ", where everything that happened is listed."
                </p>
            </Show>
            <p>
                "Nothing on these pages can change a key. Who may join the cluster and whose certificates are accepted is "
                "decided under "<a href="/security">"Security"</a>"."
            </p>
        </section>
    }
}

#[component]
fn Preferences() -> impl IntoView {
    let settings = settings();
    let theme = settings.theme;
    let option = move |choice: Theme| {
        let label = match choice {
            Theme::System => "As the system",
            Theme::Light => "Light",
            Theme::Dark => "Dark",
        };
        view! {
            <label class="option">
                <input
                    type="radio"
                    name="theme"
                    value=choice.name()
                    prop:checked=move || theme.get() == choice
                    on:change=move |_| theme.set(choice)
                />
                {label}
            </label>
        }
    };
    view! {
        <section class="card">
            <h2>"Preferences"</h2>
            <fieldset><legend>"Theme"</legend>{Theme::ALL.map(option).into_iter().collect_view()}</fieldset>
            <fieldset>
                <legend>"Keyboard"</legend>
                <label class="option">
                    <input
                        type="checkbox"
                        prop:checked=settings.shortcuts
                        on:change=move |_| settings.shortcuts.update(|on| *on = !*on)
                    />
                    "Shortcuts"
                </label>
            </fieldset>
            <Shortcuts/>
        </section>
    }
}
