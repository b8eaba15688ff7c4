//! From the store's records to what travels to the browser. Bounded: a large value is shown by its beginning.

use kvorum_api::{
    Change, Folder, KeyHistory, KeyListing, KeyRow, KeyVersion, KeyView, Octets, base64,
};

use serde::Serialize;

use crate::source::{Entry, KeyAt, KeyValue, ListRequest, Page, Past};

/// Bytes of a value in a row of a listing or a history.
pub(crate) const PREVIEW_BYTES: usize = 120;
/// Bytes of a value in the view of one key.
const VALUE_BYTES: usize = 256 * 1024;
/// Bytes of a value in a history, where two versions are compared by eye.
const HISTORY_BYTES: usize = 1024;

/// A listing, and how far its count can be trusted.
#[derive(Debug, Serialize)]
pub(crate) struct CountedListing {
    #[serde(flatten)]
    listing: KeyListing,
    /// True if counting the keys under the prefix stopped early: there are at least `count`.
    count_capped: bool,
}

pub(crate) fn listing(request: &ListRequest, page: Page) -> CountedListing {
    let mut listing = KeyListing {
        prefix: Octets::new(&request.prefix),
        revision: page.revision,
        current_revision: page.current_revision,
        count: page.count,
        next_cursor: page.next.as_deref().map(base64::encode_url),
        ..KeyListing::default()
    };
    for entry in page.entries {
        match entry {
            Entry::Folder {
                prefix,
                count,
                count_capped,
            } => {
                listing.folders.push(Folder {
                    prefix: Octets::new(&prefix),
                    count,
                    count_capped,
                });
            }
            Entry::Key(kv) => listing.keys.push(row(&kv, PREVIEW_BYTES)),
        }
    }
    CountedListing {
        listing,
        count_capped: page.count_capped,
    }
}

/// `None` if the key does not exist at that revision.
pub(crate) fn view(at: KeyAt) -> Option<KeyView> {
    let kv = at.found?;
    Some(KeyView {
        revision: at.revision,
        current_revision: at.current_revision,
        row: row(&kv, PREVIEW_BYTES),
        value: Octets::new(beginning(&kv.value, VALUE_BYTES)),
        value_cut: kv.value.len() > VALUE_BYTES,
    })
}

pub(crate) fn history(key: &[u8], past: Past) -> KeyHistory {
    let version = |(revision, found): (i64, Option<KeyValue>)| KeyVersion {
        revision,
        change: match found {
            Some(kv) => Change::Put {
                row: row(&kv, HISTORY_BYTES),
            },
            None => Change::Delete,
        },
    };
    KeyHistory {
        key: Octets::new(key),
        versions: past.changes.into_iter().map(version).collect(),
        compact_revision: past.compact_revision,
        current_revision: past.current_revision,
        cut: past.cut,
    }
}

fn row(kv: &KeyValue, preview_bytes: usize) -> KeyRow {
    KeyRow {
        key: Octets::new(&kv.key),
        preview: Octets::new(beginning(&kv.value, preview_bytes)),
        value_bytes: kv.value_bytes,
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        lease: if kv.lease == 0 {
            String::new()
        } else {
            format!("{:016x}", kv.lease)
        },
    }
}

/// At most `limit` bytes; of a text never half a character.
fn beginning(bytes: &[u8], limit: usize) -> &[u8] {
    let Some(cut) = bytes.get(..limit) else {
        return bytes;
    };
    match std::str::from_utf8(cut) {
        // An error without a length means that the text goes on behind the cut.
        Err(error) if error.error_len().is_none() => &cut[..error.valid_up_to()],
        _ => cut,
    }
}

#[cfg(test)]
mod tests {
    use super::beginning;

    #[test]
    fn a_cut_never_splits_a_character() {
        let text = "aé".as_bytes();
        assert_eq!(beginning(text, 2), b"a");
        assert_eq!(beginning(text, 3), text);
        assert_eq!(beginning(text, 99), text);
    }

    #[test]
    fn bytes_that_are_no_text_are_cut_anywhere() {
        assert_eq!(beginning(&[0xff, 0xfe, 0xfd], 2), [0xff, 0xfe]);
    }
}
