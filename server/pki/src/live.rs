//! Values that are replaced whole while others use them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

/// The TLS configuration of a listener, read at every accept.
pub type LiveTls = Live<rustls::ServerConfig>;

/// A value that can be replaced. Clones are the same one.
///
/// A configuration is never changed in part: a new one brings a new session store and new ticket keys with it, and
/// that is what ends the resumption of sessions which were made under the old one.
pub struct Live<T> {
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    current: watch::Sender<Arc<T>>,
    epoch: AtomicU64,
}

impl<T> Live<T> {
    /// Begins with this one.
    #[must_use]
    pub fn new(first: T) -> Self {
        let (current, _) = watch::channel(Arc::new(first));
        let epoch = AtomicU64::new(0);
        Self {
            shared: Arc::new(Shared { current, epoch }),
        }
    }

    /// The one that is to be used now.
    #[must_use]
    pub fn current(&self) -> Arc<T> {
        Arc::clone(&self.shared.current.borrow())
    }

    /// Replaces it; connections made from now on use the new one. Returns the epoch that begins.
    pub fn swap(&self, next: T) -> u64 {
        let mut begun = 0;
        self.shared.current.send_modify(|current| {
            *current = Arc::new(next);
            begun = self.shared.epoch.fetch_add(1, Ordering::AcqRel) + 1;
        });
        begun
    }

    /// How many times it was replaced.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.shared.epoch.load(Ordering::Acquire)
    }

    /// The current one and news of the next, for crates that need to know nothing of this one. It works for as long
    /// as there is a clone of this.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<T>> {
        self.shared.current.subscribe()
    }
}

impl<T> Clone for Live<T> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<T> fmt::Debug for Live<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live")
            .field("epoch", &self.epoch())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_swap_is_seen_by_all_and_counted() {
        let live = Live::new("one");
        let (other, mut news) = (live.clone(), live.subscribe());
        assert_eq!((*live.current(), live.epoch()), ("one", 0));
        let held = live.current();
        assert_eq!(other.swap("two"), 1);
        news.changed().await.expect("the value lives");
        assert_eq!(**news.borrow(), "two");
        assert_eq!((*live.current(), live.epoch()), ("two", 1));
        assert_eq!(*held, "one", "who holds the old one keeps it");
    }
}
