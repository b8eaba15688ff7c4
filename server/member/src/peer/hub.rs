//! What all connections of a member share: who it is, whom it knows, and who is connected.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kvorum_core::MemberId;
use kvorum_core::replica::Lane;
use kvorum_proto::etcdserverpb as pb;
use kvorum_proto::kvorumpb::{Hello, PeerLane};
use parking_lot::{Mutex, RwLock};
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};
use tokio::task::AbortHandle;

use super::dial::PeerUrl;
use super::hello::{PROTOCOL, PROTOCOL_MIN, PeerIdentity, SERVER_VERSION};
use super::incoming::Incoming;
use super::jitter::Jitter;
use super::join::Joins;
use super::meters::{PeerMeters, RouteMeters};
use super::own_tls::Shown;
use super::queue::{Pushed, Queue};
use super::snapshot::{Slot, SnapshotStaging};
use super::tls::PeerTls;
use super::wire::Broken;
use super::{PeerAsk, PeerEvent, PeerMessage, lane};

/// What may wait for the control lane of one peer, bytes.
const CONTROL_BYTES_MAX: usize = 4 << 20;
/// What may wait for the append lane of one peer, bytes.
const APPEND_BYTES_MAX: usize = 32 << 20;
/// Members that are known only because they dialled.
const LEARNED_MAX: usize = 16;
/// Snapshots that are sent at the same time.
const SENDING_MAX: usize = 2;
/// Complaints about greetings that are remembered, so that each is logged once.
const COMPLAINTS_MAX: usize = 64;

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// Between two probes.
    pub(crate) probe: Duration,
    /// Silence after which a connection counts as dead.
    pub(crate) patience: Duration,
    /// The same where one side works on a snapshot or an answer.
    pub(crate) bulk_patience: Duration,
    /// From the dial to the welcome.
    pub(crate) handshake: Duration,
    /// The first pause before another dial.
    pub(crate) backoff_first: Duration,
    /// The longest.
    pub(crate) backoff_max: Duration,
    /// Without progress for this long, a snapshot is given up.
    pub(crate) snapshot: Duration,
}

impl Timing {
    /// What fits an election timeout.
    pub(crate) fn of(election_timeout: Duration) -> Self {
        let ms = Duration::from_millis;
        let patience = (election_timeout * 2).max(ms(500));
        Self {
            probe: patience / 4,
            patience,
            bulk_patience: patience.max(ms(10_000)),
            handshake: ms(5000),
            backoff_first: ms(20),
            backoff_max: (election_timeout / 2).clamp(ms(50), ms(1000)),
            snapshot: ms(30_000),
        }
    }
}

/// Takes what happens. Called on the thread of the peers: it must not block.
pub type Events = Arc<dyn Fn(PeerEvent) + Send + Sync>;
/// Takes what is asked. Called on the thread of the peers: it must not block.
pub type Asks = Arc<dyn Fn(PeerAsk) + Send + Sync>;

/// What is there once the member knows who it is.
pub(crate) struct Home {
    pub(crate) identity: PeerIdentity,
    pub(crate) events: Events,
    pub(crate) asks: Asks,
    pub(crate) staging: Arc<dyn SnapshotStaging>,
}

impl Home {
    pub(crate) fn tell(&self, event: PeerEvent) {
        (self.events)(event);
    }
}

/// The way to one peer.
pub(crate) struct Route {
    pub(crate) id: MemberId,
    urls: RwLock<Arc<Vec<PeerUrl>>>,
    control: Queue,
    append: Queue,
    /// The peer showed up: dial now.
    pub(crate) retry: Notify,
    active_since: Mutex<Option<Instant>>,
    /// Known only because it dialled.
    learned: bool,
    tasks: Mutex<Vec<AbortHandle>>,
    pub(crate) meters: RouteMeters,
}

impl Route {
    pub(crate) fn queue(&self, lane: Lane) -> &Queue {
        match lane {
            Lane::Control => &self.control,
            Lane::Append => &self.append,
        }
    }

    pub(crate) fn urls(&self) -> Arc<Vec<PeerUrl>> {
        self.urls.read().clone()
    }

    /// True if much is waiting that matters more than a snapshot.
    pub(crate) fn is_busy(&self) -> bool {
        self.control.bytes() + self.append.bytes() > 64 << 10
    }
}

/// What all connections share.
pub(crate) struct Hub {
    pub(crate) timing: Timing,
    pub(crate) tls: Option<PeerTls>,
    pub(crate) allow_plain: bool,
    pub(crate) jitter: Jitter,
    pub(crate) meters: PeerMeters,
    pub(crate) runtime: Handle,
    pub(crate) incoming: Mutex<Incoming>,
    pub(crate) sending: Semaphore,
    /// Places for requests to join.
    pub(crate) joining: Semaphore,
    pub(crate) slot: tokio::sync::Mutex<Slot>,
    advertise_urls: Vec<String>,
    home: RwLock<Option<Arc<Home>>>,
    joins: RwLock<Option<Joins>>,
    routes: RwLock<BTreeMap<MemberId, Arc<Route>>>,
    removed: RwLock<BTreeSet<MemberId>>,
    complaints: Mutex<BTreeSet<String>>,
}

impl Hub {
    pub(crate) fn new(
        options: &super::PeerOptions,
        timing: Timing,
        seed: u64,
        runtime: Handle,
    ) -> Self {
        Self {
            timing,
            tls: options.tls.clone(),
            allow_plain: options.allow_plain,
            jitter: Jitter::new(seed),
            meters: PeerMeters::new(&options.registry),
            runtime,
            incoming: Mutex::default(),
            sending: Semaphore::new(SENDING_MAX),
            joining: super::join::places(),
            slot: tokio::sync::Mutex::default(),
            advertise_urls: options.advertise_urls.clone(),
            home: RwLock::default(),
            joins: RwLock::default(),
            routes: RwLock::default(),
            removed: RwLock::default(),
            complaints: Mutex::default(),
        }
    }

    pub(crate) fn home(&self) -> Option<Arc<Home>> {
        self.home.read().clone()
    }

    pub(crate) fn identity(&self) -> Option<PeerIdentity> {
        self.home.read().as_ref().map(|home| home.identity)
    }

    pub(crate) fn begin(&self, home: Home) {
        *self.home.write() = Some(Arc::new(home));
    }

    /// Who answers those who want to join.
    pub(crate) fn joins(&self) -> Option<Joins> {
        self.joins.read().clone()
    }

    pub(crate) fn serve_joins(&self, joins: Joins) {
        *self.joins.write() = Some(joins);
    }

    /// Ends when the certificate that the other end showed is not accepted any more; never where there is none.
    pub(crate) async fn distrusted(&self, shown: Option<&Shown>) -> Broken {
        match (self.tls.as_ref().and_then(PeerTls::as_own), shown) {
            (Some(own), Some(shown)) => Broken::Distrusted(own.distrusted(shown).await),
            _ => std::future::pending().await,
        }
    }

    /// Ends when a connection had better be made anew, as its certificates have changed since.
    pub(crate) async fn outdated(&self, shown: Option<&Shown>) {
        match (self.tls.as_ref().and_then(PeerTls::as_own), shown) {
            (Some(own), Some(shown)) => own.outdated(shown).await,
            _ => std::future::pending().await,
        }
    }

    pub(crate) fn removed(&self) -> BTreeSet<MemberId> {
        self.removed.read().clone()
    }

    pub(crate) fn route(&self, id: MemberId) -> Option<Arc<Route>> {
        self.routes.read().get(&id).cloned()
    }

    /// How we introduce ourselves.
    pub(crate) fn hello(&self, to: Option<MemberId>, lane: PeerLane) -> Hello {
        let identity = self.identity();
        Hello {
            protocol: PROTOCOL,
            protocol_min: PROTOCOL_MIN,
            cluster_id: identity.map_or(0, |own| own.cluster_id.0),
            from: identity.map_or(0, |own| own.member_id.0),
            to: to.map_or(0, |to| to.0),
            boot: identity.map_or(0, |own| own.boot),
            server_version: SERVER_VERSION.into(),
            lane: lane.into(),
            peer_urls: self.advertise_urls.clone(),
        }
    }

    /// Queues a message, or drops it and says so.
    pub(crate) fn send(&self, to: MemberId, lane: Lane, message: PeerMessage) {
        let routes = self.routes.read();
        let Some(route) = routes.get(&to) else {
            drop(routes);
            tracing::debug!(to = format!("{:x}", to.0), "a message for nobody we know");
            return self.unreachable(to);
        };
        if let Pushed::Dropped { first } = route.queue(lane).push(message) {
            route.meters.sent_failures.inc();
            drop(routes);
            if first {
                self.unreachable(to);
            }
        }
    }

    pub(crate) fn unreachable(&self, peer: MemberId) {
        if let Some(home) = self.home() {
            home.tell(PeerEvent::Unreachable(peer));
        }
    }

    /// Who is a member, where each is reached, and who never comes back.
    pub(crate) fn set_members(
        self: &Arc<Self>,
        members: &[pb::Member],
        removed: &BTreeSet<MemberId>,
    ) {
        let Some(home) = self.home() else { return };
        self.removed.write().clone_from(removed);
        let own = home.identity.member_id;
        let mut routes = self.routes.write();
        let gone: Vec<_> = routes
            .values()
            .filter(|route| {
                let named = members.iter().any(|member| member.id == route.id.0);
                removed.contains(&route.id)
                    || (!named && !route.learned)
                    || (named && route.learned)
            })
            .map(|route| route.id)
            .collect();
        for id in gone {
            if let Some(route) = routes.remove(&id) {
                self.end(&route);
            }
        }
        for member in members.iter().filter(|member| member.id != own.0) {
            let id = MemberId(member.id);
            let urls = parse(&member.peer_ur_ls, id);
            match routes.get(&id) {
                Some(known) => *known.urls.write() = Arc::new(urls),
                None => {
                    routes.insert(id, self.begin_route(&home, id, urls, false));
                }
            }
        }
        drop(routes);
        self.incoming.lock().dismiss(removed);
    }

    /// Somebody of our cluster dialled of whom we have not heard: answers must find their way back.
    pub(crate) fn learn(self: &Arc<Self>, home: &Arc<Home>, hello: &Hello) {
        let id = MemberId(hello.from);
        let mut routes = self.routes.write();
        if let Some(known) = routes.get(&id) {
            known.retry.notify_waiters();
            return;
        }
        // It may have been removed since it introduced itself.
        if self.removed.read().contains(&id) {
            return;
        }
        let learned = routes.values().filter(|route| route.learned).count();
        if learned >= LEARNED_MAX {
            return;
        }
        let urls = parse(&hello.peer_urls, id);
        tracing::info!(
            peer = format!("{:x}", id.0),
            urls = ?hello.peer_urls,
            "a member that is news to this one has connected"
        );
        let route = self.begin_route(home, id, urls, true);
        routes.insert(id, route);
    }

    fn begin_route(
        self: &Arc<Self>,
        home: &Arc<Home>,
        id: MemberId,
        urls: Vec<PeerUrl>,
        learned: bool,
    ) -> Arc<Route> {
        let route = Arc::new(Route {
            id,
            urls: RwLock::new(Arc::new(urls)),
            control: Queue::new(CONTROL_BYTES_MAX),
            append: Queue::new(APPEND_BYTES_MAX),
            retry: Notify::new(),
            active_since: Mutex::default(),
            learned,
            tasks: Mutex::default(),
            meters: self.meters.route(id),
        });
        let tasks = [Lane::Control, Lane::Append].map(|lane| {
            let kept = lane::keep(self.clone(), home.clone(), route.clone(), lane);
            self.runtime.spawn(kept).abort_handle()
        });
        *route.tasks.lock() = tasks.into();
        route
    }

    fn end(&self, route: &Route) {
        for task in route.tasks.lock().drain(..) {
            task.abort();
        }
        route.control.close();
        route.append.close();
        self.went_down(route);
    }

    /// The control lane to a peer stands.
    pub(crate) fn came_up(&self, route: &Route) {
        *route.active_since.lock() = Some(Instant::now());
        if let Some(own) = self.identity() {
            self.meters.connected(own.member_id, route.id);
        }
    }

    /// It does no more.
    pub(crate) fn went_down(&self, route: &Route) {
        let was_up = route.active_since.lock().take().is_some();
        if let Some(own) = self.identity().filter(|_| was_up) {
            self.meters.disconnected(own.member_id, route.id);
        }
    }

    /// Peers that are connected, and since when.
    pub(crate) fn active(&self) -> Vec<(MemberId, Instant)> {
        let routes = self.routes.read();
        routes
            .values()
            .filter_map(|route| Some((route.id, (*route.active_since.lock())?)))
            .collect()
    }

    /// True the first time that something is complained about; a full memory is cleared.
    pub(crate) fn is_news(&self, complaint: String) -> bool {
        let mut complaints = self.complaints.lock();
        if complaints.len() >= COMPLAINTS_MAX {
            complaints.clear();
        }
        complaints.insert(complaint)
    }

    /// Waits for what is queued to be written, but not for ever. A last word is often the one that matters: it may
    /// hand the leadership over.
    pub(crate) fn drain(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        let waits = |hub: &Self| {
            let routes = hub.routes.read();
            let mut lanes = routes.values().flat_map(|r| [&r.control, &r.append]);
            lanes.any(|queue| queue.bytes() > 0)
        };
        while waits(self) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Ends all that runs.
    pub(crate) fn stop(&self) {
        let routes = std::mem::take(&mut *self.routes.write());
        for route in routes.values() {
            self.end(route);
        }
    }
}

fn parse(urls: &[String], of: MemberId) -> Vec<PeerUrl> {
    let parsed = urls.iter().filter_map(|url| {
        PeerUrl::parse(url)
            .inspect_err(|error| tracing::warn!(peer = format!("{:x}", of.0), error))
            .ok()
    });
    parsed.collect()
}
