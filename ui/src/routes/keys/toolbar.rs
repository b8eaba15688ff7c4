//! Above the listing: the prefix box, the way back up, folders or one list.

use leptos::ev::SubmitEvent;
use leptos::html::Input;
use leptos::prelude::*;
use leptos_router::NavigateOptions;
use leptos_router::hooks::use_navigate;

use super::Shown;
use crate::address::{KeysAddress, ancestors};
use crate::bytes;
use crate::components::{Choice, LinkSwitch};
use crate::shortcuts::SEARCH_ID;

#[component]
pub(super) fn Toolbar() -> impl IntoView {
    let shown: Shown = expect_context();
    view! {
        <div class="toolbar">
            <PrefixBox/>
            <LinkSwitch label="View" choices=choices(shown.address)/>
        </div>
        <Crumbs/>
    }
}

#[component]
fn PrefixBox() -> impl IntoView {
    let shown: Shown = expect_context();
    let input = NodeRef::<Input>::new();
    let navigate = use_navigate();
    let submit = move |event: SubmitEvent| {
        event.prevent_default();
        let Some(input) = input.get_untracked() else {
            return;
        };
        let to = shown
            .address
            .with_untracked(|address| address.under(input.value().as_bytes()));
        navigate(&to.href(), NavigateOptions::default());
    };
    // Bytes that are no text cannot be typed; then the box shows them escaped and the crumbs lead on.
    let text = Memo::new(move |_| {
        shown
            .address
            .with(|address| match std::str::from_utf8(&address.prefix) {
                Ok(text) => text.to_owned(),
                Err(_) => bytes::escaped(&address.prefix),
            })
    });
    view! {
        <form class="prefix" role="search" on:submit=submit>
            <label for=SEARCH_ID>"Prefix"</label>
            <input
                id=SEARCH_ID
                node_ref=input
                type="text"
                prop:value=text
                placeholder="all keys"
                autocomplete="off"
                spellcheck="false"
            />
            <kbd aria-hidden="true">"/"</kbd>
        </form>
    }
}

/// The folders above, each a link.
#[component]
fn Crumbs() -> impl IntoView {
    let shown: Shown = expect_context();
    let above = Memo::new(move |_| {
        shown.address.with(|address| {
            let mut links = vec![("All keys".to_owned(), address.under(b"").href())];
            let folders = ancestors(&address.prefix).into_iter();
            links.extend(folders.map(|(name, prefix)| (name, address.under(&prefix).href())));
            links
        })
    });
    let crumbs = move || {
        let links = above.get();
        let last = links.len() - 1;
        let crumb = |(place, (name, href)): (usize, (String, String))| {
            let current = (place == last).then_some("page");
            view! { <li><a href=href aria-current=current>{name}</a></li> }
        };
        links.into_iter().enumerate().map(crumb).collect_view()
    };
    view! { <nav class="crumbs" aria-label="Folders above"><ol>{crumbs}</ol></nav> }
}

fn choices(address: Memo<KeysAddress>) -> Memo<Vec<Choice>> {
    Memo::new(move |_| {
        address.with(|address| {
            let to = |flat| {
                KeysAddress {
                    flat,
                    ..address.first_page()
                }
                .href()
            };
            vec![
                Choice {
                    label: "Folders",
                    href: to(false),
                    chosen: !address.flat,
                },
                Choice {
                    label: "Flat",
                    href: to(true),
                    chosen: address.flat,
                },
            ]
        })
    })
}
