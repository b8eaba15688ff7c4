//! The console's public certificate.

use kvorum_api::PublicCertificate;
use leptos::prelude::*;

use super::certificates::Ends;
use crate::app::now;
use crate::components::sentence;
use crate::format;

#[component]
pub(super) fn Public(public: PublicCertificate) -> impl IntoView {
    let PublicCertificate {
        names,
        directory_url,
        ordering,
        not_after_unix_s,
        next_attempt_unix_s,
        failures,
        last_error,
    } = public;
    let ends = match not_after_unix_s {
        Some(unix_s) => view! { <Ends unix_s/> }.into_any(),
        None => view! { <span class="quiet">"none yet; browsers see the cluster's own"</span> }
            .into_any(),
    };
    let next = match ordering {
        true => view! { "now" }.into_any(),
        false => view! { <Due unix_s=next_attempt_unix_s/> }.into_any(),
    };
    let trouble = last_error.filter(|_| failures > 0).map(|error| {
        let tries = format::plural(u64::from(failures), "attempt", "attempts");
        view! {
            <p class="refused">{tries} " failed. " {sentence(&error)}</p>
        }
    });
    view! {
        <section class="card public">
            <h2>"Public certificate of the console"</h2>
            <dl class="facts">
                <div><dt>"Names"</dt><dd>{names.join(", ")}</dd></div>
                <div><dt>"Authority"</dt><dd><code>{directory_url}</code></dd></div>
                <div><dt>"Ends"</dt><dd>{ends}</dd></div>
                <div><dt>"Next attempt"</dt><dd>{next}</dd></div>
            </dl>
            {trouble}
        </section>
    }
}

/// When something begins.
#[component]
fn Due(unix_s: i64) -> impl IntoView {
    let clock_ms = now().clock_ms;
    let unix_ms = unix_s.saturating_mul(1000);
    let text = move || match unix_ms.unsigned_abs().saturating_sub(clock_ms.get()) {
        0 => "soon".to_owned(),
        left => format!("in {}", format::duration(left / 60_000 * 60_000)),
    };
    view! { <time title=format::moment(unix_ms) datetime=format::moment(unix_ms)>{text}</time> }
}
