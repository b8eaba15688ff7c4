//! Listing a prefix as folders and keys, for people who browse: a page costs what it shows, not what lies below.
//!
//! The walk jumps over a folder once it has counted enough of it, and goes on from a cursor, so that no hold of the
//! store's lock visits more than `PAGE_KEYS` keys. Deleted keys that are not compacted yet cost a visit each and show
//! nothing; a page that meets too many of them ends early and says where to go on.

use std::ops::Bound;

use super::interval::Bounds;
use super::range::PAGE_KEYS;
use super::store::Store;
use crate::error::Error;
use crate::types::Revision;

/// Keys counted in one folder before it is jumped over.
pub const FOLDER_KEYS: u64 = 1000;
/// Keys visited to count what is under the prefix.
pub const COUNT_KEYS: usize = 10_000;

/// Which page of which listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChildrenRequest {
    /// Only keys that begin so.
    pub prefix: Vec<u8>,
    /// Keys that share everything up to the next delimiter after the prefix are one folder. Empty: no folders.
    pub delimiter: Vec<u8>,
    /// Where the page starts: empty, or the `next` of the page before.
    pub from: Vec<u8>,
    /// Folders and keys in a page; at least one.
    pub limit: usize,
    /// Revision to read at; 0 or less for the newest.
    pub revision: i64,
}

/// A line of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Child {
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
        /// The key.
        key: Vec<u8>,
        /// Where its pair is found.
        revision: Revision,
    },
}

/// A page of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildrenPage {
    /// Revision it was read at.
    pub revision: i64,
    /// Newest revision when it was begun.
    pub current: i64,
    /// Keys under the prefix that were counted, folders opened.
    pub count: u64,
    /// True if counting stopped before the prefix's end.
    pub count_capped: bool,
    /// In key order. May be shorter than the limit, even empty, although `next` leads on.
    pub lines: Vec<Child>,
    /// Where the next page starts; `None` if nothing follows.
    pub next: Option<Vec<u8>>,
}

/// A listing being read.
#[derive(Debug)]
pub struct Children {
    request: ChildrenRequest,
    end: Option<Vec<u8>>,
    page: ChildrenPage,
    /// Where the walk goes on; `None` once the page is done.
    walk_from: Option<Vec<u8>>,
    /// Keys that the walk may still visit.
    walk_left: usize,
    /// Where counting goes on; `None` once it is done.
    count_from: Option<Vec<u8>>,
    /// Keys that counting may still visit.
    count_left: usize,
}

/// What a live key meant for the walk.
enum Taken {
    /// It is in a line now.
    Line,
    /// Its folder is counted enough.
    FolderDone,
    /// It begins the next page.
    NextPage,
}

impl Children {
    /// Starts a listing: checks the revision and pins it.
    ///
    /// # Errors
    /// The revision is compacted or in the future.
    pub fn new(store: &Store, request: ChildrenRequest) -> Result<Self, Error> {
        let current = store.current();
        if request.revision > current {
            return Err(Error::FutureRevision);
        }
        if request.revision > 0 && request.revision < store.compacted() {
            return Err(Error::Compacted);
        }
        let at = match request.revision {
            ..=0 => current,
            asked => asked,
        };
        // All keys that exist now are counted already.
        let known = (request.prefix.is_empty() && at == current).then(|| store.keys());
        let lines_max = request.limit.max(1).saturating_add(1);
        let folder_keys = usize::try_from(FOLDER_KEYS).unwrap_or(usize::MAX);
        Ok(Self {
            end: after_prefix(&request.prefix),
            page: ChildrenPage {
                revision: at,
                current,
                count: known.unwrap_or_default(),
                count_capped: false,
                lines: Vec::new(),
                next: None,
            },
            walk_from: Some(request.from.clone().max(request.prefix.clone())),
            walk_left: lines_max.saturating_mul(folder_keys.saturating_add(1)),
            count_from: known.is_none().then(|| request.prefix.clone()),
            count_left: COUNT_KEYS,
            request,
        })
    }

    /// Visits up to `PAGE_KEYS` keys. True if more remain to be visited.
    ///
    /// # Errors
    /// The pinned revision was compacted meanwhile.
    pub fn page(&mut self, store: &Store) -> Result<bool, Error> {
        if self.page.revision < store.compacted() {
            return Err(Error::Compacted);
        }
        let mut hold_left = PAGE_KEYS;
        while let Some(from) = self.walk_from.take() {
            self.walk(store, &from, &mut hold_left);
            if hold_left == 0 {
                return Ok(true);
            }
        }
        if let Some(from) = self.count_from.take() {
            self.count(store, &from, &mut hold_left);
        }
        Ok(self.count_from.is_some())
    }

    /// Collects lines from `from` on, up to the next jump or the end of this hold.
    fn walk(&mut self, store: &Store, from: &[u8], hold_left: &mut usize) {
        let Some(bounds) = bounds(from, self.end.as_deref()) else {
            return;
        };
        for (key, index) in store.index.range::<[u8], _>(bounds) {
            if *hold_left == 0 {
                self.walk_from = Some(key.to_vec());
                return;
            }
            *hold_left -= 1;
            if self.walk_left == 0 {
                self.end_early(key);
                return;
            }
            self.walk_left -= 1;
            let Some(revision) = index.at(self.page.revision) else {
                continue;
            };
            match self.take(key, revision) {
                Taken::Line => {}
                Taken::FolderDone => {
                    self.walk_from = self.after_open_folder(key);
                    return;
                }
                Taken::NextPage => {
                    self.page.next = Some(key.to_vec());
                    return;
                }
            }
        }
    }

    /// Adds the next key in order.
    fn take(&mut self, key: &[u8], revision: Revision) -> Taken {
        if let Some((count, count_capped)) = self.open_folder(key) {
            if *count == FOLDER_KEYS {
                *count_capped = true;
                return Taken::FolderDone;
            }
            *count += 1;
            return Taken::Line;
        }
        if self.page.lines.len() >= self.request.limit.max(1) {
            return Taken::NextPage;
        }
        let folder = folder_end(key, self.request.prefix.len(), &self.request.delimiter);
        self.page
            .lines
            .push(match folder.and_then(|end| key.get(..end)) {
                Some(prefix) => Child::Folder {
                    prefix: prefix.to_vec(),
                    count: 1,
                    count_capped: false,
                },
                None => Child::Key {
                    key: key.to_vec(),
                    revision,
                },
            });
        Taken::Line
    }

    /// The count of the last line, if that is a folder which holds `key`.
    fn open_folder(&mut self, key: &[u8]) -> Option<(&mut u64, &mut bool)> {
        match self.page.lines.last_mut() {
            Some(Child::Folder {
                prefix,
                count,
                count_capped,
            }) if key.starts_with(prefix) => Some((count, count_capped)),
            _ => None,
        }
    }

    /// Where keys go on behind the folder that holds `key` and is the last line.
    fn after_open_folder(&self, key: &[u8]) -> Option<Vec<u8>> {
        match self.page.lines.last() {
            Some(Child::Folder { prefix, .. }) if key.starts_with(prefix) => after_prefix(prefix),
            _ => Some(key.to_vec()),
        }
    }

    /// Too much was visited: the next page starts at `key`, or behind the folder that is shown already.
    fn end_early(&mut self, key: &[u8]) {
        if let Some((_, count_capped)) = self.open_folder(key) {
            *count_capped = true;
        }
        self.page.next = self.after_open_folder(key);
    }

    /// Counts keys under the prefix from `from` on, up to the end of this hold.
    fn count(&mut self, store: &Store, from: &[u8], hold_left: &mut usize) {
        let Some(bounds) = bounds(from, self.end.as_deref()) else {
            return;
        };
        for (key, index) in store.index.range::<[u8], _>(bounds) {
            if self.count_left == 0 {
                self.page.count_capped = true;
                return;
            }
            if *hold_left == 0 {
                self.count_from = Some(key.to_vec());
                return;
            }
            *hold_left -= 1;
            self.count_left -= 1;
            self.page.count += u64::from(index.at(self.page.revision).is_some());
        }
    }

    /// The page.
    #[must_use]
    pub fn finish(mut self) -> ChildrenPage {
        if self.page.count_capped {
            // Both are lower bounds.
            let shown = self.page.lines.iter().map(|line| match line {
                Child::Folder { count, .. } => *count,
                Child::Key { .. } => 1,
            });
            self.page.count = self.page.count.max(shown.sum());
        }
        self.page
    }
}

/// From `from` up to `end`; `None` if nothing can lie there (such bounds would panic).
fn bounds<'a>(from: &'a [u8], end: Option<&'a [u8]>) -> Option<Bounds<'a>> {
    match end {
        None => Some((Bound::Included(from), Bound::Unbounded)),
        Some(end) if from < end => Some((Bound::Included(from), Bound::Excluded(end))),
        Some(_) => None,
    }
}

/// Where the folder's name ends in a key, delimiter included; `None` if the key is in no folder.
fn folder_end(key: &[u8], prefix_len: usize, delimiter: &[u8]) -> Option<usize> {
    if delimiter.is_empty() {
        return None;
    }
    let rest = key.get(prefix_len..)?;
    let at = rest
        .windows(delimiter.len())
        .position(|window| window == delimiter)?;
    Some(prefix_len + at + delimiter.len())
}

/// The first key after all that begin with `prefix`; `None` if there is no such key.
#[must_use]
pub fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte < 0xff)?;
    let mut end = prefix.get(..=last)?.to_vec();
    *end.last_mut()? += 1;
    Some(end)
}

#[cfg(test)]
mod tests;
