//! Writes a bbolt file once, from the leaves up.
//!
//! Pairs come sorted, one bucket after the other. A page leaves memory as soon as it is full, so that what is held is one
//! page of each level. The two meta pages at the front name the root and the length, so they come last: a file without
//! them is no bbolt file.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::page::{
    BRANCH, ELEMENT_BYTES, HEADER_BYTES, Header, IS_BUCKET, KEY_BYTES_MAX, LEAF, Meta, PAGE_BYTES,
};
use crate::disk::DiskFile;
use crate::error::StorageError;

/// Bytes that are collected before they are written.
const BUFFER_BYTES: usize = 1 << 20;
/// Pages 0 and 1 are the meta pages.
const FIRST_PAGE: u64 = 2;
/// Any number above 1: the other meta page has the one before it.
const TXID: u64 = 2;

/// A bbolt file in the making.
#[derive(Debug)]
pub struct BoltWriter {
    out: Output,
    /// Names and roots of the buckets that are complete.
    roots: Vec<(Vec<u8>, u64)>,
}

/// A bucket in the making.
#[derive(Debug)]
pub struct BucketWriter<'a> {
    out: &'a mut Output,
    roots: &'a mut Vec<(Vec<u8>, u64)>,
    name: Vec<u8>,
    tree: Tree,
}

impl BoltWriter {
    /// Begins in an empty file; `path` is for messages.
    #[must_use]
    pub fn new(file: Arc<dyn DiskFile>, path: PathBuf) -> Self {
        Self {
            out: Output {
                file,
                path,
                buffer: Vec::with_capacity(BUFFER_BYTES + PAGE_BYTES),
                next: FIRST_PAGE,
            },
            roots: Vec::new(),
        }
    }

    /// Begins a bucket. Its pairs are to come in ascending order of their keys.
    pub fn bucket(&mut self, name: &[u8]) -> BucketWriter<'_> {
        BucketWriter {
            out: &mut self.out,
            roots: &mut self.roots,
            name: name.to_vec(),
            tree: Tree::default(),
        }
    }

    /// Bytes that the pages so far take.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.out.bytes()
    }

    /// Writes what names the buckets, then the meta pages; gives the length of the file.
    ///
    /// # Errors
    /// The disk failed, or two buckets have one name.
    pub fn finish(mut self) -> Result<u64, StorageError> {
        self.roots.sort_unstable();
        let mut tree = Tree::default();
        for (name, root) in &self.roots {
            let mut value = root.to_le_bytes().to_vec();
            value.extend_from_slice(&0u64.to_le_bytes());
            tree.put(&mut self.out, name, &value, IS_BUCKET)?;
        }
        let root = tree.finish(&mut self.out)?;
        self.out.flush()?;
        let pages = self.out.next;
        for (id, txid) in [(0, TXID), (1, TXID - 1)] {
            let meta = Meta {
                page_bytes: PAGE_BYTES as u64,
                root,
                pages,
                txid,
            };
            let mut page = meta.write(id);
            page.resize(PAGE_BYTES, 0);
            self.out.write_at(id * PAGE_BYTES as u64, &page)?;
        }
        Ok(self.out.bytes())
    }
}

impl BucketWriter<'_> {
    /// Appends a pair.
    ///
    /// # Errors
    /// The disk failed, or the key is empty, too long or not above the one before.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), StorageError> {
        self.tree.put(self.out, key, value, 0)
    }

    /// Bytes that the pages of the whole file take so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.out.bytes()
    }

    /// The bucket is complete.
    ///
    /// # Errors
    /// The disk failed.
    pub fn finish(self) -> Result<(), StorageError> {
        let root = self.tree.finish(self.out)?;
        self.roots.push((self.name, root));
        Ok(())
    }
}

/// Pages in the order of their ids.
#[derive(Debug)]
struct Output {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    buffer: Vec<u8>,
    /// Id of the next page.
    next: u64,
}

impl Output {
    fn bytes(&self) -> u64 {
        self.next * PAGE_BYTES as u64
    }

    /// Appends a page with these contents behind its header; gives its id.
    fn page(&mut self, flags: u16, count: usize, parts: &[&[u8]]) -> Result<u64, StorageError> {
        let length = HEADER_BYTES + parts.iter().map(|part| part.len()).sum::<usize>();
        let pages = length.div_ceil(PAGE_BYTES);
        let numbers = u16::try_from(count).ok().zip(u32::try_from(pages - 1).ok());
        let Some((count, overflow)) = numbers else {
            return Err(StorageError::Order(
                "a page of a snapshot is too large".into(),
            ));
        };
        let id = self.next;
        let header = Header {
            id,
            flags,
            count,
            overflow,
        };
        header.write(&mut self.buffer);
        parts
            .iter()
            .for_each(|part| self.buffer.extend_from_slice(part));
        let filled = self.buffer.len() + pages * PAGE_BYTES - length;
        self.buffer.resize(filled, 0);
        self.next += pages as u64;
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(id)
    }

    fn flush(&mut self) -> Result<(), StorageError> {
        let begin = self.bytes() - self.buffer.len() as u64;
        self.write_at(begin, &self.buffer)?;
        self.buffer.clear();
        // One large value must not be paid for to the end.
        self.buffer.shrink_to(BUFFER_BYTES + PAGE_BYTES);
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), StorageError> {
        let written = self.file.write_at(offset, bytes);
        written.map_err(|e: io::Error| StorageError::io(&self.path, "write", e))
    }
}

/// A level's page as its parent knows it.
type Child = (Vec<u8>, u64);

/// One bucket's tree.
#[derive(Debug, Default)]
struct Tree {
    leaf: Leaf,
    levels: Vec<Branch>,
    last: Vec<u8>,
}

impl Tree {
    fn put(
        &mut self,
        out: &mut Output,
        key: &[u8],
        value: &[u8],
        flags: u32,
    ) -> Result<(), StorageError> {
        if key.is_empty() || key.len() > KEY_BYTES_MAX || key <= self.last.as_slice() {
            let what = format!(
                "a key of {} bytes does not come after the one before it in a snapshot",
                key.len()
            );
            return Err(StorageError::Order(what));
        }
        if !self.leaf.takes(key, value) {
            let child = self.leaf.write(out)?;
            self.child(out, 0, child)?;
        }
        self.leaf.add(key, value, flags)?;
        self.last.clear();
        self.last.extend_from_slice(key);
        Ok(())
    }

    /// Hangs a page under the level above it, and so on upwards.
    fn child(&mut self, out: &mut Output, level: usize, child: Child) -> Result<(), StorageError> {
        if self.levels.len() == level {
            self.levels.push(Branch::default());
        }
        let full = match self.levels.get_mut(level) {
            Some(branch) => branch.add(out, child)?,
            None => None,
        };
        match full {
            Some(page) => self.child(out, level + 1, page),
            None => Ok(()),
        }
    }

    /// Writes what is not written yet and gives the root.
    fn finish(mut self, out: &mut Output) -> Result<u64, StorageError> {
        let (key, id) = self.leaf.write(out)?;
        if self.levels.is_empty() {
            return Ok(id);
        }
        self.child(out, 0, (key, id))?;
        let mut level = 0;
        loop {
            let branch = self.levels.get_mut(level).map(std::mem::take);
            let pages = branch.unwrap_or_default().finish(out)?;
            let is_top = level + 1 == self.levels.len();
            match pages.as_slice() {
                [(_, root)] if is_top => return Ok(*root),
                _ => {}
            }
            for page in pages {
                self.child(out, level + 1, page)?;
            }
            level += 1;
        }
    }
}

/// A leaf page in the making.
#[derive(Debug, Default)]
struct Leaf {
    elements: Vec<(u32, u32, u32)>,
    content: Vec<u8>,
    first: Vec<u8>,
}

impl Leaf {
    /// True if the pair goes into this page: it fits, or it is the first one and gets as many pages as it needs.
    fn takes(&self, key: &[u8], value: &[u8]) -> bool {
        let elements = (self.elements.len() + 1) * ELEMENT_BYTES;
        let length = HEADER_BYTES + elements + self.content.len() + key.len() + value.len();
        self.elements.is_empty() || length <= PAGE_BYTES
    }

    fn add(&mut self, key: &[u8], value: &[u8], flags: u32) -> Result<(), StorageError> {
        let lengths = u32::try_from(key.len())
            .ok()
            .zip(u32::try_from(value.len()).ok());
        let Some((key_bytes, value_bytes)) = lengths else {
            return Err(StorageError::Order(
                "a value is too large for a snapshot".into(),
            ));
        };
        if self.elements.is_empty() {
            self.first = key.to_vec();
        }
        self.elements.push((flags, key_bytes, value_bytes));
        self.content.extend_from_slice(key);
        self.content.extend_from_slice(value);
        Ok(())
    }

    fn write(&mut self, out: &mut Output) -> Result<Child, StorageError> {
        let mut table = Vec::with_capacity(self.elements.len() * ELEMENT_BYTES);
        // Counted from each element itself, so it shrinks by one element and grows by what lies before.
        let mut place = (self.elements.len() * ELEMENT_BYTES) as u32;
        for (flags, key_bytes, value_bytes) in &self.elements {
            for number in [*flags, place, *key_bytes, *value_bytes] {
                table.extend_from_slice(&number.to_le_bytes());
            }
            place = place.wrapping_add(key_bytes + value_bytes) - ELEMENT_BYTES as u32;
        }
        let id = out.page(LEAF, self.elements.len(), &[&table, &self.content])?;
        self.elements.clear();
        self.content.clear();
        self.content.shrink_to(PAGE_BYTES);
        Ok((std::mem::take(&mut self.first), id))
    }
}

/// A level of branch pages. A branch with one child stops bbolt when that child is to be merged away, so the last two
/// children are held back until it is known that others follow.
#[derive(Debug, Default)]
struct Branch {
    children: Vec<Child>,
}

/// Fewest children of a branch page.
const CHILDREN_MIN: usize = 2;

impl Branch {
    fn add(&mut self, out: &mut Output, child: Child) -> Result<Option<Child>, StorageError> {
        self.children.push(child);
        let fitting = self.fitting();
        if self.children.len() >= fitting + CHILDREN_MIN {
            return self.write(out, fitting).map(Some);
        }
        Ok(None)
    }

    /// So many of the first children make one page, and never fewer than a page must have.
    fn fitting(&self) -> usize {
        let mut length = HEADER_BYTES;
        let within = self.children.iter().take_while(|(key, _)| {
            length += ELEMENT_BYTES + key.len();
            length <= PAGE_BYTES
        });
        within.count().max(CHILDREN_MIN)
    }

    fn finish(mut self, out: &mut Output) -> Result<Vec<Child>, StorageError> {
        let mut pages = Vec::new();
        let count = self.children.len();
        if self.fitting() < count && count >= 2 * CHILDREN_MIN {
            pages.push(self.write(out, count - CHILDREN_MIN)?);
        }
        let rest = self.children.len();
        pages.push(self.write(out, rest)?);
        Ok(pages)
    }

    fn write(&mut self, out: &mut Output, count: usize) -> Result<Child, StorageError> {
        let children: Vec<Child> = self.children.drain(..count).collect();
        let mut table = Vec::with_capacity(count * ELEMENT_BYTES);
        let mut content = Vec::new();
        for (number, (key, id)) in children.iter().enumerate() {
            let place = (count - number) * ELEMENT_BYTES + content.len();
            table.extend_from_slice(&(place as u32).to_le_bytes());
            table.extend_from_slice(&(key.len() as u32).to_le_bytes());
            table.extend_from_slice(&id.to_le_bytes());
            content.extend_from_slice(key);
        }
        let id = out.page(BRANCH, count, &[&table, &content])?;
        let first = children.into_iter().next().unwrap_or_default();
        Ok((first.0, id))
    }
}
