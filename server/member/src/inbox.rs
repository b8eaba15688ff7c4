//! What one thread leaves for another: everything that waits is taken at once, and a wake-up costs a system call only
//! if the other thread sleeps.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Thread;
use std::time::Duration;

use parking_lot::Mutex;

#[derive(Debug)]
pub(crate) struct Inbox<T> {
    queue: Mutex<Vec<T>>,
    asleep: AtomicBool,
    reader: OnceLock<Thread>,
}

impl<T> Default for Inbox<T> {
    fn default() -> Self {
        Self {
            queue: Mutex::new(Vec::new()),
            asleep: AtomicBool::new(false),
            reader: OnceLock::new(),
        }
    }
}

impl<T> Inbox<T> {
    pub(crate) fn push(&self, item: T) {
        self.queue.lock().push(item);
        self.wake();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.lock().is_empty()
    }

    fn wake(&self) {
        if self.asleep.swap(false, Ordering::SeqCst)
            && let Some(reader) = self.reader.get()
        {
            reader.unpark();
        }
    }

    /// Takes all that waits into `into`, sleeping up to `timeout` for the first. Only one thread may call this.
    ///
    /// The flag goes up before the queue is looked at again: an item pushed before that is seen here, and one pushed
    /// after finds the flag and wakes us.
    pub(crate) fn wait(&self, into: &mut Vec<T>, timeout: Duration) {
        self.reader.get_or_init(std::thread::current);
        std::mem::swap(&mut *self.queue.lock(), into);
        if !into.is_empty() || timeout.is_zero() {
            return;
        }
        self.asleep.store(true, Ordering::SeqCst);
        if self.queue.lock().is_empty() {
            std::thread::park_timeout(timeout);
        }
        self.asleep.store(false, Ordering::SeqCst);
        std::mem::swap(&mut *self.queue.lock(), into);
    }
}
