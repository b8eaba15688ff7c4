//! The own account: how long the session lasts, signing out, another password.

use kvorum_api::SessionState;
use leptos::ev::SubmitEvent;
use leptos::prelude::*;
use leptos::task::spawn_local;

use crate::access::{Standing, access};
use crate::api;
use crate::app::now;
use crate::components::{Field, Refused, Send};
use crate::format;
use crate::routes::setup::{NewPassword, unlike};

#[component]
pub(crate) fn OwnAccount(again: RwSignal<u32>) -> impl IntoView {
    let access = access();
    let own = Memo::new(move |_| match access.standing.get() {
        Standing::Told(SessionState::SignedIn {
            account,
            has_password,
            ends_unix_ms,
        }) => Some((account, has_password, ends_unix_ms)),
        _ => None,
    });
    let name = move || own.get().map(|(account, ..)| account);
    let clock_ms = now().clock_ms;
    let left = move || {
        let (_, _, ends) = own.get()?;
        let left_ms = ends.unsigned_abs().saturating_sub(clock_ms.get());
        Some(format!(
            "in {}",
            format::duration(left_ms / 60_000 * 60_000)
        ))
    };
    let has_password =
        Memo::new(move |_| own.get().is_some_and(|(_, has_password, _)| has_password));
    view! {
        <section class="card">
            <h2>"Your account"</h2>
            <dl class="facts">
                <div><dt>"Signed in as"</dt><dd>{name}</dd></div>
                <div><dt>"Session ends"</dt><dd>{left}</dd></div>
            </dl>
            <Show
                when=move || has_password.get()
                fallback=|| view! { <p class="quiet small">"This account stands in a certificate and has no password."</p> }
            >
                <ChangePassword changed=again/>
            </Show>
        </section>
    }
}

#[component]
fn ChangePassword(changed: RwSignal<u32>) -> impl IntoView {
    let (access, live) = (access(), now().live);
    let texts = [(); 3].map(|()| RwSignal::new(String::new()));
    let [current, password, again] = texts;
    let (busy, failure, done) = (
        RwSignal::new(false),
        RwSignal::new(None),
        RwSignal::new(false),
    );
    let submit = move |event: SubmitEvent| {
        event.prevent_default();
        if busy.get_untracked() {
            return;
        }
        done.set(false);
        if password.get_untracked() != again.get_untracked() {
            failure.set(Some(unlike()));
            return;
        }
        busy.set(true);
        failure.set(None);
        let (old, new) = (current.get_untracked(), password.get_untracked());
        spawn_local(async move {
            let answer = api::change_password(&old, &new).await;
            busy.set(false);
            match answer {
                Ok(state) => {
                    texts.iter().for_each(|text| text.set(String::new()));
                    access.take(Standing::Told(state));
                    done.set(true);
                    changed.update(|changed| *changed += 1);
                    // The stream of figures has ended with the old session.
                    api::follow(live);
                }
                Err(refused) => failure.set(Some(refused)),
            }
        });
    };
    let told = move || {
        done.get()
            .then(|| view! { <p class="done">"The password is changed. Your other sessions have ended."</p> })
    };
    view! {
        <details class="more">
            <summary>"Change the password"</summary>
            <form class="form" on:submit=submit>
                <Field id="current" label="Current password" kind="password" value=current fills="current-password"/>
                <NewPassword password again/>
                <Refused failure/>
                <div role="status">{told}</div>
                <Send label="Change the password" busy/>
            </form>
        </details>
    }
}
