//! Who is signed in, and a button to end it.

use kvorum_api::{Security, SessionRow};
use leptos::prelude::*;
use leptos::task::spawn_local;

use crate::api;
use crate::app::now;
use crate::components::{Failed, Refused, Skeleton};
use crate::fetched::fetched;
use crate::format;

#[component]
pub(crate) fn Sessions(again: RwSignal<u32>) -> impl IntoView {
    let state = fetched(Memo::new(|_| ()), again, |()| api::security());
    let failure = RwSignal::new(None);
    let end = move |handle: String| {
        spawn_local(async move {
            match api::end_session(&handle).await {
                Ok(_) => {
                    failure.set(None);
                    again.update(|again| *again += 1);
                }
                Err(refused) => failure.set(Some(refused)),
            }
        });
    };
    let body = move || {
        let state = state.get();
        match (state.value, state.failure) {
            (Some(security), _) => view! { <Table security end/> }.into_any(),
            (None, Some(failure)) => view! { <Failed failure again newest=""/> }.into_any(),
            (None, None) => view! { <Skeleton lines=3/> }.into_any(),
        }
    };
    view! {
        <section class="card">
            <h2>"Open sessions"</h2>
            {body}
            <Refused failure/>
        </section>
    }
}

#[component]
fn Table(security: Security, end: impl Fn(String) + Copy + Send + 'static) -> impl IntoView {
    let row = move |session: SessionRow| view! { <Row session end/> };
    view! {
        <div class="scroll" tabindex="0" role="region" aria-label="Open sessions">
            <table class="table">
                <thead>
                    <tr>
                        <th scope="col">"Who"</th>
                        <th scope="col">"From"</th>
                        <th scope="col">"Opened"</th>
                        <th scope="col">"Last used"</th>
                        <th scope="col"><span class="unseen">"End"</span></th>
                    </tr>
                </thead>
                <tbody>{security.sessions.into_iter().map(row).collect_view()}</tbody>
            </table>
        </div>
    }
}

#[component]
fn Row(session: SessionRow, end: impl Fn(String) + Copy + Send + 'static) -> impl IntoView {
    let SessionRow {
        handle,
        account,
        via,
        source,
        created_unix_ms,
        seen_unix_ms,
        own,
    } = session;
    let label = format!("End the session of {account} from {source}");
    let last = if own {
        view! { <span class="badge">"This one"</span> }.into_any()
    } else {
        view! { <button aria-label=label on:click=move |_| end(handle.clone())>"End"</button> }
            .into_any()
    };
    view! {
        <tr>
            <th scope="row">{account} <span class="quiet small">" by " {via}</span></th>
            <td><code>{source}</code></td>
            <td><Ago unix_ms=created_unix_ms/></td>
            <td><Ago unix_ms=seen_unix_ms/></td>
            <td class="number">{last}</td>
        </tr>
    }
}

/// How long ago something was; the moment itself on hover.
#[component]
pub(crate) fn Ago(unix_ms: i64) -> impl IntoView {
    let now = now();
    let text = move || {
        let passed = now.clock_ms.get().saturating_sub(unix_ms.unsigned_abs());
        match passed / 60_000 {
            0 => "just now".to_owned(),
            minutes @ 1..60 => format!("{minutes} min ago"),
            _ => format!("{} ago", format::duration(passed)),
        }
    };
    view! { <time title=format::moment(unix_ms) datetime=format::moment(unix_ms)>{text}</time> }
}
