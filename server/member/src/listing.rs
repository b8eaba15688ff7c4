//! Listing for people who browse: a page of folders and keys, with the beginnings of the values of that page only.

use bytes::Bytes;
use kvorum_core::auth::{Caller, needs};
use kvorum_core::mvcc::children::{Child, Children, ChildrenPage, ChildrenRequest, after_prefix};
use kvorum_core::{Error, Revision};
use kvorum_proto::mvccpb::KeyValue;
use prost::Message;

use crate::handle::Handle;

/// Pairs read at once: each may be large, and only its beginning is kept.
const PAIRS: usize = 16;

/// A line of a listing.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    /// Keys with the same beginning.
    Folder {
        /// The beginning, delimiter included.
        prefix: Vec<u8>,
        /// Keys inside that were counted.
        count: u64,
        /// True if counting stopped before the folder's end.
        count_capped: bool,
    },
    /// A key in no folder.
    Key {
        /// The pair, its value cut to what was asked for.
        pair: KeyValue,
        /// Size of the whole value, bytes.
        value_bytes: usize,
    },
}

/// A page of a listing.
#[derive(Clone, Debug, PartialEq)]
pub struct Listing {
    /// Revision it was read at.
    pub revision: i64,
    /// Newest revision when it was begun.
    pub current_revision: i64,
    /// Keys under the prefix that were counted, folders opened.
    pub count: u64,
    /// True if counting stopped before the prefix's end.
    pub count_capped: bool,
    /// In key order. May be shorter than the limit, even empty, although `next` leads on.
    pub lines: Vec<Line>,
    /// Where the next page starts; `None` if nothing follows.
    pub next: Option<Vec<u8>>,
}

impl Handle {
    /// One page of what is under a prefix, as this member has it: folders are counted up to a cap, and of values the
    /// first `value_bytes` are kept. Works without a quorum, which is when people look.
    ///
    /// # Errors
    /// The caller may not read all of it, the revision is compacted or in the future, or the state store failed.
    pub async fn list_children(
        &self,
        caller: &Caller,
        request: ChildrenRequest,
        value_bytes: usize,
    ) -> Result<Listing, Error> {
        let (prefix, end) = (request.prefix.clone(), after_prefix(&request.prefix));
        let needs = || needs::listing(&prefix, end.as_deref());
        let pass = self.enter(caller, needs)?;
        let mut children = Children::new(&self.shared.store.read(), request)?;
        while children.page(&self.shared.store.read())? {
            tokio::task::yield_now().await;
        }
        let page = children.finish();
        let mut lines = Vec::with_capacity(page.lines.len());
        for some in page.lines.chunks(PAIRS) {
            self.add_lines(&page, some, value_bytes, &mut lines)?;
            tokio::task::yield_now().await;
        }
        self.leave(caller, pass, needs)?;
        Ok(Listing {
            revision: page.revision,
            current_revision: page.current,
            count: page.count,
            count_capped: page.count_capped,
            lines,
            next: page.next,
        })
    }

    fn add_lines(
        &self,
        page: &ChildrenPage,
        some: &[Child],
        value_bytes: usize,
        lines: &mut Vec<Line>,
    ) -> Result<(), Error> {
        let wanted: Vec<Revision> = some.iter().filter_map(pair_of).collect();
        let mut pairs = self.pairs_at(page.revision, &wanted)?.into_iter();
        for child in some {
            match child {
                Child::Folder {
                    prefix,
                    count,
                    count_capped,
                } => lines.push(Line::Folder {
                    prefix: prefix.clone(),
                    count: *count,
                    count_capped: *count_capped,
                }),
                Child::Key { .. } => {
                    let kv = pairs.next().ok_or_else(|| self.lost(page.revision))?;
                    lines.push(self.key_line(kv, value_bytes)?);
                }
            }
        }
        Ok(())
    }

    fn key_line(&self, kv: Bytes, value_bytes: usize) -> Result<Line, Error> {
        let mut pair = KeyValue::decode(kv)
            .map_err(|e| self.broken(format!("a stored pair does not decode: {e}")))?;
        let whole = pair.value.len();
        // Copies: a slice would keep the whole value in memory for as long as the page lives.
        pair.key = Bytes::copy_from_slice(&pair.key);
        pair.value = Bytes::copy_from_slice(pair.value.get(..value_bytes).unwrap_or(&pair.value));
        Ok(Line::Key {
            pair,
            value_bytes: whole,
        })
    }

    /// The encoded pairs at `wanted`, which a read at `at` has found: from memory, and without the lock from disk.
    fn pairs_at(&self, at: i64, wanted: &[Revision]) -> Result<Vec<Bytes>, Error> {
        let found: Vec<Option<Bytes>> = {
            let store = self.shared.store.read();
            wanted.iter().map(|r| store.recent_kv(*r)).collect()
        };
        let missing: Vec<Revision> = wanted
            .iter()
            .zip(&found)
            .filter_map(|(revision, kv)| kv.is_none().then_some(*revision))
            .collect();
        let records: std::sync::Arc<dyn kvorum_core::backend::Records> = self.shared.state.clone();
        let stored = match missing.as_slice() {
            [] => Vec::new(),
            some => records
                .get_many(some)
                .map_err(|e| self.broken(e.to_string()))?,
        };
        let mut stored = stored.into_iter();
        found
            .into_iter()
            .map(|kv| match kv {
                Some(kv) => Ok(kv),
                None => match stored.next().flatten() {
                    Some(record) => Ok(record.kv),
                    None => Err(self.lost(at)),
                },
            })
            .collect()
    }

    /// A record can go while it is being read only by a compaction above the revision that is read; otherwise the
    /// state store has lost it.
    fn lost(&self, at: i64) -> Error {
        if self.shared.store.read().compacted() > at {
            return Error::Compacted;
        }
        self.broken(format!(
            "a record readable at revision {at} is missing; restore this member"
        ))
    }
}

/// Where the pair of a line is found.
fn pair_of(child: &Child) -> Option<Revision> {
    match child {
        Child::Key { revision, .. } => Some(*revision),
        Child::Folder { .. } => None,
    }
}
