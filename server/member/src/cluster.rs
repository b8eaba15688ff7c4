//! Between the transport and the machine: what peers say goes to the core thread, what the machine wants goes out, and
//! snapshots go from one state store to the other.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use kvorum_core::replica::{Send, SnapshotWanted};
use kvorum_proto::kvorumpb::{
    PeerMembersReply, PeerStatusReply, peer_reply::Told, peer_request::Ask,
};
use kvorum_storage::{KnownMember, RealDisk, SnapshotSink, SnapshotSource, Staged};

use crate::bootstrap::{known_member, member_of};
use crate::core_thread::CLUSTER_VERSION;
use crate::peer::{
    PeerAsk, PeerEvent, PeerIdentity, Peers, SnapshotChunks, SnapshotIntake, SnapshotStaging,
};
use crate::replace::Door;
use crate::shared::{Arrived, CoreInput, Shared, StoreInput};

/// The way to the peers; none for a member that opens no peer listener.
#[derive(Debug)]
pub(crate) struct Cluster {
    peers: Option<Peers>,
    /// Through which peers' wishes about members go.
    pub(crate) door: Door,
    /// Distinguishes the snapshots that this member sends.
    snapshots: AtomicU64,
}

impl Cluster {
    pub(crate) fn new(peers: Option<Peers>) -> Self {
        Self {
            peers,
            door: Door::default(),
            snapshots: AtomicU64::new(0),
        }
    }

    pub(crate) fn peers(&self) -> Option<&Peers> {
        self.peers.as_ref()
    }

    /// The member is up: peers may come in.
    pub(crate) fn begin(shared: &Arc<Shared>, known: &[KnownMember]) {
        let Some(peers) = shared.cluster.peers() else {
            return;
        };
        let identity = PeerIdentity {
            cluster_id: shared.identity.cluster_id,
            member_id: shared.identity.member_id,
            boot: shared.boot,
        };
        // The transport lives in what it reports to: a weak reference lets both end.
        let (events, asks) = (Arc::downgrade(shared), Arc::downgrade(shared));
        let events = Arc::new(move |event| {
            if let Some(shared) = events.upgrade() {
                take(&shared, event);
            }
        });
        let asks = Arc::new(move |ask| {
            if let Some(shared) = asks.upgrade() {
                answer(&shared, ask);
            }
        });
        let staging = Arc::new(Staging(Arc::downgrade(shared)));
        peers.begin(identity, events, asks, staging);
        let known: Vec<_> = known.iter().map(member_of).collect();
        peers.set_members(&known, &BTreeSet::new());
    }

    /// Tells the transport who is a member.
    pub(crate) fn set_members(&self, shared: &Shared) {
        let view = shared.view.read().clone();
        // Whoever joins knows them from its directory until it has a state.
        if view.members.is_empty() {
            return;
        }
        if let Some(peers) = &self.peers {
            peers.set_members(&view.members, &view.removed);
        }
        let members = view.members.iter().map(known_member).collect();
        shared.store_thread.push(StoreInput::Remember(members));
    }

    pub(crate) fn send(&self, send: Send) {
        if let Some(peers) = &self.peers {
            peers.send(send.to, send.lane, send.message);
        }
    }

    /// Sends the state as the last flush left it. Called where a disk may be waited for.
    pub(crate) fn send_snapshot(&self, shared: &Shared, wanted: SnapshotWanted) {
        let SnapshotWanted { to, mut raft } = wanted;
        let id = shared.boot << 20 | self.snapshots.fetch_add(1, Ordering::Relaxed);
        let source = SnapshotSource::new(shared.state.clone(), id);
        let (source, peers) = match (source, &self.peers) {
            (Ok(source), Some(peers)) => (source, peers),
            (source, _) => {
                if let Err(error) = source {
                    tracing::error!(%error, "the state cannot be sent to a peer");
                }
                shared.core.push(CoreInput::SnapshotSent(to, false));
                return;
            }
        };
        let head = source.head();
        raft.snapshot = crate::install::mark_of(head);
        tracing::info!(
            to = format!("{:x}", to.0),
            index = head.index.0,
            records = head.counts.records,
            "a member is too far behind: it gets a snapshot"
        );
        peers.send_snapshot(to, raft, Box::new(Chunks(source)));
    }
}

fn take(shared: &Arc<Shared>, event: PeerEvent) {
    let input = match event {
        PeerEvent::Message { from, message } => CoreInput::Peer(from, Box::new(message)),
        PeerEvent::Unreachable(peer) => CoreInput::Unreachable(peer),
        PeerEvent::Connected { peer, version } => CoreInput::Connected(peer, version),
        PeerEvent::Disconnected(peer) => CoreInput::Disconnected(peer),
        PeerEvent::SnapshotArrived { from, raft, staged } => match staged.downcast::<Staged>() {
            Ok(staged) => CoreInput::Arrived(Box::new(Arrived {
                from,
                raft: *raft,
                staged: *staged,
            })),
            // Only this module makes them.
            Err(_) => return,
        },
        PeerEvent::SnapshotAborted { from } => {
            tracing::warn!(
                from = format!("{:x}", from.0),
                "a snapshot did not arrive whole"
            );
            return;
        }
        PeerEvent::SnapshotSent { to, ok } => CoreInput::SnapshotSent(to, ok),
        PeerEvent::Removed { by } => {
            tracing::warn!(
                by = format!("{:x}", by.0),
                "a peer says that this member was removed"
            );
            CoreInput::Removed
        }
    };
    shared.core.push(input);
}

/// Answers a question of a peer, or of one that wants to become one.
fn answer(shared: &Arc<Shared>, ask: PeerAsk) {
    // Who was removed may hear so, and nothing else.
    let is_gone = |id| shared.view.read().removed.contains(&id);
    let told = match &ask.request.ask {
        Some(Ask::Members(_)) => Told::Members(members(shared)),
        Some(Ask::Status(_)) if ask.from.is_some_and(is_gone) => {
            Told::Refused("the member has been permanently removed from the cluster".into())
        }
        Some(Ask::Status(_)) => Told::Status(status(shared)),
        Some(Ask::Replace(_)) => return crate::replace::answer(shared, ask),
        None => Told::Refused("an empty question".into()),
    };
    ask.answer(told);
}

fn members(shared: &Shared) -> PeerMembersReply {
    let view = shared.view.read().clone();
    PeerMembersReply {
        cluster_id: shared.identity.cluster_id.0,
        member_id: shared.identity.member_id.0,
        members: view.members.clone(),
        removed: view.removed.iter().map(|id| id.0).collect(),
        cluster_version: view.cluster_version.clone().unwrap_or_default(),
        server_version: CLUSTER_VERSION.into(),
        leader: shared.published.leader.load(Ordering::SeqCst),
    }
}

fn status(shared: &Shared) -> PeerStatusReply {
    let p = &shared.published;
    let view = shared.view.read().clone();
    let id = shared.identity.member_id.0;
    PeerStatusReply {
        cluster_id: shared.identity.cluster_id.0,
        member_id: id,
        term: p.term.load(Ordering::SeqCst),
        leader: p.leader.load(Ordering::SeqCst),
        committed: p.committed.load(Ordering::SeqCst),
        applied: p.applied.load(Ordering::SeqCst),
        server_version: CLUSTER_VERSION.into(),
        is_learner: view.members.iter().any(|m| m.id == id && m.is_learner),
    }
}

/// A state that goes out.
struct Chunks(SnapshotSource);

impl SnapshotChunks for Chunks {
    fn next_chunk(&mut self) -> Result<Option<Bytes>, String> {
        self.0.next_chunk().map_err(|e| e.to_string())
    }

    fn resume(&mut self, number: u64) -> bool {
        self.0.resume(number)
    }
}

/// Where states that come in are staged.
struct Staging(std::sync::Weak<Shared>);

impl SnapshotStaging for Staging {
    fn begin(&self) -> Result<Box<dyn SnapshotIntake>, String> {
        let shared = self.0.upgrade().ok_or("the member is stopping")?;
        let disk = Arc::new(RealDisk::new(&shared.options.data_dir));
        let sink = SnapshotSink::new(disk).map_err(|e| e.to_string())?;
        Ok(Box::new(Intake(sink)))
    }
}

struct Intake(SnapshotSink);

impl SnapshotIntake for Intake {
    fn due(&self) -> u64 {
        self.0.due()
    }

    fn take(&mut self, chunk: &[u8]) -> Result<(), String> {
        self.0.take(chunk).map(drop).map_err(|e| e.to_string())
    }

    fn finish(self: Box<Self>) -> Result<crate::peer::Staged, String> {
        let staged = self.0.finish().map_err(|e| e.to_string())?;
        Ok(Box::new(staged))
    }
}
