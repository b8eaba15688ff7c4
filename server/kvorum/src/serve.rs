//! The life of a member: bind, start, serve, wait, drain, close.

use std::io;

use kvorum_member::peer::Peers;
use kvorum_member::trust::{Keeper, TrustOptions};
use kvorum_member::{BootstrapError, Member, MemberOptions, StartError};
use kvorum_pki::ClientCerts;
use kvorum_v3rpc::{Front, ListenerTls, Options};
use sd_notify::NotifyState;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

use crate::config::{REMEMBERED, Settings};
use crate::console::{self, Console};
use crate::exit::Exit;
use crate::listeners::{self, BindError, Listeners, Urls};
use crate::memory::{self, Shares};
use crate::{peers, pki, process};

/// Why the start or the run ended early; already told in the log.
type Ended = Exit;

/// Runs a member until it is asked to stop or its disk fails.
pub(crate) fn run(settings: Settings) -> Exit {
    let data_dir = settings.data_dir.display();
    info!(version = env!("CARGO_PKG_VERSION"), name = settings.name, %data_dir, "starting");
    if let Some(place) = settings.place.as_ref().filter(|place| place.is_remembered) {
        info!(
            advertise = place.host,
            "no address is given: this member goes on at the one that it was given before"
        );
    }
    process::hide_memory();
    process::raise_file_limit();
    serve(settings).unwrap_or_else(|ended| ended)
}

fn serve(settings: Settings) -> Result<Exit, Ended> {
    let runtime = runtime().map_err(|error| refuses("a runtime", &error))?;
    let listeners = listeners::bind(&settings).map_err(|failed| unbound(&settings, &failed))?;
    let Listeners {
        front,
        console,
        peers,
        urls,
    } = listeners;
    let keeper = keep(&settings, &urls)?;
    let peer_tls = keeper.as_ref().map(Keeper::peer_tls);
    let peers = peers::start(&settings, &urls, peers, peer_tls)
        .map_err(|error| refuses("a thread", &error))?;
    let member = start_member(&settings, &urls, peers)?;
    process::opened(&settings.data_dir);
    let options = Options {
        connections_max: process::connections_max()
            .map_err(|error| refuses("more files", &error))?,
        max_request_bytes: settings.limits.max_request_bytes,
        max_concurrent_streams: settings.limits.max_concurrent_streams,
        client_calls_max: settings.limits.max_client_calls,
        client_streams_max: settings.limits.max_client_streams,
        access: settings.access.clone(),
        certificate_users: settings.trust.client_cert_auth,
        trust: match settings.trust.clients {
            true => keeper.as_ref().map(Keeper::client_trust),
            false => None,
        },
        election_timeout: settings.timing.election_timeout,
        ping_interval_min: settings.timing.grpc_keepalive_min_time,
        keepalive_interval: settings.timing.grpc_keepalive_interval,
        keepalive_timeout: settings.timing.grpc_keepalive_timeout,
        extensive_metrics: settings.extensive_metrics,
        ..Options::default()
    };
    let tls = Shown::of(&settings, keeper.as_ref());
    let shown = console::Shown::of(&settings, &urls, keeper.as_ref())?;
    if let Some(keeper) = keeper {
        keeper
            .run(&member)
            .map_err(|error| refuses("a thread", &error))?;
    }
    let front = front
        .into_iter()
        .map(|bound| bound.with(tls.clients.as_ref()))
        .collect();
    let handles: Result<Vec<_>, _> = (0..settings.io_threads).map(|_| member.handle()).collect();
    let handles = handles.map_err(|error| refuses("an I/O thread", &error))?;
    let front =
        Front::start(front, handles, options).map_err(|error| refuses("a thread", &error))?;
    runtime.block_on(async {
        let signals = Signals::register().map_err(|error| refuses("signal handlers", &error))?;
        let console = Console::start(console, &member, &settings, &urls, shown)?;
        compact_by_itself(&member, &settings)?;
        let running = Running {
            member,
            front,
            console,
            signals,
        };
        running.until_stopped(&urls, &settings).await
    })
}

/// Says what to do about an address that cannot be had. One that was written down at an earlier start may be no longer
/// this machine's, and nobody has named it now.
fn unbound(settings: &Settings, failed: &BindError) -> Exit {
    let (key, address) = (failed.key, failed.address);
    let is_remembered = settings.place.as_ref().is_some_and(|p| p.is_remembered);
    let is_taken = matches!(
        failed.error.kind(),
        io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied
    );
    if is_remembered && !is_taken && !address.ip().is_loopback() {
        let file = settings.data_dir.join(pki::PKI).join(REMEMBERED);
        let file = file.display();
        error!(
            key, %address, %file, error = %failed.error,
            "cannot bind the address of an earlier start, which {file} remembers: give --advertise with the address that \
             this machine has now"
        );
    } else {
        error!(key, %address, error = %failed.error, "cannot bind an address: free it or name another with --{key}");
    }
    Exit::AddressTaken
}

/// What listeners show.
struct Shown {
    clients: Option<ListenerTls>,
}

impl Shown {
    /// Files that were named come first.
    fn of(settings: &Settings, keeper: Option<&Keeper>) -> Self {
        match (&settings.tls, keeper) {
            (Some(config), _) => Self {
                clients: Some(ListenerTls::fixed(config)),
            },
            (None, Some(keeper)) => Self {
                clients: Some(ListenerTls::live(keeper.client_tls().subscribe())),
            },
            (None, None) => Self { clients: None },
        }
    }
}

/// The certificates of this member, where its cluster makes them.
fn keep(settings: &Settings, urls: &Urls) -> Result<Option<Keeper>, Ended> {
    let own = pki::open(settings, urls)?;
    // With the operator's own certificates too: what was written down before must not outlive its time.
    pki::remember(settings);
    let Some(own) = own else {
        return Ok(None);
    };
    let lives = settings.trust.lives;
    let opened = Keeper::open(TrustOptions {
        pki_dir: own.dir,
        member_id: own.member_id,
        node_life: lives.node,
        client_life: lives.client,
        console_life: lives.console,
        names: pki::names_of(settings, urls),
        client_certs: match settings.trust.client_cert_auth {
            true => ClientCerts::Required,
            false => ClientCerts::Optional,
        },
    });
    opened.map(Some).map_err(|error| {
        error!(%error, "the keys of this member cannot be used");
        Exit::BadDataDir
    })
}

fn start_member(settings: &Settings, urls: &Urls, peers: Option<Peers>) -> Result<Member, Ended> {
    let advertised = match settings.advertise_client_urls.as_slice() {
        [] => urls.clients.clone(),
        given => given.to_vec(),
    };
    let memory_limit_bytes = memory::limit_bytes();
    let shares = Shares::of(memory_limit_bytes, settings.limits.large_request_bytes);
    info!(
        memory_limit_bytes,
        value_cache_bytes = shares.value_cache_bytes,
        large_request_bytes = shares.large_request_bytes,
        "memory is shared out"
    );
    let defaults = MemberOptions::default();
    let peer_urls = pki::advertised(settings, urls);
    let options = MemberOptions {
        data_dir: settings.data_dir.clone(),
        name: settings.name.clone(),
        peer_urls,
        client_urls: advertised,
        cluster_token: settings.cluster.token.clone(),
        initial_cluster: settings.cluster.initial.clone(),
        cluster_state: settings.cluster.state,
        strict_reconfig_check: settings.cluster.strict,
        learners_max: settings.cluster.learners_max,
        auto_promote: settings.cluster.auto_promote,
        quota_backend_bytes: settings.limits.quota_backend_bytes.cast_signed(),
        max_txn_ops: settings.limits.max_txn_ops,
        max_request_bytes: settings.limits.max_request_bytes,
        heartbeat_interval: settings.timing.heartbeat_interval,
        election_timeout: settings.timing.election_timeout,
        watch_progress_interval: settings.timing.watch_progress_notify_interval,
        value_cache_bytes: shares.value_cache_bytes,
        unflushed_bytes_max: shares.unflushed_bytes_max,
        large_request_bytes: shares.large_request_bytes,
        auth: settings.auth.clone(),
        ..defaults
    };
    Member::start(options, peers).map_err(|error| match error {
        StartError::AnotherPlace => process::begin_anew(),
        StartError::System { .. } => refuses("the member", &error),
        StartError::Bootstrap(BootstrapError::Settings(reason)) => {
            error!(reason, "these settings do not make a member");
            Exit::BadSettings
        }
        StartError::Bootstrap(BootstrapError::Removed(reason)) => {
            error!(reason, "this member was removed from its cluster");
            Exit::Removed
        }
        StartError::Bootstrap(BootstrapError::Refused(reason)) => {
            error!(reason, "this member must not begin like this");
            Exit::BadDataDir
        }
        error => {
            let data_dir = settings.data_dir.display();
            error!(%data_dir, %error, "cannot open the data directory");
            Exit::BadDataDir
        }
    })
}

/// Compacts history where the settings ask for it; ends with the runtime.
fn compact_by_itself(member: &Member, settings: &Settings) -> Result<(), Ended> {
    let Some(retention) = settings.auto_compaction else {
        return Ok(());
    };
    let handle = member
        .handle()
        .map_err(|error| refuses("a thread", &error))?;
    tokio::spawn(handle.run());
    tokio::spawn(kvorum_member::compactor::run(handle, retention));
    Ok(())
}

/// The line that everybody waits for, and the same for systemd.
fn announce(urls: &Urls, settings: &Settings) {
    pki::tell_endpoints(settings, urls);
    let console_url = urls.console.as_deref().unwrap_or_default();
    info!(
        client_urls = ?urls.clients,
        metrics_urls = ?urls.metrics,
        peer_urls = ?urls.peers,
        console_url,
        "ready to serve client requests"
    );
    process::notify(&[NotifyState::Ready, NotifyState::Status("serving clients")]);
}

/// The member ended by itself: one line, and the exit code that goes with it.
fn ended(why: kvorum_member::Ended) -> Exit {
    use kvorum_member::Ended;
    match why {
        Ended::DiskFailed(reason) => {
            error!(
                reason,
                "the disk failed: nothing more is acknowledged, this member ends"
            );
            Exit::DiskFailed
        }
        Ended::Removed => {
            error!(
                "the member has been permanently removed from the cluster; remove its data directory"
            );
            Exit::Removed
        }
        Ended::Foreign(reason) => {
            error!(
                reason,
                "the data directory is not the one that this cluster knows"
            );
            Exit::BadDataDir
        }
        Ended::Rebuild(reason) => process::rebuild(&reason),
    }
}

/// Everything that runs.
struct Running {
    member: Member,
    front: Front,
    console: Console,
    signals: Signals,
}

/// What ends a wait.
enum Event {
    Ready,
    Signal(&'static str),
    Ended(kvorum_member::Ended),
}

impl Running {
    async fn until_stopped(mut self, urls: &Urls, settings: &Settings) -> Result<Exit, Ended> {
        let mut announced = false;
        let signal = loop {
            let event = tokio::select! {
                () = self.member.ready(), if !announced => Event::Ready,
                name = self.signals.next() => Event::Signal(name),
                why = self.member.ended() => Event::Ended(why),
            };
            match event {
                Event::Ready => {
                    announce(urls, settings);
                    self.console.invite();
                }
                Event::Signal(name) => break name,
                Event::Ended(why) => return Ok(ended(why)),
            }
            announced = true;
        };
        info!(signal, "stopping");
        process::notify(&[
            NotifyState::Stopping,
            NotifyState::Status("answering open requests"),
        ]);
        self.drain().await;
        info!("stopped");
        Ok(Exit::Stopped)
    }

    /// Answers what is under way, then closes the files. A second signal skips the answers.
    async fn drain(self) {
        let Self {
            member,
            front,
            console,
            mut signals,
        } = self;
        tokio::select! {
            () = hand_over(&member) => {}
            name = signals.next() => warn!(signal = name, "not waiting for another leader"),
        }
        front.stop();
        let drained = async {
            console.stop().await;
            // Joining blocks, and the console's handle must go on being served meanwhile.
            let _ = tokio::task::spawn_blocking(move || front.join()).await;
        };
        tokio::select! {
            () = drained => {}
            name = signals.next() => warn!(signal = name, "not waiting for open requests"),
        }
        member.stop();
    }
}

/// A leader does not leave without a successor, if there can be one: writes wait for it otherwise until the others notice.
async fn hand_over(member: &Member) {
    // Without a way to the machine there is none to the others either.
    let Ok(handle) = member.handle() else { return };
    tokio::spawn(handle.run());
    let begin = std::time::Instant::now();
    let led = handle.leader() == handle.identity().member_id.0;
    let others = handle.members().len() > 1;
    match (led && others, handle.hand_over().await) {
        (true, true) => info!(
            took_ms = begin.elapsed().as_millis(),
            leader = format!("{:x}", handle.leader()),
            "handed the leadership over"
        ),
        (true, false) => warn!("nobody took the leadership over"),
        _ => {}
    }
}

/// The two signals that ask for an end.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn register() -> io::Result<Self> {
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self {
            interrupt,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

pub(crate) fn refuses(what: &str, error: &dyn std::fmt::Display) -> Exit {
    error!(%error, "the system refuses {what}");
    Exit::SystemRefuses
}
