//! Lets in clients whose `:authority` is a whole URL, or a list of them, as etcd does.
//!
//! etcdctl 3.4 names the endpoint as it was given, `http://127.0.0.1:2379`, when it dials just one, and every client of
//! 3.5.0 sends `#initially=[http://127.0.0.1:2379]`. Go's server takes any text; the h2 crate resets the stream. So the
//! first HEADERS frame of a connection is looked at before h2 reads it, and such a value is replaced by its host and
//! port. There the dynamic table is still empty, so an authority is spelled out or not there at all. If it is in order,
//! as with all later clients, this filter is gone with that frame. If not, it stays for the connection: the client
//! spells the value out again once its table has dropped it.
//!
//! What is put in enters h2's dynamic table when the client's own value enters the client's. Ours is the shorter one,
//! so h2 drops entries later than the client does, never earlier, and indices count from the newest entry: whatever
//! the client may still refer to is where the client believes it is.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::uri;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::hpack;

/// Length (three bytes), type, flags, stream (four bytes).
const FRAME_HEAD_BYTES: usize = 9;
/// Larger frames are not allowed; h2 says so.
const FRAME_BYTES_MAX: usize = 16 * 1024;
const HEADERS: u8 = 1;
const PADDED: u8 = 0x08;
const PRIORITY: u8 = 0x20;
/// Stream dependency and weight.
const PRIORITY_BYTES: usize = 5;
/// Read from the socket at once while the filter is there.
const READ_BYTES: usize = 4 * 1024;

/// A socket behind its preface whose client may send such an authority.
pub(crate) struct Lenient<S> {
    socket: S,
    filter: Option<Box<Filter>>,
}

impl<S> Lenient<S> {
    pub(crate) fn new(socket: S) -> Self {
        Self {
            socket,
            filter: Some(Box::default()),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lenient<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let Some(filter) = &mut this.filter else {
            return Pin::new(&mut this.socket).poll_read(task, buffer);
        };
        while filter.out.is_empty() {
            let mut chunk = [0; READ_BYTES];
            let mut read = ReadBuf::new(&mut chunk);
            ready!(Pin::new(&mut this.socket).poll_read(task, &mut read))?;
            if read.filled().is_empty() {
                filter.finish();
                break;
            }
            filter.feed(read.filled());
        }
        let count = filter.out.len().min(buffer.remaining());
        buffer.put_slice(filter.out.get(..count).unwrap_or_default());
        filter.out.drain(..count);
        if filter.finished && filter.out.is_empty() {
            this.filter = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Lenient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(task, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(task)
    }
}

/// Follows the frames. Holds back at most the start of one frame, or one HEADERS frame.
#[derive(Default)]
pub(crate) struct Filter {
    /// The start of a frame that is not complete enough to pass.
    held: Vec<u8>,
    /// What is left of a frame that passes.
    passing: usize,
    /// May be read.
    pub(crate) out: Vec<u8>,
    /// The client has sent an authority that had to be replaced.
    mended: bool,
    /// Everything passes from here on.
    finished: bool,
}

impl Filter {
    /// Takes what was read; what may pass is in `out` afterwards.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.finished {
            if self.passing > 0 {
                let (now, rest) = bytes.split_at(bytes.len().min(self.passing));
                self.out.extend_from_slice(now);
                self.passing -= now.len();
                bytes = rest;
                continue;
            }
            let missing = self.wanted() - self.held.len();
            let (now, rest) = bytes.split_at(bytes.len().min(missing));
            self.held.extend_from_slice(now);
            bytes = rest;
            if now.len() == missing {
                self.advance();
            }
        }
        self.out.extend_from_slice(bytes);
    }

    /// Lets go of everything: the client says no more, or the filter is not needed.
    pub(crate) fn finish(&mut self) {
        self.out.append(&mut self.held);
        self.finished = true;
    }

    /// How much of a frame to hold until it is looked at: more than is held.
    fn wanted(&self) -> usize {
        match self.held.as_slice() {
            [a, b, c, ..] if self.held.len() >= FRAME_HEAD_BYTES => {
                FRAME_HEAD_BYTES + length([*a, *b, *c])
            }
            _ => FRAME_HEAD_BYTES,
        }
    }

    /// The head of a frame is held, or all of a HEADERS frame.
    fn advance(&mut self) {
        let [a, b, c, kind, ..] = *self.held.as_slice() else {
            return;
        };
        let length = length([a, b, c]);
        if kind != HEADERS {
            self.out.append(&mut self.held);
            self.passing = length;
        } else if length > FRAME_BYTES_MAX {
            self.finish();
        } else if self.held.len() == FRAME_HEAD_BYTES + length {
            match mend_frame(&self.held) {
                Some(mended) => {
                    self.out.extend_from_slice(&mended);
                    self.held.clear();
                    self.mended = true;
                }
                // Most likely an index that refers to what was replaced before.
                None if self.mended => self.out.append(&mut self.held),
                None => self.finish(),
            }
        }
    }
}

/// The length in the head of a frame.
fn length([a, b, c]: [u8; 3]) -> usize {
    usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)
}

/// The HEADERS frame with another authority; `None` if it may pass as it is.
fn mend_frame(frame: &[u8]) -> Option<Vec<u8>> {
    let (head, payload) = frame.split_first_chunk::<FRAME_HEAD_BYTES>()?;
    let flags = head[4];
    let mut start = 0;
    let mut end = payload.len();
    if flags & PADDED != 0 {
        end = end.checked_sub(usize::from(*payload.first()?))?;
        start += 1;
    }
    if flags & PRIORITY != 0 {
        start += PRIORITY_BYTES;
    }
    // The block may go on in CONTINUATION frames; an authority that does is not looked at.
    let authority = hpack::find_authority(payload.get(start..end)?)?;
    let host = host_of(&authority.value)?;
    let mut mended = head.to_vec();
    mended.extend_from_slice(payload.get(..start + authority.place.start)?);
    hpack::put_string(&mut mended, host);
    mended.extend_from_slice(payload.get(start + authority.place.end..)?);
    // Without Huffman a long name may take more room than before.
    let length = mended.len() - FRAME_HEAD_BYTES;
    if length > FRAME_BYTES_MAX {
        return None;
    }
    let [.., a, b, c] = length.to_be_bytes();
    mended.splice(..3, [a, b, c]);
    Some(mended)
}

/// Host and port of a URL, or of the first endpoint in the list of 3.5.0; `None` if the value is an authority, or
/// nothing that can be made one.
fn host_of(value: &[u8]) -> Option<&[u8]> {
    let is_authority = |value| uri::Authority::try_from(value).is_ok();
    if is_authority(value) {
        return None;
    }
    let list = value
        .strip_prefix(b"#initially=[")
        .and_then(|list| list.strip_suffix(b"]"));
    let first = list
        .unwrap_or(value)
        .split(|letter| *letter == b';')
        .next()?;
    let rest = match after_scheme(first) {
        Some(rest) => rest,
        // The list has endpoints as they were given, also without a scheme.
        None if list.is_some() => first,
        None => return None,
    };
    let host = rest.split(|letter| b"/?#".contains(letter)).next()?;
    is_authority(host).then_some(host)
}

/// What follows `scheme://`.
fn after_scheme(url: &[u8]) -> Option<&[u8]> {
    const SEPARATOR: &[u8] = b"://";
    let end = url.iter().position(|letter| *letter == b':')?;
    let (scheme, rest) = url.split_at(end);
    let is_scheme = scheme.first()?.is_ascii_alphabetic()
        && scheme
            .iter()
            .all(|letter| letter.is_ascii_alphanumeric() || b"+-.".contains(letter));
    is_scheme.then(|| rest.strip_prefix(SEPARATOR)).flatten()
}

#[cfg(test)]
mod tests;
