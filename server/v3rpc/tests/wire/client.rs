//! A gRPC client that can also be wrong: it sends bytes, not messages.

use bytes::{BufMut, Bytes, BytesMut};
use h2::{RecvStream, SendStream, client::SendRequest};
use http::{HeaderMap, Request};
use prost::Message;
use tokio::net::TcpStream;

use crate::served::Served;

/// One connection.
#[derive(Clone)]
pub(crate) struct Client(SendRequest<Bytes>);

/// How a call ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) code: u8,
    pub(crate) message: String,
}

/// An open call.
pub(crate) struct Call {
    pub(crate) requests: SendStream<Bytes>,
    response: Option<h2::client::ResponseFuture>,
    body: Option<RecvStream>,
    buffer: BytesMut,
}

/// A message with its five-byte prefix.
pub(crate) fn framed(message: &impl Message) -> Bytes {
    let encoded = message.encode_to_vec();
    let mut buffer = BytesMut::new();
    buffer.put_u8(0);
    buffer.put_u32(u32::try_from(encoded.len()).expect("small"));
    buffer.put_slice(&encoded);
    buffer.freeze()
}

impl Client {
    pub(crate) async fn connect(served: &Served) -> Self {
        let socket = TcpStream::connect(served.address).await.expect("listening");
        Self::over(socket).await
    }

    pub(crate) const fn of(sender: SendRequest<Bytes>) -> Self {
        Self(sender)
    }

    pub(crate) async fn over<S>(socket: S) -> Self
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let (send, connection) = h2::client::Builder::new()
            .initial_window_size(256 * 1024)
            .initial_connection_window_size(1 << 30)
            .handshake(socket)
            .await
            .expect("HTTP/2 is spoken");
        // Its error is what the calls report.
        tokio::spawn(async { connection.await.ok() });
        Self(send)
    }

    /// One message out, one back.
    pub(crate) async fn unary<A: Message + Default>(
        &self,
        path: &str,
        request: &impl Message,
    ) -> Result<A, Refused> {
        self.raw(path, framed(request), &[]).await
    }

    /// Any bytes out, one message back.
    pub(crate) async fn raw<A: Message + Default>(
        &self,
        path: &str,
        bytes: Bytes,
        headers: &[(&'static str, &[u8])],
    ) -> Result<A, Refused> {
        let mut call = self.open(path, headers).await;
        // If the server has refused already there is nobody to send to.
        let _ = call.requests.send_data(bytes, true);
        let message = call.next().await?.expect("a message before the trailers");
        assert!(call.next::<A>().await?.is_none(), "one answer");
        Ok(message)
    }

    /// Opens a call and sends nothing yet.
    pub(crate) async fn open(&self, path: &str, headers: &[(&'static str, &[u8])]) -> Call {
        let mut request = Request::post(format!("http://localhost{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("valid headers");
        let mut sender = self.0.clone().ready().await.expect("an open connection");
        let (response, requests) = sender.send_request(request, false).expect("not closed");
        Call {
            requests,
            response: Some(response),
            body: None,
            buffer: BytesMut::new(),
        }
    }

    /// Any request; status of HTTP, then how the call ended.
    pub(crate) async fn odd(&self, request: Request<()>, body: Bytes) -> (u16, Refused) {
        let mut sender = self.0.clone().ready().await.expect("an open connection");
        let (response, mut requests) = sender.send_request(request, false).expect("not closed");
        // If the server has refused already there is nobody to send to.
        let _ = requests.send_data(body, true);
        let response = response.await.expect("an answer");
        let ended = match outcome(response.headers()) {
            Ok(()) => panic!("not refused by its head"),
            Err(ended) => ended,
        };
        (response.status().as_u16(), ended)
    }

    /// A plain GET: status and body.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let request = Request::get(format!("http://localhost{path}"))
            .body(())
            .expect("a valid path");
        let mut sender = self.0.clone().ready().await.expect("an open connection");
        let (response, _) = sender.send_request(request, true).expect("not closed");
        let response = response.await.expect("an answer");
        let status = response.status().as_u16();
        let mut body = response.into_body();
        let mut text = Vec::new();
        while let Some(chunk) = body.data().await {
            text.extend_from_slice(&chunk.expect("not reset"));
        }
        (status, String::from_utf8(text).expect("text"))
    }
}

impl Call {
    /// The HTTP status of the answer.
    pub(crate) async fn status(&mut self) -> u16 {
        let response = self.response.take().expect("asked once");
        response.await.expect("an answer").status().as_u16()
    }

    pub(crate) fn send(&mut self, request: &impl Message) {
        self.requests
            .send_data(framed(request), false)
            .expect("an open stream");
    }

    /// The next message; `None` after the last, `Refused` if the call failed.
    pub(crate) async fn next<A: Message + Default>(&mut self) -> Result<Option<A>, Refused> {
        if let Some(response) = self.response.take() {
            let response = response.await.map_err(broken)?;
            assert_eq!(response.headers()["content-type"], "application/grpc");
            if response.headers().contains_key("grpc-status") {
                outcome(response.headers())?;
            }
            self.body = Some(response.into_body());
        }
        let body = self.body.as_mut().expect("set above");
        loop {
            if let Some(message) = cut(&mut self.buffer) {
                return Ok(Some(A::decode(message).expect("a valid message")));
            }
            match body.data().await {
                Some(chunk) => {
                    let chunk = chunk.map_err(broken)?;
                    body.flow_control()
                        .release_capacity(chunk.len())
                        .expect("received");
                    self.buffer.extend_from_slice(&chunk);
                }
                None => {
                    assert!(self.buffer.is_empty(), "half a message");
                    let trailers = body.trailers().await.map_err(broken)?;
                    outcome(&trailers.expect("trailers"))?;
                    return Ok(None);
                }
            }
        }
    }
}

fn cut(buffer: &mut BytesMut) -> Option<Bytes> {
    let length: [u8; 4] = buffer.get(1..5)?.try_into().expect("four bytes");
    let end = 5 + u32::from_be_bytes(length) as usize;
    (buffer.len() >= end).then(|| buffer.split_to(end).freeze().slice(5..))
}

fn broken(error: h2::Error) -> Refused {
    Refused {
        code: u8::MAX,
        message: error.to_string(),
    }
}

fn outcome(headers: &HeaderMap) -> Result<(), Refused> {
    let text = |name| {
        headers
            .get(name)
            .map_or("", |value| value.to_str().expect("ASCII"))
    };
    let code = text("grpc-status").parse().expect("a number");
    if code == 0 {
        Ok(())
    } else {
        Err(Refused {
            code,
            message: text("grpc-message").into(),
        })
    }
}
