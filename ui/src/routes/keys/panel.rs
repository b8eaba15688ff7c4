//! One opened key: what it is, its value, its past.

use kvorum_api::KeyView;
use leptos::prelude::*;

use super::Shown;
use super::past::PastSection;
use super::value::ValueSection;
use crate::address::KeysAddress;
use crate::api;
use crate::bytes;
use crate::components::{Copy, Failed, Icon, Shape, Skeleton};
use crate::fetched::{Fetched, fetched};
use crate::format;

#[component]
pub(super) fn KeyPanel() -> impl IntoView {
    let shown: Shown = expect_context();
    let address = shown.address;
    let question = Memo::new(move |_| {
        address.with(|it| (it.key.clone().unwrap_or_default(), it.key_revision()))
    });
    let view = fetched(question, shown.again, |(key, revision)| async move {
        api::key(&key, revision).await
    });
    let name = Memo::new(move |_| question.with(|(key, _)| bytes::escaped(key)));
    let close = move || address.with(|address| address.closed().href());
    view! {
        <article class="card panel" aria-labelledby="key-name">
            <header>
                <a href=close class="ghost square back" aria-label="Back to the list">
                    <Icon shape=Shape::Back/>
                </a>
                <h2 id="key-name" class="key">{name}</h2>
                <Copy text=name what="key"/>
                <span class="spring"></span>
                <a href=close class="ghost square" aria-label="Close" title="Close (Esc)">
                    <Icon shape=Shape::Close/>
                </a>
            </header>
            <OldVersion/>
            {move || face(view, shown)}
            <PastSection question/>
        </article>
    }
}

/// The key in its state.
fn face(view: RwSignal<Fetched<KeyView>>, shown: Shown) -> AnyView {
    let newest = || {
        shown.address.with(|it| {
            KeysAddress {
                at: None,
                ..it.newest()
            }
            .href()
        })
    };
    view.with(|view| match (&view.value, &view.failure) {
        (Some(view), _) => {
            view! { <Metadata view=view.clone()/> <ValueSection view=view.clone()/> }.into_any()
        }
        (None, Some(failure)) if failure.code == Some(kvorum_api::ErrorCode::NotFound) => {
            view! { <p class="absent">"Not there: "{failure.message.clone()}"."</p> }.into_any()
        }
        (None, Some(failure)) => {
            view! { <Failed failure=failure.clone() again=shown.again newest=newest()/> }.into_any()
        }
        (None, None) => view! { <Skeleton lines=6/> }.into_any(),
    })
}

/// Says so when the version shown was picked from the past.
#[component]
fn OldVersion() -> impl IntoView {
    let shown: Shown = expect_context();
    let at = Memo::new(move |_| shown.address.with(|address| address.at));
    let newest = move || {
        shown.address.with(|it| {
            KeysAddress {
                at: None,
                ..it.clone()
            }
            .href()
        })
    };
    move || {
        at.get().map(|at| {
            view! {
                <p class="banner">
                    <span>"As it was at revision " <b>{format::signed(at)}</b></span>
                    <a href=newest class="button">"To the newest"</a>
                </p>
            }
        })
    }
}

#[component]
fn Metadata(view: KeyView) -> impl IntoView {
    let row = view.row;
    let lease = if row.lease.is_empty() {
        "none".to_owned()
    } else {
        row.lease
    };
    let fact =
        |name: &'static str, value: String| view! { <div><dt>{name}</dt><dd>{value}</dd></div> };
    view! {
        <dl class="strip">
            {fact("Version", format::signed(row.version))}
            {fact("Created at", format::signed(row.create_revision))}
            {fact("Modified at", format::signed(row.mod_revision))}
            {fact("Lease", lease)}
            {fact("Size", format::bytes(row.value_bytes))}
        </dl>
    }
}
