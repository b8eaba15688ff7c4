//! One page of keys: folders first, then keys, then the way to the next page.

use kvorum_api::{Folder, KeyRow};
use leptos::prelude::*;

use super::Shown;
use crate::address::KeysAddress;
use crate::api::Listed;
use crate::bytes;
use crate::components::{Icon, Shape};
use crate::format;

#[component]
pub(super) fn Listing() -> impl IntoView {
    let shown: Shown = expect_context();
    let listing = Memo::new(move |_| {
        shown
            .listing
            .with(|it| it.value.clone().unwrap_or_default())
    });
    let loading = move || shown.listing.with(|it| it.loading);
    let folders = move || {
        let address = shown.address.get();
        let row = |folder: &Folder| folder_row(&address, folder);
        listing.with(|listing| listing.page.folders.iter().map(row).collect_view())
    };
    let keys = move || {
        listing.with(|listing| {
            let parent = shown
                .address
                .with(|address| parent_of(address, &listing.page.prefix.bytes()));
            listing
                .page
                .keys
                .iter()
                .map(|row| key_row(shown.address, &parent, row))
                .collect_view()
        })
    };
    view! {
        <div class="card listing" class:stale=loading aria-busy=move || loading().to_string()>
            <table>
                <thead>
                    <tr>
                        <th scope="col">"Key"</th>
                        <th scope="col" class="roomy">"Value"</th>
                        <th scope="col" class="number roomy">"Size"</th>
                        <th scope="col" class="number">"Version"</th>
                        <th scope="col" class="number">"Modified at"</th>
                    </tr>
                </thead>
                <tbody>{folders}{keys}</tbody>
            </table>
            <Foot listing/>
        </div>
    }
}

/// What every key of the page begins with and none needs to repeat; a flat list shows whole keys.
fn parent_of(address: &KeysAddress, prefix: &[u8]) -> Vec<u8> {
    let folder_end = prefix
        .iter()
        .rposition(|byte| *byte == crate::address::DELIMITER);
    match folder_end {
        Some(end) if !address.flat => prefix[..=end].to_vec(),
        _ => Vec::new(),
    }
}

fn folder_row(address: &KeysAddress, folder: &Folder) -> impl IntoView + use<> {
    let prefix = folder.prefix.bytes();
    let parent = parent_of(address, &address.prefix);
    let name = bytes::escaped(bytes::last_segment(&prefix, &parent));
    let count = counted(folder.count, folder.count_capped);
    view! {
        <tr class="folder">
            <th scope="row">
                <a href=address.under(&prefix).href() class="row" title=bytes::escaped(&prefix)>
                    <Icon shape=Shape::Folder/>
                    <span class="key">{name}</span>
                </a>
            </th>
            <td class="inside" colspan="4">{count}</td>
        </tr>
    }
}

fn key_row(address: Memo<KeysAddress>, parent: &[u8], row: &KeyRow) -> impl IntoView + use<> {
    let key = row.key.bytes();
    let name = bytes::escaped(bytes::last_segment(&key, parent));
    let whole = bytes::escaped(&key);
    let (linked, compared) = (key.clone(), key);
    let href = move || address.with(|address| address.open(&linked).href());
    let current = move || {
        address
            .with(|address| address.key.as_deref() == Some(&compared))
            .then_some("true")
    };
    view! {
        <tr aria-current=current>
            <th scope="row">
                <a href=href class="row" title=whole>
                    <span class="key">{name}</span>
                </a>
            </th>
            <td class="roomy preview">{preview(row)}</td>
            <td class="number roomy">{format::bytes(row.value_bytes)}</td>
            <td class="number">{format::signed(row.version)}</td>
            <td class="number">{format::signed(row.mod_revision)}</td>
        </tr>
    }
}

/// The value's beginning on one line.
pub(super) fn preview(row: &KeyRow) -> String {
    let shown = row.preview.bytes();
    let more = if row.value_bytes > shown.len() as u64 {
        "…"
    } else {
        ""
    };
    match bytes::readable(&shown) {
        Some(text) => text.split_whitespace().collect::<Vec<_>>().join(" ") + more,
        None => bytes::escaped(&shown) + more,
    }
}

/// A number of keys; with a plus if counting stopped there.
fn counted(keys: u64, capped: bool) -> String {
    if capped {
        format!("{}+ keys", format::count(keys))
    } else {
        format::plural(keys, "key", "keys")
    }
}

/// Where the page stands. Only keys that exist make lines, so a page may have none and others follow.
fn place(listed: &Listed, skipped: u64) -> String {
    let page = &listed.page;
    let lines = (page.folders.len() + page.keys.len()) as u64;
    let keys = counted(page.count, listed.count_capped);
    match (lines, &page.next_cursor) {
        (0, Some(_)) => format!("Only deleted keys in this part · {keys} under this prefix"),
        (0, None) => format!("Nothing follows · {keys} under this prefix"),
        _ => {
            let (from, to) = (format::count(skipped + 1), format::count(skipped + lines));
            format!("Lines {from} to {to} · {keys} under this prefix")
        }
    }
}

#[component]
fn Foot(listing: Memo<Listed>) -> impl IntoView {
    let shown: Shown = expect_context();
    let lines = move || listing.with(|it| (it.page.folders.len() + it.page.keys.len()) as u64);
    let count = move || {
        let skipped = shown.address.with(|address| address.skipped);
        listing.with(|it| place(it, skipped))
    };
    let first = move || {
        let later = shown.address.with(|address| address.cursor.is_some());
        let href = shown.address.with(|address| address.first_page().href());
        later.then(|| view! { <a href=href class="button">"First page"</a> })
    };
    let next = move || {
        let (cursor, revision) = listing.with(|it| (it.page.next_cursor.clone(), it.page.revision));
        let href = |cursor: String| {
            shown
                .address
                .with(|it| it.next_page(&cursor, lines(), revision).href())
        };
        cursor.map(|cursor| view! { <a href=href(cursor) class="button">"Next page"</a> })
    };
    view! {
        <footer>
            <span class="quiet">{count}</span>
            <span class="spring"></span>
            {first}
            {next}
        </footer>
    }
}

#[cfg(test)]
mod tests {
    use kvorum_api::{KeyListing, Octets};

    use super::*;

    fn row(value: &[u8], value_bytes: u64) -> KeyRow {
        KeyRow {
            preview: Octets::new(value),
            value_bytes,
            ..KeyRow::default()
        }
    }

    #[test]
    fn a_preview_is_one_line_and_says_that_more_follows() {
        assert_eq!(preview(&row(b"{\n  \"a\": 1\n}", 12)), "{ \"a\": 1 }");
        assert_eq!(preview(&row(b"abc", 900)), "abc…");
        assert_eq!(preview(&row(b"\x00\xff", 2)), "\\x00\\xff");
    }

    #[test]
    fn a_count_that_stopped_early_is_never_shown_as_all() {
        assert_eq!(counted(1000, true), "1,000+ keys");
        assert_eq!(counted(1, true), "1+ keys");
        assert_eq!(counted(1000, false), "1,000 keys");
        assert_eq!(counted(1, false), "1 key");
    }

    #[test]
    fn a_page_without_lines_does_not_number_them() {
        let listed = |lines: usize, next: Option<&str>| Listed {
            page: KeyListing {
                keys: vec![KeyRow::default(); lines],
                count: 7,
                next_cursor: next.map(str::to_owned),
                ..KeyListing::default()
            },
            count_capped: true,
        };
        let place = |lines, next| place(&listed(lines, next), 100);
        assert_eq!(
            place(2, None),
            "Lines 101 to 102 · 7+ keys under this prefix"
        );
        assert!(place(0, Some("YQ")).starts_with("Only deleted keys in this part"));
        assert!(place(0, None).starts_with("Nothing follows"));
    }

    #[test]
    fn only_whole_folders_are_left_out_of_names() {
        let address = KeysAddress::default();
        assert_eq!(parent_of(&address, b"app/con"), b"app/");
        assert_eq!(parent_of(&address, b"con"), b"");
        assert_eq!(
            parent_of(
                &KeysAddress {
                    flat: true,
                    ..address
                },
                b"app/con"
            ),
            b""
        );
    }
}
