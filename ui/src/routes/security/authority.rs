//! The cluster's own authority: certificates, tokens to join with, its root, and the console's public certificate.

use kvorum_api::{Authority, OwnAuthority};
use leptos::prelude::*;

use super::ask::{Ask, Asking};
use super::certificates::Certificates;
use super::public::Public;
use super::root::Root;
use super::tokens::Tokens;
use crate::access::access;
use crate::api;
use crate::components::{Empty, Failed, Skeleton};
use crate::fetched::fetched;

/// While the root changes, the page follows.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_secs(3);

#[component]
pub(crate) fn AuthorityCards(again: RwSignal<u32>) -> impl IntoView {
    // Its own counter: what is asked for every few seconds must not disturb the other cards.
    let looks = RwSignal::new(0);
    Effect::new(move || {
        again.track();
        looks.update(|looks| *looks += 1);
    });
    let state = fetched(Memo::new(|_| ()), looks, |()| api::authority());
    let moving = Memo::new(move |_| {
        state.with(|state| {
            let own = state.value.as_ref().and_then(|told| told.own.as_ref());
            own.is_some_and(|own| own.rotation.is_some())
        })
    });
    let timer = set_interval_with_handle(
        move || {
            if moving.get_untracked() {
                looks.update(|looks| *looks += 1);
            }
        },
        LOOK_EVERY,
    );
    // What the browser says of a failure cannot be kept.
    let timer = timer.ok();
    on_cleanup(move || {
        if let Some(timer) = timer {
            timer.clear();
        }
    });
    let asking = Asking(RwSignal::new(None));
    // What was told last stays while the next answer is on its way.
    let told = Memo::new(move |before: Option<&Option<Authority>>| {
        let value = state.with(|state| state.value.clone());
        value.or_else(|| before.cloned().flatten())
    });
    let failure = move || state.with(|state| state.failure.clone());
    let body = move || match (told.get(), failure()) {
        (_, Some(failure)) => {
            view! { <section class="card"><Failed failure again newest=""/></section> }.into_any()
        }
        (Some(told), None) => view! { <Cards told asking again/> }.into_any(),
        (None, None) => view! { <section class="card"><Skeleton lines=4/></section> }.into_any(),
    };
    view! {
        {body}
        <Ask asking again/>
    }
}

#[component]
fn Cards(told: Authority, asking: Asking, again: RwSignal<u32>) -> impl IntoView {
    let own = match told.own {
        Some(own) => view! { <Own own asking again/> }.into_any(),
        None => view! {
            <Empty
                title="This cluster has no authority of its own"
                text="Its certificates come from files, or it speaks plain text. A cluster that starts without such files makes, renews and revokes its certificates itself."
                command="kvorum --advertise node1.example"
            />
        }
        .into_any(),
    };
    view! {
        {own}
        {told.public.map(|public| view! { <Public public/> })}
    }
}

#[component]
fn Own(own: OwnAuthority, asking: Asking, again: RwSignal<u32>) -> impl IntoView {
    let OwnAuthority {
        domain,
        roots,
        issuer_not_after_unix_s,
        certificates,
        tokens,
        denied,
        rotation,
    } = own;
    // Without a login nobody has a name, and only somebody with a name may change anything here.
    let may_change = access().who().get_untracked().is_some();
    view! {
        <Certificates certificates denied rotating=rotation.is_some() may_change asking/>
        <div class="halves even">
            <Tokens tokens may_change asking again/>
            <Root domain roots issuer_not_after_unix_s rotation may_change asking/>
        </div>
    }
}
