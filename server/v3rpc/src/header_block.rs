//! Follows what a peer sends just closely enough to know whether it is in the middle of a header block.
//!
//! Such a block holds up the whole connection: until it ends, no other frame may come, not even the answer to a ping.
//! So it must end within a deadline, which the connection keeps.

use std::{
    cell::Cell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Length (three bytes), type, flags, stream (four bytes).
const FRAME_HEAD_BYTES: usize = 9;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 0x04;

/// A socket behind its preface that tells whether its peer is in the middle of a header block.
pub(crate) struct Followed<S> {
    socket: S,
    block: HeaderBlock,
    is_open: Rc<Cell<bool>>,
}

impl<S> Followed<S> {
    /// The socket, and the place where it tells.
    pub(crate) fn new(socket: S) -> (Self, Rc<Cell<bool>>) {
        let is_open = Rc::new(Cell::new(false));
        let followed = Self {
            socket,
            block: HeaderBlock::default(),
            is_open: Rc::clone(&is_open),
        };
        (followed, is_open)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Followed<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.socket).poll_read(task, buffer))?;
        let read = buffer.filled().get(before..).unwrap_or_default();
        this.block.feed(read);
        this.is_open.set(this.block.is_open());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Followed<S> {
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

/// The place in the frames of one peer.
#[derive(Debug, Default)]
struct HeaderBlock {
    head: [u8; FRAME_HEAD_BYTES],
    head_bytes: usize,
    /// What is left of the payload of a frame.
    payload_bytes: usize,
    /// The frame, or the one before it, begins or goes on with a block that has not ended.
    open: bool,
    /// The frame under way ends the block.
    ends: bool,
}

impl HeaderBlock {
    /// True from the head of a HEADERS frame to the end of the block.
    const fn is_open(&self) -> bool {
        self.open
    }

    /// Takes what was read.
    fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.payload_bytes > 0 {
                let skipped = bytes.len().min(self.payload_bytes);
                self.payload_bytes -= skipped;
                bytes = bytes.get(skipped..).unwrap_or_default();
            } else {
                let missing = FRAME_HEAD_BYTES - self.head_bytes;
                let (now, rest) = bytes.split_at(bytes.len().min(missing));
                if let Some(place) = self.head.get_mut(self.head_bytes..) {
                    place.iter_mut().zip(now).for_each(|(to, from)| *to = *from);
                }
                self.head_bytes += now.len();
                bytes = rest;
                if self.head_bytes == FRAME_HEAD_BYTES {
                    self.begin();
                }
            }
            if self.payload_bytes == 0 && self.ends {
                (self.open, self.ends) = (false, false);
            }
        }
    }

    fn begin(&mut self) {
        let [a, b, c, kind, flags, ..] = self.head;
        self.head_bytes = 0;
        self.payload_bytes = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        if matches!(kind, HEADERS | CONTINUATION) {
            self.open = true;
            self.ends = flags & END_HEADERS != 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).expect("short");
        [&[0, 0, length, kind, flags, 0, 0, 0, 1], payload].concat()
    }

    #[test]
    fn a_block_is_open_until_its_last_byte_however_it_is_cut() {
        let ping = frame(6, 0, &[0; 8]);
        let begins = frame(HEADERS, 0, b"abc");
        let ends = frame(CONTINUATION, END_HEADERS, b"de");
        let all = [&ping[..], &begins, &ends, &ping].concat();
        let open = ping.len() + FRAME_HEAD_BYTES..ping.len() + begins.len() + ends.len();
        for piece in 1..all.len() {
            let mut block = HeaderBlock::default();
            let mut fed = 0;
            for bytes in all.chunks(piece) {
                block.feed(bytes);
                fed += bytes.len();
                assert_eq!(block.is_open(), open.contains(&fed), "{fed} of {piece}");
            }
        }
    }

    #[test]
    fn an_empty_last_frame_ends_a_block() {
        let mut block = HeaderBlock::default();
        block.feed(&frame(HEADERS, 0, b""));
        assert!(block.is_open());
        block.feed(&frame(CONTINUATION, END_HEADERS, b""));
        assert!(!block.is_open());
    }
}
