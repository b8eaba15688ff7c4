//! Tokens that machines join with.

use kvorum_api::{TokenFor, TokenMade, TokenRow, TokenState, TokenWish};
use leptos::ev::SubmitEvent;
use leptos::prelude::*;
use leptos::task::spawn_local;

use super::ask::{Asking, Deed};
use super::certificates::Ends;
use crate::api;
use crate::components::{Command, Refused, Send};

#[component]
pub(super) fn Tokens(
    tokens: Vec<TokenRow>,
    may_change: bool,
    asking: Asking,
    again: RwSignal<u32>,
) -> impl IntoView {
    let open: Vec<TokenRow> = tokens
        .into_iter()
        .filter(|token| token.state == TokenState::Open)
        .collect();
    let list = match open.is_empty() {
        true => view! { <p class="quiet">"No token is open: nobody can join now."</p> }.into_any(),
        false => view! { <Table tokens=open may_change asking/> }.into_any(),
    };
    view! {
        <section class="card">
            <h2>"Open join tokens"</h2>
            {list}
            {may_change.then(|| view! { <Create again/> })}
        </section>
    }
}

#[component]
fn Table(tokens: Vec<TokenRow>, may_change: bool, asking: Asking) -> impl IntoView {
    let row = move |token: TokenRow| {
        let label = format!("Take back the token {}", token.id);
        let id = token.id.clone();
        let revoke = move |_| asking.ask(Deed::RevokeToken(id.clone()));
        let button = may_change
            .then(|| view! { <button aria-label=label on:click=revoke>"Take back"</button> });
        let role = match token.role {
            TokenFor::Voter => "voter",
            TokenFor::Learner => "learner",
            TokenFor::Client => "client",
            TokenFor::Rejoin => "member that is back",
            TokenFor::Admin => "administrator",
        };
        let name = match token.name.as_str() {
            "" => "any".to_owned(),
            name => name.to_owned(),
        };
        view! {
            <tr>
                <th scope="row"><code>{token.id}</code></th>
                <td>{role} <span class="quiet small">" " {name}</span></td>
                <td><Ends unix_s=token.expires_unix_s/></td>
                <td class="number">{button}</td>
            </tr>
        }
    };
    view! {
        <div class="scroll" tabindex="0" role="region" aria-label="Open join tokens">
            <table class="table">
                <thead>
                    <tr>
                        <th scope="col">"Token"</th>
                        <th scope="col">"For"</th>
                        <th scope="col">"Ends"</th>
                        <th scope="col"><span class="unseen">"Take back"</span></th>
                    </tr>
                </thead>
                <tbody>{tokens.into_iter().map(row).collect_view()}</tbody>
            </table>
        </div>
    }
}

/// What a token can be made for here, and in which words.
const ROLES: [(TokenFor, &str); 4] = [
    (TokenFor::Voter, "A member that votes"),
    (TokenFor::Learner, "A member that learns and never votes"),
    (TokenFor::Client, "A client"),
    (TokenFor::Admin, "An administrator"),
];

#[component]
fn Create(again: RwSignal<u32>) -> impl IntoView {
    let (name, role) = (RwSignal::new(String::new()), RwSignal::new(TokenFor::Voter));
    let (busy, failure) = (RwSignal::new(false), RwSignal::new(None));
    let made = made();
    let submit = move |event: SubmitEvent| {
        event.prevent_default();
        if busy.get_untracked() {
            return;
        }
        busy.set(true);
        failure.set(None);
        let wish = TokenWish {
            role: role.get_untracked(),
            name: name.get_untracked().trim().to_owned(),
            life_s: 0,
        };
        spawn_local(async move {
            let answer = api::create_token(&wish).await;
            let _ = busy.try_set(false);
            match answer {
                Ok(token) => {
                    made.set(Some((wish.role, token)));
                    again.update(|again| *again += 1);
                }
                Err(refused) => {
                    let _ = failure.try_set(Some(refused));
                }
            }
        });
    };
    let label = Signal::derive(move || match role.get() {
        TokenFor::Admin => "Make a token for ten minutes",
        _ => "Make a token for half an hour",
    });
    view! {
        <Made/>
        <details class="more">
            <summary>"Let somebody in"</summary>
            <form class="form" on:submit=submit>
                <Roles role/>
                <Name name role/>
                <Refused failure/>
                <Send label busy/>
            </form>
        </details>
    }
}

#[component]
fn Roles(role: RwSignal<TokenFor>) -> impl IntoView {
    let option = move |(value, label): (TokenFor, &'static str)| {
        view! {
            <label class="option">
                <input
                    type="radio"
                    name="token-role"
                    prop:checked=move || role.get() == value
                    on:change=move |_| role.set(value)
                />
                {label}
            </label>
        }
    };
    view! {
        <fieldset>
            <legend>"Who is to come in"</legend>
            {ROLES.into_iter().map(option).collect_view()}
        </fieldset>
    }
}

#[component]
fn Name(name: RwSignal<String>, role: RwSignal<TokenFor>) -> impl IntoView {
    let is_user = move || role.get().is_for_a_user();
    let label = move || match is_user() {
        true => "Name of the user",
        false => "Name of the member",
    };
    let hint = move || match role.get() {
        TokenFor::Client => {
            "Its certificate says this name; with authentication on, it is this user."
        }
        TokenFor::Admin => {
            "Whoever uses it may make tokens, revoke certificates and change the root."
        }
        _ => "Leave it empty for any name.",
    };
    view! {
        <div class="field">
            <label for="token-name">{label}</label>
            <input
                id="token-name"
                autocomplete="off"
                autocapitalize="none"
                spellcheck="false"
                aria-describedby="token-name-hint"
                required=is_user
                prop:value=name
                on:input=move |event| name.set(event_target_value(&event))
            />
            <p class="quiet small" id="token-name-hint">{hint}</p>
        </div>
    }
}

/// The token that was made last, kept by the page and nowhere else.
fn made() -> RwSignal<Option<(TokenFor, TokenMade)>> {
    expect_context::<MadeToken>().0
}

/// Shared by the page, so that a look at the list does not take the token away.
#[derive(Clone, Copy)]
pub(super) struct MadeToken(pub(super) RwSignal<Option<(TokenFor, TokenMade)>>);

#[component]
fn Made() -> impl IntoView {
    let token = made();
    move || {
        token.get().map(|(role, made)| {
            let command = format!("{} {}", role.command(), made.token.0);
            let text = match role.is_for_a_user() {
                true => {
                    "Run this on the user's machine: key and certificate are written where it is run. It is shown once \
                     and works once."
                }
                false => "Run this on the machine that is to join. It is shown once and works once.",
            };
            view! {
                <div class="made" role="status">
                    <p>{text}</p>
                    <Command text=command/>
                    <button on:click=move |_| token.set(None)>"Done"</button>
                </div>
            }
        })
    }
}
