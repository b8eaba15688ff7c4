//! Opens a one-time link: the first account, or a new password.

use std::cell::RefCell;

use kvorum_api::SetupLink;
use leptos::ev::SubmitEvent;
use leptos::prelude::*;
use leptos::task::spawn_local;
use leptos_router::hooks::use_navigate;

use crate::access::{Standing, access};
use crate::api::{self, Failure};
use crate::components::{Command, Field, Refused, Send, Skeleton, sentence};
use crate::routes::login::Gate;

thread_local! {
    /// The code on its way to the form. It is in no address, so neither in the history nor in a log.
    static CODE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Hands a code to the page that opens next.
pub(crate) fn keep(code: String) {
    CODE.with_borrow_mut(|kept| *kept = code);
}

/// What stands behind `#` in a link; a code alone is one, too.
pub(crate) fn code_of(link: &str) -> String {
    let link = link.trim();
    link.rsplit_once('#')
        .map_or(link, |(_, code)| code)
        .to_owned()
}

/// Takes the code out of the address, so that it does not stay in the history.
fn take_code() -> String {
    let hash = window().location().hash().unwrap_or_default();
    if hash.len() > 1 {
        keep(code_of(&hash));
        if let Ok(history) = window().history() {
            let nothing = wasm_bindgen::JsValue::NULL;
            let _ = history.replace_state_with_url(&nothing, "", Some("/setup"));
        }
    }
    CODE.with_borrow(Clone::clone)
}

#[derive(Clone, Debug, PartialEq)]
enum Link {
    Asking,
    Usable(SetupLink),
    Refused(Failure),
}

#[component]
pub(crate) fn SetupPage() -> impl IntoView {
    let code = StoredValue::new(take_code());
    let link = RwSignal::new(Link::Asking);
    spawn_local(async move {
        let answer = api::set_up_check(&code.get_value()).await;
        let told = answer.map_or_else(Link::Refused, Link::Usable);
        let _ = link.try_set(told);
    });
    move || match link.get() {
        Link::Asking => view! { <Gate title="Set-up"><Skeleton lines=3/></Gate> }.into_any(),
        Link::Refused(failure) => view! {
            <Gate title="This link cannot be used">
                <p class="gate-lead" role="alert">{sentence(&failure.message)}</p>
                <p class="gate-lead">"On a member's machine, this makes a new one:"</p>
                <Command text="kvorum admin login-link"/>
                <p class="gate-or"><a class="button" href="/">"To the console"</a></p>
            </Gate>
        }
        .into_any(),
        Link::Usable(link) if link.first_run => view! {
            <Gate title="Create the administrator"><SetUp code link/></Gate>
        }
        .into_any(),
        Link::Usable(link) => view! {
            <Gate title="Set a password"><SetUp code link/></Gate>
        }
        .into_any(),
    }
}

#[component]
fn SetUp(code: StoredValue<String>, link: SetupLink) -> impl IntoView {
    let access = access();
    let fixed = link.account.is_some();
    let account = RwSignal::new(link.account.clone().unwrap_or_default());
    let (password, again) = (RwSignal::new(String::new()), RwSignal::new(String::new()));
    let (busy, failure) = (RwSignal::new(false), RwSignal::new(None));
    let navigate = StoredValue::new_local(use_navigate());
    let submit = move |event: SubmitEvent| {
        event.prevent_default();
        if busy.get_untracked() {
            return;
        }
        if password.get_untracked() != again.get_untracked() {
            failure.set(Some(unlike()));
            return;
        }
        busy.set(true);
        failure.set(None);
        let (name, secret) = (account.get_untracked(), password.get_untracked());
        spawn_local(async move {
            let answer = api::set_up(&code.get_value(), name.trim(), &secret).await;
            busy.set(false);
            match answer {
                Ok(state) => {
                    keep(String::new());
                    access.take(Standing::Told(state));
                    navigate.with_value(|navigate| navigate("/", Default::default()));
                }
                Err(refused) => failure.set(Some(refused)),
            }
        });
    };
    let lead = if link.first_run {
        "This account may see and change everything in the console. You are signed in with it right away."
    } else {
        "A name that exists gets the new password, and its sessions end. Any other name becomes a new administrator."
    };
    let lead = if fixed {
        "The account gets this password, and its sessions end."
    } else {
        lead
    };
    view! {
        <p class="gate-lead">{lead}</p>
        <form class="form" on:submit=submit>
            <Field id="account" label="Name" value=account fills="username" focus=!fixed fixed/>
            <NewPassword password again focus=fixed/>
            <Refused failure/>
            <Send label="Save and sign in" busy/>
        </form>
    }
}

/// A new password, twice.
#[component]
pub(crate) fn NewPassword(
    password: RwSignal<String>,
    again: RwSignal<String>,
    #[prop(optional)] focus: bool,
) -> impl IntoView {
    view! {
        <Field
            id="new-password"
            label="New password"
            kind="password"
            value=password
            fills="new-password"
            hint="At least 12 characters. A few words in a row are easy to remember."
            focus
        />
        <Field id="again" label="The same again" kind="password" value=again fills="new-password"/>
    }
}

/// What is told where the two differ.
pub(crate) fn unlike() -> Failure {
    Failure {
        code: None,
        message: "The two passwords are not the same.".into(),
        request_id: None,
    }
}

#[cfg(test)]
mod tests {
    use super::code_of;

    #[test]
    fn a_code_is_found_in_a_link_and_alone() {
        let code = "00ff";
        for link in ["https://a.example:2382/setup#00ff", "#00ff", " 00ff\n"] {
            assert_eq!(code_of(link), code);
        }
    }
}
