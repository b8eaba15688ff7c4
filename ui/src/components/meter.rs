//! A bar of how much of something is used. Drawn as SVG: its widths are attributes, not styles.

use leptos::prelude::*;

use crate::format;

/// `used` and `shadow` are parts of the whole; the shadow is what is taken but could be freed.
#[component]
pub(crate) fn Meter(
    label: &'static str,
    #[prop(into)] used: Signal<f64>,
    #[prop(into)] shadow: Signal<f64>,
) -> impl IntoView {
    let width = |part: f64| format!("{:.2}", part.clamp(0.0, 1.0) * 100.0);
    let level = move || match shadow.get() {
        part if part > 0.95 => "critical",
        part if part > 0.8 => "warning",
        _ => "good",
    };
    view! {
        <div
            class="meter"
            data-level=level
            role="meter"
            aria-label=label
            aria-valuemin="0"
            aria-valuemax="100"
            aria-valuenow=move || format!("{:.1}", shadow.get() * 100.0)
            aria-valuetext=move || format!("{} used", format::percent(shadow.get()))
        >
            <svg viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true">
                <rect class="meter-shadow" height="1" width=move || width(shadow.get())/>
                <rect class="meter-used" height="1" width=move || width(used.get())/>
            </svg>
        </div>
    }
}
