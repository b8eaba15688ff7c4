//! Keys as the console browses them: a page of a listing, one key, one key's past.

use serde::{Deserialize, Serialize};

use crate::Octets;

/// One page of the keys under a prefix, all read at one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyListing {
    /// The prefix that was listed.
    pub prefix: Octets,
    /// The revision all of the page was read at. Send it back to stay on it.
    pub revision: i64,
    /// Newest revision of the store when the page was read.
    pub current_revision: i64,
    /// Keys under the prefix at that revision, folders opened.
    pub count: u64,
    /// Folders of this page, in key order. Empty without a delimiter.
    pub folders: Vec<Folder>,
    /// Keys of this page, in key order.
    pub keys: Vec<KeyRow>,
    /// Where the next page starts; `None` on the last page. URL-safe base64, to be sent back as it is.
    pub next_cursor: Option<String>,
}

/// Keys that share everything up to and including the next delimiter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folder {
    /// The shared beginning, delimiter included.
    pub prefix: Octets,
    /// Keys inside.
    pub count: u64,
    /// True if counting stopped early and there are more.
    pub count_capped: bool,
}

/// A key in a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRow {
    /// The key.
    pub key: Octets,
    /// The first bytes of the value.
    pub preview: Octets,
    /// Size of the whole value, bytes.
    pub value_bytes: u64,
    /// Revision that created this generation of the key.
    pub create_revision: i64,
    /// Revision of the last change.
    pub mod_revision: i64,
    /// Changes since creation, counted from 1.
    pub version: i64,
    /// The lease that the key hangs on, 16 hexadecimal digits; empty for none.
    pub lease: String,
}

/// One key at one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyView {
    /// The revision it was read at.
    pub revision: i64,
    /// Newest revision of the store when it was read.
    pub current_revision: i64,
    /// Metadata, and the beginning of the value as a preview.
    pub row: KeyRow,
    /// The value, or its beginning.
    pub value: Octets,
    /// True if only the beginning of the value was sent.
    pub value_cut: bool,
}

/// All retained changes of one key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyHistory {
    /// The key.
    pub key: Octets,
    /// Newest first.
    pub versions: Vec<KeyVersion>,
    /// Older changes up to this revision may be gone; −1 if the store was never compacted.
    pub compact_revision: i64,
    /// Newest revision of the store when it was read.
    pub current_revision: i64,
    /// True if there are older retained changes that were not sent.
    pub cut: bool,
}

/// One change of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyVersion {
    /// The revision it happened at.
    pub revision: i64,
    /// What happened.
    pub change: Change,
}

/// What happened to a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Change {
    /// It was written.
    Put {
        /// Metadata and the first bytes of the value.
        row: KeyRow,
    },
    /// It was deleted: a tombstone.
    Delete,
}
