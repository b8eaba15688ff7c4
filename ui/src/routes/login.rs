//! What stands in the place of the app while nobody is signed in.

use kvorum_api::SessionState;
use leptos::ev::SubmitEvent;
use leptos::prelude::*;
use leptos::task::spawn_local;
use leptos_router::hooks::use_navigate;

use crate::access::{Standing, access};
use crate::api::{self, Failure};
use crate::components::{Command, Field, Mark, Refused, Send, Skeleton, ThemeSwitch};
use crate::routes::setup;

/// The member's machine is where links are made.
const LOGIN_LINK: &str = "kvorum admin login-link";

/// The frame of the pages before the app.
#[component]
pub(crate) fn Gate(title: &'static str, children: Children) -> impl IntoView {
    document().set_title(&format!("{title} · kvorum"));
    let host = window().location().host().unwrap_or_default();
    view! {
        <div class="gate">
            <header class="gate-top">
                <p class="brand"><Mark/><span>"kvorum"</span></p>
                <ThemeSwitch/>
            </header>
            <main id="main" class="card" tabindex="-1">
                <h1 tabindex="-1">{title}</h1>
                {children()}
            </main>
            <footer class="gate-foot quiet small">"Console at " <code>{host}</code></footer>
        </div>
    }
}

#[component]
pub(crate) fn LoginPage() -> impl IntoView {
    let access = access();
    let shown = Memo::new(move |_| match access.standing.get() {
        Standing::Told(SessionState::SignedOut {
            first_run,
            certificate,
        }) => Shown::Login {
            first_run,
            certificate,
        },
        Standing::Failed(failure) => Shown::Failed(failure),
        _ => Shown::Nothing,
    });
    move || match shown.get() {
        Shown::Nothing => view! { <Gate title="Console"><Skeleton lines=3/></Gate> }.into_any(),
        Shown::Failed(failure) => view! {
            <Gate title="No answer">
                <p class="gate-lead">{crate::components::sentence(&failure.message)}</p>
                <button class="primary" on:click=move |_| access.ask()>"Try again"</button>
            </Gate>
        }
        .into_any(),
        Shown::Login {
            first_run: true,
            certificate,
        } => view! {
            <Gate title="Welcome to kvorum"><FirstRun certificate/></Gate>
        }
        .into_any(),
        Shown::Login { certificate, .. } => view! {
            <Gate title="Sign in"><SignIn certificate/></Gate>
        }
        .into_any(),
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Shown {
    Nothing,
    Failed(Failure),
    Login {
        first_run: bool,
        certificate: Option<String>,
    },
}

#[component]
fn SignIn(certificate: Option<String>) -> impl IntoView {
    let access = access();
    let (account, password) = (RwSignal::new(String::new()), RwSignal::new(String::new()));
    let (busy, failure) = (RwSignal::new(false), RwSignal::new(None));
    let submit = move |event: SubmitEvent| {
        event.prevent_default();
        if busy.get_untracked() {
            return;
        }
        busy.set(true);
        failure.set(None);
        let (name, secret) = (account.get_untracked(), password.get_untracked());
        spawn_local(async move {
            let answer = api::sign_in(name.trim(), &secret).await;
            busy.set(false);
            match answer {
                Ok(state) => access.take(Standing::Told(state)),
                Err(refused) => {
                    password.set(String::new());
                    failure.set(Some(refused));
                }
            }
        });
    };
    let notice = move || {
        access.expired.get().then(|| {
            view! { <p class="gate-note" role="status">"Your session has ended. Sign in to go on where you were."</p> }
        })
    };
    view! {
        {notice}
        <form class="form" on:submit=submit>
            <Field id="account" label="Name" value=account fills="username" focus=true/>
            <Field id="password" label="Password" kind="password" value=password fills="current-password"/>
            <Refused failure/>
            <Send label="Sign in" busy/>
        </form>
        <ByCertificate certificate/>
        <details class="gate-help">
            <summary>"Forgot the password?"</summary>
            <p>"On a member's machine, this prints a link that sets a new one:"</p>
            <Command text=LOGIN_LINK/>
        </details>
    }
}

/// For whoever has shown a certificate on the way in.
#[component]
fn ByCertificate(certificate: Option<String>) -> impl IntoView {
    let access = access();
    let failure = RwSignal::new(None);
    let go = move || {
        spawn_local(async move {
            match api::sign_in_by_certificate().await {
                Ok(state) => access.take(Standing::Told(state)),
                Err(refused) => failure.set(Some(refused)),
            }
        });
    };
    // Whoever comes with a certificate is let in by it; whoever has just signed out or was signed out decides anew.
    if certificate.is_some() && access.is_fresh() {
        go();
    }
    certificate.map(|name| {
        view! {
            <div class="gate-or">
                <button on:click=move |_| go()>"Continue as " <b>{name}</b> " by certificate"</button>
                <Refused failure/>
            </div>
        }
    })
}

#[component]
fn FirstRun(certificate: Option<String>) -> impl IntoView {
    let link = RwSignal::new(String::new());
    let navigate = use_navigate();
    let submit = move |event: SubmitEvent| {
        event.prevent_default();
        let code = setup::code_of(&link.get_untracked());
        setup::keep(code);
        navigate("/setup", Default::default());
    };
    view! {
        <p class="gate-lead">
            "There is no administrator yet. The member has written a link to its log that makes the first one; it works "
            "once, for 15 minutes. This makes another:"
        </p>
        <Command text=LOGIN_LINK/>
        <form class="form" on:submit=submit>
            <Field id="link" label="Link or code" value=link fills="off" focus=true/>
            <Send label="Go on" busy=RwSignal::new(false)/>
        </form>
        <ByCertificate certificate/>
    }
}
