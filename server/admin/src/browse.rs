//! A page of folders and keys out of a member's key order.
//!
//! Keys are read in chunks without values; a folder larger than the rest of a chunk is counted and jumped over. Values
//! are then read for the page's keys only, a few at a time, because each may be large and only its beginning is shown.

use kvorum_core::reply::RangeReply;
use kvorum_member::Handle;
use kvorum_proto::etcdserverpb as pb;

use crate::member_source::{decode, refusal};
use crate::source::{Entry, ListRequest, Page, Refusal};

/// Keys read at once.
const CHUNK_KEYS: usize = 4096;
/// Values read at once.
const VALUES: usize = 16;

/// Reads the page that `request` asks for.
pub(crate) async fn page(handle: &Handle, request: ListRequest) -> Result<Page, Refusal> {
    let end = after_prefix(&request.prefix);
    let mut reads = Reads {
        handle,
        revision: request.revision,
    };
    let whole = reads
        .range(&request.prefix, end.as_deref(), Want::Count)
        .await?;
    let current_revision = whole.revision;
    if reads.revision == 0 {
        reads.revision = current_revision;
    }
    let mut walk = Walk::new(&request);
    let mut from = Some(if request.from.is_empty() {
        request.prefix.clone()
    } else {
        request.from.clone()
    });
    while let Some(start) = from {
        from = walk.chunk(&reads, &start, end.as_deref()).await?;
    }
    let (lines, next) = walk.finish();
    Ok(Page {
        revision: reads.revision,
        current_revision,
        count: whole.count.unsigned_abs(),
        entries: entries(&reads, lines).await?,
        next,
    })
}

/// What a range is read for.
#[derive(Clone, Copy)]
enum Want {
    Count,
    Keys(usize),
    Pairs(usize),
}

/// Ranges of one member at one revision.
struct Reads<'a> {
    handle: &'a Handle,
    revision: i64,
}

impl Reads<'_> {
    /// Keys from `from` up to `end`, or to the last.
    async fn range(
        &self,
        from: &[u8],
        end: Option<&[u8]>,
        want: Want,
    ) -> Result<RangeReply, Refusal> {
        // To etcd, "\0" as a start is the first possible key, and as an end it is no end.
        let or_zero = |bytes: &[u8]| {
            if bytes.is_empty() {
                vec![0]
            } else {
                bytes.to_vec()
            }
        };
        let limit = match want {
            Want::Count => 0,
            Want::Keys(limit) | Want::Pairs(limit) => limit,
        };
        let request = pb::RangeRequest {
            key: or_zero(from).into(),
            range_end: or_zero(end.unwrap_or_default()).into(),
            revision: self.revision,
            limit: i64::try_from(limit).unwrap_or(i64::MAX),
            serializable: true,
            count_only: matches!(want, Want::Count),
            keys_only: matches!(want, Want::Keys(_)),
            ..Default::default()
        };
        self.handle.range(request).await.map_err(refusal)
    }
}

/// A line before its values are read.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Line {
    Folder {
        prefix: Vec<u8>,
        count: u64,
        first: Vec<u8>,
    },
    Key(Vec<u8>),
}

/// The lines found so far: one more than the page holds tells where the next page starts.
struct Walk<'a> {
    request: &'a ListRequest,
    lines: Vec<Line>,
}

impl<'a> Walk<'a> {
    fn new(request: &'a ListRequest) -> Self {
        Self {
            request,
            lines: Vec::new(),
        }
    }

    /// Reads one chunk; gives the start of the next one, if more is wanted and there is more.
    async fn chunk(
        &mut self,
        reads: &Reads<'_>,
        from: &[u8],
        end: Option<&[u8]>,
    ) -> Result<Option<Vec<u8>>, Refusal> {
        let wanted = match self.request.delimiter.is_empty() {
            true => self.request.limit + 1 - self.lines.len(),
            false => CHUNK_KEYS,
        };
        let reply = reads.range(from, end, Want::Keys(wanted)).await?;
        let mut last = None;
        for pair in &reply.kvs {
            let key = decode(pair)?.key;
            self.take(&key);
            if self.is_full() {
                return Ok(None);
            }
            last = Some(key);
        }
        match (last, self.lines.last_mut()) {
            (Some(_), Some(Line::Folder { prefix, count, .. })) if reply.more => {
                let behind = after_prefix(prefix);
                *count = reads
                    .range(prefix, behind.as_deref(), Want::Count)
                    .await?
                    .count
                    .unsigned_abs();
                Ok(behind)
            }
            (Some(last), _) if reply.more => Ok(Some([last.as_slice(), &[0]].concat())),
            _ => Ok(None),
        }
    }

    /// Adds the next key in order.
    fn take(&mut self, key: &[u8]) {
        let Some(end) = folder_end(key, self.request.prefix.len(), &self.request.delimiter) else {
            self.lines.push(Line::Key(key.to_vec()));
            return;
        };
        match self.lines.last_mut() {
            Some(Line::Folder { prefix, count, .. }) if *prefix == key[..end] => *count += 1,
            _ => self.lines.push(Line::Folder {
                prefix: key[..end].to_vec(),
                count: 1,
                first: key.to_vec(),
            }),
        }
    }

    fn is_full(&self) -> bool {
        self.lines.len() > self.request.limit
    }

    /// The page's lines, and the first key of the next page.
    fn finish(mut self) -> (Vec<Line>, Option<Vec<u8>>) {
        let over = if self.is_full() {
            self.lines.pop()
        } else {
            None
        };
        let next = over.map(|line| match line {
            Line::Folder { first, .. } => first,
            Line::Key(key) => key,
        });
        (self.lines, next)
    }
}

/// Adds the values' beginnings to the keys.
async fn entries(reads: &Reads<'_>, lines: Vec<Line>) -> Result<Vec<Entry>, Refusal> {
    let mut entries = Vec::with_capacity(lines.len());
    let mut keys: Vec<Vec<u8>> = Vec::new();
    for line in lines {
        match line {
            Line::Key(key) => keys.push(key),
            Line::Folder { prefix, count, .. } => {
                pairs(reads, &mut keys, &mut entries).await?;
                entries.push(Entry::Folder {
                    prefix,
                    count,
                    count_capped: false,
                });
            }
        }
        if keys.len() == VALUES {
            pairs(reads, &mut keys, &mut entries).await?;
        }
    }
    pairs(reads, &mut keys, &mut entries).await?;
    Ok(entries)
}

/// Reads neighbouring keys with their values; nothing lies between them at this revision.
async fn pairs(
    reads: &Reads<'_>,
    keys: &mut Vec<Vec<u8>>,
    entries: &mut Vec<Entry>,
) -> Result<(), Refusal> {
    let (Some(first), Some(last)) = (keys.first(), keys.last()) else {
        return Ok(());
    };
    let end = [last.as_slice(), &[0]].concat();
    let reply = reads
        .range(first, Some(&end), Want::Pairs(keys.len()))
        .await?;
    for pair in &reply.kvs {
        entries.push(Entry::Key(decode(pair)?));
    }
    keys.clear();
    Ok(())
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
fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte < 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walked(request: &ListRequest, keys: &[&str]) -> (Vec<Line>, Option<Vec<u8>>) {
        let mut walk = Walk::new(request);
        for key in keys {
            if !walk.is_full() {
                walk.take(key.as_bytes());
            }
        }
        walk.finish()
    }

    fn folders(limit: usize) -> ListRequest {
        ListRequest {
            delimiter: b"/".to_vec(),
            limit,
            ..ListRequest::default()
        }
    }

    #[test]
    fn keys_of_a_folder_become_one_line() {
        let (lines, next) = walked(&folders(9), &["a/1", "a/2", "b", "c/1"]);
        let folder = |prefix: &str, count, first: &str| Line::Folder {
            prefix: prefix.into(),
            count,
            first: first.into(),
        };
        assert_eq!(
            lines,
            [
                folder("a/", 2, "a/1"),
                Line::Key(b"b".to_vec()),
                folder("c/", 1, "c/1")
            ]
        );
        assert_eq!(next, None);
    }

    #[test]
    fn the_next_page_starts_at_the_line_that_did_not_fit() {
        let (lines, next) = walked(&folders(1), &["a/1", "a/2", "b/1", "b/2"]);
        assert_eq!((lines.len(), next), (1, Some(b"b/1".to_vec())));
        assert_eq!(walked(&folders(2), &["a/1", "a/2", "b/1", "b/2"]).1, None);
    }

    #[test]
    fn the_end_of_a_prefix_skips_bytes_that_cannot_grow() {
        assert_eq!(after_prefix(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(after_prefix(b"a\xff\xff"), Some(b"b".to_vec()));
        assert_eq!(after_prefix(b"\xff"), None);
        assert_eq!(after_prefix(b""), None);
    }

    #[test]
    fn a_folder_ends_with_the_delimiter_after_the_prefix() {
        assert_eq!(folder_end(b"app/config/a", 0, b"/"), Some(4));
        assert_eq!(folder_end(b"app/config/a", 4, b"/"), Some(11));
        assert_eq!(folder_end(b"app/config/a", 11, b"/"), None);
        assert_eq!(folder_end(b"a::b", 0, b"::"), Some(3));
        assert_eq!(folder_end(b"app/x", 0, b""), None);
    }
}
