//! An address that leads nowhere.

use leptos::prelude::*;
use leptos_router::components::A;

#[component]
pub(crate) fn MissingPage() -> impl IntoView {
    view! {
        <div class="page">
            <h1 tabindex="-1">"No such page"</h1>
            <p class="lead">"The address does not name a page of this console."</p>
            <p><A href="/" attr:class="button">"To the overview"</A></p>
        </div>
    }
}
