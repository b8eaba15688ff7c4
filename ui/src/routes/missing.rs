//! An address that leads nowhere.

use leptos::prelude::*;

#[component]
pub(crate) fn MissingPage() -> impl IntoView {
    view! {
        <div class="page">
            <h1 tabindex="-1">"No such page"</h1>
            <p class="lead">"The address does not name a page of this console."</p>
            <p><a href="/" class="button">"To the overview"</a></p>
        </div>
    }
}
