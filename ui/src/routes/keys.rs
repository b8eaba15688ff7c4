//! Keys: a prefix as folders and keys, and beside it the opened key with its past.

mod listing;
mod panel;
mod past;
mod pin;
mod toolbar;
mod value;

use kvorum_api::KeyListing;
use leptos::prelude::*;
use leptos_router::hooks::use_query_map;

use crate::address::KeysAddress;
use crate::api::{self, Listed};
use crate::components::{Empty, Failed, Skeleton};
use crate::fetched::{Fetched, fetched};
use crate::shortcuts::{self, Dismiss};

use listing::Listing;
use panel::KeyPanel;
use pin::Pin;
use toolbar::Toolbar;

/// What the parts of the page share.
#[derive(Clone, Copy)]
struct Shown {
    address: Memo<KeysAddress>,
    listing: RwSignal<Fetched<Listed>>,
    /// Bumped to ask again.
    again: RwSignal<u32>,
}

#[component]
pub(crate) fn KeysPage() -> impl IntoView {
    let query = use_query_map();
    let address =
        Memo::new(move |_| query.with(|query| KeysAddress::parse(|name| query.get(name))));
    let again = RwSignal::new(0);
    let listed = Memo::new(move |_| address.with(KeysAddress::closed));
    let listing = fetched(
        listed,
        again,
        |address| async move { api::keys(&address).await },
    );
    provide_context(Shown {
        address,
        listing,
        again,
    });
    close_on_esc(address);
    if query.with_untracked(|query| query.get("focus").is_some()) {
        request_animation_frame(|| {
            shortcuts::focus_search();
        });
    }
    let opened = Memo::new(move |_| address.with(|address| address.key.is_some()));
    view! {
        <div class="page keys" class:opened=opened>
            <header class="head">
                <h1 tabindex="-1">"Keys"</h1>
                <Pin/>
            </header>
            <div class="columns">
                <section class="browser" aria-label="Keys under the prefix">
                    <Toolbar/>
                    <Answer/>
                </section>
                <Show when=move || opened.get()>
                    <KeyPanel/>
                </Show>
            </div>
        </div>
    }
}

/// The listing in its state: loading, failed, empty, or there.
#[component]
fn Answer() -> impl IntoView {
    let shown: Shown = expect_context();
    let state = Memo::new(move |_| {
        let first = shown.address.with(|address| address.cursor.is_none());
        shown.listing.with(|listing| Stage::of(listing, first))
    });
    move || match state.get() {
        Stage::Loading => view! { <div class="card"><Skeleton lines=8/></div> }.into_any(),
        Stage::Empty => view! { <NoKeys/> }.into_any(),
        Stage::There => view! { <Listing/> }.into_any(),
        Stage::Failed => {
            let failure = shown
                .listing
                .with_untracked(|listing| listing.failure.clone());
            let newest = shown
                .address
                .with_untracked(|address| address.newest().href());
            failure
                .map(|failure| view! { <Failed failure again=shown.again newest/> })
                .into_any()
        }
    }
}

/// Which of its four faces an answer shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Loading,
    Failed,
    Empty,
    There,
}

impl Stage {
    /// A page without lines says that there are no keys only if it is the first and the last.
    fn of(fetched: &Fetched<Listed>, first: bool) -> Self {
        match (&fetched.value, &fetched.failure) {
            (Some(listed), _) if first && has_nothing(&listed.page) => Self::Empty,
            (Some(_), _) => Self::There,
            (None, _) if fetched.loading => Self::Loading,
            (None, _) => Self::Failed,
        }
    }
}

fn has_nothing(page: &KeyListing) -> bool {
    page.folders.is_empty() && page.keys.is_empty() && page.next_cursor.is_none()
}

#[component]
fn NoKeys() -> impl IntoView {
    let shown: Shown = expect_context();
    let prefix = shown
        .address
        .with_untracked(|address| address.prefix.clone());
    let (title, text) = if prefix.is_empty() {
        (
            "No keys yet",
            "Keys that clients write appear here. Create the first one:".to_owned(),
        )
    } else {
        let shown = crate::bytes::escaped(&prefix);
        (
            "Nothing under this prefix",
            format!("No key begins with {shown} at this revision. Create one:"),
        )
    };
    let mut key = prefix;
    key.extend(b"greeting");
    view! { <Empty title text command=format!("etcdctl put {} hello", crate::bytes::shell_word(&key))/> }
}

/// Esc closes the opened key.
fn close_on_esc(address: Memo<KeysAddress>) {
    let dismiss: Dismiss = expect_context();
    Effect::new(move || {
        let closed = address.with(|address| address.key.as_ref().map(|_| address.closed().href()));
        dismiss.0.set(closed);
    });
    on_cleanup(move || dismiss.0.set(None));
}

#[cfg(test)]
mod tests {
    use kvorum_api::KeyRow;

    use super::*;

    fn answered(page: KeyListing) -> Fetched<Listed> {
        Fetched {
            value: Some(Listed {
                page,
                count_capped: false,
            }),
            failure: None,
            loading: false,
        }
    }

    #[test]
    fn a_newer_request_does_not_hide_what_is_there() {
        let there = KeyListing {
            keys: vec![KeyRow::default()],
            ..KeyListing::default()
        };
        let fetched = Fetched {
            loading: true,
            ..answered(there)
        };
        assert_eq!(Stage::of(&fetched, true), Stage::There);
    }

    #[test]
    fn an_answer_without_lines_is_empty_and_not_loading() {
        assert_eq!(Stage::of(&Fetched::default(), true), Stage::Loading);
        let fetched = answered(KeyListing::default());
        assert_eq!(Stage::of(&fetched, true), Stage::Empty);
    }

    #[test]
    fn a_page_without_lines_is_not_empty_while_others_lead_to_it_or_on() {
        assert_eq!(
            Stage::of(&answered(KeyListing::default()), false),
            Stage::There
        );
        let leads_on = KeyListing {
            next_cursor: Some("YQ".into()),
            ..KeyListing::default()
        };
        assert_eq!(Stage::of(&answered(leads_on), true), Stage::There);
    }
}
