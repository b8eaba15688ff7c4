//! A socket that gathers writes: what HTTP/2 writes during one pass over a connection leaves in one system call.
//!
//! The h2 crate flushes each DATA frame of 256 bytes or more by itself, which is one system call per reply. Here a
//! flush only marks the pass as not finished; the connection calls [`Gather::poll_drain`] once at the end of it.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::pings::Pings;

/// From here on a write goes to the socket before more is taken: bounds the buffer of a slow reader.
const HIGH_WATER_BYTES: usize = 256 * 1024;
/// A buffer this small is kept for the next pass whatever happens.
const KEEP_BYTES: usize = 16 * 1024;
/// After this many passes that used less than a quarter of the buffer it shrinks.
const SHRINK_AFTER_PASSES: u32 = 64;

/// The socket, shared between HTTP/2, which writes, and the connection, which drains.
pub(crate) struct Gather<S>(Rc<RefCell<Inner<S>>>);

impl<S> Clone for Gather<S> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

struct Inner<S> {
    socket: S,
    /// Read from the socket before it was known who speaks.
    read_ahead: Bytes,
    out: Vec<u8>,
    sent: usize,
    light_passes: u32,
    pings: Pings,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Gather<S> {
    /// Wraps a socket from which `read_ahead` was already read.
    pub(crate) fn new(socket: S, read_ahead: Bytes) -> Self {
        Self(Rc::new(RefCell::new(Inner {
            socket,
            read_ahead,
            out: Vec::new(),
            sent: 0,
            light_passes: 0,
            pings: Pings::default(),
        })))
    }

    /// Writes what was gathered; ready once all of it is with the operating system.
    pub(crate) fn poll_drain(&self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_drain(task)
    }

    /// True if the peer has pinged too often; then the frame that tells it so is gathered, and none may follow.
    pub(crate) fn too_many_pings(&self, open_calls: usize, interval_min: Duration) -> bool {
        let mut inner = self.0.borrow_mut();
        let too_many = inner.pings.too_many(open_calls, interval_min);
        if too_many {
            let frame = inner.pings.go_away();
            inner.out.extend_from_slice(&frame);
        }
        too_many
    }
}

impl<S: AsyncWrite + Unpin> Inner<S> {
    fn waiting(&self) -> usize {
        self.out.len() - self.sent
    }

    fn poll_drain(&mut self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.waiting() == 0 {
            return Poll::Ready(Ok(()));
        }
        while let Some(rest) = self.out.get(self.sent..)
            && !rest.is_empty()
        {
            let count = ready!(Pin::new(&mut self.socket).poll_write(task, rest))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += count;
        }
        self.recycle();
        Pin::new(&mut self.socket).poll_flush(task)
    }

    /// Empties the buffer and gives memory back that has not been needed for a while.
    fn recycle(&mut self) {
        let used = self.out.len();
        self.out.clear();
        self.sent = 0;
        if self.out.capacity() <= KEEP_BYTES || used * 4 >= self.out.capacity() {
            self.light_passes = 0;
            return;
        }
        self.light_passes += 1;
        if self.light_passes >= SHRINK_AFTER_PASSES {
            self.out.shrink_to(KEEP_BYTES);
            self.light_passes = 0;
        }
    }

    /// Makes room if the buffer is full; what stays unsent moves to its front.
    fn poll_room(&mut self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.waiting() < HIGH_WATER_BYTES {
            return Poll::Ready(Ok(()));
        }
        match self.poll_drain(task) {
            Poll::Pending if self.waiting() < HIGH_WATER_BYTES => {
                self.out.drain(..self.sent);
                self.sent = 0;
                Poll::Ready(Ok(()))
            }
            polled => polled,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gather<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut inner = self.0.borrow_mut();
        if !inner.read_ahead.is_empty() {
            let count = inner.read_ahead.len().min(buffer.remaining());
            buffer.put_slice(&inner.read_ahead.split_to(count));
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut inner.socket).poll_read(task, buffer);
        let read = buffer.filled().get(before..).unwrap_or_default();
        inner.pings.receive(read);
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gather<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut inner = self.0.borrow_mut();
        ready!(inner.poll_room(task))?;
        inner.out.extend_from_slice(bytes);
        inner.pings.send(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut inner = self.0.borrow_mut();
        ready!(inner.poll_room(task))?;
        let mut count = 0;
        for piece in pieces {
            inner.out.extend_from_slice(piece);
            inner.pings.send(piece);
            count += piece.len();
        }
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Nothing yet: the connection drains at the end of its pass.
    fn poll_flush(self: Pin<&mut Self>, _task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.0.borrow_mut();
        ready!(inner.poll_drain(task))?;
        Pin::new(&mut inner.socket).poll_shutdown(task)
    }
}

/// A socket with bytes in front that were read too early; for HTTP/1, where nothing is gathered.
pub(crate) struct ReadAhead<S> {
    socket: S,
    bytes: Bytes,
}

impl<S> ReadAhead<S> {
    pub(crate) const fn new(socket: S, bytes: Bytes) -> Self {
        Self { socket, bytes }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadAhead<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.bytes.is_empty() {
            return Pin::new(&mut self.socket).poll_read(task, buffer);
        }
        let count = self.bytes.len().min(buffer.remaining());
        buffer.put_slice(self.bytes.chunk().get(..count).unwrap_or_default());
        self.bytes.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReadAhead<S> {
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

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Counts writes and takes at most `room` bytes until more is given.
    struct Socket {
        writes: usize,
        room: usize,
        taken: Vec<u8>,
    }

    impl AsyncRead for Socket {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            buffer.put_slice(b"rest");
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Socket {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let count = bytes.len().min(self.room);
            if count == 0 {
                return Poll::Pending;
            }
            self.room -= count;
            self.writes += 1;
            self.taken.extend_from_slice(&bytes[..count]);
            Poll::Ready(Ok(count))
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn socket(room: usize) -> Gather<Socket> {
        Gather::new(
            Socket {
                writes: 0,
                room,
                taken: Vec::new(),
            },
            Bytes::from_static(b"PRI "),
        )
    }

    fn drain(gather: &Gather<Socket>) -> Poll<io::Result<()>> {
        gather.poll_drain(&mut Context::from_waker(Waker::noop()))
    }

    #[tokio::test]
    async fn a_pass_of_many_flushed_frames_is_one_write() {
        let mut gather = socket(usize::MAX);
        for frame in 0..100_u8 {
            gather.write_all(&[frame; 300]).await.expect("room");
            gather.flush().await.expect("deferred");
        }
        assert_eq!(gather.0.borrow().socket.writes, 0);
        assert!(drain(&gather).is_ready());
        assert_eq!(gather.0.borrow().socket.writes, 1);
        assert_eq!(gather.0.borrow().socket.taken.len(), 30_000);
        assert!(drain(&gather).is_ready());
        assert_eq!(gather.0.borrow().socket.writes, 1);
    }

    #[test]
    fn a_full_socket_stops_the_writer_and_loses_nothing() {
        let mut gather = socket(1000);
        let task = &mut Context::from_waker(Waker::noop());
        let mut wrote = Vec::new();
        for piece in 0_u8.. {
            match Pin::new(&mut gather).poll_write(task, &[piece; 10_000]) {
                Poll::Ready(result) => {
                    assert_eq!(result.expect("no error"), 10_000);
                    wrote.extend_from_slice(&[piece; 10_000]);
                }
                Poll::Pending => break,
            }
        }
        assert!(wrote.len() < HIGH_WATER_BYTES + 20_000, "bounded");
        assert!(drain(&gather).is_pending());
        gather.0.borrow_mut().socket.room = usize::MAX;
        assert!(drain(&gather).is_ready());
        assert_eq!(gather.0.borrow().socket.taken, wrote);
    }

    #[test]
    fn memory_of_a_burst_is_given_back() {
        let mut gather = socket(usize::MAX);
        let task = &mut Context::from_waker(Waker::noop());
        assert!(
            Pin::new(&mut gather)
                .poll_write(task, &[0; 200_000])
                .is_ready()
        );
        assert!(drain(&gather).is_ready());
        assert!(gather.0.borrow().out.capacity() >= 200_000);
        for _ in 0..SHRINK_AFTER_PASSES {
            assert!(Pin::new(&mut gather).poll_write(task, b"small").is_ready());
            assert!(drain(&gather).is_ready());
        }
        assert!(gather.0.borrow().out.capacity() <= KEEP_BYTES);
    }

    #[tokio::test]
    async fn what_was_read_too_early_comes_first() {
        let mut gather = socket(0);
        let mut seen = [0; 8];
        gather.read_exact(&mut seen).await.expect("readable");
        assert_eq!(&seen, b"PRI rest");
    }
}
