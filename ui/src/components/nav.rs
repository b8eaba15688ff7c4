//! The pages, on the left.

use leptos::prelude::*;
use leptos_router::components::A;

use crate::app::now;
use crate::components::{Icon, Mark, Shape};

#[component]
pub(crate) fn Nav() -> impl IntoView {
    view! {
        <nav class="nav" aria-label="Pages">
            <A href="/" exact=true attr:class="brand" attr:aria-label="kvorum, to the overview">
                <Mark/>
                <span>"kvorum"</span>
            </A>
            <ul>
                <li><Page href="/" shape=Shape::Gauge name="Overview" keys="g o"/></li>
                <li><Page href="/keys" shape=Shape::Key name="Keys" keys="g k"/></li>
                <li><Page href="/security" shape=Shape::Shield name="Security" keys="g s"/></li>
                <li class="nav-last"><Page href="/about" shape=Shape::About name="About" keys="g a"/></li>
            </ul>
            <Foot/>
        </nav>
    }
}

#[component]
fn Page(href: &'static str, shape: Shape, name: &'static str, keys: &'static str) -> impl IntoView {
    view! {
        <A href=href exact=true attr:class="nav-page" attr:title=format!("{name} ({keys})")>
            <Icon shape/>
            <span>{name}</span>
        </A>
    }
}

/// Who answers: the member's name and version.
#[component]
fn Foot() -> impl IntoView {
    let live = now().live;
    let name = move || {
        live.with(|live| {
            live.overview
                .as_ref()
                .map(|overview| overview.identity.member_name.clone())
        })
    };
    let version = move || {
        live.with(|live| {
            live.overview
                .as_ref()
                .map(|overview| format!("v{}", overview.identity.version))
        })
    };
    view! {
        <p class="nav-foot">
            <span class="nav-member">{name}</span>
            <span class="quiet">{version}</span>
        </p>
    }
}
