//! Security: the own account, open sessions, and what happened.

mod events;
mod password;
mod sessions;

use leptos::prelude::*;

use crate::access::access;
use crate::components::Empty;

use events::Events;
use password::OwnAccount;
use sessions::Sessions;

#[component]
pub(crate) fn SecurityPage() -> impl IntoView {
    let who = access().who();
    // One counter for the page: what one card changes, the others show.
    let again = RwSignal::new(0);
    view! {
        <div class="page security">
            <header class="head"><h1 tabindex="-1">"Security"</h1></header>
            <Show when=move || who.get().is_some() fallback=NoLogin>
                <div class="halves">
                    <Sessions again/>
                    <OwnAccount again/>
                </div>
            </Show>
            <Events again/>
        </div>
    }
}

#[component]
fn NoLogin() -> impl IntoView {
    view! {
        <Empty
            title="This console has no login"
            text="Whoever can reach its port can read every key. Turn the login on in the member's settings."
            command="kvorum --console-login required"
        />
    }
}
