//! What the client listener is told when it starts.

use std::{net::TcpListener, time::Duration};

use kvorum_member::trust::ClientTrust;

use crate::{gateway::Access, tls::ListenerTls};

/// Extra bytes a message may have beyond the largest request, so that the text for "too large" is etcd's.
const MESSAGE_OVERHEAD_BYTES: usize = 512 * 1024;

/// Limits and behaviour, the same on every listener.
#[derive(Clone, Debug)]
pub struct Options {
    /// Largest encoded request (`--max-request-bytes`).
    pub max_request_bytes: usize,
    /// Calls that one connection may have open (`--max-concurrent-streams`).
    pub max_concurrent_streams: u32,
    /// Calls of one client, by certificate or address, that are carried out at once (`--max-client-calls`); eight times as
    /// many wait for their turn. Streams and calls that wait for others count while they do something.
    pub client_calls_max: usize,
    /// Streams, and calls that wait for others, that one client may have open on all its connections together
    /// (`--max-client-streams`).
    pub client_streams_max: usize,
    /// Connections open at once on all listeners together; more wait until one ends. One address may have three
    /// quarters of them.
    pub connections_max: usize,
    /// From accepting a connection to the end of its TLS handshake.
    pub handshake_timeout: Duration,
    /// From there to knowing which protocol is spoken, and for the head of an HTTP/1 request.
    pub header_timeout: Duration,
    /// What a request's message may take to come, beside a second for every 16 KiB of it.
    pub body_timeout: Duration,
    /// Who may use HTTP on client listeners, and whether the JSON gateway is there.
    pub access: Access,
    /// The common name of a verified client certificate names a user (`--client-cert-auth`).
    pub certificate_users: bool,
    /// Judges certificates of clients where the cluster's own authority signs them, for as long as their connections
    /// are open. None where the operator's does.
    pub trust: Option<ClientTrust>,
    /// How long calls that are under way may take once the listener stops.
    pub drain_timeout: Duration,
    /// Open streams with `hasleader` end after three of these without a leader.
    pub election_timeout: Duration,
    /// Unary calls slower than this are logged (`--warning-unary-request-duration`).
    pub slow_request: Duration,
    /// Least time between HTTP/2 pings of a client with open calls (`--grpc-keepalive-min-time`).
    pub ping_interval_min: Duration,
    /// HTTP/2 pings of the server: how often.
    pub keepalive_interval: Duration,
    /// HTTP/2 pings of the server: how long the answer may take.
    pub keepalive_timeout: Duration,
    /// Measure how long calls take, too (`--metrics=extensive`).
    pub extensive_metrics: bool,
}

impl Default for Options {
    /// etcd's defaults.
    fn default() -> Self {
        Self {
            max_request_bytes: 1_572_864,
            max_concurrent_streams: u32::MAX,
            client_calls_max: 1024,
            client_streams_max: 65_536,
            connections_max: usize::MAX,
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(20),
            access: Access::default(),
            // A listener that asks for no certificates has no such names.
            certificate_users: true,
            trust: None,
            drain_timeout: Duration::from_secs(7),
            election_timeout: Duration::from_secs(1),
            slow_request: Duration::from_millis(300),
            ping_interval_min: Duration::from_secs(5),
            keepalive_interval: Duration::from_secs(2 * 60 * 60),
            keepalive_timeout: Duration::from_secs(20),
            extensive_metrics: false,
        }
    }
}

impl Options {
    /// Largest gRPC message that is read, and the size from which watch responses are split.
    #[must_use]
    pub const fn message_bytes_max(&self) -> usize {
        self.max_request_bytes
            .saturating_add(MESSAGE_OVERHEAD_BYTES)
    }
}

/// One bound socket and who may speak to it.
#[derive(Debug)]
pub struct Listener {
    /// The socket; already listening.
    pub socket: TcpListener,
    /// TLS, if certificates are given.
    pub tls: Option<ListenerTls>,
    /// Serve connections without TLS. Next to `tls`, both are told apart by their first byte.
    pub allow_plain: bool,
    /// What is served.
    pub scope: Scope,
}

/// What a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// gRPC and the HTTP endpoints.
    Client,
    /// The HTTP endpoints only (`--listen-client-http-urls`).
    Http,
    /// Metrics and health only (`--listen-metrics-urls`).
    Metrics,
}
