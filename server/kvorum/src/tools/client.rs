//! A call to a member, for the few tools that need one: gRPC over HTTP/2, plain or with TLS.

use std::fmt::Display;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use h2::RecvStream;
use http::{HeaderMap, Request, header};
use kvorum_pki::pem_fault;
use kvorum_proto::etcdserverpb::{SnapshotRequest, SnapshotResponse};
use prost::Message;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::tls_words;

const SNAPSHOT: &str = "/etcdserverpb.Maintenance/Snapshot";
/// A message's length comes behind one byte that says whether it is compressed.
const FRAME_HEAD: usize = 5;
/// More than any message of a snapshot.
const MESSAGE_BYTES_MAX: usize = 16 << 20;
const WINDOW_BYTES: u32 = 1 << 20;
/// More than a member takes to answer anything but a snapshot.
const CALL_TIME: Duration = Duration::from_secs(30);
/// Two renames are microseconds apart; a machine that swaps may take its time.
const PAIR_LOOKS: u32 = 40;
const PAIR_PAUSE: Duration = Duration::from_millis(25);

/// Where a member is, and what to show it.
#[derive(Clone, Debug, Default)]
pub(super) struct Endpoint {
    /// `host:port`, or a URL.
    pub(super) address: String,
    /// Who signs the member's certificate.
    pub(super) trusted_ca: Option<PathBuf>,
    /// Our own chain.
    pub(super) cert: Option<PathBuf>,
    /// Its key.
    pub(super) key: Option<PathBuf>,
    /// For the connection.
    pub(super) dial_timeout: Duration,
}

/// Receives a snapshot into `out`; gives the version that the member tells.
///
/// # Errors
/// The member cannot be reached, it refuses, or the stream breaks off.
pub(super) async fn snapshot(endpoint: &Endpoint, out: &mut impl Write) -> Result<String, String> {
    let (_, authority) = endpoint.authority();
    let open = endpoint.open(SNAPSHOT, &SnapshotRequest {}).await;
    let open = open.map_err(CallError::into_text)?;
    let version = write_out(open.body, out).await;
    open.connection.abort();
    version.map_err(|e| format!("{authority}: {e}"))
}

/// Why a call has no answer.
#[derive(Debug)]
pub(super) enum CallError {
    /// Nobody was reached: another member may be asked.
    Unreachable(String),
    /// The member has heard the call; what came of it stands in the text.
    Failed(String),
}

impl CallError {
    /// What is told to people.
    pub(super) fn into_text(self) -> String {
        match self {
            Self::Unreachable(text) | Self::Failed(text) => text,
        }
    }
}

/// One message there, one back.
///
/// # Errors
/// The member cannot be reached, or it refuses.
pub(super) async fn call<A: Message + Default>(
    endpoint: &Endpoint,
    path: &str,
    request: &impl Message,
) -> Result<A, CallError> {
    let (_, authority) = endpoint.authority();
    let failed = |e: String| CallError::Failed(format!("{authority}: {e}"));
    let open = endpoint.open(path, request).await?;
    let answer = tokio::time::timeout(CALL_TIME, one_message(open.body)).await;
    open.connection.abort();
    match answer {
        Ok(answer) => answer.map_err(failed),
        Err(_) => Err(failed("no answer in time; it may still be done".into())),
    }
}

async fn one_message<A: Message + Default>(mut body: RecvStream) -> Result<A, String> {
    let (mut waiting, mut answer) = (BytesMut::new(), None);
    while let Some(chunk) = body.data().await {
        let chunk = chunk.map_err(text)?;
        let released = body.flow_control().release_capacity(chunk.len());
        released.map_err(text)?;
        waiting.extend_from_slice(&chunk);
        if let Some(message) = next_message(&mut waiting)? {
            answer = Some(A::decode(message).map_err(text)?);
        }
    }
    let trailers = body.trailers().await.map_err(text)?;
    outcome(&trailers.unwrap_or_default())?;
    answer.ok_or_else(|| "the answer is empty".into())
}

fn text(error: impl Display) -> String {
    error.to_string()
}

/// A call that is under way.
struct Open {
    body: RecvStream,
    connection: tokio::task::JoinHandle<Result<(), h2::Error>>,
}

impl Endpoint {
    /// Dials, sends the one request, and waits for the head of the answer.
    async fn open(&self, path: &str, request: &impl Message) -> Result<Open, CallError> {
        let (secure, authority) = self.authority();
        let dialling = async {
            let stream = TcpStream::connect(authority).await.map_err(text)?;
            stream.set_nodelay(true).map_err(text)?;
            Ok::<_, String>(stream)
        };
        let stream = tokio::time::timeout(self.dial_timeout, dialling).await;
        let stream = stream
            .map_err(|_| "no connection in time".to_owned())
            .and_then(|stream| stream)
            .map_err(|e| CallError::Unreachable(format!("{authority}: {e}")))?;
        if secure {
            let stream = self.secure(authority, stream).await;
            let stream = stream.map_err(CallError::Unreachable)?;
            send(stream, authority, path, request).await
        } else {
            send(stream, authority, path, request).await
        }
    }

    /// Whether TLS is spoken there, and `host:port`.
    fn authority(&self) -> (bool, &str) {
        let address = self.address.trim_end_matches('/');
        match (
            address.strip_prefix("https://"),
            address.strip_prefix("http://"),
        ) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            // As etcdctl: files for TLS mean TLS.
            _ => (self.trusted_ca.is_some() || self.cert.is_some(), address),
        }
    }

    async fn secure(
        &self,
        authority: &str,
        stream: TcpStream,
    ) -> Result<impl AsyncRead + AsyncWrite + Unpin + use<>, String> {
        let host = authority
            .rsplit_once(':')
            .map_or(authority, |(host, _)| host);
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let name = ServerName::try_from(host).map_err(text)?;
        let connector = TlsConnector::from(Arc::new(self.tls().await?));
        let stream = connector.connect(name, stream).await;
        stream.map_err(|e| {
            let reason = tls_words::of_io(&e, self.trusted_ca.as_deref());
            format!("{authority}: TLS: {reason}")
        })
    }

    async fn tls(&self) -> Result<ClientConfig, String> {
        let Some(ca) = &self.trusted_ca else {
            return Err(
                "--cacert is missing: TLS needs the certificate of who signed the member's".into(),
            );
        };
        let mut roots = RootCertStore::empty();
        for certificate in certificates(ca)? {
            let added = roots.add(certificate);
            added.map_err(|e| format!("--cacert {}: {e}", ca.display()))?;
        }
        let config = ClientConfig::builder().with_root_certificates(roots);
        let mut config = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => {
                let (chain, key) = pair_soon(cert, key).await?;
                let with = config.with_client_auth_cert(chain, key);
                with.map_err(|e| format!("--cert, --key: {e}"))?
            }
            (None, None) => config.with_no_client_auth(),
            _ => return Err("--cert and --key belong together: one is missing".into()),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }
}

type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// A chain and its key. They are two files, and a member that renews them puts one in place after the other: who finds a
/// mixture looks again.
async fn pair_soon(cert: &PathBuf, key: &PathBuf) -> Result<Pair, String> {
    for _ in 0..PAIR_LOOKS {
        let pair = pair(cert, key)?;
        if belong_together(&pair) {
            return Ok(pair);
        }
        tokio::time::sleep(PAIR_PAUSE).await;
    }
    // What is wrong with it is told by who uses it.
    pair(cert, key)
}

fn pair(cert: &PathBuf, key: &PathBuf) -> Result<Pair, String> {
    let shown = key.display();
    let key = PrivateKeyDer::from_pem_file(key)
        .map_err(|e| format!("--key {shown}: {}", pem_fault(&e)))?;
    Ok((certificates(cert)?, key))
}

fn belong_together((chain, key): &Pair) -> bool {
    let provider = rustls::crypto::ring::default_provider();
    let made = CertifiedKey::from_der(chain.clone(), key.clone_key(), &provider);
    !matches!(made, Err(rustls::Error::InconsistentKeys(_)))
}

fn certificates(path: &PathBuf) -> Result<Vec<CertificateDer<'static>>, String> {
    let shown = path.display();
    let told = |e: pem::Error| format!("{shown}: {}", pem_fault(&e));
    let read = CertificateDer::pem_file_iter(path).map_err(told)?;
    let all: Result<Vec<_>, _> = read.collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        Ok(_) => Err(format!("{shown}: no certificate in it")),
        Err(e) => Err(told(e)),
    }
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    authority: &str,
    path: &str,
    request: &impl Message,
) -> Result<Open, CallError> {
    let failed = |e: String| CallError::Failed(format!("{authority}: {e}"));
    // With TLS 1.3 a member refuses our certificate only when the handshake is over for us.
    let said = |e: h2::Error| {
        let shown = e.to_string();
        e.into_io()
            .map_or(shown, |error| tls_words::of_io(&error, None))
    };
    let broken = |e: h2::Error| failed(said(e));
    let (mut sender, connection) = h2::client::Builder::new()
        .initial_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .enable_push(false)
        .handshake::<_, Bytes>(stream)
        .await
        .map_err(|e| CallError::Unreachable(format!("{authority}: {}", said(e))))?;
    // Its end shows in the stream.
    let connection = tokio::spawn(connection);
    let head = Request::post(format!("http://{authority}{path}"))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .body(())
        .map_err(|e| failed(text(e)))?;
    let (answer, mut body) = sender.send_request(head, false).map_err(broken)?;
    body.send_data(frame(request), true).map_err(broken)?;
    let answer = answer.await.map_err(broken)?;
    if !answer.status().is_success() {
        return Err(failed(format!("HTTP status {}", answer.status())));
    }
    if answer.headers().contains_key("grpc-status") {
        outcome(answer.headers()).map_err(failed)?;
    }
    Ok(Open {
        body: answer.into_body(),
        connection,
    })
}

fn frame(message: &impl Message) -> Bytes {
    let body = message.encode_to_vec();
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&[0][..], &length, &body].concat().into()
}

/// Writes what comes; the last message is one with nothing behind it, and then the status must be good.
async fn write_out(mut body: RecvStream, out: &mut impl Write) -> Result<String, String> {
    let (mut waiting, mut version, mut remaining) = (BytesMut::new(), String::new(), None);
    while let Some(chunk) = body.data().await {
        let chunk = chunk.map_err(text)?;
        body.flow_control()
            .release_capacity(chunk.len())
            .map_err(text)?;
        waiting.extend_from_slice(&chunk);
        while let Some(message) = next_message(&mut waiting)? {
            let part = SnapshotResponse::decode(message).map_err(text)?;
            out.write_all(&part.blob).map_err(text)?;
            remaining = Some(part.remaining_bytes);
            version = part.version;
        }
    }
    let trailers = body.trailers().await.map_err(text)?;
    outcome(&trailers.unwrap_or_default())?;
    match remaining {
        Some(0) if waiting.is_empty() => Ok(version),
        _ => Err("the snapshot ended before its time".into()),
    }
}

fn next_message(waiting: &mut BytesMut) -> Result<Option<Bytes>, String> {
    let Some((head, rest)) = waiting.split_first_chunk::<FRAME_HEAD>() else {
        return Ok(None);
    };
    let [compressed, length @ ..] = *head;
    let length = u32::from_be_bytes(length) as usize;
    if compressed != 0 || length > MESSAGE_BYTES_MAX {
        return Err("the answer is no snapshot".into());
    }
    if rest.len() < length {
        return Ok(None);
    }
    waiting.advance(FRAME_HEAD);
    Ok(Some(waiting.split_to(length).freeze()))
}

/// What the member says of the call as a whole.
fn outcome(headers: &HeaderMap) -> Result<(), String> {
    let value = |name| headers.get(name).and_then(|v| v.to_str().ok());
    match value("grpc-status") {
        Some("0") => Ok(()),
        Some(code) => {
            let message = value("grpc-message").unwrap_or_default();
            Err(format!("refused (gRPC code {code}): {}", unescape(message)))
        }
        None => Err("the stream broke off".into()),
    }
}

/// Undoes the percent-encoding of `grpc-message`.
fn unescape(message: &str) -> String {
    let mut bytes = Vec::with_capacity(message.len());
    let mut rest = message.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let digits = tail.get(..2).and_then(|d| std::str::from_utf8(d).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (first, byte) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_as_etcdctl_takes_them() {
        let at = |address: &str, ca: Option<&str>| Endpoint {
            address: address.into(),
            trusted_ca: ca.map(PathBuf::from),
            ..Endpoint::default()
        };
        assert_eq!(
            at("localhost:2379", None).authority(),
            (false, "localhost:2379")
        );
        assert_eq!(
            at("http://[::1]:2379/", None).authority(),
            (false, "[::1]:2379")
        );
        assert_eq!(at("https://a:1", None).authority(), (true, "a:1"));
        assert_eq!(at("a:1", Some("ca.pem")).authority(), (true, "a:1"));
    }

    #[test]
    fn messages_are_cut_out_of_whatever_pieces_come() {
        let mut waiting = BytesMut::new();
        let whole = [
            frame(&SnapshotRequest {}),
            frame(&SnapshotResponse {
                version: "3.6.0".into(),
                ..Default::default()
            }),
        ]
        .concat();
        let mut messages = Vec::new();
        for byte in whole {
            waiting.extend_from_slice(&[byte]);
            while let Some(message) = next_message(&mut waiting).expect("sound") {
                messages.push(message);
            }
        }
        assert_eq!(messages.len(), 2);
        assert!(waiting.is_empty());
        let mut compressed = BytesMut::from(&[1, 0, 0, 0, 0][..]);
        assert!(next_message(&mut compressed).is_err());
    }

    #[test]
    fn words_of_a_refusal_are_readable() {
        assert_eq!(unescape("a%20b%C3%A4%2"), "a bä%2");
    }

    /// A certificate that signs itself, and its key, both as PEM.
    fn certified() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[tokio::test]
    async fn a_pair_that_is_being_renewed_is_read_again_and_a_wrong_one_is_told() {
        let dir = std::env::temp_dir().join(format!("kvorum-pair-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory");
        let (cert, key) = (dir.join("a.crt"), dir.join("a.key"));
        let (old, new) = (certified(), certified());
        std::fs::write(&cert, &old.0).expect("written");
        std::fs::write(&key, &new.1).expect("written");
        let mixture = pair(&cert, &key).expect("both are sound");
        assert!(!belong_together(&mixture));

        let endpoint = Endpoint {
            trusted_ca: Some(cert.clone()),
            cert: Some(cert.clone()),
            key: Some(key.clone()),
            ..Default::default()
        };
        let renewed = async {
            tokio::time::sleep(PAIR_PAUSE * 2).await;
            std::fs::write(&cert, &new.0).expect("written");
        };
        let (read, ()) = tokio::join!(endpoint.tls(), renewed);
        read.expect("the pair that was written meanwhile");

        std::fs::write(&cert, &old.0).expect("written");
        let wrong = endpoint.tls().await.expect_err("a mixture for ever");
        assert!(wrong.contains("--cert, --key"), "{wrong}");
        std::fs::remove_dir_all(&dir).expect("removed");
    }
}
