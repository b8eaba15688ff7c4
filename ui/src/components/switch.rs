//! A few choices side by side, each a link: the choice lives in the address.

use leptos::prelude::*;
use leptos_router::components::A;

/// One choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) label: &'static str,
    pub(crate) href: String,
    pub(crate) chosen: bool,
}

#[component]
pub(crate) fn LinkSwitch(label: &'static str, choices: Memo<Vec<Choice>>) -> impl IntoView {
    let link = |choice: Choice| {
        view! {
            <A
                href=choice.href
                scroll=false
                attr:data-chosen=choice.chosen.to_string()
                attr:aria-label=choice.chosen.then(|| format!("{}, chosen", choice.label))
            >
                {choice.label}
            </A>
        }
    };
    view! {
        <div class="switch" role="group" aria-label=label>
            {move || choices.get().into_iter().map(link).collect_view()}
        </div>
    }
}
