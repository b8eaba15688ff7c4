//! The certificates that the authority has signed, and those that are not accepted any more.

use kvorum_api::{CertificateFor, CertificateRow, DenialRow, Denied};
use leptos::prelude::*;

use super::ask::{Asking, Deed};
use super::sessions::Ago;
use crate::app::now;
use crate::components::Copy;
use crate::format;

/// Digits of a serial number that tell it from others.
const SHOWN: usize = 12;
/// Certificates that end so soon should have been renewed.
const SOON_MS: u64 = 5 * 24 * 3600 * 1000;

#[component]
pub(super) fn Certificates(
    certificates: Vec<CertificateRow>,
    denied: Vec<DenialRow>,
    rotating: bool,
    may_change: bool,
    asking: Asking,
) -> impl IntoView {
    let row = move |certificate| view! { <Row certificate rotating may_change asking/> };
    let refused = (!denied.is_empty()).then(|| view! { <Refusals denied may_change asking/> });
    view! {
        <section class="card certificates">
            <h2>"Certificates"</h2>
            <div class="scroll" tabindex="0" role="region" aria-label="Certificates">
                <table class="table">
                    <thead>
                        <tr>
                            <th scope="col">"Whose"</th>
                            <th scope="col">"For"</th>
                            <th scope="col">"Serial number"</th>
                            <th scope="col">"Ends"</th>
                            <th scope="col">"Made by"</th>
                            <th scope="col"><span class="unseen">"Revoke"</span></th>
                        </tr>
                    </thead>
                    <tbody>{certificates.into_iter().map(row).collect_view()}</tbody>
                </table>
            </div>
            {refused}
        </section>
    }
}

#[component]
fn Row(
    certificate: CertificateRow,
    rotating: bool,
    may_change: bool,
    asking: Asking,
) -> impl IntoView {
    let CertificateRow {
        serial,
        kind,
        subject,
        not_after_unix_s,
        issued_by,
        of_newest_root,
        denied,
        ..
    } = certificate;
    let is_member = kind == CertificateFor::Member;
    let of = match kind {
        CertificateFor::Member => "member",
        CertificateFor::Client => "client",
        CertificateFor::Admin => "administrator",
    };
    let old = (rotating && !of_newest_root).then(|| {
        view! { " " <span class="badge" data-level="warning">"old root"</span> }
    });
    let made_by = match is_member {
        true => view! { <span class="quiet">"itself"</span> }.into_any(),
        false => issued_by.into_any(),
    };
    let label = format!("Revoke the certificate of {subject} with serial number {serial}");
    let whom = format!("the certificate of {subject}");
    let number = serial.clone();
    let revoke = move |_| {
        let denied = Denied::Serial(number.clone());
        asking.ask(Deed::Revoke(denied, whom.clone(), is_member));
    };
    let last = match (denied, may_change) {
        (true, _) => {
            view! { <span class="badge" data-level="critical">"Revoked"</span> }.into_any()
        }
        (false, true) => {
            view! { <button aria-label=label on:click=revoke>"Revoke"</button> }.into_any()
        }
        (false, false) => ().into_any(),
    };
    view! {
        <tr>
            <th scope="row">{subject} {old}</th>
            <td>{of}</td>
            <td><Number serial/></td>
            <td><Ends unix_s=not_after_unix_s/></td>
            <td>{made_by}</td>
            <td class="number">{last}</td>
        </tr>
    }
}

/// The first digits, and a button for all of them.
#[component]
fn Number(serial: String) -> impl IntoView {
    let (shown, whole) = (short(&serial), serial.clone());
    view! {
        <span class="serial">
            <code title=serial>{shown}</code>
            <Copy text=Signal::derive(move || whole.clone()) what="serial number"/>
        </span>
    }
}

fn short(serial: &str) -> String {
    match serial.get(..SHOWN) {
        Some(first) if serial.len() > SHOWN => format!("{first}…"),
        _ => serial.to_owned(),
    }
}

/// How long something still lives; the moment itself on hover.
#[component]
pub(super) fn Ends(unix_s: i64) -> impl IntoView {
    let clock_ms = now().clock_ms;
    let unix_ms = unix_s.saturating_mul(1000);
    let left_ms = move || unix_ms.unsigned_abs().saturating_sub(clock_ms.get());
    let level = move || match left_ms() {
        0 => "critical",
        left if left < SOON_MS => "warning",
        _ => "good",
    };
    let text = move || match left_ms() {
        0 => "over".to_owned(),
        left => format!("in {}", format::duration(left / 60_000 * 60_000)),
    };
    view! {
        <span class="result" data-level=level>
            <i class="dot"></i>
            <time title=format::moment(unix_ms) datetime=format::moment(unix_ms)>{text}</time>
        </span>
    }
}

#[component]
fn Refusals(denied: Vec<DenialRow>, may_change: bool, asking: Asking) -> impl IntoView {
    let row = move |denial: DenialRow| {
        let whom = match &denial.whom {
            Denied::Serial(serial) => format!("certificate {}", short(serial)),
            Denied::User(user) => format!("user {user}"),
        };
        let label = format!("Accept again: {whom}");
        let (asked, named) = (denial.whom.clone(), whom.clone());
        let allow = move |_| asking.ask(Deed::Allow(asked.clone(), named.clone()));
        let button = may_change
            .then(|| view! { <button aria-label=label on:click=allow>"Accept again"</button> });
        view! {
            <tr>
                <th scope="row">{whom}</th>
                <td><Ago unix_ms=denial.since_unix_s.saturating_mul(1000)/></td>
                <td>{denial.denied_by}</td>
                <td class="number">{button}</td>
            </tr>
        }
    };
    view! {
        <h3>"Not accepted any more"</h3>
        <div class="scroll" tabindex="0" role="region" aria-label="Not accepted any more">
            <table class="table">
                <thead>
                    <tr>
                        <th scope="col">"What"</th>
                        <th scope="col">"Since"</th>
                        <th scope="col">"Revoked by"</th>
                        <th scope="col"><span class="unseen">"Accept again"</span></th>
                    </tr>
                </thead>
                <tbody>{denied.into_iter().map(row).collect_view()}</tbody>
            </table>
        </div>
    }
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn long_numbers_are_cut_and_short_ones_are_not() {
        assert_eq!(short("0a0b"), "0a0b");
        assert_eq!(short("0123456789ab"), "0123456789ab");
        assert_eq!(short("0123456789abc"), "0123456789ab…");
    }
}
