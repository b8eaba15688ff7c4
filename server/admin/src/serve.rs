//! The console's listener: HTTP/1 with a deadline for every request's head, and a bound on connections.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tower::ServiceExt;

use crate::peer::Peer;
use crate::tls::ConsoleTls;

/// What a browser may send before its request is understood; one more read of the socket may come on top.
const HEAD_BYTES_MAX: usize = 64 * 1024;
const HEADERS_MAX: usize = 100;
/// How long to wait when no more connections can be opened, as when file descriptors are used up.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// Bounds of the listener.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Connections open at once; more wait until one ends.
    pub connections_max: usize,
    /// For the head of a request, from the end of the one before; so also for a connection without requests.
    pub head_timeout: Duration,
    /// For the handshake, where there is TLS.
    pub handshake_timeout: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections_max: 64,
            head_timeout: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(10),
        }
    }
}

/// Serves the console over plain HTTP until `stop` turns true and the open connections have ended.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    bounds: Bounds,
    stop: watch::Receiver<bool>,
) {
    serve_on(listener, router, bounds, None, stop).await;
}

/// As `serve`, over TLS.
pub async fn serve_tls(
    listener: TcpListener,
    router: Router,
    bounds: Bounds,
    tls: ConsoleTls,
    stop: watch::Receiver<bool>,
) {
    serve_on(listener, router, bounds, Some(tls), stop).await;
}

async fn serve_on(
    listener: TcpListener,
    router: Router,
    bounds: Bounds,
    tls: Option<ConsoleTls>,
    mut stop: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(bounds.connections_max));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok((socket, address, place)) => {
                let served = welcome(
                    socket,
                    address,
                    router.clone(),
                    bounds,
                    tls.clone(),
                    stop.clone(),
                );
                connections.spawn(async move {
                    if let Err(error) = served.await {
                        tracing::debug!(%error, "a console's connection ended");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the console cannot accept a connection");
                tokio::time::sleep(RETRY_AFTER).await;
            }
        }
    }
    while connections.join_next().await.is_some() {}
}

type Place = tokio::sync::OwnedSemaphorePermit;

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, IpAddr, Place)> {
    let place = Arc::clone(places).acquire_owned().await;
    let place = place.map_err(std::io::Error::other)?;
    let (socket, address) = listener.accept().await?;
    socket.set_nodelay(true)?;
    Ok((socket, address.ip(), place))
}

/// Returns once the listener stops; also if whoever could stop it is gone.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Shakes hands where there is TLS, and serves.
async fn welcome(
    socket: TcpStream,
    address: IpAddr,
    router: Router,
    bounds: Bounds,
    tls: Option<ConsoleTls>,
    mut stop: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let mut peer = Peer {
        address,
        reached: socket.local_addr().ok().map(|local| local.ip()),
        admin: None,
    };
    let served = match tls {
        None => connection(socket, peer, router, bounds, stop).await,
        Some(tls) => {
            let shaken = tokio::select! {
                biased;
                () = stopped(&mut stop) => return Ok(()),
                shaken = tls.accept(socket, bounds.handshake_timeout) => shaken?,
            };
            let Some(shaken) = shaken else {
                return Ok(());
            };
            peer.admin = shaken.admin;
            tokio::select! {
                biased;
                // Whatever is under way ends with it.
                reason = tls.distrusted(shaken.chain) => return Err(std::io::Error::other(reason)),
                served = connection(shaken.stream, peer, router, bounds, stop) => served,
            }
        }
    };
    served.map_err(std::io::Error::other)
}

async fn connection(
    socket: impl AsyncRead + AsyncWrite + Unpin,
    peer: Peer,
    router: Router,
    bounds: Bounds,
    mut stop: watch::Receiver<bool>,
) -> Result<(), hyper::Error> {
    let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(peer.clone());
        router.clone().oneshot(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(socket), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        biased;
        served = connection.as_mut() => return served,
        () = stopped(&mut stop) => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";

    struct Served {
        address: std::net::SocketAddr,
        stop: watch::Sender<bool>,
        serving: tokio::task::JoinHandle<()>,
    }

    async fn served(bounds: Bounds) -> Served {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (stop, stopping) = watch::channel(false);
        let router = Router::new().route("/", get(|| async { "hello" }));
        let serving = tokio::spawn(serve(listener, router, bounds, stopping));
        Served {
            address,
            stop,
            serving,
        }
    }

    impl Served {
        async fn connect(&self) -> TcpStream {
            TcpStream::connect(self.address).await.expect("listening")
        }

        async fn end(self) {
            self.stop.send_replace(true);
            self.serving.await.expect("no panic");
        }
    }

    async fn answer(socket: &mut TcpStream) -> String {
        let mut answer = Vec::new();
        while !answer.ends_with(b"hello") {
            let count = socket.read_buf(&mut answer).await.expect("open");
            assert!(count > 0, "{}", String::from_utf8_lossy(&answer));
        }
        String::from_utf8(answer).expect("text")
    }

    #[tokio::test]
    async fn half_a_head_and_an_idle_connection_are_let_go() {
        let bounds = Bounds {
            head_timeout: Duration::from_millis(50),
            ..Bounds::default()
        };
        let served = served(bounds).await;
        let mut silent = served.connect().await;
        let mut slow = served.connect().await;
        slow.write_all(&REQUEST[..20]).await.expect("open");
        let mut idle = served.connect().await;
        idle.write_all(REQUEST).await.expect("open");
        assert!(answer(&mut idle).await.starts_with("HTTP/1.1 200 OK"));
        for socket in [&mut silent, &mut slow, &mut idle] {
            let mut left = Vec::new();
            // Either an orderly end or a reset; what matters is that it ends.
            let _ = socket.read_to_end(&mut left).await;
            assert!(!left.starts_with(b"HTTP/1.1 200"));
        }
        served.end().await;
    }

    #[tokio::test]
    async fn a_connection_too_many_waits_for_its_place() {
        let bounds = Bounds {
            connections_max: 1,
            ..Bounds::default()
        };
        let served = served(bounds).await;
        let mut first = served.connect().await;
        first.write_all(REQUEST).await.expect("open");
        answer(&mut first).await;
        let mut second = served.connect().await;
        second.write_all(REQUEST).await.expect("queued");
        let waiting = tokio::time::timeout(Duration::from_millis(100), second.readable()).await;
        assert!(waiting.is_err(), "the second waits while the first is open");
        drop(first);
        answer(&mut second).await;
        served.end().await;
    }

    #[tokio::test]
    async fn a_flood_of_headers_is_refused() {
        let served = served(Bounds::default()).await;
        let many = (0..200)
            .map(|n| format!("x-{n}: 1\r\n"))
            .collect::<String>();
        let long = format!("x: {}\r\n", "y".repeat(4 * HEAD_BYTES_MAX));
        for flood in [many, long] {
            let mut socket = served.connect().await;
            let request = format!("GET / HTTP/1.1\r\nhost: localhost\r\n{flood}\r\n");
            // The refusal may come before everything is sent.
            let _ = socket.write_all(request.as_bytes()).await;
            let mut answer = vec![0; 64];
            let count = socket.read(&mut answer).await.expect("a refusal");
            let answer = String::from_utf8_lossy(&answer[..count]).into_owned();
            let expected = "HTTP/1.1 431 Request Header Fields Too Large";
            assert!(answer.starts_with(expected), "{answer}");
        }
        served.end().await;
    }
}
