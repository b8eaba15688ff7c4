//! What one client may take at a time, so that one that floods starves neither the others nor the member.
//!
//! A client is a user by certificate, else an address. So many of its calls run at once; more of them wait for each
//! other, and for nobody else's: calls of others are never behind more than that. What waits is bounded in number and in
//! size, and is refused beyond. Calls that wait for others, and streams, have a place only while they do something, and
//! are bounded in number.

use std::{
    collections::HashMap,
    mem,
    net::{IpAddr, Ipv6Addr},
    ops::Deref,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use kvorum_member::{Budget, Hold};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{
    arrivals::Arrivals,
    crowded::{Crowded, SNAPSHOTS_MAX},
    peer::Peer,
    unread::Unread,
};

/// Clients are forgotten when nothing of them is open; it is looked for them when there are so many, then at twice as
/// many as stayed.
const LOOK_AT: usize = 64;
/// For each call that is carried out, so many may wait.
const QUEUE: usize = 8;
/// Probes of one address that are answered at once.
const PROBES_MAX: usize = 16;

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
pub(crate) fn block(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = address.to_bits() & !u128::from(u64::MAX);
            Ipv6Addr::from_bits(network).into()
        }
        v4 => v4,
    }
}

/// What one client may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Calls that are carried out at once.
    pub(crate) calls: usize,
    /// Streams, and calls that wait for others, that are open.
    pub(crate) open: usize,
    /// Calls that are open through the gateway.
    pub(crate) through_gateway: usize,
    /// Bytes of messages that wait for their turn.
    pub(crate) waiting_bytes: usize,
    /// Bytes of messages of which a part has come.
    pub(crate) arriving_bytes: usize,
    /// Bytes of small answers that the client has not taken.
    pub(crate) unread_bytes: usize,
    /// Bytes of JSON that is not complete.
    pub(crate) body_bytes: usize,
}

impl Limits {
    /// Nothing is open for longer than it is carried out, or waits for that.
    pub(crate) const fn of_calls(calls: usize) -> Self {
        Self {
            calls,
            open: usize::MAX,
            through_gateway: usize::MAX,
            waiting_bytes: usize::MAX,
            arriving_bytes: usize::MAX,
            unread_bytes: usize::MAX,
            body_bytes: usize::MAX,
        }
    }

    /// Calls that may wait for their turn.
    const fn queue(&self) -> usize {
        self.calls.saturating_mul(QUEUE)
    }
}

/// What a call holds while it waits for its turn: its message, with what that has of the budget already.
pub(crate) struct Load<'a> {
    pub(crate) budget: &'a Arc<Budget>,
    pub(crate) bytes: usize,
    pub(crate) hold: Option<Hold>,
}

impl Load<'_> {
    /// Takes what is missing. Nobody waits for that: it would be outside of the budget meanwhile.
    fn held(self) -> Result<Hold, Crowded> {
        let mut hold = self.hold.unwrap_or_else(|| self.budget.hold());
        let missing = self.bytes.saturating_sub(hold.bytes());
        match hold.grow_now(missing) {
            true => Ok(hold),
            false => Err(Crowded::Memory),
        }
    }
}

/// What one client has.
#[derive(Debug)]
pub(crate) struct Share {
    limits: Limits,
    calls: Semaphore,
    queue: AtomicUsize,
    open: AtomicUsize,
    waiting_bytes: AtomicUsize,
    arriving: Arrivals,
    unread: Arc<Unread>,
    body_bytes: AtomicUsize,
    snapshots: Semaphore,
    through_gateway: Arc<Semaphore>,
}

impl Share {
    fn new(limits: Limits) -> Self {
        let places = |max: usize| Semaphore::new(max.clamp(1, Semaphore::MAX_PERMITS));
        Self {
            limits,
            calls: places(limits.calls),
            queue: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            waiting_bytes: AtomicUsize::new(0),
            arriving: Arrivals::new(limits.arriving_bytes),
            unread: Unread::new(limits.unread_bytes),
            body_bytes: AtomicUsize::new(0),
            snapshots: places(SNAPSHOTS_MAX),
            through_gateway: Arc::new(places(limits.through_gateway)),
        }
    }

    /// One that is never used up, for whoever is counted elsewhere.
    pub(crate) fn endless() -> Arc<Self> {
        Arc::new(Self::new(Limits::of_calls(usize::MAX)))
    }

    /// Counts a stream, or a call that waits for others, for as long as it is open.
    pub(crate) fn open(&self) -> Result<Open<&Self>, Crowded> {
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        let open = Open(self);
        match before < self.limits.open {
            true => Ok(open),
            false => Err(Crowded::Open(self.limits.open)),
        }
    }

    /// A place for one call, given back when it is dropped. Whoever waits is served in turn; too many must not wait.
    pub(crate) async fn enter(&self, load: Load<'_>) -> Result<SemaphorePermit<'_>, Crowded> {
        match self.calls.try_acquire() {
            Ok(place) => Ok(place),
            // On the heap: calls need no room for it as long as nobody floods.
            Err(_) => Box::pin(self.wait(load)).await,
        }
    }

    /// A place for work that goes on when its call is gone.
    pub(crate) async fn enter_own(self: &Arc<Self>, load: Load<'_>) -> Result<OwnPlace, Crowded> {
        self.enter(load).await?.forget();
        Ok(OwnPlace(Arc::clone(self)))
    }

    async fn wait(&self, load: Load<'_>) -> Result<SemaphorePermit<'_>, Crowded> {
        let max = self.limits.queue();
        let _waits = Counted::new(&self.queue, 1, max).ok_or(Crowded::Calls(max))?;
        let max = self.limits.waiting_bytes;
        let bytes = Counted::new(&self.waiting_bytes, load.bytes, max);
        let _bytes = bytes.ok_or(Crowded::Bytes(max))?;
        let _hold = load.held()?;
        Ok(self.turn().await)
    }

    /// A place for one step of a call or a stream that goes on after it: there are no more of these than may be open,
    /// so each may wait. It holds nothing of size meanwhile.
    pub(crate) async fn turn(&self) -> SemaphorePermit<'_> {
        match self.calls.acquire().await {
            Ok(place) => place,
            // It fails only once closed, which nobody does.
            Err(_) => std::future::pending().await,
        }
    }

    /// One of the snapshots that a client may have on their way.
    pub(crate) fn snapshot(&self) -> Result<SemaphorePermit<'_>, Crowded> {
        self.snapshots.try_acquire().map_err(|_| Crowded::Snapshots)
    }

    /// Places for calls that come through the gateway.
    pub(crate) const fn through_gateway(&self) -> &Arc<Semaphore> {
        &self.through_gateway
    }

    /// The messages of which a part has come.
    pub(crate) const fn arriving(&self) -> &Arrivals {
        &self.arriving
    }

    /// The small answers that it does not take.
    pub(crate) const fn unread(&self) -> &Arc<Unread> {
        &self.unread
    }

    /// Counts what has come of a JSON message.
    pub(crate) fn body(self: &Arc<Self>) -> Body {
        Body {
            share: Arc::clone(self),
            bytes: 0,
        }
    }
}

/// A place of one call, until it is dropped.
#[derive(Debug)]
pub(crate) struct OwnPlace(Arc<Share>);

impl Drop for OwnPlace {
    fn drop(&mut self) {
        self.0.calls.add_permits(1);
    }
}

/// Something that is counted as long as it lives.
struct Counted<'a> {
    count: &'a AtomicUsize,
    added: usize,
}

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize, added: usize, max: usize) -> Option<Self> {
        let before = count.fetch_add(added, Ordering::Relaxed);
        let counted = Self { count, added };
        (before.saturating_add(added) <= max).then_some(counted)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(self.added, Ordering::Relaxed);
    }
}

/// What has come of a JSON message, until it is dropped.
#[derive(Debug)]
pub(crate) struct Body {
    share: Arc<Share>,
    bytes: usize,
}

impl Body {
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), Crowded> {
        let max = self.share.limits.body_bytes;
        let counted = Counted::new(&self.share.body_bytes, bytes, max);
        // Counted off with the rest.
        mem::forget(counted.ok_or(Crowded::Bodies(max))?);
        self.bytes += bytes;
        Ok(())
    }

    pub(crate) fn clear(&mut self) {
        let bytes = mem::take(&mut self.bytes);
        self.share.body_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.clear();
    }
}

/// A stream, or a call that waits for others, until it is dropped.
#[derive(Debug)]
pub(crate) struct Open<S: Deref<Target = Share>>(S);

impl Open<&Share> {
    /// For work that may outlive its call.
    pub(crate) fn keep(self, share: &Arc<Share>) -> Open<Arc<Share>> {
        // Not counted off: the other one is counted on in its place.
        mem::forget(self);
        Open(Arc::clone(share))
    }
}

impl Open<Arc<Share>> {
    pub(crate) fn share(&self) -> &Arc<Share> {
        &self.0
    }
}

impl<S: Deref<Target = Share>> Drop for Open<S> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The shares of all clients, on all I/O threads together.
#[derive(Debug)]
pub(crate) struct Shares {
    limits: Limits,
    open: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    shares: HashMap<Client, Weak<Share>>,
    look_at: usize,
}

impl Shares {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            open: Mutex::new(Known {
                shares: HashMap::new(),
                look_at: LOOK_AT,
            }),
        }
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
        let share = Arc::new(Share::new(self.limits));
        open.shares.insert(client, Arc::downgrade(&share));
        share
    }

    fn open(&self) -> MutexGuard<'_, Known> {
        // Whoever panicked in there has left it whole.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The shares of each kind of callers, none of which takes anything from another.
#[derive(Debug)]
pub(crate) struct Crowd {
    pub(crate) clients: Shares,
    /// Who looks at the pages beside the gateway.
    pub(crate) probes: Shares,
    /// Who asks for all metrics, which take a processor for a while.
    pub(crate) scrapers: Shares,
}

impl Crowd {
    pub(crate) fn new(clients: Limits) -> Self {
        Self {
            clients: Shares::new(clients),
            probes: Shares::new(Limits::of_calls(PROBES_MAX)),
            scrapers: Shares::new(Limits::of_calls(1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::error::{Code, Status};

    const KIB: usize = 1024;

    fn budget() -> Arc<Budget> {
        Budget::new(1024 * KIB, 4 * KIB, std::time::Duration::ZERO)
    }

    fn load(budget: &Arc<Budget>, bytes: usize) -> Load<'_> {
        Load {
            budget,
            bytes,
            hold: None,
        }
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn client(text: &str) -> Client {
        Client::of(&Peer::Unknown, address(text))
    }

    #[tokio::test]
    async fn a_client_waits_for_its_own_calls_only() {
        let shares = Shares::new(Limits::of_calls(2));
        let budget = budget();
        let flooder = shares.of(client("10.0.0.1"));
        let same = shares.of(client("::ffff:10.0.0.1"));
        let first = flooder.enter(load(&budget, 0)).await;
        let _second = same.enter(load(&budget, 0)).await;
        let mut third = std::pin::pin!(flooder.enter(load(&budget, 0)));
        assert!(third.as_mut().now_or_never().is_none(), "two of two run");
        let other = shares.of(client("10.0.0.2"));
        let entered = other.enter(load(&budget, 0)).now_or_never();
        assert!(entered.is_some(), "not its matter");
        drop(first);
        assert!(third.await.is_ok(), "its turn");
    }

    #[tokio::test]
    async fn what_waits_is_on_the_budget_until_its_turn_and_too_much_is_refused() {
        let limits = Limits {
            waiting_bytes: 100 * KIB,
            ..Limits::of_calls(1)
        };
        let shares = Shares::new(limits);
        let share = shares.of(client("10.0.0.1"));
        let budget = budget();
        let runs = share.enter(load(&budget, 64 * KIB)).await.expect("free");
        assert_eq!(budget.usage().held_bytes, 0, "handed on");
        let received = {
            let mut hold = budget.hold();
            assert!(hold.grow_now(60 * KIB));
            Load {
                hold: Some(hold),
                ..load(&budget, 60 * KIB)
            }
        };
        let mut waits = Box::pin(share.enter(received));
        assert!(waits.as_mut().now_or_never().is_none());
        assert_eq!(budget.usage().held_bytes, 60 * KIB, "once, and not twice");
        let too_large = share.enter(load(&budget, 60 * KIB)).now_or_never();
        assert_eq!(
            too_large.expect("at once").expect_err("refused"),
            Crowded::Bytes(100 * KIB)
        );
        let mut queue: Vec<_> = (1..8)
            .map(|_| Box::pin(share.enter(load(&budget, 0))))
            .collect();
        assert!(queue.iter_mut().all(|one| one.now_or_never().is_none()));
        let one_more = share.enter(load(&budget, 0)).now_or_never();
        let refused = one_more.expect("at once").expect_err("refused");
        assert_eq!(refused, Crowded::Calls(8));
        let status = Status::from(refused);
        assert_eq!(status.code, Code::ResourceExhausted);
        assert!(status.message.contains("--max-client-calls"));
        drop(runs);
        let turn = waits.await.expect("its turn");
        assert_eq!(budget.usage().held_bytes, 0);
        drop((turn, queue));
        assert!(share.enter(load(&budget, 0)).now_or_never().is_some());
    }

    #[test]
    fn what_is_open_is_bounded_and_counted_once_when_it_moves() {
        let limits = Limits {
            open: 2,
            ..Limits::of_calls(1)
        };
        let share = Shares::new(limits).of(client("10.0.0.1"));
        let first = share.open().expect("the first").keep(&share);
        let second = share.open().expect("the second");
        assert_eq!(share.open().map(drop), Err(Crowded::Open(2)));
        drop(first);
        let third = share.open().expect("room again");
        assert_eq!(share.open().map(drop), Err(Crowded::Open(2)));
        drop((second, third));
        assert_eq!(share.open.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_customer_of_ipv6_is_one_client_and_a_user_another() {
        assert_eq!(client("2001:db8::1"), client("2001:db8::ffff:1"));
        assert_ne!(client("2001:db8::1"), client("2001:db8:0:1::1"));
    }

    #[test]
    fn who_is_gone_is_forgotten() {
        let shares = Shares::new(Limits::of_calls(1));
        let stays = shares.of(client("10.1.0.0"));
        for number in 0..10_000u32 {
            let ip = std::net::Ipv4Addr::from_bits(number);
            drop(shares.of(Client::Address(ip.into())));
        }
        assert!(shares.open().shares.len() <= LOOK_AT);
        assert!(Arc::ptr_eq(&stays, &shares.of(client("10.1.0.0"))));
    }
}
