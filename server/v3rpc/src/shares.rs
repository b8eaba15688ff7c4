//! What one client may take at a time, so that one that floods starves neither the others nor the member.
//!
//! A client is a user by certificate, else an address. So many of its calls run at once; more of them wait for each
//! other, and for nobody else's: calls of others are never behind more than that. Its connections leave room for others
//! as well.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::peer::Peer;

/// Clients are forgotten when nothing of them is open; it is looked for them when there are so many, then at twice as
/// many as stayed.
const LOOK_AT: usize = 64;

/// Whom calls and connections count for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Client {
    /// By a certificate.
    User(Arc<str>),
    /// By an address; of IPv6 by what a provider gives to one customer at least.
    Address(IpAddr),
}

impl Client {
    pub(crate) fn of(peer: &Peer, address: IpAddr) -> Self {
        match peer.user() {
            Some(user) => Self::User(Arc::clone(user)),
            None => Self::Address(block(address)),
        }
    }
}

/// The first half of an IPv6 address; the rest is its owner's to choose.
fn block(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = address.to_bits() & !u128::from(u64::MAX);
            Ipv6Addr::from_bits(network).into()
        }
        v4 => v4,
    }
}

/// What one client has.
#[derive(Debug)]
pub(crate) struct Share {
    calls: Semaphore,
}

impl Share {
    fn new(calls_max: usize) -> Self {
        Self {
            calls: Semaphore::new(calls_max.clamp(1, Semaphore::MAX_PERMITS)),
        }
    }

    /// One that is never used up, for whoever was counted before.
    pub(crate) fn endless() -> Arc<Self> {
        Arc::new(Self::new(usize::MAX))
    }

    /// A place for one call, given back when it is dropped. Whoever waits is served in turn.
    pub(crate) async fn enter(&self) -> Option<SemaphorePermit<'_>> {
        match self.calls.try_acquire() {
            Ok(place) => Some(place),
            // On the heap: calls need no room for it as long as nobody floods. It fails only once closed, which nobody
            // does.
            Err(_) => Box::pin(self.calls.acquire()).await.ok(),
        }
    }
}

/// The shares of all clients, on all I/O threads together.
#[derive(Debug)]
pub(crate) struct Shares {
    calls_max: usize,
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    shares: HashMap<Client, Weak<Share>>,
    look_at: usize,
}

impl Shares {
    pub(crate) fn new(calls_max: usize) -> Arc<Self> {
        Arc::new(Self {
            calls_max,
            open: Mutex::new(Open {
                shares: HashMap::new(),
                look_at: LOOK_AT,
            }),
        })
    }

    /// The share of a client, the same for all its connections.
    pub(crate) fn of(&self, client: Client) -> Arc<Share> {
        let mut open = self.open();
        if let Some(share) = open.shares.get(&client).and_then(Weak::upgrade) {
            return share;
        }
        if open.shares.len() >= open.look_at {
            open.shares.retain(|_, share| share.strong_count() > 0);
            open.look_at = LOOK_AT.max(open.shares.len() * 2);
        }
        let share = Arc::new(Share::new(self.calls_max));
        open.shares.insert(client, Arc::downgrade(&share));
        share
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        // Whoever panicked in there has left it whole.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many connections each address has.
#[derive(Debug)]
pub(crate) struct Seats {
    each_max: usize,
    taken: Mutex<HashMap<IpAddr, usize>>,
}

impl Seats {
    /// A quarter of all places is for others than the one that has most.
    pub(crate) fn new(connections_max: usize) -> Arc<Self> {
        Arc::new(Self {
            each_max: connections_max - connections_max / 4,
            taken: Mutex::default(),
        })
    }

    /// A seat for a connection from this address; none if it has as many as one may have.
    pub(crate) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Seat> {
        let address = block(address);
        let mut taken = self.taken();
        let count = taken.entry(address).or_default();
        if *count >= self.each_max {
            return None;
        }
        *count += 1;
        Some(Seat {
            seats: Arc::clone(self),
            address,
        })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // Whoever panicked in there has left it whole.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection of an address, until it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    seats: Arc<Seats>,
    pub(crate) address: IpAddr,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken();
        if let Some(count) = taken.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn client(text: &str) -> Client {
        Client::of(&Peer::Unknown, address(text))
    }

    #[tokio::test]
    async fn a_client_waits_for_its_own_calls_only() {
        let shares = Shares::new(2);
        let flooder = shares.of(client("10.0.0.1"));
        let same = shares.of(client("::ffff:10.0.0.1"));
        let first = flooder.enter().await;
        let _second = same.enter().await;
        let mut third = std::pin::pin!(flooder.enter());
        assert!(third.as_mut().now_or_never().is_none(), "two of two run");
        let other = shares.of(client("10.0.0.2"));
        assert!(other.enter().now_or_never().is_some(), "not its matter");
        drop(first);
        assert!(third.await.is_some(), "its turn");
    }

    #[test]
    fn a_customer_of_ipv6_is_one_client_and_a_user_another() {
        assert_eq!(client("2001:db8::1"), client("2001:db8::ffff:1"));
        assert_ne!(client("2001:db8::1"), client("2001:db8:0:1::1"));
    }

    #[test]
    fn who_is_gone_is_forgotten() {
        let shares = Shares::new(1);
        let stays = shares.of(client("10.1.0.0"));
        for number in 0..10_000u32 {
            let ip = std::net::Ipv4Addr::from_bits(number);
            drop(shares.of(Client::Address(ip.into())));
        }
        assert!(shares.open().shares.len() <= LOOK_AT);
        assert!(Arc::ptr_eq(&stays, &shares.of(client("10.1.0.0"))));
    }

    #[test]
    fn no_address_takes_all_places() {
        let seats = Seats::new(8);
        let mut taken: Vec<_> = (0..6).map(|_| seats.take(address("10.0.0.1"))).collect();
        assert!(taken.iter().all(Option::is_some));
        assert!(seats.take(address("10.0.0.1")).is_none());
        assert!(seats.take(address("10.0.0.2")).is_some());
        taken.pop();
        assert!(seats.take(address("10.0.0.1")).is_some());
        drop(taken);
        assert!(seats.taken().is_empty());
    }
}
