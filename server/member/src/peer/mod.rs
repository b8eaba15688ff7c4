//! The transport between members: a thread with a runtime of its own.
//!
//! A member dials every other one at its advertised peer URLs and keeps two connections to it, lanes: *control* for
//! votes, heartbeats and other small things, *append* for entries, so that nothing small waits behind anything large.
//! Messages go one way on a lane, from the one who dialled; between two members there are thus four. Snapshots and
//! single questions take a connection of their own, the *bulk* lane, and end it.
//!
//! A message is written to one connection once. When that breaks, what was on it and what waited for it is lost, and
//! raft hears that the peer is unreachable: it repeats what matters. Nothing is ever repeated here, so nothing comes
//! twice. What waits is bounded in bytes; what does not fit is dropped in the same way.
//!
//! Both ends of a lane speak now and then even if there is nothing to say, and a silence of two election timeouts ends
//! the connection. The transport reads nothing of what it carries but its form.

mod accept;
mod ask;
mod dial;
mod frame;
pub(crate) mod fuzz;
mod hello;
mod hub;
mod incoming;
mod jitter;
mod join;
mod lane;
mod meters;
mod own_tls;
mod queue;
mod snapshot;
#[cfg(test)]
mod tests;
mod tls;
mod wire;

use std::collections::BTreeSet;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kvorum_core::MemberId;
use kvorum_core::replica::Lane;
use kvorum_proto::etcdserverpb as pb;
use kvorum_proto::kvorumpb::{PeerMessage, PeerRequest, RaftMessage, peer_reply::Told};
use parking_lot::Mutex;
use prometheus::Registry;
use tokio::sync::oneshot;

use accept::{Doorstep, accept};
pub use ask::{AskError, PeerAsk};
pub use hello::PeerIdentity;
pub use hub::{Asks, Events};
use hub::{Home, Hub, Timing};
pub(crate) use join::{JOIN_FRAME_BYTES_MAX, JoinAsk, Joins};
pub(crate) use own_tls::{OwnConfig, OwnTls};
pub use snapshot::{SnapshotChunks, SnapshotIntake, SnapshotStaging, Staged};
pub use tls::{PeerTls, PeerTlsError, PeerTlsOptions};

/// How long what waits gets to be written out at the end.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// A bound address for peers.
#[derive(Debug)]
pub struct PeerListener {
    /// Bound and listening.
    pub socket: TcpListener,
    /// TLS, or plain.
    pub tls: bool,
}

/// How the transport runs.
#[derive(Debug)]
pub struct PeerOptions {
    /// Where peers dial us.
    pub listeners: Vec<PeerListener>,
    /// For every https:// URL, ours and theirs.
    pub tls: Option<PeerTls>,
    /// http:// URLs may be dialled.
    pub allow_plain: bool,
    /// Where members that have not heard of us can reach us.
    pub advertise_urls: Vec<String>,
    /// Sets how soon a dead connection is noticed.
    pub election_timeout: Duration,
    /// Spreads the pauses between dials; random if none.
    pub seed: Option<u64>,
    /// Where the figures go.
    pub registry: Registry,
}

impl Default for PeerOptions {
    fn default() -> Self {
        Self {
            listeners: Vec::new(),
            tls: None,
            allow_plain: false,
            advertise_urls: Vec::new(),
            election_timeout: Duration::from_secs(1),
            seed: None,
            registry: Registry::new(),
        }
    }
}

/// What happens between members.
#[allow(clippy::large_enum_variant, reason = "nearly all of them are messages")]
pub enum PeerEvent {
    /// A peer says something. It came once.
    Message {
        /// Who says it.
        from: MemberId,
        /// What it says.
        message: PeerMessage,
    },
    /// A message to this peer was dropped, or the connection to it broke.
    Unreachable(MemberId),
    /// The control lane to a peer stands.
    Connected {
        /// The peer.
        peer: MemberId,
        /// What it calls its version: etcd's line first.
        version: String,
    },
    /// The control lane to this peer broke.
    Disconnected(MemberId),
    /// A state came whole; it is on the disk.
    SnapshotArrived {
        /// Who sent it.
        from: MemberId,
        /// What raft said with it.
        raft: Box<RaftMessage>,
        /// The state.
        staged: Staged,
    },
    /// A state that was coming in is given up.
    SnapshotAborted {
        /// Who sent it.
        from: MemberId,
    },
    /// A state that we sent has arrived, or never will.
    SnapshotSent {
        /// To whom.
        to: MemberId,
        /// It has arrived, and is complete.
        ok: bool,
    },
    /// This peer says that we are no longer a member.
    Removed {
        /// Who says so.
        by: MemberId,
    },
}

impl std::fmt::Debug for PeerEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (name, peer) = match self {
            Self::Message { from, .. } => ("Message", from),
            Self::Unreachable(peer) => ("Unreachable", peer),
            Self::Connected { peer, .. } => ("Connected", peer),
            Self::Disconnected(peer) => ("Disconnected", peer),
            Self::SnapshotArrived { from, .. } => ("SnapshotArrived", from),
            Self::SnapshotAborted { from } => ("SnapshotAborted", from),
            Self::SnapshotSent { to, .. } => ("SnapshotSent", to),
            Self::Removed { by } => ("Removed", by),
        };
        f.debug_tuple(name).field(peer).finish()
    }
}

/// The transport. It answers questions with "starting" and lets nobody in until [`Peers::begin`].
pub struct Peers {
    hub: Arc<Hub>,
    registry: Registry,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Peers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peers").finish_non_exhaustive()
    }
}

impl Peers {
    /// Starts the thread, which serves the listeners from now on.
    ///
    /// # Errors
    /// The system gives no thread, or a socket is unusable.
    pub fn start(options: PeerOptions) -> io::Result<Self> {
        let timing = Timing::of(options.election_timeout);
        Self::start_timed(options, timing)
    }

    /// The same with times that fit a test.
    fn start_timed(mut options: PeerOptions, timing: Timing) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(8)
            .thread_name("peers-disk")
            .build()?;
        let seed = options.seed.map_or_else(random, Ok)?;
        let hub = Arc::new(Hub::new(&options, timing, seed, runtime.handle().clone()));
        let doorstep = Arc::new(Mutex::new(Doorstep::default()));
        for listener in std::mem::take(&mut options.listeners) {
            listener.socket.set_nonblocking(true)?;
            let _within = runtime.enter();
            let socket = tokio::net::TcpListener::from_std(listener.socket)?;
            let accepting = accept(hub.clone(), socket, listener.tls, doorstep.clone());
            runtime.spawn(accepting);
        }
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("peers".into())
            .spawn(move || {
                // A sender that is gone stops us as well.
                let _ = runtime.block_on(stopped);
                runtime.shutdown_timeout(LAST_WORDS);
            })?;
        Ok(Self {
            hub,
            registry: options.registry,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where the figures of peers are; a member has its own there, too.
    #[must_use]
    pub fn registry(&self) -> Registry {
        self.registry.clone()
    }

    /// Asks at these addresses in turn, following to the leader, until there is an answer or the time is up. Blocks;
    /// not to be called from an event.
    ///
    /// # Errors
    /// Nobody answered, or whoever did refused.
    pub fn ask(
        &self,
        urls: &[String],
        request: PeerRequest,
        patience: Duration,
    ) -> Result<Told, AskError> {
        let asking = self.ask_later(urls, request, patience);
        asking.blocking_recv().unwrap_or(Err(AskError::Stopping))
    }

    /// The same for those who can wait without blocking.
    pub fn ask_later(
        &self,
        urls: &[String],
        request: PeerRequest,
        patience: Duration,
    ) -> oneshot::Receiver<Result<Told, AskError>> {
        let (answer, answered) = oneshot::channel();
        let (hub, urls) = (self.hub.clone(), urls.to_vec());
        self.hub.runtime.spawn(async move {
            let asked = ask::ask(&hub, &urls, &request, patience).await;
            // Who asked may not wait any more.
            let _ = answer.send(asked);
        });
        answered
    }

    /// Members show certificates of the cluster's own authority, which say who they are.
    pub(crate) fn has_own_tls(&self) -> bool {
        self.hub
            .tls
            .as_ref()
            .is_some_and(|tls| tls.as_own().is_some())
    }

    /// The member knows who it is: peers may come in. Dialling begins with the first `set_members`.
    pub fn begin(
        &self,
        identity: PeerIdentity,
        events: Events,
        asks: Asks,
        staging: Arc<dyn SnapshotStaging>,
    ) {
        self.hub.begin(Home {
            identity,
            events,
            asks,
            staging,
        });
    }

    /// From now on those who want to join are answered.
    pub(crate) fn serve_joins(&self, joins: Joins) {
        self.hub.serve_joins(joins);
    }

    /// Sends, or drops and reports the peer as unreachable. Never blocks.
    pub fn send(&self, to: MemberId, lane: Lane, message: PeerMessage) {
        self.hub.send(to, lane, message);
    }

    /// Who is a member, where each is reached, and who never comes back.
    pub fn set_members(&self, members: &[pb::Member], removed: &BTreeSet<MemberId>) {
        self.hub.set_members(members, removed);
    }

    /// Sends a state; `SnapshotSent` tells how that went.
    pub fn send_snapshot(&self, to: MemberId, raft: RaftMessage, chunks: Box<dyn SnapshotChunks>) {
        let sending = snapshot::send(self.hub.clone(), to, raft, chunks);
        self.hub.runtime.spawn(sending);
    }

    /// Peers that are connected, and since when.
    #[must_use]
    pub fn active(&self) -> Vec<(MemberId, Instant)> {
        self.hub.active()
    }
}

fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(u64::from_be_bytes(bytes))
}

impl Drop for Peers {
    fn drop(&mut self) {
        self.hub.drain(LAST_WORDS);
        self.hub.stop();
        drop(self.stop.take());
        // An event may hold the last of what holds us: then we are on that thread, which ends by itself.
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the peers ended in a panic");
        }
    }
}
