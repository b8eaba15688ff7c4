//! A button that copies a text, and says so.

use std::time::Duration;

use leptos::prelude::*;
use wasm_bindgen_futures::JsFuture;

use crate::components::{Icon, Shape};

const SAID_FOR: Duration = Duration::from_millis(1500);

/// Copies `text`; `what` completes "Copy …".
#[component]
pub(crate) fn Copy(#[prop(into)] text: Signal<String>, what: &'static str) -> impl IntoView {
    let copied = RwSignal::new(false);
    let copy = move |_| {
        let promise = window()
            .navigator()
            .clipboard()
            .write_text(&text.get_untracked());
        leptos::task::spawn_local(async move {
            // Refused without a secure context or permission; then the text can still be selected.
            if JsFuture::from(promise).await.is_ok() {
                // The button may be gone by then; a signal of the past takes nothing.
                let say = move |said| {
                    let _ = copied.try_set(said);
                };
                say(true);
                set_timeout(move || say(false), SAID_FOR);
            }
        });
    };
    let shape = move || {
        if copied.get() {
            Shape::Done
        } else {
            Shape::Copy
        }
    };
    let label = move || {
        if copied.get() {
            "Copied".to_owned()
        } else {
            format!("Copy {what}")
        }
    };
    view! {
        <button class="copy" class:done=copied aria-label=label title=label on:click=copy>
            {move || view! { <Icon shape=shape()/> }}
        </button>
    }
}
