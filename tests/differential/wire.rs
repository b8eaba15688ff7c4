//! gRPC by hand over HTTP/2: any path, any header, any bytes, and everything that comes back.
//!
//! A client library would refuse to say most of what has to be said here, and would hide half of the answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::{RecvStream, SendStream, client::SendRequest};
use http::{HeaderMap, HeaderValue, Request, Response};
use parking_lot::Mutex;
use tokio::{net::TcpStream, sync::Notify, time::timeout};

const PREFIX_BYTES: usize = 5;

/// Far above what any answer takes: who gets here has found a hang.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What a request says beside its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) headers: Vec<(&'static str, Bytes)>,
}

impl Head {
    /// As every gRPC client has it.
    pub(crate) fn grpc(path: impl Into<String>) -> Self {
        Self {
            method: "POST",
            path: path.into(),
            headers: vec![
                ("content-type", Bytes::from_static(b"application/grpc")),
                ("te", Bytes::from_static(b"trailers")),
            ],
        }
    }

    fn request(&self, authority: &str) -> Request<()> {
        let uri = format!("http://{authority}{}", self.path);
        let mut builder = Request::builder().method(self.method).uri(uri);
        for (name, value) in &self.headers {
            let value = HeaderValue::from_bytes(value).expect("the generator makes header values");
            builder = builder.header(*name, value);
        }
        builder.body(()).expect("the generator makes requests")
    }
}

/// All that a call came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) http_status: u16,
    pub(crate) content_type: String,
    pub(crate) messages: Vec<Bytes>,
    /// `grpc-status`; `None` if there was none.
    pub(crate) code: Option<i32>,
    pub(crate) text: String,
    /// How the stream ended, if not by trailers.
    pub(crate) broken: Option<String>,
}

/// One message with its prefix.
pub(crate) fn framed(message: &[u8]) -> Bytes {
    let mut buffer = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    buffer.put_u8(0);
    buffer.put_u32(u32::try_from(message.len()).expect("messages are small"));
    buffer.put_slice(message);
    buffer.freeze()
}

/// One connection.
#[derive(Clone)]
pub(crate) struct Connection {
    requests: SendRequest<Bytes>,
    authority: Arc<str>,
}

impl Connection {
    pub(crate) async fn open(url: &str) -> Self {
        let authority: Arc<str> = url.trim_start_matches("http://").into();
        let socket = TcpStream::connect(&*authority)
            .await
            .expect("the server accepts connections");
        socket.set_nodelay(true).expect("TCP has the option");
        let (requests, connection) = h2::client::Builder::new()
            .initial_window_size(1 << 24)
            .initial_connection_window_size(1 << 28)
            .max_send_buffer_size(1 << 24)
            .handshake(socket)
            .await
            .expect("the server speaks HTTP/2");
        tokio::spawn(connection);
        Self {
            requests,
            authority,
        }
    }

    /// Sends a whole request and waits for the whole answer.
    pub(crate) async fn call(&self, head: &Head, body: Bytes) -> Reply {
        let all = async {
            let mut requests = self.requests.clone().ready().await?;
            let (answer, mut sender) =
                requests.send_request(head.request(&self.authority), false)?;
            // A server that refuses early resets the stream: its answer counts, not that nobody took the rest.
            let _ = sender.send_data(body, true);
            let mut reply = Reply::default();
            read(answer.await?, &mut reply).await?;
            Ok::<_, h2::Error>(reply)
        };
        match timeout(PATIENCE, all).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(error)) => broken(error.to_string()),
            Err(_) => broken("no answer".to_owned()),
        }
    }

    /// Opens a stream in both directions.
    pub(crate) async fn stream(&self, head: &Head) -> Duplex {
        let mut requests = self
            .requests
            .clone()
            .ready()
            .await
            .expect("the connection is open");
        let (answer, sender) = requests
            .send_request(head.request(&self.authority), false)
            .expect("the connection is open");
        let inbox = Arc::new(Inbox::default());
        let filling = Arc::clone(&inbox);
        tokio::spawn(async move {
            let outcome = match answer.await {
                Ok(response) => fill(response, &filling).await,
                Err(error) => Err(error),
            };
            if let Err(error) = outcome {
                filling.end(broken(error.to_string()));
            }
        });
        Duplex { sender, inbox }
    }
}

fn broken(why: String) -> Reply {
    Reply {
        broken: Some(why),
        ..Reply::default()
    }
}

async fn read(response: Response<RecvStream>, reply: &mut Reply) -> Result<(), h2::Error> {
    let (parts, mut body) = response.into_parts();
    reply.http_status = parts.status.as_u16();
    reply.content_type = text_of(&parts.headers, "content-type").unwrap_or_default();
    take_status(&parts.headers, reply);
    let mut frames = Frames::default();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        frames.push(&chunk);
        while let Some(message) = frames.take() {
            reply.messages.push(message);
        }
    }
    if !frames.0.is_empty() {
        reply.broken = Some(format!("{} bytes are no message", frames.0.len()));
    }
    if let Some(trailers) = body.trailers().await? {
        take_status(&trailers, reply);
    }
    Ok(())
}

async fn fill(response: Response<RecvStream>, inbox: &Inbox) -> Result<(), h2::Error> {
    let (parts, mut body) = response.into_parts();
    let mut end = Reply {
        http_status: parts.status.as_u16(),
        ..Reply::default()
    };
    take_status(&parts.headers, &mut end);
    let mut frames = Frames::default();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        frames.push(&chunk);
        while let Some(message) = frames.take() {
            inbox.push(message);
        }
    }
    if let Some(trailers) = body.trailers().await? {
        take_status(&trailers, &mut end);
    }
    inbox.end(end);
    Ok(())
}

fn text_of(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}

fn take_status(headers: &HeaderMap, reply: &mut Reply) {
    if let Some(code) = text_of(headers, "grpc-status") {
        reply.code = code.parse().ok();
    }
    if let Some(text) = headers.get("grpc-message") {
        reply.text = percent_decoded(text.as_bytes());
    }
}

fn percent_decoded(text: &[u8]) -> String {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let hex = after.get(..2).filter(|_| byte == b'%');
        let value = hex
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        decoded.push(value.unwrap_or(byte));
        rest = if value.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// Cuts a body into messages.
#[derive(Default)]
struct Frames(BytesMut);

impl Frames {
    fn push(&mut self, chunk: &[u8]) {
        self.0.extend_from_slice(chunk);
    }

    fn take(&mut self) -> Option<Bytes> {
        let mut prefix = self.0.get(1..PREFIX_BYTES)?;
        let end = PREFIX_BYTES + prefix.get_u32() as usize;
        if self.0.len() < end {
            return None;
        }
        let message = self.0.split_to(end).freeze();
        Some(message.slice(PREFIX_BYTES..))
    }
}

/// What a stream has brought so far.
#[derive(Default)]
pub(crate) struct Inbox {
    state: Mutex<(Vec<Bytes>, Option<Reply>)>,
    changed: Notify,
}

impl Inbox {
    fn push(&self, message: Bytes) {
        self.state.lock().0.push(message);
        self.changed.notify_one();
    }

    fn end(&self, reply: Reply) {
        self.state.lock().1 = Some(reply);
        self.changed.notify_one();
    }

    /// Takes the messages that are there, and the stream's end if it has come.
    pub(crate) fn take(&self) -> (Vec<Bytes>, Option<Reply>) {
        let mut state = self.state.lock();
        (std::mem::take(&mut state.0), state.1.clone())
    }

    /// Waits until something new may be there.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// A stream in both directions.
pub(crate) struct Duplex {
    sender: SendStream<Bytes>,
    pub(crate) inbox: Arc<Inbox>,
}

impl Duplex {
    /// Sends one message; a stream that the server has ended takes nothing any more.
    pub(crate) fn send(&mut self, message: &[u8]) {
        let _ = self.sender.send_data(framed(message), false);
    }

    /// The client has nothing more to say.
    pub(crate) fn half_close(&mut self) {
        let _ = self.sender.send_data(Bytes::new(), true);
    }
}

impl Drop for Duplex {
    fn drop(&mut self) {
        self.sender.send_reset(h2::Reason::CANCEL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_any_cut() {
        let wire = [framed(b"one"), framed(b""), framed(b"three")].concat();
        for size in 1..=wire.len() {
            let mut frames = Frames::default();
            let mut seen = Vec::new();
            for chunk in wire.chunks(size) {
                frames.push(chunk);
                seen.extend(std::iter::from_fn(|| frames.take()));
            }
            assert_eq!(seen, [&b"one"[..], b"", b"three"]);
        }
    }

    #[test]
    fn texts_are_decoded() {
        assert_eq!(percent_decoded(b"50%25 of%0A%zz%"), "50% of\n%zz%");
    }
}
