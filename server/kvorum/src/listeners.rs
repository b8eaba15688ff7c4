//! Binds every address before anything is served, so that real ports are known and a taken one is told at once.

use std::net::{SocketAddr, TcpListener};

use kvorum_member::peer::PeerListener;
use kvorum_v3rpc::{Listener, ListenerTls, Scope};
use rustix::net::listen;

use crate::config::{ClientAddress, ListenUrl, Scheme, Settings};

/// Connections that may wait to be accepted; the kernel caps it with its own limit.
const BACKLOG: i32 = 4096;

/// An address that cannot be had.
#[derive(Debug)]
pub(crate) struct BindError {
    /// Which key asked for it.
    pub(crate) key: &'static str,
    /// Where.
    pub(crate) address: SocketAddr,
    /// What the system says.
    pub(crate) error: std::io::Error,
}

/// All bound sockets and the URLs that lead to them.
#[derive(Debug)]
pub(crate) struct Listeners {
    /// For clients and for metrics.
    pub(crate) front: Vec<Bound>,
    /// For the console.
    pub(crate) console: Option<TcpListener>,
    /// For other members.
    pub(crate) peers: Vec<PeerListener>,
    /// Where all of them are.
    pub(crate) urls: Urls,
}

/// A socket that waits for what it is to show.
#[derive(Debug)]
pub(crate) struct Bound {
    socket: TcpListener,
    plain: bool,
    secure: bool,
    scope: Scope,
}

impl Bound {
    /// Ready to be served.
    pub(crate) fn with(self, tls: Option<&ListenerTls>) -> Listener {
        Listener {
            socket: self.socket,
            tls: self.secure.then_some(tls).flatten().cloned(),
            allow_plain: self.plain,
            scope: self.scope,
        }
    }
}

/// Where a member is reached, with real ports.
#[derive(Clone, Debug, Default)]
pub(crate) struct Urls {
    /// Clients.
    pub(crate) clients: Vec<String>,
    /// Metrics and health.
    pub(crate) metrics: Vec<String>,
    /// The console.
    pub(crate) console: Option<String>,
    /// Other members.
    pub(crate) peers: Vec<String>,
}

impl Urls {
    /// As the settings name them, nothing bound.
    pub(crate) fn unbound(settings: &Settings) -> Self {
        let shown = |urls: &[ListenUrl]| urls.iter().map(ToString::to_string).collect();
        let clients = settings.listen.clients.iter();
        Self {
            clients: clients
                .flat_map(|client| client_urls(*client, client.address))
                .collect(),
            metrics: shown(&settings.listen.metrics),
            console: settings.listen.console.as_ref().map(ToString::to_string),
            peers: shown(&settings.listen.peers),
        }
    }
}

/// Binds everything that the settings name.
pub(crate) fn bind(settings: &Settings) -> Result<Listeners, BindError> {
    let mut front = Vec::new();
    let mut urls = Urls::default();
    for client in &settings.listen.clients {
        let (socket, address) = bind_one("listen-client-urls", client.address)?;
        urls.clients.extend(client_urls(*client, address));
        front.push(Bound {
            socket,
            plain: client.plain,
            secure: client.tls,
            scope: Scope::Client,
        });
    }
    for url in &settings.listen.metrics {
        let (socket, address) = bind_one("listen-metrics-urls", url.address)?;
        urls.metrics.push(ListenUrl { address, ..*url }.to_string());
        let plain = url.scheme == Scheme::Http;
        front.push(Bound {
            socket,
            plain,
            secure: !plain,
            scope: Scope::Metrics,
        });
    }
    let mut console = None;
    if let Some(url) = settings.listen.console {
        let (socket, address) = bind_one("listen-console-url", url.address)?;
        urls.console = Some(ListenUrl { address, ..url }.to_string());
        console = Some(socket);
    }
    let mut peers = Vec::new();
    for url in &settings.listen.peers {
        let (socket, address) = bind_one("listen-peer-urls", url.address)?;
        urls.peers.push(ListenUrl { address, ..*url }.to_string());
        peers.push(PeerListener {
            socket,
            tls: url.scheme == Scheme::Https,
        });
    }
    Ok(Listeners {
        front,
        console,
        peers,
        urls,
    })
}

fn client_urls(client: ClientAddress, address: SocketAddr) -> impl Iterator<Item = String> {
    let schemes = [(client.plain, Scheme::Http), (client.tls, Scheme::Https)];
    schemes
        .into_iter()
        .filter(|(spoken, _)| *spoken)
        .map(move |(_, scheme)| ListenUrl { scheme, address }.to_string())
}

fn bind_one(
    key: &'static str,
    address: SocketAddr,
) -> Result<(TcpListener, SocketAddr), BindError> {
    let bound = || -> std::io::Result<_> {
        let socket = TcpListener::bind(address)?;
        // A second call widens the queue that the standard library opened with 128 places.
        listen(&socket, BACKLOG)?;
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        Ok((socket, address))
    };
    bound().map_err(|error| BindError {
        key,
        address,
        error,
    })
}
