//! A few choices side by side, each a link: the choice lives in the address.

use leptos::prelude::*;

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
            <a
                href=choice.href
                prop:replace=true
                data-noscroll=""
                aria-current=choice.chosen.then_some("true")
            >
                {choice.label}
            </a>
        }
    };
    view! {
        <div class="switch" role="group" aria-label=label>
            {move || choices.get().into_iter().map(link).collect_view()}
        </div>
    }
}
