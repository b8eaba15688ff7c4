//! All connections of a run under one epoll, driven by one thread.

use std::{
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rustix::event::epoll;

use super::{Connection, Dial, Event, SlotId};

/// How long a server may take to answer at all before a run is given up.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Time since the pool was made, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Nanos(pub(crate) u64);

impl Nanos {
    pub(crate) fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    pub(crate) fn plus(self, span: Duration) -> Self {
        Self(self.0 + span.as_nanos() as u64)
    }
}

/// A connection's number in its pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionId(pub(crate) u32);

impl ConnectionId {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// What decides which calls are made and judges their replies.
pub(crate) trait Load {
    /// Uses a free slot, or leaves it idle.
    fn begin(&mut self, at: ConnectionId, slot: SlotId, on: &mut Connection, now: Nanos);

    /// Judges what came and uses the slot again.
    fn take(
        &mut self,
        at: ConnectionId,
        on: &mut Connection,
        event: Event,
        now: Nanos,
    ) -> Result<()>;

    /// A slot, perhaps of another connection, that became free by what was taken.
    fn next_free(&mut self) -> Option<(ConnectionId, SlotId)> {
        None
    }
}

/// Connections that share a thread.
pub(crate) struct Pool {
    epoll: OwnedFd,
    born: Instant,
    connections: Vec<Connection>,
    /// Connections whose socket was full and is waited for.
    blocked: Vec<bool>,
    ready: Vec<epoll::Event>,
    last_heard: Nanos,
}

impl Pool {
    /// Opens one connection per entry of `slots`, to the addresses in turn, and waits until each was accepted.
    pub(crate) fn connect(dials: &[Dial], slots: &[u32]) -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).context("create an epoll set")?;
        let mut connections = Vec::with_capacity(slots.len());
        let dials = dials.iter().cycle();
        for ((number, slots), dial) in (0_u64..).zip(slots).zip(dials) {
            let connection = Connection::open(dial, *slots)?;
            let key = epoll::EventData::new_u64(number);
            epoll::add(&epoll, connection.socket(), key, epoll::EventFlags::IN)?;
            connections.push(connection);
        }
        let mut pool = Self {
            epoll,
            born: Instant::now(),
            blocked: vec![false; connections.len()],
            ready: Vec::with_capacity(connections.len().max(1)),
            connections,
            last_heard: Nanos(0),
        };
        for number in 0..pool.connections.len() {
            pool.flush(ConnectionId(number as u32))?;
        }
        while !pool.connections.iter().all(Connection::is_ready) {
            pool.turn(&mut Idle, pool.now().plus(SILENCE_MAX))?;
        }
        Ok(pool)
    }

    pub(crate) fn now(&self) -> Nanos {
        Nanos(self.born.elapsed().as_nanos() as u64)
    }

    /// Offers a slot to the load.
    pub(crate) fn begin(
        &mut self,
        load: &mut impl Load,
        at: ConnectionId,
        slot: SlotId,
    ) -> Result<()> {
        let now = self.now();
        self.last_heard = now;
        load.begin(at, slot, &mut self.connections[at.index()], now);
        self.flush(at)
    }

    /// Waits for the server, at most until `deadline`, and lets the load take what came.
    pub(crate) fn turn(&mut self, load: &mut impl Load, deadline: Nanos) -> Result<Nanos> {
        let now = self.now();
        let silence = self.last_heard.plus(SILENCE_MAX);
        ensure!(
            now < silence,
            "no answer from the server for {} s",
            SILENCE_MAX.as_secs()
        );
        let left = Duration::from_nanos(deadline.min(silence).since(now));
        let timeout = left.try_into().context("a wait within range")?;
        self.ready.clear();
        match epoll::wait(
            &self.epoll,
            rustix::buffer::spare_capacity(&mut self.ready),
            Some(&timeout),
        ) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("wait for the server"),
        }
        for at in 0..self.ready.len() {
            let number = self.ready[at].data.u64() as u32;
            self.serve(load, ConnectionId(number))?;
        }
        while let Some((at, slot)) = load.next_free() {
            self.begin(load, at, slot)?;
        }
        Ok(self.now())
    }

    fn serve(&mut self, load: &mut impl Load, at: ConnectionId) -> Result<()> {
        let connection = &mut self.connections[at.index()];
        if connection.fill()? {
            let now = Nanos(self.born.elapsed().as_nanos() as u64);
            self.last_heard = now;
            while let Some(event) = connection.next_event()? {
                load.take(at, connection, event, now)?;
            }
        }
        self.flush(at)
    }

    fn flush(&mut self, at: ConnectionId) -> Result<()> {
        let connection = &mut self.connections[at.index()];
        let blocked = !connection.flush()?;
        if blocked != self.blocked[at.index()] {
            self.blocked[at.index()] = blocked;
            let mut interest = epoll::EventFlags::IN;
            interest.set(epoll::EventFlags::OUT, blocked);
            let key = epoll::EventData::new_u64(u64::from(at.0));
            epoll::modify(&self.epoll, connection.socket(), key, interest)?;
        }
        Ok(())
    }
}

/// Makes no calls: for the time before the first one.
struct Idle;

impl Load for Idle {
    fn begin(&mut self, _: ConnectionId, _: SlotId, _: &mut Connection, _: Nanos) {}

    fn take(&mut self, _: ConnectionId, _: &mut Connection, event: Event, _: Nanos) -> Result<()> {
        anyhow::bail!("reply without a call: {event:?}")
    }
}
