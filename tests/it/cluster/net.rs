//! The network between members: a TCP proxy before each member's peer port, with a link of its own for every pair
//! and direction.
//!
//! Members advertise the proxy. Who dials is looked up in the kernel's tables, so that a link can be told from the
//! others whichever side opened the connection, with servers that know nothing of it. A hole takes no bytes: what was
//! sent waits in the kernel, as it does behind a cable that was pulled, and arrives after the cut.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr, TcpListener as StdListener},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep, sleep_until},
};

use super::caller;
use crate::seed::Seed;

/// A member's number in its cluster.
pub(crate) type Place = usize;

/// What happens to bytes on the way from one member to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Link {
    /// Everything comes this much later,
    pub(crate) delay: Duration,
    /// and up to this much later still; the order stays.
    pub(crate) jitter: Duration,
    /// Nothing comes.
    pub(crate) hole: bool,
    /// So many bytes a second; 0 is no bound.
    pub(crate) bytes_per_second: u32,
}

#[derive(Clone, Debug, Default)]
struct Links {
    ways: HashMap<(Place, Place), Link>,
    /// Counts up to break every connection between two members.
    resets: HashMap<(Place, Place), u64>,
}

impl Links {
    fn way(&self, way: (Place, Place)) -> Link {
        self.ways.get(&way).copied().unwrap_or_default()
    }

    fn resets(&self, (from, to): (Place, Place)) -> u64 {
        let pair = (from.min(to), from.max(to));
        self.resets.get(&pair).copied().unwrap_or(0)
    }
}

#[derive(Debug)]
struct Shared {
    links: watch::Sender<Links>,
    /// The process of each member.
    pids: Mutex<HashMap<Place, u32>>,
}

/// The proxies of one cluster; they end with this value.
#[derive(Debug)]
pub(crate) struct Net {
    shared: Arc<Shared>,
    runtime: tokio::runtime::Handle,
    _running: oneshot::Sender<()>,
}

impl Net {
    /// A network without members.
    pub(crate) fn new() -> Self {
        let (runtime_out, runtime_in) = std::sync::mpsc::channel();
        let (running, ended) = oneshot::channel::<()>();
        // A thread of its own: the load must not delay what passes here.
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime can be made");
            let _ = runtime_out.send(runtime.handle().clone());
            // An error is the end of the sender, which is what is waited for.
            let _ = runtime.block_on(ended);
        });
        let links = watch::Sender::new(Links::default());
        Self {
            shared: Arc::new(Shared {
                links,
                pids: Mutex::default(),
            }),
            runtime: runtime_in.recv().expect("the thread sends its handle"),
            _running: running,
        }
    }

    /// Listens for the peers of the member at `place`, whose own peer port is `behind`; returns the port to advertise.
    pub(crate) fn front(&self, place: Place, behind: u16) -> u16 {
        let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
        listener.set_nonblocking(true).expect("a socket's setting");
        let port = listener.local_addr().expect("bound").port();
        let shared = Arc::clone(&self.shared);
        self.runtime.spawn(accept(listener, place, behind, shared));
        port
    }

    /// Says which process is the member at `place` now, or traces it.
    pub(crate) fn set_pid(&self, place: Place, pid: u32) {
        let mut pids = self.shared.pids.lock();
        let pids = pids.as_mut().unwrap_or_else(|error| error.get_mut());
        pids.insert(place, pid);
    }

    /// Sets one direction of one pair.
    pub(crate) fn set(&self, from: Place, to: Place, link: Link) {
        self.shared.links.send_modify(|links| {
            links.ways.insert((from, to), link);
        });
    }

    /// Nothing passes from `from` to `to`; the other direction is as before.
    pub(crate) fn cut_one_way(&self, from: Place, to: Place) {
        let hole = Link {
            hole: true,
            ..Link::default()
        };
        self.set(from, to, hole);
    }

    /// Nothing passes between the two.
    pub(crate) fn cut(&self, one: Place, other: Place) {
        self.cut_one_way(one, other);
        self.cut_one_way(other, one);
    }

    /// Nothing passes between `place` and `others`.
    pub(crate) fn isolate(&self, place: Place, others: impl IntoIterator<Item = Place>) {
        for other in others.into_iter().filter(|other| *other != place) {
            self.cut(place, other);
        }
    }

    /// Breaks the connections between the two; new ones are let through.
    pub(crate) fn reset(&self, one: Place, other: Place) {
        self.shared.links.send_modify(|links| {
            *links
                .resets
                .entry((one.min(other), one.max(other)))
                .or_default() += 1;
        });
    }

    /// All links are as new.
    pub(crate) fn heal(&self) {
        self.shared.links.send_modify(|links| links.ways.clear());
    }
}

async fn accept(listener: StdListener, to: Place, behind: u16, shared: Arc<Shared>) {
    let listener = TcpListener::from_std(listener).expect("this is inside a runtime");
    let front = listener.local_addr().expect("bound").port();
    while let Ok((dialled, address)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let Some(from) = dialler(&shared, address, front) else {
                return; // Its process is gone already.
            };
            let Ok(onward) = TcpStream::connect((Ipv4Addr::LOCALHOST, behind)).await else {
                return; // The dialler sees its connection end, as it does with a member that is down.
            };
            pass(dialled, onward, (from, to), &shared).await;
        });
    }
}

/// Which member dialled.
fn dialler(shared: &Shared, address: SocketAddr, front: u16) -> Option<Place> {
    let pids = shared.pids.lock().unwrap_or_else(PoisonError::into_inner);
    let known: Vec<u32> = pids.values().copied().collect();
    let holder = caller::holder(&known, address.port(), front)?;
    let place = pids.iter().find(|(_, pid)| **pid == holder)?;
    Some(*place.0)
}

/// Passes bytes in both directions until the connection ends or is to be broken.
async fn pass(dialled: TcpStream, onward: TcpStream, way: (Place, Place), shared: &Shared) {
    for stream in [&dialled, &onward] {
        let _ = stream.set_nodelay(true);
        // Dropped, they are reset.
        let _ = stream.set_zero_linger();
    }
    let mut links = shared.links.subscribe();
    let resets = links.borrow().resets(way);
    let (dialled_in, dialled_out) = dialled.into_split();
    let (onward_in, onward_out) = onward.into_split();
    let there = half(dialled_in, onward_out, way, shared.links.subscribe());
    let back = half(
        onward_in,
        dialled_out,
        (way.1, way.0),
        shared.links.subscribe(),
    );
    let broken = links.wait_for(|links| links.resets(way) != resets);
    tokio::select! {
        _ = async { tokio::join!(there, back) } => {}
        _ = broken => {}
    }
}

/// One direction of one connection.
async fn half(
    mut read: OwnedReadHalf,
    mut write: OwnedWriteHalf,
    way: (Place, Place),
    mut links: watch::Receiver<Links>,
) {
    let (queue, mut due) = mpsc::channel::<(Instant, Vec<u8>)>(64);
    let mut reading_links = links.clone();
    let reading = async move {
        let mut jitter = Seed::new(way.0 as u64 * 64 + way.1 as u64);
        let mut buffer = vec![0; 16 * 1024];
        while open(&mut reading_links, way).await.is_ok() {
            let Ok(len @ 1..) = read.read(&mut buffer).await else {
                break;
            };
            let link = reading_links.borrow_and_update().way(way);
            if link.bytes_per_second > 0 {
                let seconds = len as f64 / f64::from(link.bytes_per_second);
                sleep(Duration::from_secs_f64(seconds)).await;
            }
            let late = link.delay + scaled(link.jitter, &mut jitter);
            let piece = (Instant::now() + late, buffer[..len].to_vec());
            if queue.send(piece).await.is_err() {
                break;
            }
        }
    };
    let writing = async move {
        while let Some((at, bytes)) = due.recv().await {
            sleep_until(at).await;
            if open(&mut links, way).await.is_err() || write.write_all(&bytes).await.is_err() {
                break;
            }
        }
        let _ = write.shutdown().await;
    };
    tokio::join!(reading, writing);
}

/// Waits until the way is no hole, and tells how it is.
async fn open(
    links: &mut watch::Receiver<Links>,
    way: (Place, Place),
) -> Result<Link, watch::error::RecvError> {
    let links = links.wait_for(|links| !links.way(way).hole).await?;
    Ok(links.way(way))
}

/// Between nothing and all of it.
fn scaled(most: Duration, random: &mut Seed) -> Duration {
    let micros = u64::try_from(most.as_micros()).unwrap_or(u64::MAX - 1);
    Duration::from_micros(random.below(micros + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection through a front that takes this process for member 0, and its end behind the front.
    async fn through(net: &Net) -> (TcpStream, TcpStream) {
        let behind = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("loopback");
        net.set_pid(0, std::process::id());
        let front = net.front(1, behind.local_addr().expect("bound").port());
        let near = TcpStream::connect((Ipv4Addr::LOCALHOST, front))
            .await
            .expect("the front accepts");
        let (far, _) = behind.accept().await.expect("the front dials");
        (near, far)
    }

    /// Far above what it takes.
    const PATIENCE: Duration = Duration::from_secs(60);
    /// What has not come by then is held.
    const HELD: Duration = Duration::from_millis(300);

    async fn sees(
        from: &mut TcpStream,
        to: &mut TcpStream,
        text: &str,
        patience: Duration,
    ) -> bool {
        from.write_all(text.as_bytes()).await.expect("a live end");
        let mut got = vec![0; text.len()];
        let reading = to.read_exact(&mut got);
        let read = tokio::time::timeout(patience, reading).await;
        read.is_ok_and(|read| read.is_ok()) && got == text.as_bytes()
    }

    #[tokio::test]
    async fn a_hole_holds_one_direction_and_gives_back_what_it_held() {
        let net = Net::new();
        let (mut near, mut far) = through(&net).await;
        assert!(sees(&mut near, &mut far, "there", PATIENCE).await);
        net.cut_one_way(0, 1);
        assert!(!sees(&mut near, &mut far, "held", HELD).await);
        assert!(sees(&mut far, &mut near, "back", PATIENCE).await);
        net.heal();
        let mut held = [0; 4];
        far.read_exact(&mut held).await.expect("it comes now");
        assert_eq!(&held, b"held");
    }

    #[tokio::test]
    async fn a_delay_delays_and_a_reset_breaks() {
        let net = Net::new();
        let (mut near, mut far) = through(&net).await;
        let late = Link {
            delay: Duration::from_millis(120),
            ..Link::default()
        };
        net.set(0, 1, late);
        let begun = Instant::now();
        assert!(sees(&mut near, &mut far, "late", PATIENCE).await);
        assert!(begun.elapsed() >= late.delay);
        net.reset(1, 0);
        assert!(near.read_u8().await.is_err());
        assert!(far.read_u8().await.is_err());
    }

    #[tokio::test]
    async fn a_drip_takes_its_time() {
        let net = Net::new();
        let (mut near, mut far) = through(&net).await;
        let drip = Link {
            bytes_per_second: 40,
            ..Link::default()
        };
        net.set(0, 1, drip);
        let begun = Instant::now();
        near.write_all(b"eight by").await.expect("a live end");
        let mut got = [0; 8];
        far.read_exact(&mut got).await.expect("all of it");
        assert!(begun.elapsed() >= Duration::from_millis(120));
    }
}
