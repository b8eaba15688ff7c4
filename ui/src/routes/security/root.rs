//! The root that all certificates end in, and how far its change is.

use kvorum_api::{RootRow, Rotation, RotationStage};
use leptos::prelude::*;

use super::ask::{Asking, Deed};
use super::certificates::Ends;
use super::sessions::Ago;
use crate::components::Copy;

/// Digits of a fingerprint that are shown.
const SHOWN: usize = 16;

#[component]
pub(super) fn Root(
    domain: String,
    roots: Vec<RootRow>,
    issuer_not_after_unix_s: i64,
    rotation: Option<Rotation>,
    may_change: bool,
    asking: Asking,
) -> impl IntoView {
    let copied = domain.clone();
    let of_rotation = domain.clone();
    let part = match rotation {
        Some(rotation) => {
            view! { <Progress rotation domain=of_rotation may_change asking/> }.into_any()
        }
        None => {
            let rotate = move |_| asking.ask(Deed::Rotate(of_rotation.clone()));
            may_change
                .then(|| view! { <p class="pager"><button on:click=rotate>"Change the root"</button></p> })
                .into_any()
        }
    };
    view! {
        <section class="card">
            <h2>"Certificate authority"</h2>
            <dl class="facts">
                <div>
                    <dt>"Trust domain"</dt>
                    <dd><code>{domain}</code><Copy text=Signal::derive(move || copied.clone()) what="trust domain"/></dd>
                </div>
                <div><dt>"Issuing certificate ends"</dt><dd><Ends unix_s=issuer_not_after_unix_s/></dd></div>
                {roots.into_iter().map(root).collect_view()}
            </dl>
            {part}
        </section>
    }
}

fn root(row: RootRow) -> impl IntoView {
    let label = if row.signs { "Root" } else { "Other root" };
    let whole = row.fingerprint.clone();
    let shown = format!("{}…", row.fingerprint.get(..SHOWN).unwrap_or_default());
    view! {
        <div>
            <dt>{label}</dt>
            <dd>
                <code title=row.fingerprint>{shown}</code>
                <Copy text=Signal::derive(move || whole.clone()) what="fingerprint of the root"/>
            </dd>
        </div>
        <div><dt>{label} " ends"</dt><dd><Ends unix_s=row.not_after_unix_s/></dd></div>
    }
}

const STAGES: [(RotationStage, &str); 5] = [
    (RotationStage::Bundle, "Members learn to trust the new root"),
    (RotationStage::Issuer, "The new root signs"),
    (RotationStage::Reissue, "Members get new certificates"),
    (RotationStage::Grace, "Clients get new certificates"),
    (RotationStage::Drop, "The old root goes"),
];

#[component]
fn Progress(rotation: Rotation, domain: String, may_change: bool, asking: Asking) -> impl IntoView {
    let at = rotation.stage;
    let step = move |(stage, text): (RotationStage, &'static str)| {
        let (state, said) = match stage.cmp(&at) {
            std::cmp::Ordering::Less => ("done", " (done)"),
            std::cmp::Ordering::Equal => ("now", " (now)"),
            std::cmp::Ordering::Greater => ("later", ""),
        };
        view! { <li data-state=state>{text}<span class="unseen">{said}</span></li> }
    };
    let force = move |_| asking.ask(Deed::Force(domain.clone()));
    let list = |label: &'static str, names: &[String]| {
        let names = names.join(", ");
        (!names.is_empty()).then(|| view! { <div><dt>{label}</dt><dd>{names}</dd></div> })
    };
    let grace = (rotation.grace_until_unix_s > 0).then(|| {
        view! { <div><dt>"Grace period ends"</dt><dd><Ends unix_s=rotation.grace_until_unix_s/></dd></div> }
    });
    let begun = format!("Begun by {}", rotation.begun_by);
    view! {
        <h3>"The root changes"</h3>
        <ol class="steps">{STAGES.into_iter().map(step).collect_view()}</ol>
        <dl class="facts">
            {list("Waits for", &rotation.waits_for)}
            {list("Cannot be reached", &rotation.unreached)}
            {list("Users with old certificates only", &rotation.old_users)}
            {grace}
        </dl>
        <p class="quiet small">{begun} " " <Ago unix_ms=rotation.begun_unix_s.saturating_mul(1000)/></p>
        {may_change.then(|| view! {
            <p class="pager"><button on:click=force>"Go on without waiting"</button></p>
        })}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stages_are_shown_in_their_order() {
        assert!(STAGES.is_sorted_by_key(|(stage, _)| *stage));
    }
}
