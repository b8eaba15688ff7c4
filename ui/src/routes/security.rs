//! Security: the own account, open sessions, the cluster's certificates and who may join it, and what happened.

mod ask;
mod authority;
mod certificates;
mod events;
mod password;
mod public;
mod root;
mod sessions;
mod tokens;

use leptos::prelude::*;

use crate::access::access;
use crate::components::Empty;

use authority::AuthorityCards;
use events::Events;
use password::OwnAccount;
use sessions::Sessions;
use tokens::MadeToken;

#[component]
pub(crate) fn SecurityPage() -> impl IntoView {
    let who = access().who();
    // One counter for the page: what one card changes, the others show.
    let again = RwSignal::new(0);
    provide_context(MadeToken(RwSignal::new(None)));
    view! {
        <div class="page security">
            <header class="head"><h1 tabindex="-1">"Security"</h1></header>
            <Show when=move || who.get().is_some() fallback=NoLogin>
                <div class="halves">
                    <Sessions again/>
                    <OwnAccount again/>
                </div>
            </Show>
            <AuthorityCards again/>
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
