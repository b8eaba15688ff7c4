//! Members to test with, and a network between them that can be cut, frozen and damaged.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kvorum_core::replica::Lane;
use kvorum_core::{ClusterId, MemberId};
use kvorum_proto::etcdserverpb as pb;
use kvorum_proto::kvorumpb::peer_message::Body;
use kvorum_proto::kvorumpb::{PeerMembersReply, PeerMessage, RaftMessage, peer_reply::Told};

use super::super::hub::Timing;
use super::super::{
    Asks, Events, PeerEvent, PeerIdentity, PeerListener, PeerOptions, PeerTls, Peers,
    SnapshotIntake, SnapshotStaging, Staged,
};

/// Long enough for anything that happens at all.
pub(crate) const SOON: Duration = Duration::from_secs(20);
pub(crate) const CLUSTER: u64 = 7;

pub(crate) fn message(number: u64, len: usize) -> PeerMessage {
    PeerMessage {
        body: Some(Body::Raft(RaftMessage {
            index: number,
            context: vec![7; len].into(),
            ..RaftMessage::default()
        })),
    }
}

pub(crate) fn number_of(message: &PeerMessage) -> u64 {
    match &message.body {
        Some(Body::Raft(raft)) => raft.index,
        other => panic!("not a message of ours: {other:?}"),
    }
}

pub(crate) fn timing() -> Timing {
    let ms = Duration::from_millis;
    Timing {
        probe: ms(50),
        patience: ms(400),
        bulk_patience: ms(1000),
        handshake: ms(1000),
        backoff_first: ms(10),
        backoff_max: ms(100),
        snapshot: ms(3000),
    }
}

/// Where a test member lives and whom it believes to be.
pub(crate) struct Lodging {
    pub(crate) id: u64,
    pub(crate) cluster: u64,
    pub(crate) boot: u64,
    pub(crate) tls: Option<PeerTls>,
    pub(crate) timing: Timing,
    pub(crate) staging: Arc<dyn SnapshotStaging>,
}

impl Lodging {
    pub(crate) fn of(id: u64) -> Self {
        Self {
            id,
            cluster: CLUSTER,
            boot: id * 100,
            tls: None,
            timing: timing(),
            staging: Arc::new(NoStaging),
        }
    }

    pub(crate) fn live(self) -> TestMember {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
        self.live_at(socket)
    }

    pub(crate) fn live_at(self, socket: TcpListener) -> TestMember {
        let (member, events) = self.open(socket);
        let (tell, told) = channel();
        let tell = Mutex::new(tell);
        let events_in: Events = Arc::new(move |event| {
            // A test that has seen enough does not listen any more.
            let _ = tell.lock().expect("not poisoned").send(event);
        });
        let answered = PeerMembersReply {
            cluster_id: self.cluster,
            member_id: self.id,
            ..PeerMembersReply::default()
        };
        let asks: Asks = Arc::new(move |ask| ask.answer(Told::Members(answered.clone())));
        let identity = PeerIdentity {
            cluster_id: ClusterId(self.cluster),
            member_id: MemberId(self.id),
            boot: self.boot,
        };
        member.begin(identity, events_in, asks, self.staging);
        TestMember {
            id: self.id,
            peers: member,
            address: events,
            told,
            tls: self.tls.is_some(),
        }
    }

    /// Listening, and not knowing who it is.
    pub(crate) fn open(&self, socket: TcpListener) -> (Peers, SocketAddr) {
        let address = socket.local_addr().expect("bound");
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let options = PeerOptions {
            listeners: vec![PeerListener {
                socket,
                tls: self.tls.is_some(),
            }],
            tls: self.tls.clone(),
            allow_plain: self.tls.is_none(),
            advertise_urls: vec![format!("{scheme}://{address}")],
            seed: Some(self.id),
            ..PeerOptions::default()
        };
        let peers = Peers::start_timed(options, self.timing).expect("starts");
        (peers, address)
    }
}

/// A member that writes down what happens to it.
pub(crate) struct TestMember {
    pub(crate) id: u64,
    pub(crate) peers: Peers,
    pub(crate) address: SocketAddr,
    told: Receiver<PeerEvent>,
    tls: bool,
}

impl TestMember {
    pub(crate) fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Makes these its peers, at these URLs.
    pub(crate) fn knows(&self, peers: &[(u64, String)]) {
        self.knows_and_removed(peers, &[]);
    }

    pub(crate) fn knows_and_removed(&self, peers: &[(u64, String)], removed: &[u64]) {
        let members: Vec<_> = peers
            .iter()
            .map(|(id, url)| pb::Member {
                id: *id,
                peer_ur_ls: vec![url.clone()],
                ..pb::Member::default()
            })
            .collect();
        let removed: BTreeSet<_> = removed.iter().map(|id| MemberId(*id)).collect();
        self.peers.set_members(&members, &removed);
    }

    pub(crate) fn send(&self, to: u64, lane: Lane, number: u64, len: usize) {
        self.peers.send(MemberId(to), lane, message(number, len));
    }

    /// The next event of which something is made; others are passed over.
    pub(crate) fn wait<T>(&self, what: &str, mut want: impl FnMut(PeerEvent) -> Option<T>) -> T {
        let deadline = Instant::now() + SOON;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.told.recv_timeout(left) {
                Ok(event) => {
                    if let Some(found) = want(event) {
                        return found;
                    }
                }
                Err(error) => panic!("{what}: {error}"),
            }
        }
    }

    pub(crate) fn wait_connected(&self, to: u64) {
        self.wait("a connection", |event| {
            matches!(event, PeerEvent::Connected { peer, .. } if peer.0 == to).then_some(())
        });
    }

    pub(crate) fn wait_unreachable(&self, to: u64) {
        self.wait("a lost connection", |event| {
            matches!(event, PeerEvent::Unreachable(peer) if peer.0 == to).then_some(())
        });
    }

    /// The number of the next message.
    pub(crate) fn wait_number(&self) -> u64 {
        self.wait("a message", |event| match event {
            PeerEvent::Message { message, .. } => Some(number_of(&message)),
            _ => None,
        })
    }

    /// Sends numbered messages until one comes through, and gives its number.
    pub(crate) fn send_until_heard(&self, to: &Self, lane: Lane, next: &mut u64) -> u64 {
        let deadline = Instant::now() + SOON;
        // What another lane, or an earlier call, has sent may still be coming.
        let first = *next + 1;
        while Instant::now() < deadline {
            *next += 1;
            self.send(to.id, lane, *next, 10);
            match to.told.recv_timeout(Duration::from_millis(20)) {
                Ok(PeerEvent::Message { message, .. })
                    if (first..=*next).contains(&number_of(&message)) =>
                {
                    return number_of(&message);
                }
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                Err(error) => panic!("{error}"),
            }
        }
        panic!("nothing comes through");
    }

    /// All that was told and not looked at.
    pub(crate) fn told(&self) -> Vec<PeerEvent> {
        self.told.try_iter().collect()
    }

    pub(crate) fn is_connected(&self, to: u64) -> bool {
        self.peers.active().iter().any(|(id, _)| id.0 == to)
    }
}

/// Waits for something that becomes true by itself.
pub(crate) fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !check() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

struct NoStaging;

impl SnapshotStaging for NoStaging {
    fn begin(&self) -> Result<Box<dyn SnapshotIntake>, String> {
        Err("this member takes no snapshots".into())
    }
}

/// What a test stages.
pub(crate) fn staged<T: 'static>(staged: Staged) -> T {
    *staged.downcast().expect("what the test's staging made")
}

/// What the network does with the bytes from the dialler.
#[derive(Default)]
struct Weather {
    /// Nothing passes in either direction, and nobody is told.
    frozen: AtomicBool,
    /// New connections are not accepted on to the member behind.
    down: AtomicBool,
    /// One bit of the byte at this position of a connection is turned; 0 for none.
    damage_at: AtomicU64,
    /// Bytes of all connections that were passed on.
    passed: AtomicU64,
    open: Mutex<Vec<TcpStream>>,
}

/// A proxy in front of one member.
#[derive(Clone)]
pub(crate) struct Network {
    weather: Arc<Weather>,
    address: SocketAddr,
}

impl Network {
    pub(crate) fn before(behind: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let network = Self {
            weather: Arc::default(),
            address: listener.local_addr().expect("bound"),
        };
        let weather = network.weather.clone();
        std::thread::spawn(move || {
            for near in listener.incoming() {
                let Ok(near) = near else { return };
                if weather.down.load(Ordering::SeqCst) {
                    continue;
                }
                let Ok(far) = TcpStream::connect(behind) else {
                    continue;
                };
                carry(&weather, &near, &far);
            }
        });
        network
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Ends all connections.
    pub(crate) fn cut(&self) {
        for stream in self.weather.open.lock().expect("not poisoned").drain(..) {
            // It may have ended by itself.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    pub(crate) fn set_down(&self, down: bool) {
        self.weather.down.store(down, Ordering::SeqCst);
    }

    pub(crate) fn set_frozen(&self, frozen: bool) {
        self.weather.frozen.store(frozen, Ordering::SeqCst);
    }

    pub(crate) fn damage_at(&self, position: u64) {
        self.weather.damage_at.store(position, Ordering::SeqCst);
    }

    pub(crate) fn passed(&self) -> u64 {
        self.weather.passed.load(Ordering::SeqCst)
    }
}

fn carry(weather: &Arc<Weather>, near: &TcpStream, far: &TcpStream) {
    let clone = |stream: &TcpStream| stream.try_clone().expect("a file descriptor");
    let mut open = weather.open.lock().expect("not poisoned");
    open.extend([clone(near), clone(far)]);
    drop(open);
    for (from, to, outward) in [
        (clone(near), clone(far), true),
        (clone(far), clone(near), false),
    ] {
        let weather = weather.clone();
        std::thread::spawn(move || pass(&weather, from, to, outward));
    }
}

fn pass(weather: &Weather, mut from: TcpStream, mut to: TcpStream, outward: bool) {
    let mut position = 0;
    let mut buffer = vec![0; 16 << 10];
    while let Ok(read) = from.read(&mut buffer) {
        if read == 0 {
            break;
        }
        while weather.frozen.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let damage = weather.damage_at.load(Ordering::SeqCst);
        if outward && damage > position && damage <= position + read as u64 {
            let at = usize::try_from(damage - position - 1).expect("within the buffer");
            buffer[at] ^= 0x10;
            weather.damage_at.store(0, Ordering::SeqCst);
        }
        position += read as u64;
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
        if outward {
            weather.passed.fetch_add(read as u64, Ordering::SeqCst);
        }
    }
    // Whichever end is left learns that it is over.
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
