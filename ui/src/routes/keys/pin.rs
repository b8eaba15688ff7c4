//! The revision all of the page was read at, and how far the store has moved on since.

use leptos::prelude::*;

use super::Shown;
use crate::app::now;
use crate::format;

#[component]
pub(super) fn Pin() -> impl IntoView {
    let shown: Shown = expect_context();
    let live = now().live;
    let read_at = Memo::new(move |_| {
        let listed = shown
            .listing
            .with(|listing| listing.value.as_ref().map(|it| it.page.revision));
        listed.or(shown.address.with(|address| address.revision))
    });
    let newest = Memo::new(move |_| {
        live.with(|live| live.overview.as_ref().map(|it| it.now.store.revision))
    });
    let newer = Memo::new(move |_| {
        newest
            .get()
            .zip(read_at.get())
            .map_or(0, |(new, old)| (new - old).max(0))
    });
    let pinned = Memo::new(move |_| shown.address.with(|address| address.revision.is_some()));
    view! {
        <p class="pin" role="status">
            <span>
                {move || if pinned.get() { "Pinned to revision " } else { "Revision " }}
                <b>{move || read_at.get().map(format::signed)}</b>
            </span>
            {move || (newer.get() > 0).then(|| view! { <Newer newer pinned/> })}
        </p>
    }
}

#[component]
fn Newer(newer: Memo<i64>, pinned: Memo<bool>) -> impl IntoView {
    let shown: Shown = expect_context();
    let text = move || format!("{} newer", format::signed(newer.get()));
    let refresh = move |_| shown.again.update(|again| *again += 1);
    let to_newest = move || {
        if pinned.get() {
            let href = shown.address.with(|address| address.newest().href());
            view! { <a href=href class="button">"To the newest"</a> }.into_any()
        } else {
            view! { <button on:click=refresh>"Refresh"</button> }.into_any()
        }
    };
    view! {
        <span class="quiet">{text}</span>
        {to_newest}
    }
}
