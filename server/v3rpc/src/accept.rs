//! Accepting connections and dealing them to the I/O threads in turn, and the signal that stops both.

use std::{
    io,
    net::{IpAddr, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
};

use crate::{
    connection::Door,
    seats::{Seat, Seats},
};

/// How long to wait when no more connections can be opened, as when file descriptors are used up.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// Between two lines about clients with too many connections.
const TELL_AFTER: Duration = Duration::from_secs(10);

/// A connection on its way to an I/O thread.
pub(crate) struct Accepted {
    pub(crate) socket: TcpStream,
    pub(crate) door: Arc<Door>,
    /// Given back when the connection ends.
    pub(crate) place: Place,
}

/// One of all places for connections, and one of those for its address.
pub(crate) struct Place {
    pub(crate) seat: Seat,
    _place: OwnedSemaphorePermit,
}

/// Tells everything that waits on it when the listener stops.
#[derive(Clone)]
pub(crate) struct Stop(watch::Receiver<bool>);

impl Stop {
    /// The signal and what raises it.
    pub(crate) fn new() -> (watch::Sender<bool>, Self) {
        let (raise, wait) = watch::channel(false);
        (raise, Self(wait))
    }

    /// Returns once the listener stops; also if whoever could stop it is gone.
    pub(crate) async fn wait(&mut self) {
        // An error means that the sender is gone.
        let _ = self.0.wait_for(|stopped| *stopped).await;
    }
}

/// Connections to listeners for probes and metrics: these are answered when clients have taken every place.
const PROBES_MAX: usize = 64;

/// Deals connections to threads in turn: two connections are on two threads.
#[derive(Clone)]
pub(crate) struct Dealer {
    threads: Vec<mpsc::UnboundedSender<Accepted>>,
    turn: usize,
    /// Places for connections, shared by all listeners: clients must never use up the descriptors that the log needs.
    places: Arc<Semaphore>,
    seats: Arc<Seats>,
}

impl Dealer {
    pub(crate) fn new(
        threads: Vec<mpsc::UnboundedSender<Accepted>>,
        connections_max: usize,
    ) -> Self {
        let places = connections_max.min(Semaphore::MAX_PERMITS);
        Self {
            threads,
            turn: 0,
            places: Arc::new(Semaphore::new(places)),
            seats: Seats::new(places),
        }
    }

    /// The same threads, with places that no client takes.
    pub(crate) fn for_probes(&self) -> Self {
        Self::new(self.threads.clone(), PROBES_MAX)
    }

    /// Waits for a place; further clients wait in the listener's backlog meanwhile.
    async fn place(&self) -> io::Result<OwnedSemaphorePermit> {
        let place = Arc::clone(&self.places).acquire_owned().await;
        place.map_err(io::Error::other)
    }

    /// Lets a client sit down, unless its address has as many connections as one may have.
    fn seat(&self, place: OwnedSemaphorePermit, address: IpAddr) -> Option<Place> {
        let seat = self.seats.take(address)?;
        Some(Place {
            seat,
            _place: place,
        })
    }

    fn deal(&mut self, accepted: Accepted) {
        self.turn = (self.turn + 1) % self.threads.len().max(1);
        if let Some(thread) = self.threads.get(self.turn) {
            // A thread that is gone is stopping; its connections end like all others.
            let _ = thread.send(accepted);
        }
    }
}

/// Tells of addresses that have too many connections, but not of each.
#[derive(Default)]
struct Crowded(Option<Instant>);

impl Crowded {
    fn tell(&mut self, address: IpAddr) {
        if self.0.is_none_or(|told| told.elapsed() >= TELL_AFTER) {
            self.0 = Some(Instant::now());
            tracing::warn!(%address, "connections are refused: this address has three quarters of all there may be");
        }
    }
}

/// Accepts until the listener stops.
pub(crate) async fn accept(
    listener: std::net::TcpListener,
    door: Arc<Door>,
    mut dealer: Dealer,
    mut stop: Stop,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let mut crowded = Crowded::default();
    loop {
        let place = tokio::select! {
            place = dealer.place() => place?,
            () = stop.wait() => return Ok(()),
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.wait() => return Ok(()),
        };
        let accepted = accepted.and_then(|(socket, from)| {
            let seated = dealer.seat(place, from.ip());
            if seated.is_none() {
                // A reset, so that the client hears of it at once.
                socket.set_zero_linger()?;
                crowded.tell(from.ip());
            }
            Ok((socket.into_std()?, seated))
        });
        match accepted {
            Ok((socket, Some(place))) => dealer.deal(Accepted {
                socket,
                door: Arc::clone(&door),
                place,
            }),
            Ok((_, None)) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(RETRY_AFTER).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Scope;

    #[tokio::test]
    async fn connections_are_dealt_in_turn() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let door = Arc::new(Door {
            tls: None,
            allow_plain: true,
            scope: Scope::Client,
            is_loopback: true,
        });
        let (threads, mut hands): (Vec<_>, Vec<_>) =
            (0..2).map(|_| mpsc::unbounded_channel()).unzip();
        let mut dealer = Dealer::new(threads, 6);
        for _ in 0..4 {
            let socket = TcpStream::connect(address).expect("listening");
            let place = dealer.place().await.expect("four places");
            let place = dealer.seat(place, address.ip()).expect("not too many");
            dealer.deal(Accepted {
                socket,
                door: Arc::clone(&door),
                place,
            });
        }
        assert_eq!(dealer.places.available_permits(), 2);
        for hand in &mut hands {
            let mut dealt = 0;
            while hand.try_recv().is_ok() {
                dealt += 1;
            }
            assert_eq!(dealt, 2);
        }
        assert_eq!(
            dealer.places.available_permits(),
            6,
            "ended connections give their place back"
        );
    }

    #[tokio::test]
    async fn a_stop_reaches_everybody_also_those_who_ask_later() {
        let (raise, stop) = Stop::new();
        let mut early = stop.clone();
        let waiting = tokio::spawn(async move { early.wait().await });
        raise.send_replace(true);
        waiting.await.expect("no panic");
        stop.clone().wait().await;
    }
}
