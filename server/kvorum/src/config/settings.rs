//! What the server will do, fully checked: nothing after this stage looks at a flag again.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kvorum_admin::Login;
use kvorum_member::compactor::Retention;
use kvorum_member::tokens::AuthOptions;
use kvorum_pki::acme::AcmeOptions;
use kvorum_v3rpc::Access;
use rustls::ServerConfig;

use super::access;
use super::acme;
use super::advertise::Advertised;
use super::auth;
use super::cluster::{self, ClusterSettings};
use super::compaction;
use super::keys;
use super::logging::{self, Logging};
use super::peers::{self, PeerSettings};
use super::plain;
use super::problem::Problem;
use super::reader::Reader;
use super::remembered::Place;
use super::tls;
use super::trust::{self, TrustSettings};
use super::units;
use super::url::{ListenUrl, Scheme};

/// Everything that was decided before the start.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Where this member keeps its files.
    pub(crate) data_dir: PathBuf,
    /// Its name.
    pub(crate) name: String,
    /// Somebody chose the name.
    pub(crate) is_named: bool,
    /// The cluster it belongs to.
    pub(crate) cluster: ClusterSettings,
    /// Where the member is, if that is told by one address alone.
    pub(crate) place: Option<Place>,
    /// What is bound.
    pub(crate) listen: Listen,
    /// What clients are told to dial; empty for the bound addresses.
    pub(crate) advertise_client_urls: Vec<String>,
    /// For every `https://` URL.
    pub(crate) tls: Option<Arc<ServerConfig>>,
    /// The files it was made of, where they were named.
    pub(crate) tls_files: Option<tls::Named>,
    /// What the cluster's own authority is asked for.
    pub(crate) trust: TrustSettings,
    /// The way to other members.
    pub(crate) peers: PeerSettings,
    /// Sizes and counts.
    pub(crate) limits: Limits,
    /// How much history is kept, if it is compacted without being asked.
    pub(crate) auto_compaction: Option<Retention>,
    /// Who may use HTTP, and whether the JSON gateway is there.
    pub(crate) access: Access,
    /// Tokens and passwords.
    pub(crate) auth: AuthOptions,
    /// Timers.
    pub(crate) timing: Timing,
    /// Threads that serve clients.
    pub(crate) io_threads: usize,
    /// The time that each call takes is measured, too.
    pub(crate) extensive_metrics: bool,
    /// Whether people must sign in to the console.
    pub(crate) console_login: Login,
    /// A certificate for its public names, if it has any.
    pub(crate) console_acme: Option<AcmeOptions>,
    /// What is logged, and how.
    pub(crate) logging: Logging,
}

/// The addresses of all listeners.
#[derive(Clone, Debug)]
pub(crate) struct Listen {
    /// Clients; one entry per address, whatever schemes share it.
    pub(crate) clients: Vec<ClientAddress>,
    /// Metrics and health.
    pub(crate) metrics: Vec<ListenUrl>,
    /// The console.
    pub(crate) console: Option<ListenUrl>,
    /// Other members.
    pub(crate) peers: Vec<ListenUrl>,
}

/// An address that clients reach, and what may be spoken on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientAddress {
    /// Where.
    pub(crate) address: SocketAddr,
    /// Plain text is welcome.
    pub(crate) plain: bool,
    /// TLS is welcome.
    pub(crate) tls: bool,
}

/// Sizes and counts that requests are held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Logical size of the store from which writes are refused.
    pub(crate) quota_backend_bytes: u64,
    /// Operations in one transaction.
    pub(crate) max_txn_ops: usize,
    /// Size of one request.
    pub(crate) max_request_bytes: usize,
    /// Streams in one connection.
    pub(crate) max_concurrent_streams: u32,
    /// Requests of one client at once.
    pub(crate) max_client_calls: usize,
    /// Streams that one client has open.
    pub(crate) max_client_streams: usize,
    /// Memory for large requests and replies; from the memory limit if none.
    pub(crate) large_request_bytes: Option<u64>,
}

/// Timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timing {
    /// Between heartbeats.
    pub(crate) heartbeat_interval: Duration,
    /// Until a silent leader is doubted.
    pub(crate) election_timeout: Duration,
    /// Between progress notices of an idle watch.
    pub(crate) watch_progress_notify_interval: Duration,
    /// Least time between a client's pings.
    pub(crate) grpc_keepalive_min_time: Duration,
    /// Between pings to a silent client.
    pub(crate) grpc_keepalive_interval: Duration,
    /// For the answer to such a ping.
    pub(crate) grpc_keepalive_timeout: Duration,
}

const SECOND: Duration = Duration::from_secs(1);
const MIB: u64 = 1 << 20;
const IO_THREADS_MAX: u64 = 128;

/// Checks everything that was given; all problems are reported, not only the first.
pub(super) fn check(mut reader: Reader) -> Result<Settings, Vec<Problem>> {
    match settings(&mut reader) {
        Some(settings) if reader.problems.is_empty() => Ok(settings),
        _ => Err(reader.problems),
    }
}

fn settings(reader: &mut Reader) -> Option<Settings> {
    let data_dir = data_dir(reader);
    let name = reader.word(keys::NAME);
    let is_named = reader.is_given(keys::NAME);
    let cluster = cluster::read(reader);
    let advertised = Advertised::read(reader);
    let place = Place::read(reader);
    let console_login = console_login(reader);
    let listen = listen(reader, advertised.as_ref(), console_login);
    let advertise_client_urls = match &advertised {
        Some(advertised) if !reader.is_given(keys::ADVERTISE_CLIENT_URLS) => {
            Some(vec![advertised.client_url()])
        }
        _ => reader.advertise_urls(keys::ADVERTISE_CLIENT_URLS),
    };
    let tls = tls_config(reader);
    let (tls, tls_files) = tls.unzip();
    let peers = match &listen {
        Some(listen) => peers::read(reader, &listen.peers, cluster.as_ref(), advertised.as_ref()),
        None => None,
    };
    let peer_files = peers.as_ref().and_then(|peers| peers.tls_files.as_ref());
    let trust = trust::read(
        reader,
        listen.as_ref(),
        cluster.as_ref(),
        tls_files.as_ref(),
        peer_files,
    );
    let limits = limits(reader);
    let auto_compaction = compaction::read(reader);
    let access = access::read(reader);
    let auth = auth::read(reader);
    let timing = timing(reader);
    let io_threads = match reader.is_given(keys::IO_THREADS) {
        true => reader.count(keys::IO_THREADS, 1, IO_THREADS_MAX),
        false => Some(default_io_threads()),
    };
    let extensive_metrics = extensive_metrics(reader);
    let console = listen.as_ref().and_then(|listen| listen.console);
    let console_acme = acme::read(reader, data_dir.as_deref(), console);
    let logging = logging::read(reader);
    let listen = listen?;
    if advertised.is_none() {
        check_advertised(reader, &listen);
    }
    Some(Settings {
        data_dir: data_dir?,
        name: name?,
        is_named,
        cluster: cluster?,
        place,
        listen,
        advertise_client_urls: advertise_client_urls?,
        tls,
        tls_files,
        trust: trust?,
        peers: peers?,
        limits: limits?,
        auto_compaction: auto_compaction?,
        access: access?,
        auth: auth?,
        timing: timing?,
        io_threads: usize::try_from(io_threads?).ok()?,
        extensive_metrics: extensive_metrics?,
        console_login: console_login?,
        console_acme: console_acme?,
        logging: logging?,
    })
}

fn extensive_metrics(reader: &mut Reader) -> Option<bool> {
    reader.read(keys::METRICS, |text| match text {
        "basic" => Ok(false),
        "extensive" => Ok(true),
        _ => Err("use basic or extensive".to_owned()),
    })
}

fn console_login(reader: &mut Reader) -> Option<Login> {
    reader.read(keys::CONSOLE_LOGIN, |text| match text {
        "off" => Ok(Login::Off),
        "required" => Ok(Login::Required),
        _ => Err("use required or off".to_owned()),
    })
}

/// Half of the processors, but two from two on: apply and log have threads of their own.
fn default_io_threads() -> u64 {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    match processors {
        1 => 1,
        2..=4 => 2,
        more => (more as u64 / 2).min(IO_THREADS_MAX),
    }
}

fn data_dir(reader: &mut Reader) -> Option<PathBuf> {
    let path = reader.path(keys::DATA_DIR)?;
    if !reader.is_given(keys::DATA_DIR) && !can_be_written(&path) {
        reader.refuse(
            keys::DATA_DIR,
            "this user may not write there: give a directory with --data-dir, or run as the \
             service that owns it",
        );
        return None;
    }
    Some(path)
}

fn can_be_written(path: &Path) -> bool {
    let writable = |path: &Path| rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok();
    match path.exists() {
        true => writable(path),
        false => path.parent().is_some_and(writable),
    }
}

fn listen(
    reader: &mut Reader,
    advertised: Option<&Advertised>,
    login: Option<Login>,
) -> Option<Listen> {
    let clients = match advertised {
        Some(advertised) if !reader.is_given(keys::LISTEN_CLIENT_URLS) => {
            Some(advertised.clients())
        }
        _ => reader.listen_urls(keys::LISTEN_CLIENT_URLS),
    };
    let metrics = reader.listen_urls_or_none(keys::LISTEN_METRICS_URLS);
    let console = reader.listen_urls_or_none(keys::LISTEN_CONSOLE_URL);
    let peers = match advertised {
        Some(advertised) if !reader.is_given(keys::LISTEN_PEER_URLS) => Some(advertised.peers()),
        _ => reader.optional_listen_urls(keys::LISTEN_PEER_URLS),
    };
    if let Some(&[url, ..]) = console.as_deref() {
        let count = console.as_deref().map_or(0, <[_]>::len);
        check_console(reader, url, count, login);
    }
    let (clients, metrics, console, peers) = (clients?, metrics?, console?, peers?);
    plain::check(reader, &clients, &metrics, &console);
    if clients.is_empty() {
        reader.refuse(
            keys::LISTEN_CLIENT_URLS,
            "no URL: a member without clients is of no use",
        );
    }
    let all = [
        (keys::LISTEN_CLIENT_URLS, clients.as_slice()),
        (keys::LISTEN_METRICS_URLS, metrics.as_slice()),
        (keys::LISTEN_CONSOLE_URL, console.as_slice()),
        (keys::LISTEN_PEER_URLS, peers.as_slice()),
    ];
    check_collisions(reader, &all);
    Some(Listen {
        clients: by_address(&clients),
        metrics,
        console: console.first().copied(),
        peers,
    })
}

/// Without TLS whoever sees the network reads passwords, and without a login whoever comes reads every key: such a console
/// stays on this machine.
fn check_console(reader: &mut Reader, url: ListenUrl, count: usize, login: Option<Login>) {
    let key = keys::LISTEN_CONSOLE_URL;
    let port = url.address.port();
    if count > 1 {
        reader.refuse(key, "one URL only");
    } else if url.address.ip().is_loopback() {
        // Nobody else reaches it.
    } else if url.scheme == Scheme::Http {
        reader.refuse(
            key,
            &format!(
                "http:// is for loopback: use https://{}, or http://127.0.0.1:{port} with --console-allow-plain and from elsewhere \
                 `ssh -L {port}:127.0.0.1:{port}`",
                url.address
            ),
        );
    } else if login == Some(Login::Off) {
        reader.refuse(
            key,
            &format!(
                "the console has no login and must not be reachable from other machines: add --console-login required, \
                 or use https://127.0.0.1:{port}"
            ),
        );
    }
}

fn check_collisions(reader: &mut Reader, all: &[(&'static str, &[ListenUrl])]) {
    let urls: Vec<_> = all
        .iter()
        .flat_map(|(key, urls)| urls.iter().map(|url| (*key, *url)))
        .collect();
    for (at, (key, url)) in urls.iter().enumerate() {
        for (other_key, other) in urls.iter().skip(at + 1) {
            let shared_by_schemes = key == other_key
                && *key == keys::LISTEN_CLIENT_URLS
                && url.address == other.address
                && url.scheme != other.scheme;
            if url.collides_with(other) && !shared_by_schemes {
                let keys = match key == other_key {
                    true => (*key).to_owned(),
                    false => format!("{key} and {other_key}"),
                };
                reader.problems.push(Problem::new(format!(
                    "{keys}: {url} and {other} need the same port: give one of them \
                     another"
                )));
            }
        }
    }
}

fn by_address(urls: &[ListenUrl]) -> Vec<ClientAddress> {
    let mut grouped: Vec<ClientAddress> = Vec::new();
    for url in urls {
        let tls = url.scheme == Scheme::Https;
        match grouped
            .iter_mut()
            .find(|known| known.address == url.address)
        {
            Some(known) => {
                known.plain |= !tls;
                known.tls |= tls;
            }
            None => grouped.push(ClientAddress {
                address: url.address,
                plain: !tls,
                tls,
            }),
        }
    }
    grouped
}

/// Without advertised URLs the bound addresses are told to clients, and "all addresses" is none of them.
fn check_advertised(reader: &mut Reader, listen: &Listen) {
    let everywhere = listen
        .clients
        .iter()
        .any(|client| client.address.ip().is_unspecified());
    if everywhere && !reader.is_given(keys::ADVERTISE_CLIENT_URLS) {
        reader.refuse(
            keys::LISTEN_CLIENT_URLS,
            "clients must be told an address they can dial: add --advertise-client-urls",
        );
    }
}

fn tls_config(reader: &mut Reader) -> Option<(Arc<ServerConfig>, tls::Named)> {
    let cert = reader.optional_path(keys::CERT_FILE);
    let key = reader.optional_path(keys::KEY_FILE);
    let trusted_ca = reader.optional_path(keys::TRUSTED_CA_FILE);
    let missing = match (&cert, &key) {
        (Some(cert), Some(key)) => {
            let files = tls::Files {
                cert,
                key,
                trusted_ca: trusted_ca.as_deref(),
            };
            return match tls::load(files) {
                Ok(config) => Some((
                    config,
                    tls::Named {
                        cert: cert.clone(),
                        key: key.clone(),
                        trusted_ca,
                    },
                )),
                Err(refused) => {
                    reader.refuse(refused.key, &refused.reason);
                    None
                }
            };
        }
        (Some(_), None) => "key-file: missing: cert-file needs it",
        (None, Some(_)) => "cert-file: missing: key-file needs it",
        (None, None) if trusted_ca.is_some() => {
            "cert-file, key-file: missing: trusted-ca-file is of use only with both"
        }
        (None, None) => return None,
    };
    reader.problems.push(Problem::new(missing));
    None
}

fn limits(reader: &mut Reader) -> Option<Limits> {
    let quota = reader.bytes(keys::QUOTA_BACKEND_BYTES, 16 << 10, 1 << 50);
    let ops = reader.count(keys::MAX_TXN_OPS, 1, 100_000);
    let request = reader.bytes(keys::MAX_REQUEST_BYTES, 1 << 10, 64 * MIB);
    let streams = reader.count(keys::MAX_CONCURRENT_STREAMS, 1, u64::from(u32::MAX));
    let client_calls = reader.count(keys::MAX_CLIENT_CALLS, 1, 1_000_000);
    let client_streams = reader.count(keys::MAX_CLIENT_STREAMS, 1, u64::from(u32::MAX));
    let large = match reader.is_given(keys::LARGE_REQUEST_MEMORY) {
        true => Some(reader.bytes(keys::LARGE_REQUEST_MEMORY, MIB, 1 << 50)?),
        false => None,
    };
    Some(Limits {
        quota_backend_bytes: quota?,
        max_txn_ops: usize::try_from(ops?).ok()?,
        max_request_bytes: usize::try_from(request?).ok()?,
        max_concurrent_streams: u32::try_from(streams?).ok()?,
        max_client_calls: usize::try_from(client_calls?).ok()?,
        max_client_streams: usize::try_from(client_streams?).ok()?,
        large_request_bytes: large,
    })
}

fn timing(reader: &mut Reader) -> Option<Timing> {
    let heartbeat = reader.duration(keys::HEARTBEAT_INTERVAL, SECOND / 1000, 10 * SECOND);
    let election = reader.duration(keys::ELECTION_TIMEOUT, SECOND / 100, 50 * SECOND);
    let progress = reader.duration(
        keys::WATCH_PROGRESS_NOTIFY_INTERVAL,
        SECOND / 10,
        24 * 3600 * SECOND,
    );
    let ping = |reader: &mut Reader, key| reader.duration(key, SECOND / 1000, 24 * 3600 * SECOND);
    let min_time = ping(reader, keys::GRPC_KEEPALIVE_MIN_TIME);
    let interval = ping(reader, keys::GRPC_KEEPALIVE_INTERVAL);
    let timeout = ping(reader, keys::GRPC_KEEPALIVE_TIMEOUT);
    let (heartbeat, election) = (heartbeat?, election?);
    if election <= heartbeat * 5 {
        let beat = units::show_duration(heartbeat);
        let floor = units::show_duration(heartbeat * 5);
        reader.refuse(
            keys::ELECTION_TIMEOUT,
            &format!(
                "must be more than five times heartbeat-interval ({beat}), or one late heartbeat \
                 costs the leader its place: use more than {floor}"
            ),
        );
    }
    Some(Timing {
        heartbeat_interval: heartbeat,
        election_timeout: election,
        watch_progress_notify_interval: progress?,
        grpc_keepalive_min_time: min_time?,
        grpc_keepalive_interval: interval?,
        grpc_keepalive_timeout: timeout?,
    })
}
