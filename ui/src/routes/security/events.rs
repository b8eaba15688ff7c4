//! What happened: sign-ins, refusals, passwords, links, and what other parts report.

use kvorum_api::{Audit, AuditEvent};
use leptos::prelude::*;

use super::sessions::Ago;
use crate::api;
use crate::components::{Failed, Skeleton};
use crate::fetched::fetched;

#[component]
pub(crate) fn Events(again: RwSignal<u32>) -> impl IntoView {
    let before = RwSignal::new(None::<u64>);
    let question = Memo::new(move |_| before.get());
    let state = fetched(question, again, api::audit);
    let body = move || {
        let state = state.get();
        match (state.value, state.failure) {
            (Some(audit), _) => view! { <Table audit before again/> }.into_any(),
            (None, Some(failure)) => view! { <Failed failure again newest=""/> }.into_any(),
            (None, None) => view! { <Skeleton lines=6/> }.into_any(),
        }
    };
    view! {
        <section class="card">
            <h2>"What happened"</h2>
            {body}
        </section>
    }
}

#[component]
fn Table(audit: Audit, before: RwSignal<Option<u64>>, again: RwSignal<u32>) -> impl IntoView {
    if audit.events.is_empty() {
        return view! { <p class="quiet">"Nothing yet."</p> }.into_any();
    }
    let next = audit.next;
    let label = match before.get_untracked() {
        Some(_) => "Newest",
        None => "Refresh",
    };
    let newest = move |_| {
        before.set(None);
        again.update(|again| *again += 1);
    };
    let older = next
        .map(|next| view! { <button on:click=move |_| before.set(Some(next))>"Older"</button> });
    view! {
        <div class="scroll" tabindex="0" role="region" aria-label="What happened">
            <table class="table">
                <thead>
                    <tr>
                        <th scope="col">"When"</th>
                        <th scope="col">"Who"</th>
                        <th scope="col">"From"</th>
                        <th scope="col">"What"</th>
                        <th scope="col">"Result"</th>
                    </tr>
                </thead>
                <tbody>{audit.events.into_iter().map(row).collect_view()}</tbody>
            </table>
        </div>
        <p class="pager">{older} <button on:click=newest>{label}</button></p>
    }
    .into_any()
}

fn row(event: AuditEvent) -> impl IntoView {
    let level = if event.result == "ok" {
        "good"
    } else {
        "warning"
    };
    let who = match event.who.as_str() {
        "" => "–".to_owned(),
        // A name that nobody has is kept as a digest: it may have been a password in the wrong field.
        who if who.starts_with('?') => "unknown name".to_owned(),
        who => who.to_owned(),
    };
    let from = match event.from.as_str() {
        "" => view! { <span class="quiet">"this machine"</span> }.into_any(),
        _ => view! { <code>{event.from}</code> }.into_any(),
    };
    view! {
        <tr>
            <td><Ago unix_ms=event.unix_ms/></td>
            <td>{who}</td>
            <td>{from}</td>
            <td>{event.what} <span class="quiet small">" " {event.detail}</span></td>
            <td><span class="result" data-level=level><i class="dot"></i>{event.result}</span></td>
        </tr>
    }
}
