//! The value of a key as text, as laid-out JSON, or in hexadecimal; always as text nodes, never as markup.

use kvorum_api::KeyView;
use leptos::prelude::*;

use super::Shown;
use crate::address::KeysAddress;
use crate::bytes;
use crate::components::{Choice, Copy, LinkSwitch};
use crate::document::{self, Form};
use crate::format;

#[component]
pub(super) fn ValueSection(view: KeyView) -> impl IntoView {
    let shown: Shown = expect_context();
    let value = StoredValue::new(view.value.bytes());
    let form = Memo::new(move |_| {
        let wanted = shown.address.with(|address| address.form);
        value.with_value(|value| {
            wanted
                .filter(|form| form.fits(value))
                .unwrap_or_else(|| Form::best(value))
        })
    });
    let copied =
        Signal::derive(move || value.with_value(|value| bytes::readable(value).map(str::to_owned)));
    let copy = move || {
        copied
            .get()
            .map(|text| view! { <Copy text=Signal::derive(move || text.clone()) what="value"/> })
    };
    let size = format::bytes(view.row.value_bytes);
    let cut = view.value_cut.then(|| {
        let command = format!("etcdctl get {}", bytes::shell_word(&view.row.key.bytes()));
        view! { <p class="quiet small">"The beginning of "{size}". All of it: "<code>{command}</code></p> }
    });
    view! {
        <section class="value" aria-label="Value">
            <header>
                <h3>"Value"</h3>
                {copy}
                <span class="spring"></span>
                <LinkSwitch label="Shown as" choices=choices(shown.address, form, value)/>
            </header>
            {move || value.with_value(|value| body(value, form.get()))}
            {cut}
        </section>
    }
}

fn body(value: &[u8], form: Form) -> AnyView {
    if value.is_empty() {
        return view! { <p class="absent">"The value is empty."</p> }.into_any();
    }
    let text = String::from_utf8_lossy(value).into_owned();
    match form {
        Form::Text => view! { <pre tabindex="0">{text}</pre> }.into_any(),
        Form::Json => {
            let piece = |(token, text): (document::Token, String)| view! { <span class=token.class()>{text}</span> };
            let pieces = document::pretty(&text)
                .into_iter()
                .map(piece)
                .collect_view();
            view! { <pre tabindex="0">{pieces}</pre> }.into_any()
        }
        Form::Hex => {
            let (dump, cut) = document::hex(value);
            let note = cut.then(|| view! { <p class="quiet small">"The first 8 KiB."</p> });
            view! { <pre tabindex="0" class="hex">{dump}</pre> {note} }.into_any()
        }
    }
}

/// Only the forms that fit the value are offered.
fn choices(
    address: Memo<KeysAddress>,
    form: Memo<Form>,
    value: StoredValue<Vec<u8>>,
) -> Memo<Vec<Choice>> {
    Memo::new(move |_| {
        let fitting = Form::ALL
            .into_iter()
            .filter(|form| value.with_value(|value| form.fits(value)));
        fitting
            .map(|offered| Choice {
                label: offered.label(),
                href: address.with(|it| {
                    KeysAddress {
                        form: Some(offered),
                        ..it.clone()
                    }
                    .href()
                }),
                chosen: form.get() == offered,
            })
            .collect()
    })
}
