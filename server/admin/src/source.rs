//! What the console asks of a store, and nothing more.

use std::fmt;

use futures_util::future::BoxFuture;
use kvorum_api::Overview;

/// In whose name keys are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    /// Nobody knows: only what everybody may read.
    Anybody,
    /// An administrator of the cluster who is signed in to the console. May read every key, as root may; nothing here
    /// changes any.
    Administrator,
}

/// A store that can be looked at.
pub(crate) trait Source: Send + Sync + 'static {
    /// The member's state now. Local and quick; called once a second.
    fn overview(&self) -> Overview;

    /// One page of a listing.
    fn list(&self, by: Reader, request: ListRequest) -> BoxFuture<'_, Result<Page, Refusal>>;

    /// One key; `None` if it does not exist at that revision.
    fn get(&self, by: Reader, key: Vec<u8>, revision: i64)
    -> BoxFuture<'_, Result<KeyAt, Refusal>>;

    /// The newest `limit` retained changes of a key, newest first.
    fn history(
        &self,
        by: Reader,
        key: Vec<u8>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Past, Refusal>>;
}

/// Which page of which listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ListRequest {
    /// Only keys that begin so.
    pub(crate) prefix: Vec<u8>,
    /// Keys that share everything up to the next delimiter after the prefix become one folder. Empty: no folders.
    pub(crate) delimiter: Vec<u8>,
    /// Where the page starts: `next` of the page before; empty for the first page.
    pub(crate) from: Vec<u8>,
    /// Folders and keys in a page.
    pub(crate) limit: usize,
    /// Revision to read at; 0 for the newest.
    pub(crate) revision: i64,
}

/// A page of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    /// Revision it was read at.
    pub(crate) revision: i64,
    /// Newest revision.
    pub(crate) current_revision: i64,
    /// Keys under the prefix, folders opened.
    pub(crate) count: u64,
    /// True if counting stopped early: there are at least `count`.
    pub(crate) count_capped: bool,
    /// In key order. May be few, even none, although `next` leads on.
    pub(crate) entries: Vec<Entry>,
    /// Where the next page starts.
    pub(crate) next: Option<Vec<u8>>,
}

/// A line of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Keys with the same beginning.
    Folder {
        /// The beginning, delimiter included.
        prefix: Vec<u8>,
        /// Keys inside.
        count: u64,
        /// True if there are more than `count`.
        count_capped: bool,
    },
    /// A key of its own.
    Key(KeyValue),
}

/// A key with its value and metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyValue {
    pub(crate) key: Vec<u8>,
    /// In a listing only as much of it as is shown.
    pub(crate) value: Vec<u8>,
    /// Size of the whole value, bytes.
    pub(crate) value_bytes: u64,
    pub(crate) create_revision: i64,
    pub(crate) mod_revision: i64,
    pub(crate) version: i64,
    pub(crate) lease: i64,
}

/// A key at a revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyAt {
    /// Revision it was read at.
    pub(crate) revision: i64,
    /// Newest revision.
    pub(crate) current_revision: i64,
    /// `None` if the key does not exist at `revision`.
    pub(crate) found: Option<KeyValue>,
}

/// The retained changes of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Past {
    /// Newest first; `None` is a deletion.
    pub(crate) changes: Vec<(i64, Option<KeyValue>)>,
    /// True if older retained changes were left out.
    pub(crate) cut: bool,
    /// −1 if the store was never compacted.
    pub(crate) compact_revision: i64,
    /// Newest revision.
    pub(crate) current_revision: i64,
}

/// Why a store did not answer. Statuses and texts for callers are made in `error`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The revision is compacted.
    Compacted,
    /// The revision does not exist yet.
    FutureRevision,
    /// Authentication is on, and nobody knows who asks.
    Nobody,
    /// The request itself is wrong.
    Invalid(String),
    /// The member cannot answer now.
    Unavailable(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compacted => f.write_str("required revision has been compacted"),
            Self::FutureRevision => f.write_str("required revision is a future revision"),
            Self::Nobody => f.write_str(
                "authentication is on, and this console does not know who asks: turn its login on (--console-login \
                 required)",
            ),
            Self::Invalid(why) | Self::Unavailable(why) => f.write_str(why),
        }
    }
}
