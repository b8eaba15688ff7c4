//! What a page shows instead of an answer: a skeleton, a failure, or how to begin.

use kvorum_api::ErrorCode;
use leptos::prelude::*;

use crate::api::Failure;
use crate::components::Copy;

/// Bars where lines will be.
#[component]
pub(crate) fn Skeleton(lines: usize) -> impl IntoView {
    view! {
        <div class="skeleton" aria-busy="true">
            <span class="unseen">"Loading"</span>
            {(0..lines).map(|_| view! { <i></i> }).collect_view()}
        </div>
    }
}

/// What went wrong, how to find it in the log, and a way on: to try again, or `newest`, where the failure is about a
/// revision.
#[component]
pub(crate) fn Failed(
    failure: Failure,
    again: RwSignal<u32>,
    #[prop(into)] newest: String,
) -> impl IntoView {
    let title = title(failure.code);
    let of_revision = matches!(
        failure.code,
        Some(ErrorCode::Compacted | ErrorCode::FutureRevision)
    );
    let way_on = if of_revision {
        view! { <a href=newest class="button">"To the newest revision"</a> }.into_any()
    } else {
        let retry = move |_| again.update(|again| *again += 1);
        view! { <button on:click=retry>"Try again"</button> }.into_any()
    };
    let request = failure.request_id.map(|id| {
        view! { <p class="quiet small">"Request " <code>{id}</code></p> }
    });
    view! {
        <div class="notice" data-level="critical" role="alert">
            <h2>{title}</h2>
            <p>{failure.message}</p>
            {request}
            {way_on}
        </div>
    }
}

fn title(code: Option<ErrorCode>) -> &'static str {
    match code {
        None => "No connection",
        Some(ErrorCode::Compacted) => "This revision is compacted",
        Some(ErrorCode::FutureRevision) => "This revision does not exist yet",
        Some(ErrorCode::Unavailable) => "The member cannot answer now",
        Some(_) => "That did not work",
    }
}

/// Nothing there yet: what belongs here, and the command that creates the first one.
#[component]
pub(crate) fn Empty(
    title: &'static str,
    #[prop(into)] text: String,
    #[prop(into)] command: String,
) -> impl IntoView {
    view! {
        <div class="notice">
            <h2>{title}</h2>
            <p>{text}</p>
            <Command text=command/>
        </div>
    }
}

/// A command line to copy.
#[component]
pub(crate) fn Command(#[prop(into)] text: String) -> impl IntoView {
    let copied = text.clone();
    view! {
        <p class="command">
            <code tabindex="0">{text}</code>
            <Copy text=Signal::derive(move || copied.clone()) what="command"/>
        </p>
    }
}
