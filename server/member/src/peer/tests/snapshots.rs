//! States on their way: whole, resumed, given up.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use kvorum_core::MemberId;
use kvorum_proto::kvorumpb::RaftMessage;

use super::super::{PeerEvent, SnapshotChunks, SnapshotIntake, SnapshotStaging, Staged};
use super::rig::{Lodging, Network, TestMember, eventually, staged};

/// Chunks that say their number; counts how often one was made.
struct Numbered {
    count: u64,
    next: u64,
    made: Arc<AtomicU64>,
}

const CHUNK_BYTES: usize = 64 << 10;

fn chunk(number: u64) -> Vec<u8> {
    number.to_be_bytes().repeat(CHUNK_BYTES / 8)
}

impl SnapshotChunks for Numbered {
    fn next_chunk(&mut self) -> Result<Option<Bytes>, String> {
        if self.next == self.count {
            return Ok(None);
        }
        self.made.fetch_add(1, Ordering::SeqCst);
        self.next += 1;
        Ok(Some(chunk(self.next - 1).into()))
    }

    fn resume(&mut self, number: u64) -> bool {
        self.next = number;
        number <= self.count
    }
}

/// Keeps what comes in.
#[derive(Clone, Default)]
struct Shelf {
    begun: Arc<AtomicU64>,
    taken: Arc<AtomicU64>,
    /// The chunk that does not fit; 0 for none.
    full_at: u64,
    /// Chunks wait here while a test holds it.
    gate: Arc<Mutex<()>>,
}

struct Intake {
    shelf: Shelf,
    content: Vec<Vec<u8>>,
}

impl SnapshotStaging for Shelf {
    fn begin(&self) -> Result<Box<dyn SnapshotIntake>, String> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(Intake {
            shelf: self.clone(),
            content: Vec::new(),
        }))
    }
}

impl SnapshotIntake for Intake {
    fn due(&self) -> u64 {
        self.content.len() as u64
    }

    fn take(&mut self, chunk: &[u8]) -> Result<(), String> {
        drop(self.shelf.gate.lock().expect("not poisoned"));
        if self.shelf.full_at != 0 && self.due() >= self.shelf.full_at {
            return Err("the shelf is full".into());
        }
        self.content.push(chunk.to_vec());
        self.shelf.taken.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Staged, String> {
        Ok(Box::new(self.content))
    }
}

struct Scene {
    sender: TestMember,
    receiver: TestMember,
    network: Network,
    shelf: Shelf,
    made: Arc<AtomicU64>,
}

impl Scene {
    fn new(shelf: Shelf) -> Self {
        let mut lodging = Lodging::of(2);
        lodging.staging = Arc::new(shelf.clone());
        let (sender, receiver) = (Lodging::of(1).live(), lodging.live());
        let network = Network::before(receiver.address);
        sender.knows(&[(2, network.url())]);
        receiver.knows(&[(1, sender.url())]);
        sender.wait_connected(2);
        Self {
            sender,
            receiver,
            network,
            shelf,
            made: Arc::default(),
        }
    }

    fn send(&self, count: u64) {
        send(&self.sender, count, &self.made);
    }

    fn arrived(&self) -> (RaftMessage, Vec<Vec<u8>>) {
        self.receiver.wait("the snapshot", |event| match event {
            PeerEvent::SnapshotArrived {
                raft, staged: s, ..
            } => Some((*raft, staged(s))),
            _ => None,
        })
    }
}

fn send(from: &TestMember, count: u64, made: &Arc<AtomicU64>) {
    let chunks = Numbered {
        count,
        next: 0,
        made: made.clone(),
    };
    let raft = RaftMessage {
        term: 5,
        ..RaftMessage::default()
    };
    from.peers
        .send_snapshot(MemberId(2), raft, Box::new(chunks));
}

fn sent(by: &TestMember) -> bool {
    by.wait("the end of the sending", |event| match event {
        PeerEvent::SnapshotSent { ok, .. } => Some(ok),
        _ => None,
    })
}

#[test]
fn a_snapshot_arrives_whole_and_both_sides_know() {
    let scene = Scene::new(Shelf::default());
    for count in [0, 1, 100] {
        scene.send(count);
        let (raft, content) = scene.arrived();
        assert_eq!(raft.term, 5);
        let all: Vec<_> = (0..count).map(chunk).collect();
        assert!(content == all, "{count} chunks");
        assert!(sent(&scene.sender));
    }
}

#[test]
fn a_broken_transfer_goes_on_where_it_was() {
    let scene = Scene::new(Shelf::default());
    let count = 400;
    scene.send(count);
    for part in 1..=3 {
        eventually("some of it has come", || {
            scene.shelf.taken.load(Ordering::SeqCst) >= part * 60
        });
        scene.network.cut();
    }
    let (_, content) = scene.arrived();
    assert!(content == (0..count).map(chunk).collect::<Vec<_>>());
    assert!(sent(&scene.sender));
    assert_eq!(scene.shelf.begun.load(Ordering::SeqCst), 1);
    let made = scene.made.load(Ordering::SeqCst);
    assert!(made < count + 50, "{made} chunks were made for {count}");
}

#[test]
fn a_receiver_without_room_says_so() {
    let scene = Scene::new(Shelf {
        full_at: 3,
        ..Shelf::default()
    });
    scene.send(10);
    assert!(!sent(&scene.sender));
    scene.receiver.wait("the receiver gives up", |event| {
        matches!(event, PeerEvent::SnapshotAborted { .. }).then_some(())
    });
}

#[test]
fn a_second_sender_waits_for_the_first() {
    let scene = Scene::new(Shelf::default());
    let other = Lodging::of(3).live();
    other.knows(&[(2, scene.receiver.url())]);
    other.wait_connected(2);
    let gate = scene.shelf.gate.lock().expect("not poisoned");
    scene.send(20);
    eventually("the first has begun", || {
        scene.shelf.begun.load(Ordering::SeqCst) == 1
    });
    send(&other, 30, &scene.made);
    std::thread::sleep(std::time::Duration::from_millis(100));
    drop(gate);
    assert_eq!(scene.arrived().1.len(), 20);
    assert_eq!(scene.arrived().1.len(), 30);
    assert!(sent(&scene.sender) && sent(&other));
}

#[test]
fn a_peer_that_is_gone_is_given_up() {
    let scene = Scene::new(Shelf::default());
    let gate = scene.shelf.gate.lock().expect("not poisoned");
    scene.send(100);
    eventually("it has begun", || {
        scene.shelf.begun.load(Ordering::SeqCst) == 1
    });
    scene.network.set_down(true);
    scene.network.cut();
    drop(gate);
    assert!(!sent(&scene.sender));
    assert!(scene.network.passed() > 0);
}

#[test]
fn entries_pass_while_a_snapshot_is_on_its_way() {
    let scene = Scene::new(Shelf::default());
    let gate = scene.shelf.gate.lock().expect("not poisoned");
    scene.send(50);
    let mut next = 0;
    for lane in [
        kvorum_core::replica::Lane::Control,
        kvorum_core::replica::Lane::Append,
    ] {
        scene
            .sender
            .send_until_heard(&scene.receiver, lane, &mut next);
    }
    drop(gate);
    assert_eq!(scene.arrived().1.len(), 50);
}
