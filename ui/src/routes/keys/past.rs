//! What happened to a key: every retained change, deletions included, newest first.

use kvorum_api::{Change, KeyHistory, KeyVersion};
use leptos::prelude::*;

use super::Shown;
use super::listing::preview;
use crate::address::KeysAddress;
use crate::api;
use crate::components::{Failed, Skeleton};
use crate::fetched::{Fetched, fetched};
use crate::format;

#[component]
pub(super) fn PastSection(question: Memo<(Vec<u8>, Option<i64>)>) -> impl IntoView {
    let shown: Shown = expect_context();
    let key = Memo::new(move |_| question.with(|(key, _)| key.clone()));
    let past = fetched(
        key,
        shown.again,
        |key| async move { api::history(&key).await },
    );
    view! {
        <section class="past" aria-label="Past">
            <header><h3>"Past"</h3><span class="quiet small">{move || past.with(count)}</span></header>
            {move || face(past, shown)}
        </section>
    }
}

fn count(past: &Fetched<KeyHistory>) -> Option<String> {
    let past = past.value.as_ref()?;
    let changes = format::plural(past.versions.len() as u64, "change", "changes");
    Some(if past.cut {
        format!("the newest {changes}")
    } else {
        changes
    })
}

fn face(past: RwSignal<Fetched<KeyHistory>>, shown: Shown) -> AnyView {
    past.with(|past| match (&past.value, &past.failure) {
        (Some(past), _) if past.versions.is_empty() => {
            view! { <p class="absent">"No change of this key is retained."</p> }.into_any()
        }
        (Some(past), _) => {
            let lines = past
                .versions
                .iter()
                .map(|version| line(shown.address, version))
                .collect_view();
            view! { <ol class="timeline">{lines}</ol> {end(past)} }.into_any()
        }
        (None, Some(failure)) => {
            view! { <Failed failure=failure.clone() again=shown.again newest=String::new()/> }
                .into_any()
        }
        (None, None) => view! { <Skeleton lines=3/> }.into_any(),
    })
}

fn line(address: Memo<KeysAddress>, version: &KeyVersion) -> impl IntoView + use<> {
    let revision = version.revision;
    let href = move || {
        address.with(|it| {
            KeysAddress {
                at: Some(revision),
                ..it.clone()
            }
            .href()
        })
    };
    let current = move || address.with(|it| it.at == Some(revision)).then_some("true");
    let (kind, what, text) = match &version.change {
        Change::Put { row } => {
            let what = if row.version == 1 {
                "created".to_owned()
            } else {
                format!("version {}", row.version)
            };
            ("put", what, preview(row))
        }
        Change::Delete => ("delete", "deleted".to_owned(), String::new()),
    };
    view! {
        <li data-kind=kind>
            <a href=href prop:replace=true data-noscroll="" class="row" aria-current=current>
                <b>{format::signed(revision)}</b>
                <span class="what">{what}</span>
                <span class="preview">{text}</span>
            </a>
        </li>
    }
}

/// Where the past begins, if compaction may have cut it.
fn end(past: &KeyHistory) -> Option<impl IntoView + use<>> {
    let first = past.versions.last()?;
    let whole = matches!(&first.change, Change::Put { row } if row.version == 1 && row.create_revision > past.compact_revision);
    (past.compact_revision > 0 && !whole).then(|| {
        let revision = format::signed(past.compact_revision);
        view! { <p class="quiet small">"Older changes are compacted (up to revision "{revision}")."</p> }
    })
}
