//! The shell: routes, contexts, and what stands around every page.

use leptos::prelude::*;
use leptos_router::components::{Route, Router, Routes};
use leptos_router::hooks::use_location;
use leptos_router::path;
use wasm_bindgen::JsCast;
use web_sys::HtmlElement;

use crate::access::{Access, access};
use crate::api;
use crate::components::{Help, Nav, TopBar};
use crate::live::{Link, Live};
use crate::routes::{
    AboutPage, KeysPage, LoginPage, MissingPage, OverviewPage, SecurityPage, SetupPage,
};
use crate::settings::Settings;
use crate::shortcuts::{self, Dismiss};

/// The live state and the browser's clock, shared by context.
#[derive(Clone, Copy)]
pub(crate) struct Now {
    pub(crate) live: RwSignal<Live>,
    /// Ticks once a second.
    pub(crate) clock_ms: RwSignal<u64>,
}

impl Now {
    /// The connection as it is now.
    pub(crate) fn link(self) -> Link {
        let now_ms = self.clock_ms.get();
        self.live.with(|live| live.link(now_ms))
    }
}

/// The live state of this page.
pub(crate) fn now() -> Now {
    expect_context()
}

/// Replaces the loading page by the app.
pub(crate) fn mount() {
    if let Some(loading) = document().get_element_by_id("loading") {
        loading.remove();
    }
    mount_to_body(App);
}

#[component]
fn App() -> impl IntoView {
    Settings::provide();
    let now = Now {
        live: RwSignal::default(),
        clock_ms: RwSignal::new(api::now_ms()),
    };
    provide_context(now);
    provide_context(Dismiss(RwSignal::new(None)));
    let admitted = Access::provide().admitted();
    // Figures are followed while somebody may see them, and forgotten when nobody may.
    Effect::new(move || {
        if admitted.get() {
            api::follow(now.live);
        } else {
            api::unfollow();
            now.live.set(Live::default());
        }
    });
    set_interval(
        move || now.clock_ms.set(api::now_ms()),
        std::time::Duration::from_secs(1),
    );
    view! {
        <Router>
            <Door/>
        </Router>
    }
}

/// The page of a link, the login, or the app.
#[component]
fn Door() -> impl IntoView {
    let admitted = access().admitted();
    let path = use_location().pathname;
    let is_setup = Memo::new(move |_| path.with(|path| path == "/setup"));
    move || match (is_setup.get(), admitted.get()) {
        (true, _) => view! { <SetupPage/> }.into_any(),
        (false, true) => view! { <Shell/> }.into_any(),
        (false, false) => view! { <LoginPage/> }.into_any(),
    }
}

#[component]
fn Shell() -> impl IntoView {
    let help = RwSignal::new(false);
    shortcuts::listen(help, expect_context());
    announce_route();
    view! {
        <a class="skip" href="#main">"Skip to content"</a>
        <div class="shell">
            <Nav/>
            <TopBar help/>
            <main id="main" tabindex="-1">
                <Routes fallback=|| view! { <MissingPage/> }>
                    <Route path=path!("/") view=OverviewPage/>
                    <Route path=path!("/keys") view=KeysPage/>
                    <Route path=path!("/security") view=SecurityPage/>
                    <Route path=path!("/about") view=AboutPage/>
                </Routes>
            </main>
        </div>
        <Help open=help/>
    }
}

/// The window's title for a path.
fn title(path: &str) -> String {
    let page = match path {
        "/" => "Overview",
        "/keys" => "Keys",
        "/security" => "Security",
        "/about" => "About",
        _ => "No such page",
    };
    format!("{page} · kvorum")
}

/// Moves the focus to the new page's heading, as a full page load would; not on the first page.
fn announce_route() {
    let location = use_location();
    Effect::new(move |before: Option<String>| {
        let path = location.pathname.get();
        document().set_title(&title(&path));
        if before.is_some_and(|before| before != path) {
            // The new page is in the document one turn later.
            request_animation_frame(|| {
                let heading = document().query_selector("main h1").ok().flatten();
                if let Some(heading) =
                    heading.and_then(|found| found.dyn_into::<HtmlElement>().ok())
                {
                    let _ = heading.focus();
                }
            });
        }
        path
    });
}
