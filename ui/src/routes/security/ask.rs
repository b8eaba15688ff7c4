//! A question before something that cannot be undone, or that others notice.

use kvorum_api::{Denied, Nothing};
use leptos::ev::SubmitEvent;
use leptos::html::Dialog;
use leptos::prelude::*;
use leptos::task::spawn_local;

use crate::api::{self, Failure};
use crate::components::{Command, Field, Refused};

/// Digits of the trust domain that are typed by whoever changes the root.
const TYPED: usize = 8;

/// What somebody is about to do.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Deed {
    /// A certificate, or all of a user, with what it is called and whether it is a member's.
    Revoke(Denied, String, bool),
    /// Accept it again.
    Allow(Denied, String),
    /// A token.
    RevokeToken(String),
    /// Another root, of this trust domain.
    Rotate(String),
    /// Go on without those who are away.
    Force(String),
}

/// What is asked at the moment.
#[derive(Clone, Copy)]
pub(super) struct Asking(pub(super) RwSignal<Option<Deed>>);

impl Asking {
    pub(super) fn ask(self, deed: Deed) {
        self.0.set(Some(deed));
    }
}

impl Deed {
    fn title(&self) -> String {
        match self {
            Self::Revoke(_, whom, _) => format!("Revoke {whom}?"),
            Self::Allow(_, whom) => format!("Accept {whom} again?"),
            Self::RevokeToken(_) => "Take the token back?".to_owned(),
            Self::Rotate(_) => "Change the root?".to_owned(),
            Self::Force(_) => "Go on without the others?".to_owned(),
        }
    }

    fn text(&self) -> &'static str {
        match self {
            Self::Revoke(_, _, true) => {
                "Every member refuses it within seconds, and the member that shows it is cut off from the cluster until \
                 it joins again with a token. Check that the others have a quorum."
            }
            Self::Revoke(_, _, false) => {
                "Every member refuses it within seconds. Connections that show it end, watches on them too."
            }
            Self::Allow(..) => "Whoever has it can connect again at once, until it expires.",
            Self::RevokeToken(_) => {
                "Whoever holds it cannot join with it any more. A machine that joined with it stays."
            }
            Self::Rotate(_) => {
                "Members learn to trust a new root, get certificates of it, and drop the old one when no certificate in \
                 use ends in it. Nothing stops meanwhile. Clients with certificates of the old root have 90 days."
            }
            Self::Force(_) => {
                "The change goes on without members that cannot be reached now, and the grace period ends. Such a member \
                 needs a new certificate when it is back, and so does every client that is listed."
            }
        }
    }

    fn yes(&self) -> &'static str {
        match self {
            Self::Revoke(..) => "Revoke",
            Self::Allow(..) => "Accept again",
            Self::RevokeToken(_) => "Take it back",
            Self::Rotate(_) => "Change the root",
            Self::Force(_) => "Go on without them",
        }
    }

    /// The same for a shell.
    fn command(&self) -> String {
        let of = |verb: &str, denied: &Denied| match denied {
            Denied::Serial(serial) => format!("kvorum cert {verb} {serial}"),
            Denied::User(user) => format!("kvorum cert {verb} --user {user}"),
        };
        match self {
            Self::Revoke(denied, ..) => of("revoke", denied),
            Self::Allow(denied, _) => of("unrevoke", denied),
            Self::RevokeToken(id) => format!("kvorum token revoke {id}"),
            Self::Rotate(_) => "kvorum ca rotate".to_owned(),
            Self::Force(_) => "kvorum ca rotate --force".to_owned(),
        }
    }

    /// What must be typed first.
    fn word(&self) -> Option<String> {
        match self {
            Self::Rotate(domain) | Self::Force(domain) => {
                Some(domain.chars().take(TYPED).collect())
            }
            _ => None,
        }
    }

    async fn run(self) -> Result<Nothing, Failure> {
        match self {
            Self::Revoke(denied, ..) => api::revoke(&denied).await,
            Self::Allow(denied, _) => api::allow(&denied).await,
            Self::RevokeToken(id) => api::revoke_token(&id).await,
            Self::Rotate(domain) => api::rotate(&domain, false).await,
            Self::Force(domain) => api::rotate(&domain, true).await,
        }
    }
}

/// The dialog. It keeps the focus and closes on Esc.
#[component]
pub(super) fn Ask(asking: Asking, again: RwSignal<u32>) -> impl IntoView {
    let dialog = NodeRef::<Dialog>::new();
    let Asking(deed) = asking;
    Effect::new(move || {
        let Some(dialog) = dialog.get() else { return };
        match deed.with(Option::is_some) {
            true if !dialog.open() => {
                // Fails only for a dialog outside the document; this one is in it.
                let _ = dialog.show_modal();
            }
            false if dialog.open() => dialog.close(),
            _ => {}
        }
    });
    let question = move || {
        deed.get()
            .map(|asked| view! { <Question asked deed again/> })
    };
    view! {
        <dialog
            class="help ask"
            node_ref=dialog
            aria-labelledby="ask-title"
            on:cancel=move |_: leptos::ev::Event| deed.set(None)
            on:close=move |_| deed.set(None)
        >
            {question}
        </dialog>
    }
}

#[component]
fn Question(asked: Deed, deed: RwSignal<Option<Deed>>, again: RwSignal<u32>) -> impl IntoView {
    let (busy, failure) = (RwSignal::new(false), RwSignal::new(None));
    let typed = RwSignal::new(String::new());
    let word = asked.word();
    let wanted = word.clone();
    let unsure = Memo::new(move |_| {
        let differs = wanted
            .as_ref()
            .is_some_and(|word| typed.with(|typed| typed.trim() != word));
        differs || busy.get()
    });
    let (title, text, yes, command) = (asked.title(), asked.text(), asked.yes(), asked.command());
    let submit = move |event: SubmitEvent| {
        event.prevent_default();
        if unsure.get_untracked() {
            return;
        }
        busy.set(true);
        failure.set(None);
        let asked = asked.clone();
        spawn_local(async move {
            let answer = asked.run().await;
            let _ = busy.try_set(false);
            match answer {
                Ok(Nothing {}) => {
                    deed.set(None);
                    again.update(|again| *again += 1);
                }
                Err(refused) => {
                    let _ = failure.try_set(Some(refused));
                }
            }
        });
    };
    let field = word.map(|word| {
        let hint = format!("The first {TYPED} digits of this cluster's trust domain: {word}");
        view! {
            <p class="quiet small">{hint}</p>
            <Field id="ask-word" label="Type them to go on" value=typed fills="off" focus=true/>
        }
    });
    view! {
        <h2 id="ask-title">{title}</h2>
        <p class="ask-text">{text}</p>
        <form class="form" on:submit=submit>
            {field}
            <Refused failure/>
            <div class="ask-buttons">
                <button type="button" on:click=move |_| deed.set(None)>"Cancel"</button>
                <button class="primary danger" type="submit" disabled=unsure>{yes}</button>
            </div>
        </form>
        <p class="quiet small ask-same">"The same in a shell:"</p>
        <Command text=command/>
    }
}
