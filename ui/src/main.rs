//! The console: a client-side app that shows one member of a kvorum cluster.
//!
//! Everything it knows comes through `api`; everything it decides is in plain functions (`verdict`, `format`, `bytes`,
//! `document`, `plot`, `live`, `address`) that are tested on the host; components are markup over them.

// `#[component]` makes its function `pub` whatever its visibility.
#![allow(unreachable_pub)]

mod access;
mod address;
mod api;
mod app;
mod bytes;
mod components;
mod document;
mod fetched;
mod format;
mod live;
mod plot;
mod routes;
mod settings;
mod shortcuts;
mod verdict;

fn main() {
    console_error_panic_hook::set_once();
    app::mount();
}
