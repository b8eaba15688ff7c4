//! The two ends of one connection: frames out of bytes that arrive, frames into bytes that leave.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use kvorum_proto::kvorumpb::{Hello, PeerProbe, PeerRefusal, Welcome};
use prost::Message;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::timeout;

use super::frame::{
    FRAME_BYTES_MAX, Frame, FrameError, GREETING_BYTES_MAX, Joiner, Kind, PREAMBLE, Splitter,
    check_preamble,
};
use super::own_tls::Shown;

/// Room for what one read may bring.
const READ_BYTES: usize = 64 << 10;
/// Room that a long frame gets at once; the rest follows as its bytes come.
const READ_BYTES_MAX: usize = 1 << 20;
/// What waits is written out from here on, even if more follows.
pub(crate) const WRITE_BYTES: usize = 1 << 20;

/// TCP, or TLS over it.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// One of both.
pub(crate) type AnyStream = Box<dyn Stream>;

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("the other side closed the connection")]
    Closed,
    #[error("nothing came for {} ms", .0.as_millis())]
    Silent(Duration),
    #[error("{}", super::hello::refusal_name(.0))]
    Refused(PeerRefusal),
    #[error("{0}")]
    Ours(&'static str),
    #[error("its certificate is not accepted any more: {0}")]
    Distrusted(String),
    #[error("there is a newer certificate")]
    Outdated,
}

/// The receiving end.
pub(crate) struct Receiver {
    half: ReadHalf<AnyStream>,
    received: BytesMut,
    splitter: Splitter,
    /// Bytes that came.
    pub(crate) bytes: u64,
}

impl Receiver {
    /// The next frame. Silence is counted from the last byte, so that a long frame on a slow line is not silence.
    /// Nothing is lost if this is dropped before it ends.
    pub(crate) async fn next(&mut self, patience: Duration) -> Result<Frame, Broken> {
        loop {
            if let Some(frame) = self.splitter.split(&mut self.received)? {
                return Ok(frame);
            }
            self.read(patience).await?;
        }
    }

    async fn read(&mut self, patience: Duration) -> Result<(), Broken> {
        let missing = self.splitter.missing(&self.received);
        self.received
            .reserve(missing.clamp(READ_BYTES, READ_BYTES_MAX));
        let read = timeout(patience, self.half.read_buf(&mut self.received)).await;
        match read.map_err(|_| Broken::Silent(patience))? {
            Ok(0) => Err(Broken::Closed),
            // TLS without its farewell: a process that was killed.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(Broken::Closed),
            Err(error) => Err(error.into()),
            Ok(read) => {
                self.bytes += read as u64;
                Ok(())
            }
        }
    }

    async fn preamble(&mut self, patience: Duration) -> Result<(), Broken> {
        while !check_preamble(&mut self.received)? {
            self.read(patience).await?;
        }
        Ok(())
    }
}

/// The sending end: frames are collected and leave in one write.
pub(crate) struct Sender {
    half: WriteHalf<AnyStream>,
    waiting: BytesMut,
    joiner: Joiner,
}

impl Sender {
    /// Puts a message into the next write.
    pub(crate) fn push(&mut self, kind: Kind, message: &impl Message) {
        self.joiner.join(kind, message, &mut self.waiting);
    }

    /// Bytes that the next write has.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Writes all that was pushed. A connection whose flush was dropped half-way is of no use any more.
    pub(crate) async fn flush(&mut self) -> Result<u64, Broken> {
        let bytes = self.waiting.len() as u64;
        self.half.write_all(&self.waiting).await?;
        self.half.flush().await?;
        if self.waiting.capacity() > 2 * WRITE_BYTES {
            self.waiting = BytesMut::new();
        }
        self.waiting.clear();
        Ok(bytes)
    }

    /// One message, now.
    pub(crate) async fn send(
        &mut self,
        kind: Kind,
        message: &impl Message,
        patience: Duration,
    ) -> Result<u64, Broken> {
        self.push(kind, message);
        timeout(patience, self.flush())
            .await
            .map_err(|_| Broken::Silent(patience))?
    }

    /// A probe, or the answer to one.
    pub(crate) async fn probe(
        &mut self,
        number: u64,
        echo: bool,
        patience: Duration,
    ) -> Result<u64, Broken> {
        self.send(Kind::Probe, &PeerProbe { number, echo }, patience)
            .await
    }

    /// Says that nothing more comes.
    pub(crate) async fn close(&mut self) {
        // Whoever is gone need not be told.
        let _ = timeout(Duration::from_secs(1), self.half.shutdown()).await;
    }
}

/// Both ends of a connection.
pub(crate) struct Wire {
    pub(crate) sender: Sender,
    pub(crate) receiver: Receiver,
    /// Whose certificate the other end showed, where that says who it is.
    pub(crate) shown: Option<Shown>,
}

impl Wire {
    pub(crate) fn new(stream: AnyStream, shown: Option<Shown>) -> Self {
        let (read, write) = tokio::io::split(stream);
        Self {
            sender: Sender {
                half: write,
                waiting: BytesMut::new(),
                joiner: Joiner::default(),
            },
            receiver: Receiver {
                half: read,
                received: BytesMut::new(),
                splitter: Splitter::new(GREETING_BYTES_MAX),
                bytes: 0,
            },
            shown,
        }
    }

    /// Introduces us to whom we dialled.
    pub(crate) async fn greet(
        &mut self,
        hello: &Hello,
        patience: Duration,
    ) -> Result<Welcome, Broken> {
        self.sender.waiting.extend_from_slice(PREAMBLE);
        self.sender.send(Kind::Hello, hello, patience).await?;
        let frame = self.receiver.next(patience).await?;
        if frame.kind == Kind::Refusal {
            return Err(Broken::Refused(frame.read(Kind::Refusal)?));
        }
        let welcome = frame.read(Kind::Welcome)?;
        self.receiver.splitter.allow(FRAME_BYTES_MAX);
        Ok(welcome)
    }

    /// Reads who dialled us.
    pub(crate) async fn greeted(&mut self, patience: Duration) -> Result<Hello, Broken> {
        self.receiver.preamble(patience).await?;
        Ok(self
            .receiver
            .next(patience)
            .await?
            .read::<Hello>(Kind::Hello)?)
    }

    /// Lets in whoever introduced itself.
    pub(crate) async fn welcome(
        &mut self,
        welcome: &Welcome,
        patience: Duration,
    ) -> Result<(), Broken> {
        self.sender.send(Kind::Welcome, welcome, patience).await?;
        self.receiver.splitter.allow(FRAME_BYTES_MAX);
        Ok(())
    }

    /// Sends whoever introduced itself away.
    pub(crate) async fn refuse(&mut self, refusal: &PeerRefusal, patience: Duration) {
        // Whoever does not read why it was refused has hung up already.
        let _ = self.sender.send(Kind::Refusal, refusal, patience).await;
        self.sender.close().await;
    }
}
