//! Starting and stopping a member: recover, go on where the log ends, end with everything flushed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use kvorum_core::MemberId;
use kvorum_core::backend::Restored;
use kvorum_core::mvcc::Store;
use kvorum_core::node::{NodeOptions, Start};
use kvorum_core::replica::{MembershipOptions, Replica, ReplicaOptions};
use kvorum_storage::{
    DataDir, DirError, KnownMember, Log, LogOptions, OpenError, StateStore, StorageError,
    StoreOptions, contain,
};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Semaphore, watch};

use crate::auth::PublishedAuth;
use crate::authenticate::Authentication;
use crate::bootstrap::{BootstrapError, Elders, Nobody, first};
use crate::budget::{Budget, RECEIVE_FREE_BYTES, REPLY_FREE_BYTES};
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::core_thread::{CLUSTER_VERSION, CoreThread, TAIL_BYTES};
use crate::ended::Ended;
use crate::gauges::Gauges;
use crate::handle::Handle;
use crate::heal;
use crate::identity::MemberIdentity;
use crate::inbox::Inbox;
use crate::log_thread::LogWriter;
use crate::meters::Meters;
use crate::options::MemberOptions;
use crate::peer::Peers;
use crate::port::{PORTS_MAX, Port, boot_of, own_ids};
use crate::rebuild::{self, RebuildError};
use crate::refused;
use crate::shared::{CoreInput, Published, Shared, StoreInput, View};
use crate::snapshot::SNAPSHOTS_MAX;
use crate::stats::Sampler;
use crate::store_thread::StoreThread;
use crate::trust::TrustError;

/// Why a member does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DirError),
    /// The disk failed, or what is on it is damaged.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The log and the state store contradict each other.
    #[error("{0}")]
    Recovery(String),
    /// The member cannot begin like this, or not go on.
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
    /// The keys of its new place cannot be used.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// It has another place in its cluster by now, and another certificate: it is to begin anew with that.
    #[error("this member has another place in its cluster: start it again")]
    AnotherPlace,
    /// The system refused something a member cannot do without.
    #[error("{what}: {source}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

impl From<RebuildError> for StartError {
    fn from(e: RebuildError) -> Self {
        match e {
            RebuildError::Storage(e) => Self::Storage(e),
            RebuildError::Record(what) => Self::Recovery(what),
        }
    }
}

/// A running member.
#[derive(Debug)]
pub struct Member {
    shared: Arc<Shared>,
    core: JoinHandle<()>,
    rest: Vec<JoinHandle<()>>,
    /// Held for its lock.
    _dir: Arc<Mutex<DataDir>>,
}

/// Everything on disk, open.
struct Opened {
    dir: DataDir,
    identity: MemberIdentity,
    state: Arc<StateStore>,
    restored: Restored,
    store: Store,
    log: Log,
    start: Start,
    /// As the directory knows them.
    members: Vec<KnownMember>,
}

pub(crate) fn random() -> Result<u64, StartError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|e| StartError::System {
        what: "the system gives no random numbers",
        source: std::io::Error::other(e.to_string()),
    })?;
    Ok(u64::from_be_bytes(bytes))
}

impl Member {
    /// Opens the data directory, recovers what is in it or begins a new cluster of one, and starts the threads.
    ///
    /// # Errors
    /// The directory is not ours to use, or what is in it cannot be trusted.
    pub fn start(options: MemberOptions, peers: Option<Peers>) -> Result<Self, StartError> {
        let opened = open(&options, peers.as_ref())?;
        let store = opened.store;
        let machine = rebuild::machine(&store, &opened.restored, &options);
        let auth = machine.auth().clone();
        let boot = boot_of(random()?);
        let replica = replica_options(&options, opened.identity.member_id, boot)?;
        let replica = Replica::new(replica, opened.start, machine).map_err(StartError::Recovery)?;
        let published = published(&opened.restored);
        let recycler = opened.log.recycler();
        let meters = Meters::new(
            peers
                .as_ref()
                .map_or_else(prometheus::Registry::new, Peers::registry),
        );
        let gauges = Gauges::new(&meters.registry, opened.identity.member_id);
        let patience = MemberOptions::LARGE_REQUEST_PATIENCE;
        let receiving = options.large_request_bytes / 4;
        let replying = options.large_request_bytes - receiving;
        let authentication = Authentication::new(&options.auth);
        let shared = Arc::new(Shared {
            options,
            identity: opened.identity,
            boot,
            cluster: Cluster::new(peers),
            clock: Clock::start(),
            store: RwLock::new(store),
            state: opened.state,
            core: Inbox::default(),
            log: Inbox::default(),
            log_writer: Mutex::new(LogWriter::new(opened.log)),
            published,
            view: RwLock::new(Arc::new(View::default())),
            auth: PublishedAuth::new(auth),
            trust: watch::channel(Arc::default()).0,
            clerk: OnceLock::new(),
            authentication,
            budget: Budget::new(replying, REPLY_FREE_BYTES, patience),
            receive_budget: Budget::new(receiving, RECEIVE_FREE_BYTES, patience),
            ports: RwLock::default(),
            hubs: RwLock::default(),
            meters,
            gauges: Mutex::new(gauges),
            sampler: Mutex::new(Sampler::default()),
            store_thread: Inbox::default(),
            stopping: AtomicBool::new(false),
            ended: watch::channel(None).0,
            capable: watch::channel(false).0,
            compacted: watch::channel(0).0,
            flushed: watch::channel(opened.restored.applied.0).0,
            snapshots: Arc::new(Semaphore::new(SNAPSHOTS_MAX)),
        });
        let flushed = opened.restored.applied;
        Cluster::begin(&shared, &opened.members);
        let core = CoreThread::new(shared.clone(), replica);
        let dir = Arc::new(Mutex::new(opened.dir));
        let store = StoreThread::new(shared.clone(), recycler, flushed, dir.clone());
        let for_log = shared.clone();
        Ok(Self {
            core: spawn("core", move || core.run())?,
            rest: vec![
                spawn("log", move || crate::log_thread::run(&for_log))?,
                spawn("store", move || store.run())?,
            ],
            shared,
            _dir: dir,
        })
    }

    /// A door for one I/O thread. Spawn its `run` on that thread's runtime.
    ///
    /// # Errors
    /// More than 256 were made.
    pub fn handle(&self) -> Result<Handle, StartError> {
        let port = new_port(&self.shared)?;
        Ok(Handle::new(self.shared.clone(), port))
    }

    /// Ends when the member leads or follows and its cluster's version is decided: requests can be served.
    pub async fn ready(&self) {
        let mut capable = self.shared.capable.subscribe();
        // The sender lives as long as this member.
        let _closed = capable.wait_for(|c| *c).await;
    }

    /// Ends when the member has ended by itself; the process must end then.
    pub async fn ended(&self) -> Ended {
        let mut ended = self.shared.ended.subscribe();
        let told = ended.wait_for(Option::is_some).await;
        // The sender lives as long as this member.
        let told = told.ok().and_then(|why| why.clone());
        told.unwrap_or_else(|| Ended::DiskFailed(String::new()))
    }

    /// Stops: nothing more is accepted, what was applied is flushed, the files are closed.
    pub fn stop(self) {
        self.shared.core.push(CoreInput::Stop);
        join(self.core, "core");
        self.shared.stopping.store(true, Ordering::SeqCst);
        self.shared.store_thread.push(StoreInput::Wake);
        self.shared.close_ports();
        for thread in self.rest {
            join(thread, "storage");
        }
    }
}

/// What a member tells of itself before its first pass.
fn published(restored: &Restored) -> Published {
    let interrupted = rebuild::interrupted_compaction(restored);
    let published = Published::default();
    published
        .compaction
        .store(interrupted.unwrap_or(0), Ordering::SeqCst);
    published
        .applied
        .store(restored.applied.0, Ordering::SeqCst);
    published
}

/// A way between one more thread and the core thread.
pub(crate) fn new_port(shared: &Shared) -> Result<Arc<Port>, StartError> {
    let mut ports = shared.ports.write();
    if ports.len() == PORTS_MAX {
        return Err(StartError::System {
            what: "too many I/O threads",
            source: std::io::Error::other("a member serves 256 at most"),
        });
    }
    let port = Arc::new(Port::new(ports.len(), shared.boot));
    ports.push(port.clone());
    Ok(port)
}

fn replica_options(
    options: &MemberOptions,
    id: MemberId,
    boot: u64,
) -> Result<ReplicaOptions, StartError> {
    let ms = |d: std::time::Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
    Ok(ReplicaOptions {
        node: NodeOptions {
            id: id.0,
            election_ticks: options.election_ticks(),
            heartbeat_ticks: 1,
            seed: random()?,
        },
        session: random()?,
        own_ids: own_ids(boot),
        election_timeout_ms: ms(options.election_timeout),
        request_timeout_ms: ms(options.request_timeout()),
        digest_interval_ms: 10_000,
        tail_bytes: TAIL_BYTES,
        lag_bytes: options.unflushed_bytes_max,
        membership: MembershipOptions {
            name: options.name.clone(),
            client_urls: options.client_urls.clone(),
            peer_urls: options.peer_urls.clone(),
            version: CLUSTER_VERSION.into(),
            strict: options.strict_reconfig_check,
            learners_max: options.learners_max,
            auto_promote: options.auto_promote,
        },
    })
}

fn join(thread: JoinHandle<()>, name: &str) {
    if thread.join().is_err() {
        tracing::error!(name, "a thread ended in a panic");
    }
}

fn spawn(
    name: &'static str,
    run: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, StartError> {
    std::thread::Builder::new()
        .name(name.into())
        .spawn(run)
        .map_err(|source| StartError::System {
            what: "a thread cannot be started",
            source,
        })
}

/// Opens everything. Damage that the others can mend sends this member to them for a new place and a new state.
fn open(options: &MemberOptions, peers: Option<&Peers>) -> Result<Opened, StartError> {
    refused::check(&options.data_dir)?;
    loop {
        heal::go_on(options, peers)?;
        let opened = match peers {
            Some(peers) => open_files(options, peers),
            None => open_files(options, &Nobody),
        };
        let error = match opened {
            Err(error) if heal::helps(options, peers, &error) => error.to_string(),
            opened => return opened,
        };
        heal::mark(&options.data_dir, &error).map_err(|source| StartError::System {
            what: "the data directory cannot be marked as damaged",
            source,
        })?;
    }
}

fn open_files(options: &MemberOptions, elders: &dyn Elders) -> Result<Opened, StartError> {
    let mut dir = DataDir::open(&options.data_dir)?;
    for warning in dir.warnings() {
        tracing::warn!("{warning}");
    }
    let known = first::identify(&mut dir, options, elders)?;
    let identity = MemberIdentity {
        cluster_id: known.cluster_id,
        member_id: known.member_id,
        name: options.name.clone(),
    };
    let cache = StoreOptions {
        cache_bytes: options.value_cache_bytes / 4,
    };
    let (disk, state_path) = (dir.state_disk(), dir.path().join("state.redb"));
    let opened = contain(&state_path, move || StateStore::open(disk, cache));
    let (state, mut restored) = opened.map_err(storage)?;
    let conf_state = first::conf_state(&mut dir, &state, &mut restored)?;
    let base = state.base().map_err(storage)?;
    let log_options = LogOptions {
        segment_bytes: options.log_segment_bytes,
        seed: random()?,
        must_reach: Some(restored.applied.0),
        base: base.map(|(index, term)| (index.0, term.0)),
    };
    let (log, recovered) = Log::open(dir.log_disk(), log_options).map_err(storage)?;
    state.settle_base(restored.applied).map_err(storage)?;
    if let Some(torn) = &recovered.torn {
        tracing::warn!(
            ?torn,
            "the log ends in a write that is not whole, and it was cut: a crash interrupted it before it was \
             acknowledged, unless the disk has damaged it since"
        );
    }
    tracing::info!(
        entries = recovered.entries.len(),
        applied = restored.applied.0,
        sync_method = ?recovered.sync_method,
        "recovered the log"
    );
    let start = Start {
        conf_state,
        hard_state: recovered.hard_state,
        entries: recovered.entries,
        applied: restored.applied,
        applied_term: restored.term,
    };
    let state = Arc::new(state);
    let (rows, tables, own) = (state.clone(), restored.clone(), options.clone());
    let store = contain(&state_path, move || {
        Ok(rebuild::store(&rows, &tables, &own))
    });
    Ok(Opened {
        dir,
        identity,
        store: store.map_err(storage)??,
        state,
        restored,
        log,
        start,
        members: known.members,
    })
}

fn storage(e: OpenError) -> StartError {
    StartError::Storage(e)
}
