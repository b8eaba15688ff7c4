//! The list of shortcuts, in the browser's own modal dialog: it keeps the focus and closes on Esc.

use leptos::html::Dialog;
use leptos::prelude::*;

use crate::components::{Icon, Shape};
use crate::shortcuts::LIST;

#[component]
pub(crate) fn Help(open: RwSignal<bool>) -> impl IntoView {
    let dialog = NodeRef::<Dialog>::new();
    Effect::new(move || {
        let Some(dialog) = dialog.get() else { return };
        if open.get() && !dialog.open() {
            // Fails only for a dialog outside the document; this one is in it.
            let _ = dialog.show_modal();
        }
    });
    let close = move |_| {
        if let Some(dialog) = dialog.get_untracked() {
            dialog.close();
        }
    };
    // Esc is told at once by `cancel`; `close` comes later, when the next key may have been pressed already.
    view! {
        <dialog
            class="help"
            node_ref=dialog
            aria-labelledby="help-title"
            on:cancel=move |_: leptos::ev::Event| open.set(false)
            on:close=move |_| open.set(false)
        >
            <header>
                <h2 id="help-title">"Keyboard shortcuts"</h2>
                <button class="ghost square" aria-label="Close" on:click=close>
                    <Icon shape=Shape::Close/>
                </button>
            </header>
            <Shortcuts/>
        </dialog>
    }
}

/// The list itself.
#[component]
pub(crate) fn Shortcuts() -> impl IntoView {
    let keys = |keys: &'static str| {
        keys.split(' ')
            .map(|key| view! { <kbd>{key}</kbd> })
            .collect_view()
    };
    let line = move |(combination, meaning): (&'static str, &'static str)| {
        view! { <div><dt>{keys(combination)}</dt><dd>{meaning}</dd></div> }
    };
    view! {
        <dl class="shortcuts">
            {LIST.map(line).into_iter().collect_view()}
            <div><dt><kbd>"Esc"</kbd></dt><dd>"Close what is open, or leave a field"</dd></div>
        </dl>
    }
}
