//! The small answers of one client that HTTP/2 has and the client has not. Windows bound nothing here: a client may open
//! them as far as it likes and still not read, so each answer is counted until its last byte has left.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    pin,
    sync::Notify,
    time::{Instant, sleep_until},
};

/// What HTTP/2 keeps of an answer beside its message, about.
const ANSWER_BYTES: usize = 512;

/// What each connection may have unread whatever its client has: one program that does not read must not keep others
/// waiting that act as the same user, or come from the same machine.
const CONNECTION_BYTES: usize = 256 * 1024;

/// How much there is, of a connection or of a client.
#[derive(Debug)]
pub(crate) struct Unread {
    max: usize,
    bytes: AtomicUsize,
    /// Answers that have left, ever.
    departures: AtomicUsize,
    left: Notify,
}

/// One answer, counted until it is dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    unread: Arc<Unread>,
    connection: Option<Arc<Unread>>,
    bytes: usize,
}

impl Unread {
    /// Of a client.
    pub(crate) fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            max: bytes_max,
            bytes: AtomicUsize::new(0),
            departures: AtomicUsize::new(0),
            left: Notify::new(),
        })
    }

    /// Of one connection.
    pub(crate) fn of_connection() -> Arc<Self> {
        Self::new(CONNECTION_BYTES)
    }

    /// What may be unread, bytes.
    pub(crate) const fn max(&self) -> usize {
        self.max
    }

    /// True if no answer of any size can be added.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) >= self.max
    }

    /// Counts an answer on this connection of the client, if it fits.
    pub(crate) fn charge(
        self: &Arc<Self>,
        connection: &Arc<Self>,
        message_bytes: usize,
    ) -> Option<Charge> {
        let bytes = message_bytes.saturating_add(ANSWER_BYTES);
        if connection.takes(bytes) {
            return Some(Charge {
                unread: Arc::clone(connection),
                connection: None,
                bytes,
            });
        }
        self.takes(bytes).then(|| Charge {
            unread: Arc::clone(self),
            connection: Some(Arc::clone(connection)),
            bytes,
        })
    }

    /// Adds it, if it fits or is the only one.
    fn takes(&self, bytes: usize) -> bool {
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let fits = before == 0 || before.saturating_add(bytes) <= self.max;
        if !fits {
            // Nothing has left: nobody is told.
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        fits
    }

    /// Counts an answer that cannot wait.
    pub(crate) fn charge_anyway(self: &Arc<Self>, message_bytes: usize) -> Charge {
        let bytes = message_bytes.saturating_add(ANSWER_BYTES);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Charge {
            unread: Arc::clone(self),
            connection: None,
            bytes,
        }
    }

    /// Counts an answer as soon as it fits; none if nothing at all has left on its connection for so long.
    pub(crate) async fn charge_soon(
        self: &Arc<Self>,
        connection: &Arc<Self>,
        message_bytes: usize,
        patience: Duration,
    ) -> Option<Charge> {
        let mut departures = connection.departures.load(Ordering::Relaxed);
        let mut since = Instant::now();
        loop {
            let (own, others) = (connection.left.notified(), self.left.notified());
            pin!(own, others);
            // From here on nothing that leaves is missed.
            own.as_mut().enable();
            others.as_mut().enable();
            if let Some(charge) = self.charge(connection, message_bytes) {
                // There may be room for the next one, too.
                connection.left.notify_one();
                self.left.notify_one();
                return Some(charge);
            }
            tokio::select! {
                () = own => {}
                () = others => {}
                () = sleep_until(since + patience) => {}
            }
            let now = connection.departures.load(Ordering::Relaxed);
            if now != departures {
                (departures, since) = (now, Instant::now());
            } else if since.elapsed() >= patience {
                return None;
            }
        }
    }

    fn note_departure(&self) {
        self.departures.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let unread = &self.unread;
        let before = unread.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        unread.note_departure();
        if let Some(connection) = &self.connection {
            connection.note_departure();
        }
        // Nobody waits while there is room: most answers leave without asking.
        if before >= unread.max / 2 {
            unread.left.notify_one();
        }
    }
}

/// An answer with what it counts as.
struct Charged {
    message: Vec<u8>,
    _charge: Charge,
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.message
    }
}

impl Charge {
    /// The answer itself: it counts until the last part of it is gone.
    pub(crate) fn of(self, message: Vec<u8>) -> Bytes {
        Bytes::from_owner(Charged {
            message,
            _charge: self,
        })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn held(unread: &Unread) -> usize {
        unread.bytes.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn who_reads_goes_on_and_who_waits_is_next() {
        let (client, connection) = (Unread::new(10_000), Unread::new(2_000));
        let mut sent: Vec<_> = (0..9)
            .map_while(|_| client.charge(&connection, 2_000))
            .collect();
        assert_eq!(sent.len(), 1 + 3, "with what HTTP/2 keeps of each");
        let first = client.charge_soon(&connection, 2_000, PATIENCE);
        let second = client.charge_soon(&connection, 2_000, PATIENCE);
        pin!(first, second);
        assert!(first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        sent.truncate(1);
        let first = first.await.expect("there is room");
        let second = second.await.expect("for both");
        drop((first, second, sent));
        assert_eq!((held(&client), held(&connection)), (0, 0));
    }

    #[tokio::test]
    async fn who_takes_nothing_is_given_up_and_others_of_the_client_go_on() {
        let (client, stuck, other) = (Unread::new(1_000), Unread::new(1_000), Unread::new(1_000));
        let sent = [(); 2].map(|()| client.charge(&stuck, 400).expect("fits"));
        let short = Duration::from_millis(20);
        assert!(client.charge_soon(&stuck, 400, short).await.is_none());
        for _ in 0..10 {
            drop(client.charge(&other, 400).expect("it reads"));
        }
        drop(sent);
        assert_eq!((held(&client), held(&stuck), held(&other)), (0, 0, 0));
    }

    #[test]
    fn what_cannot_wait_is_counted_until_its_last_part_is_gone() {
        let client = Unread::new(1_000);
        let message = client.charge_anyway(400).of(vec![7; 400]);
        assert!(!client.is_full());
        let another = client.charge_anyway(400);
        assert!(client.is_full());
        let part = message.slice(399..);
        drop((message, another));
        assert_eq!(held(&client), 400 + ANSWER_BYTES);
        drop(part);
        assert_eq!(held(&client), 0);
    }
}
