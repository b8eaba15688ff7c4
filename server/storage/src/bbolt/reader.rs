//! Reads a bbolt file that nobody vouches for.
//!
//! Every page is looked at once, from the first key of a bucket to the last. Lengths are compared with the file before
//! anything is allocated for them, a page that is reached twice is refused (there may be a circle), and what is refused
//! is named with its page and place. Nothing here panics, whatever the bytes.

use std::io;

use super::digest::{Trailer, checked_len};
use super::page::{
    BRANCH, BUCKET_BYTES, ELEMENT_BYTES, HEADER_BYTES, Header, IS_BUCKET, KEY_BYTES_MAX, LEAF,
    Meta, PAGE_BYTES_MAX, PAGE_BYTES_MIN, u32_at, u64_at,
};
use super::source::Source;
use crate::error::StorageError;

/// A page with all that belongs to it, bytes: far more than the largest request that an etcd can be told to take.
const SPAN_BYTES_MAX: u64 = 1 << 30;
/// The same for a branch, which holds keys only, four of the longest at most.
const BRANCH_BYTES_MAX: u64 = 1 << 20;
/// Levels of a tree. Two children each would hold more pages than a disk.
const DEPTH_MAX: usize = 64;
/// Top-level buckets: etcd has ten.
const BUCKETS_MAX: usize = 1024;

const ADVICE: &str = "take another snapshot, or restore from another backup";

pub(super) fn refuse(name: &str, what: impl Into<String>) -> StorageError {
    StorageError::Corrupt {
        file: name.into(),
        offset: None,
        first_missing: None,
        what: what.into(),
        action: ADVICE,
    }
}

pub(super) fn length(source: &impl Source, name: &str) -> Result<u64, StorageError> {
    let bytes = source.bytes();
    bytes.map_err(|e| StorageError::io(name, "read the length of", e))
}

pub(super) fn read_at(
    source: &impl Source,
    name: &str,
    offset: u64,
    buf: &mut [u8],
) -> Result<(), StorageError> {
    let read = source.read_at(offset, buf);
    read.map_err(|e| match e.kind() {
        io::ErrorKind::UnexpectedEof => refuse(name, "it ends before its time"),
        _ => StorageError::io(name, "read", e),
    })
}

/// A file whose meta pages are sound.
#[derive(Debug)]
pub struct BoltFile<S> {
    source: S,
    name: String,
    meta: Meta,
    /// Pages that were reached, a bit each.
    seen: Vec<u64>,
    buckets: Vec<Bucket>,
}

/// A top-level bucket.
#[derive(Clone, Debug)]
pub struct Bucket {
    /// Its name.
    pub name: Vec<u8>,
    place: Place,
}

#[derive(Clone, Debug)]
enum Place {
    Paged(u64),
    /// A small bucket that lies in the leaf of its parent, as a page image.
    Inline(Vec<u8>),
}

/// A page in memory, with what belongs to it.
#[derive(Debug)]
struct Page {
    id: u64,
    header: Header,
    bytes: Vec<u8>,
}

/// One pair, or one bucket, of a leaf.
#[derive(Clone, Copy, Debug)]
struct Element<'a> {
    is_bucket: bool,
    key: &'a [u8],
    value: &'a [u8],
}

impl<S: Source> BoltFile<S> {
    /// Checks the trailer as `trailer` demands, finds the meta page to go by, and reads what buckets there are. `name`
    /// is for messages.
    ///
    /// # Errors
    /// It cannot be read, or it is damaged.
    pub fn open(source: S, name: &str, trailer: Trailer) -> Result<Self, StorageError> {
        let bytes = checked_len(&source, name, trailer)?;
        let meta = find_meta(&source, name, bytes)?;
        let words = usize::try_from(meta.pages.div_ceil(64)).unwrap_or(usize::MAX);
        let mut file = Self {
            source,
            name: name.to_owned(),
            meta,
            // No more pages than the file has room for, so this is a small part of its length.
            seen: vec![0; words],
            buckets: Vec::new(),
        };
        file.buckets = file.list_buckets()?;
        Ok(file)
    }

    /// The buckets, in the order of their names.
    #[must_use]
    pub fn buckets(&self) -> &[Bucket] {
        &self.buckets
    }

    /// Length of the pages, without the trailer, bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.meta.pages * self.meta.page_bytes
    }

    /// The name it was opened under.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Shows every pair of a bucket in the order of the keys. A bucket can be walked once.
    ///
    /// # Errors
    /// The file is damaged or cannot be read, or `visit` failed.
    pub fn walk(
        &mut self,
        bucket: &Bucket,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        let name = String::from_utf8_lossy(&bucket.name).into_owned();
        let mut order = Order::default();
        let mut show = |file: &Self, element: Element<'_>| {
            if element.is_bucket {
                let what = format!("bucket {name:?} holds another bucket, which etcd's never do");
                return Err(refuse(&file.name, what));
            }
            visit(element.key, element.value)
        };
        match &bucket.place {
            Place::Paged(root) => self.descend(*root, &mut order, &mut show),
            Place::Inline(image) => {
                let page = self.inline_page(image, &name)?;
                self.leaf(&page, &mut order, &mut show)
            }
        }
    }

    fn list_buckets(&mut self) -> Result<Vec<Bucket>, StorageError> {
        let mut buckets = Vec::new();
        let root = self.meta.root;
        self.descend(root, &mut Order::default(), &mut |file, element| {
            let name = element.key.to_vec();
            let shown = String::from_utf8_lossy(&name).into_owned();
            if !element.is_bucket {
                let what = format!("there is a key {shown:?} beside the buckets");
                return Err(refuse(&file.name, what));
            }
            if buckets.len() == BUCKETS_MAX {
                return Err(refuse(&file.name, "it has too many buckets to be etcd's"));
            }
            let Some(root) =
                u64_at(element.value, 0).filter(|_| element.value.len() >= BUCKET_BYTES)
            else {
                let what = format!("the entry of bucket {shown:?} is too short");
                return Err(refuse(&file.name, what));
            };
            let place = match root {
                0 => Place::Inline(
                    element
                        .value
                        .get(BUCKET_BYTES..)
                        .unwrap_or_default()
                        .to_vec(),
                ),
                root => Place::Paged(root),
            };
            buckets.push(Bucket { name, place });
            Ok(())
        })?;
        Ok(buckets)
    }

    /// Walks the tree below a page. Branches wait in a list of their own, so that no depth of the file is a depth of
    /// our stack.
    fn descend(
        &mut self,
        root: u64,
        order: &mut Order,
        show: &mut impl FnMut(&Self, Element<'_>) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        let mut above: Vec<(Page, usize)> = Vec::new();
        let mut next = Some(root);
        loop {
            if let Some(id) = next.take() {
                let page = self.load(id)?;
                if page.header.flags & BRANCH != 0 {
                    if page.header.count == 0 {
                        return Err(self.bad(page.id, "is a branch without children"));
                    }
                    if above.len() == DEPTH_MAX {
                        return Err(self.bad(page.id, "lies too deep"));
                    }
                    above.push((page, 0));
                } else {
                    if page.header.count == 0 && !above.is_empty() {
                        return Err(self.bad(page.id, "is an empty leaf below a branch"));
                    }
                    self.leaf(&page, order, show)?;
                }
            }
            let Some((branch, place)) = above.last_mut() else {
                return Ok(());
            };
            if *place == usize::from(branch.header.count) {
                above.pop();
                continue;
            }
            let (key, child) = self.child(branch, *place)?;
            order
                .branch(key, *place == 0)
                .map_err(|what| self.bad(branch.id, what))?;
            *place += 1;
            next = Some(child);
        }
    }

    fn leaf(
        &self,
        page: &Page,
        order: &mut Order,
        show: &mut impl FnMut(&Self, Element<'_>) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        for place in 0..usize::from(page.header.count) {
            let element = element(page, place);
            let element = element.ok_or_else(|| self.bad_element(page, place))?;
            order
                .leaf(element.key)
                .map_err(|what| self.bad(page.id, what))?;
            show(self, element)?;
        }
        Ok(())
    }

    fn child<'p>(&self, page: &'p Page, place: usize) -> Result<(&'p [u8], u64), StorageError> {
        branch_element(page, place).ok_or_else(|| self.bad_element(page, place))
    }

    /// Reads a page that was not reached before, with all that belongs to it.
    fn load(&mut self, id: u64) -> Result<Page, StorageError> {
        if id < 2 || id >= self.meta.pages {
            return Err(self.bad(id, "is named, but does not exist"));
        }
        let page_bytes = self.meta.page_bytes;
        // Below the number of pages times their length, which the file's length bounds.
        let offset = id * page_bytes;
        let mut head = [0; HEADER_BYTES];
        read_at(&self.source, &self.name, offset, &mut head)?;
        let header = Header::read(&head).ok_or_else(|| self.bad(id, "has no header"))?;
        if header.id != id {
            let what = format!("calls itself page {}", header.id);
            return Err(self.bad(id, what));
        }
        if header.flags != BRANCH && header.flags != LEAF {
            let what = format!("is neither branch nor leaf (flags {:#x})", header.flags);
            return Err(self.bad(id, what));
        }
        let span = u64::from(header.overflow) + 1;
        if span > self.meta.pages - id {
            return Err(self.bad(id, "reaches beyond the end of the file"));
        }
        let most = if header.flags == BRANCH {
            BRANCH_BYTES_MAX
        } else {
            SPAN_BYTES_MAX
        };
        if span * page_bytes > most {
            return Err(self.bad(id, "is larger than any request of etcd"));
        }
        self.reach(id, span)?;
        let mut bytes = vec![0; usize::try_from(span * page_bytes).unwrap_or(0)];
        read_at(&self.source, &self.name, offset, &mut bytes)?;
        Ok(Page { id, header, bytes })
    }

    /// Marks pages as reached.
    fn reach(&mut self, id: u64, span: u64) -> Result<(), StorageError> {
        for page in id..id + span {
            let bit = 1u64 << (page % 64);
            let word = usize::try_from(page / 64)
                .ok()
                .and_then(|at| self.seen.get_mut(at));
            match word {
                Some(word) if *word & bit == 0 => *word |= bit,
                _ => return Err(self.bad(page, "is used twice")),
            }
        }
        Ok(())
    }

    fn inline_page(&self, image: &[u8], bucket: &str) -> Result<Page, StorageError> {
        let header = Header::read(image).filter(|h| h.flags == LEAF && h.overflow == 0);
        let Some(header) = header else {
            let what = format!("bucket {bucket:?} lies in its parent, but not as a leaf");
            return Err(refuse(&self.name, what));
        };
        Ok(Page {
            id: self.meta.root,
            header,
            bytes: image.to_vec(),
        })
    }

    fn bad(&self, id: u64, what: impl AsRef<str>) -> StorageError {
        StorageError::Corrupt {
            file: (&self.name).into(),
            offset: id.checked_mul(self.meta.page_bytes),
            first_missing: None,
            what: format!("page {id} {}", what.as_ref()),
            action: ADVICE,
        }
    }

    fn bad_element(&self, page: &Page, place: usize) -> StorageError {
        self.bad(
            page.id,
            format!("has an entry {place} that does not lie in it"),
        )
    }
}

fn element(page: &Page, place: usize) -> Option<Element<'_>> {
    let at = HEADER_BYTES + place * ELEMENT_BYTES;
    let flags = u32_at(&page.bytes, at)?;
    let begin = at.checked_add(u32_at(&page.bytes, at + 4)? as usize)?;
    let middle = begin.checked_add(u32_at(&page.bytes, at + 8)? as usize)?;
    let end = middle.checked_add(u32_at(&page.bytes, at + 12)? as usize)?;
    let after = HEADER_BYTES + usize::from(page.header.count) * ELEMENT_BYTES;
    (begin >= after).then_some(Element {
        is_bucket: flags & IS_BUCKET != 0,
        key: page.bytes.get(begin..middle)?,
        value: page.bytes.get(middle..end)?,
    })
}

fn branch_element(page: &Page, place: usize) -> Option<(&[u8], u64)> {
    let at = HEADER_BYTES + place * ELEMENT_BYTES;
    let begin = at.checked_add(u32_at(&page.bytes, at)? as usize)?;
    let end = begin.checked_add(u32_at(&page.bytes, at + 4)? as usize)?;
    let after = HEADER_BYTES + usize::from(page.header.count) * ELEMENT_BYTES;
    let key = page.bytes.get(begin..end).filter(|_| begin >= after)?;
    Some((key, u64_at(&page.bytes, at + 8)?))
}

/// Keys rise through the whole bucket, and none of a branch's children begins below the key that names it.
#[derive(Debug, Default)]
struct Order {
    last: Option<Vec<u8>>,
    floor: Vec<u8>,
}

impl Order {
    fn branch(&mut self, key: &[u8], is_first: bool) -> Result<(), &'static str> {
        let last = self.last.as_deref();
        // The first child's key may be older than what it holds now: bbolt does not follow deletions there.
        if !is_first && last.is_some_and(|last| key <= last) {
            return Err("has children that are out of order");
        }
        if key > self.floor.as_slice() {
            self.floor.clear();
            self.floor.extend_from_slice(key);
        }
        Ok(())
    }

    fn leaf(&mut self, key: &[u8]) -> Result<(), &'static str> {
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            return Err("has a key that is empty or longer than 32768 bytes");
        }
        if self.last.as_deref().is_some_and(|last| key <= last) {
            return Err("has keys that are out of order");
        }
        if key < self.floor.as_slice() {
            return Err("has a key below the one that its branch names");
        }
        let last = self.last.get_or_insert_default();
        last.clear();
        last.extend_from_slice(key);
        Ok(())
    }
}

/// The meta page to go by: the sound one with the highest transaction.
fn find_meta(source: &impl Source, name: &str, bytes: u64) -> Result<Meta, StorageError> {
    let first = read_meta(source, name, bytes, 0);
    let page_bytes = match &first {
        Ok(meta) => vec![meta.page_bytes],
        Err(_) => page_sizes().collect(),
    };
    let seconds = page_bytes
        .into_iter()
        .map(|at| read_meta(source, name, bytes, at));
    let second = seconds
        .reduce(|a, b| a.or(b))
        .unwrap_or(Err("it is too short"));
    match (first, second) {
        (Ok(a), Ok(b)) => Ok(if b.txid > a.txid { b } else { a }),
        (Ok(meta), Err(_)) | (Err(_), Ok(meta)) => Ok(meta),
        (Err(first), Err(second)) => {
            let what = format!(
                "neither of its two meta pages can be used (the first: {first}; the second: {second}): it is no database \
                 of etcd, or damaged"
            );
            Err(refuse(name, what))
        }
    }
}

fn page_sizes() -> impl Iterator<Item = u64> {
    (0..=7).map(|shift| PAGE_BYTES_MIN << shift)
}

fn read_meta(source: &impl Source, name: &str, bytes: u64, at: u64) -> Result<Meta, &'static str> {
    let mut page = [0; 80];
    if at
        .checked_add(page.len() as u64)
        .is_none_or(|end| end > bytes)
    {
        return Err("the file is too short for it");
    }
    read_at(source, name, at, &mut page).map_err(|_| "it cannot be read")?;
    let meta = Meta::read(&page)?;
    if !meta.page_bytes.is_power_of_two()
        || !(PAGE_BYTES_MIN..=PAGE_BYTES_MAX).contains(&meta.page_bytes)
    {
        return Err("its page size is none");
    }
    let end = meta.pages.checked_mul(meta.page_bytes);
    if meta.pages < 3 || end.is_none_or(|end| end > bytes) {
        return Err("the file is shorter than it says");
    }
    Ok(meta)
}
