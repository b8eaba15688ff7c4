//! What forms are made of: a labelled field, a button that is busy while the answer is on its way, a refusal.

use leptos::html::Input;
use leptos::prelude::*;

use crate::api::Failure;

/// A text to fill in. `kind` and `fills` are HTML's `type` and `autocomplete`.
#[component]
pub(crate) fn Field(
    id: &'static str,
    label: &'static str,
    value: RwSignal<String>,
    #[prop(default = "text")] kind: &'static str,
    fills: &'static str,
    #[prop(optional)] hint: &'static str,
    #[prop(optional)] focus: bool,
    #[prop(optional)] fixed: bool,
) -> impl IntoView {
    let input = NodeRef::<Input>::new();
    if focus {
        Effect::new(move || {
            if let Some(input) = input.get() {
                let _ = input.focus();
            }
        });
    }
    let hint_id = format!("{id}-hint");
    let described = (!hint.is_empty()).then(|| hint_id.clone());
    let hint = (!hint.is_empty()).then(|| view! { <p class="quiet small" id=hint_id>{hint}</p> });
    view! {
        <div class="field">
            <label for=id>{label}</label>
            <input
                id=id
                node_ref=input
                type=kind
                autocomplete=fills
                autocapitalize="none"
                spellcheck="false"
                required=true
                readonly=fixed
                aria-describedby=described
                prop:value=value
                on:input=move |event| value.set(event_target_value(&event))
            />
            {hint}
        </div>
    }
}

/// Sends the form; once until the answer is there.
#[component]
pub(crate) fn Send(
    #[prop(into)] label: Signal<&'static str>,
    busy: RwSignal<bool>,
) -> impl IntoView {
    view! {
        <button class="primary" type="submit" disabled=busy aria-busy=move || busy.get().to_string()>
            {move || if busy.get() { "One moment" } else { label.get() }}
        </button>
    }
}

/// Why the form was refused; read aloud when it appears.
#[component]
pub(crate) fn Refused(failure: RwSignal<Option<Failure>>) -> impl IntoView {
    let text = move || failure.get().map(|failure| sentence(&failure.message));
    view! {
        <div role="alert">
            {move || text().map(|text| view! { <p class="refused">{text}</p> })}
        </div>
    }
}

/// The server's sentence with a capital letter and a full stop.
pub(crate) fn sentence(message: &str) -> String {
    let mut letters = message.chars();
    let first = letters
        .next()
        .map(|letter| letter.to_uppercase().to_string());
    let mut text = first.unwrap_or_default() + letters.as_str();
    if !text.ends_with(['.', '!', '?']) {
        text.push('.');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::sentence;

    #[test]
    fn a_refusal_reads_as_a_sentence() {
        assert_eq!(sentence("the name is wrong"), "The name is wrong.");
        assert_eq!(sentence("Élan."), "Élan.");
    }
}
