//! Somebody without a certificate asks to become a member: one request with its length before it, one answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kvorum_proto::kvorumpb::{
    JoinRefusal, JoinRefused, JoinRequest, JoinResponse, join_response::Result as Joined,
};
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

use super::hub::Hub;

/// Longest request, and longest answer.
pub(crate) const JOIN_FRAME_BYTES_MAX: usize = 256 << 10;
/// Longest request.
const REQUEST_BYTES_MAX: usize = 64 << 10;
/// How long the answer may take: it goes through the log a few times.
const ANSWER: Duration = Duration::from_secs(30);
/// How long the other side may take to read it.
const READ: Duration = Duration::from_secs(5);
/// Requests that are answered at the same time.
const ASKING_MAX: usize = 8;

/// Answers those who want to join. Called on the thread of the peers: it must not block.
pub(crate) type Joins = Arc<dyn Fn(JoinAsk) + Send + Sync>;

/// A request to join. Dropping it refuses it.
pub(crate) struct JoinAsk {
    pub(crate) request: JoinRequest,
    /// What only the two ends of this connection know.
    pub(crate) exporter: [u8; 32],
    pub(crate) from: SocketAddr,
    answer: oneshot::Sender<JoinResponse>,
}

impl JoinAsk {
    pub(crate) fn answer(self, result: Joined) {
        let response = JoinResponse {
            result: Some(result),
        };
        // Who asked may have gone: it asks again.
        let _ = self.answer.send(response);
    }
}

/// A request that has come whole.
pub(crate) struct Asked {
    stream: Box<TlsStream<TcpStream>>,
    request: JoinRequest,
    exporter: [u8; 32],
}

impl Asked {
    /// Reads the request; within the time that a stranger has to introduce itself.
    pub(crate) async fn read(mut stream: TlsStream<TcpStream>) -> Result<Self, String> {
        let broken = |error: std::io::Error| format!("a request to join broke off: {error}");
        let length = stream.read_u32().await.map_err(broken)?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > REQUEST_BYTES_MAX {
            return Err(format!("a request to join of {length} bytes"));
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.map_err(broken)?;
        let request = JoinRequest::decode(&body[..])
            .map_err(|error| format!("a request to join that cannot be read: {error}"))?;
        let exporter = stream
            .get_ref()
            .1
            .export_keying_material([0; 32], kvorum_pki::proof::EXPORTER_LABEL, None)
            .map_err(|error| error.to_string())?;
        Ok(Self {
            stream: Box::new(stream),
            request,
            exporter,
        })
    }

    /// Has it answered, and sends the answer.
    pub(crate) async fn answer(self, hub: &Hub, from: SocketAddr) {
        let Self {
            mut stream,
            request,
            exporter,
        } = self;
        let response = match (hub.joins(), hub.joining.try_acquire()) {
            (Some(joins), Ok(_place)) => {
                let (answer, answered) = oneshot::channel();
                joins(JoinAsk {
                    request,
                    exporter,
                    from,
                    answer,
                });
                match timeout(ANSWER, answered).await {
                    Ok(Ok(response)) => response,
                    _ => later("the member took too long"),
                }
            }
            (None, _) => later("the member is still starting"),
            (_, Err(_)) => later("too many join at the same time"),
        };
        let body = response.encode_to_vec();
        let sent = timeout(READ, async {
            let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
            stream.write_u32(length).await?;
            stream.write_all(&body).await?;
            stream.flush().await?;
            stream.shutdown().await
        });
        if !matches!(sent.await, Ok(Ok(()))) {
            tracing::debug!(remote = %from, "the answer to a request to join was not read");
        }
    }
}

/// Places for requests that are answered.
pub(crate) fn places() -> tokio::sync::Semaphore {
    tokio::sync::Semaphore::new(ASKING_MAX)
}

fn later(text: &str) -> JoinResponse {
    JoinResponse {
        result: Some(Joined::Refused(JoinRefused {
            reason: JoinRefusal::Later.into(),
            text: text.into(),
        })),
    }
}
