//! One accepted connection: TLS or plain by its first byte, HTTP/2 or HTTP/1 by its preface, each within a deadline.

use std::{cell::Cell, convert::Infallible, io, net::IpAddr, rc::Rc, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use kvorum_member::trust::explain_tls;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    net::TcpStream,
    time::timeout,
};

use crate::{
    accept::Stop,
    context::IoContext,
    gateway,
    gateway::RequestBody,
    gather::ReadAhead,
    http2,
    options::Scope,
    peer::Peer,
    shares::{Client, Share},
    tls::ListenerTls,
    unread::Unread,
};

/// First byte of a TLS record that carries a handshake.
const TLS_HANDSHAKE: u8 = 0x16;
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Head of an HTTP/1 request.
const HTTP1_HEAD_BYTES_MAX: usize = 64 * 1024;
/// For so long a member at its first start may look for its cluster before clients are told that it has none.
const FIRST_START: Duration = Duration::from_secs(5);
const FIRST_LOOK: Duration = Duration::from_millis(10);

/// Who may come in, and to what.
pub(crate) struct Door {
    pub(crate) tls: Option<ListenerTls>,
    pub(crate) allow_plain: bool,
    pub(crate) scope: Scope,
    /// Nobody but this machine reaches it.
    pub(crate) is_loopback: bool,
}

/// How a connection came in, and who is at its other end.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) scope: Scope,
    /// At a listener that nobody but this machine reaches.
    pub(crate) is_loopback: bool,
    /// By TLS.
    pub(crate) secure: bool,
    pub(crate) peer: Peer,
    /// Where that is; none within this process.
    pub(crate) from: Option<IpAddr>,
    /// What its calls count against.
    pub(crate) share: Arc<Share>,
    /// Answers that it does not take.
    pub(crate) unread: Arc<Unread>,
}

/// Serves one connection until it ends.
pub(crate) async fn serve(
    cx: Rc<IoContext>,
    socket: TcpStream,
    from: IpAddr,
    door: Arc<Door>,
    stop: Stop,
) {
    if let Err(error) = enter(cx, socket, from, &door, stop).await {
        tracing::debug!(%from, %error, "connection ended");
    }
}

async fn enter(
    cx: Rc<IoContext>,
    socket: TcpStream,
    from: IpAddr,
    door: &Door,
    stop: Stop,
) -> io::Result<()> {
    // Replies are gathered already; waiting for more would only delay them.
    socket.set_nodelay(true)?;
    let deadline = tokio::time::Instant::now() + cx.options.handshake_timeout;
    let mut first = [0];
    let count = tokio::time::timeout_at(deadline, socket.peek(&mut first)).await??;
    if count == 0 {
        return Ok(());
    }
    let wants_tls = first == [TLS_HANDSHAKE];
    let mut entry = Entry {
        scope: door.scope,
        is_loopback: door.is_loopback,
        secure: wants_tls,
        peer: Peer::Unknown,
        from: Some(from),
        share: cx.crowd.clients.of(Client::of(&Peer::Unknown, from)),
        unread: Unread::of_connection(),
    };
    match &door.tls {
        Some(tls) if wants_tls => {
            let secured = tokio::time::timeout_at(deadline, tls.accept(socket)).await?;
            // Whoever merely hangs up, as probes of ports do, was not refused.
            let secured = secured.inspect_err(|error| {
                if error
                    .get_ref()
                    .is_some_and(|inner| inner.is::<rustls::Error>())
                {
                    cx.turned_away.note(from, &explain_tls(error));
                }
            });
            let socket = secured?;
            let shown = socket.get_ref().1.peer_certificates();
            let admitted = cx.guests.admit(shown);
            entry.peer = admitted.map_err(|reason| {
                cx.turned_away.note(from, &reason);
                io::Error::new(io::ErrorKind::PermissionDenied, reason)
            })?;
            entry.share = cx.crowd.clients.of(Client::of(&entry.peer, from));
            speak(cx, entry, socket, stop).await
        }
        _ if wants_tls => {
            let reason = "TLS, and this listener has no certificate";
            refuse(&cx, &socket, from, reason)
        }
        _ if door.allow_plain => speak(cx, entry, socket, stop).await,
        _ => refuse(&cx, &socket, from, "no TLS, which this listener demands"),
    }
}

/// Resets the connection, so that the client fails at once and not after a timeout.
fn refuse(cx: &IoContext, socket: &TcpStream, from: IpAddr, what: &str) -> io::Result<()> {
    cx.turned_away
        .note(from, &format!("the client speaks {what}"));
    socket.set_zero_linger()?;
    Err(io::Error::new(
        io::ErrorKind::ConnectionRefused,
        format!("the client speaks {what}"),
    ))
}

async fn speak<S>(cx: Rc<IoContext>, entry: Entry, mut socket: S, stop: Stop) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let read_ahead = timeout(cx.options.header_timeout, read_preface(&mut socket)).await??;
    if read_ahead == HTTP2_PREFACE {
        await_cluster(&cx, stop.clone()).await;
        return http2::serve(cx, entry, socket, read_ahead, stop).await;
    }
    http1(cx, entry, socket, read_ahead, stop)
        .await
        .map_err(io::Error::other)
}

/// At its first start a member learns a moment after it listens what its cluster can do, and would refuse all calls until
/// then, with an error after which no client tries again. etcd does not speak before it is ready; nor is HTTP/2 spoken
/// here, for the first seconds. Who still comes too early is told so.
async fn await_cluster(cx: &IoContext, mut stop: Stop) {
    while !cx.handle.is_capable() && cx.begun.elapsed() < FIRST_START {
        tokio::select! {
            () = stop.wait() => return,
            () = tokio::time::sleep(FIRST_LOOK) => {}
        }
    }
}

/// Reads until it is clear whether HTTP/2 is spoken: the whole preface, or the first bytes of something else.
pub(crate) async fn read_preface(socket: &mut (impl AsyncRead + Unpin)) -> io::Result<Bytes> {
    let mut head = BytesMut::with_capacity(HTTP2_PREFACE.len());
    while head.len() < HTTP2_PREFACE.len() && HTTP2_PREFACE.starts_with(&head) {
        let missing = (HTTP2_PREFACE.len() - head.len()) as u64;
        if (&mut *socket).take(missing).read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(head.freeze())
}

/// The HTTP endpoints and the JSON gateway speak HTTP/1.
async fn http1<S>(
    cx: Rc<IoContext>,
    entry: Entry,
    socket: S,
    read_ahead: Bytes,
    mut stop: Stop,
) -> Result<(), hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let header_timeout = cx.options.header_timeout;
    let peer = entry.peer.clone();
    let upgrade = Rc::new(Cell::new(None));
    let service_upgrade = Rc::clone(&upgrade);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let (cx, upgrade) = (Rc::clone(&cx), Rc::clone(&service_upgrade));
        let entry = entry.clone();
        async move {
            let (head, body) = request.into_parts();
            let body: RequestBody = Box::pin(body.map_err(Into::into));
            let request = hyper::Request::from_parts(head, ());
            let mut response = gateway::respond(&cx, &entry, request, body).await;
            upgrade.set(response.body_mut().take_upgrade());
            Ok::<_, Infallible>(response)
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_buf_size(HTTP1_HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(ReadAhead::new(socket, read_ahead)), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        biased;
        // HTTP/1 has no way to say goodbye.
        _ = peer.distrusted() => return Ok(()),
        served = connection.as_mut() => served?,
        () = stop.wait() => {
            connection.as_mut().graceful_shutdown();
            connection.await?;
        }
    }
    if let Some(after_http) = upgrade.take() {
        tokio::select! {
            biased;
            _ = peer.distrusted() => {}
            () = after_http => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    async fn preface_of(pieces: &[&[u8]]) -> io::Result<Bytes> {
        let (mut client, mut server) = tokio::io::duplex(64);
        let (read, ()) = tokio::join!(read_preface(&mut server), async {
            for piece in pieces {
                client.write_all(piece).await.expect("open");
                tokio::task::yield_now().await;
            }
            drop(client);
        });
        read
    }

    #[tokio::test]
    async fn http2_is_known_by_its_preface_in_any_pieces() {
        for cut in 1..HTTP2_PREFACE.len() {
            let (left, right) = HTTP2_PREFACE.split_at(cut);
            let read = preface_of(&[left, right, b"frames"])
                .await
                .expect("complete");
            assert_eq!(read, HTTP2_PREFACE);
        }
    }

    #[tokio::test]
    async fn anything_else_is_http1_as_soon_as_it_differs() {
        let read = preface_of(&[b"PUT / HTTP/1.1\r\n"]).await.expect("decided");
        assert_eq!(&read[..], b"PUT / HTTP/1.1\r\n");
        let read = preface_of(&[b"P", b"O"]).await.expect("decided");
        assert_eq!(&read[..], b"PO");
        assert!(preface_of(&[b"PRI * HT"]).await.is_err());
    }
}
