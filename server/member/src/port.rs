//! The two mailboxes between one I/O thread and the core thread, and who waits for which answer.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

pub(crate) use kvorum_core::replica::{Answer, Ask};
use kvorum_core::watch::EventBatch;
use kvorum_core::{Error, RequestId};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

#[derive(Debug)]
struct Waiter {
    answer: oneshot::Sender<Answer>,
    /// Sweep during which it began to wait.
    since: u64,
}

#[derive(Debug, Default)]
struct Incoming {
    answers: Vec<(RequestId, Answer)>,
    batches: Vec<Arc<EventBatch>>,
    /// In all of them.
    events: usize,
}

/// Events that may wait for a thread that is busy. What is more is dropped: the thread sees the gap in the revisions
/// and reads it from history.
const EVENTS_MAX: usize = 1 << 16;

/// One I/O thread's side.
#[derive(Debug)]
pub(crate) struct Port {
    number: u64,
    boot: u64,
    sequence: AtomicU64,
    sweeps: AtomicU64,
    outgoing: Mutex<Vec<Ask>>,
    incoming: Mutex<Incoming>,
    waiters: Mutex<HashMap<RequestId, Waiter>>,
    /// Wakes the task that carries both ways.
    pub(crate) carrier: Notify,
    /// Watchers on this thread: without any, events are not sent here.
    pub(crate) watchers: AtomicUsize,
    /// Proposals of this thread that wait for their answer.
    pub(crate) proposals: AtomicUsize,
}

/// One proposal that waits for its answer.
#[derive(Debug)]
pub(crate) struct Pending<'a>(&'a AtomicUsize);

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Bits of a request id: who made it (a random number per start), which port, which request.
const SEQUENCE_BITS: u32 = 36;
const PORT_BITS: u32 = 8;
/// Ports a member can have; the number after the last is the replica's own.
pub(crate) const PORTS_MAX: usize = (1 << PORT_BITS) - 1;

/// The port that a request id names, if it was made by this start of the member.
pub(crate) fn port_of(id: RequestId, boot: u64) -> Option<usize> {
    if id.0 >> (SEQUENCE_BITS + PORT_BITS) != boot {
        return None;
    }
    usize::try_from(id.0 >> SEQUENCE_BITS & PORTS_MAX as u64).ok()
}

/// First of the request ids that the replica makes.
pub(crate) fn own_ids(boot: u64) -> u64 {
    boot << (SEQUENCE_BITS + PORT_BITS) | (PORTS_MAX as u64) << SEQUENCE_BITS
}

/// Cuts a random number down to what fits into request ids; never 0, which ids of internal commands have.
pub(crate) fn boot_of(random: u64) -> u64 {
    (random >> (SEQUENCE_BITS + PORT_BITS)).max(1)
}

impl Port {
    pub(crate) fn new(number: usize, boot: u64) -> Self {
        Self {
            number: number as u64,
            boot,
            sequence: AtomicU64::new(0),
            sweeps: AtomicU64::new(0),
            outgoing: Mutex::default(),
            incoming: Mutex::default(),
            waiters: Mutex::default(),
            carrier: Notify::new(),
            watchers: AtomicUsize::new(0),
            proposals: AtomicUsize::new(0),
        }
    }

    /// Counts a proposal until the guard is dropped.
    pub(crate) fn pending(&self) -> Pending<'_> {
        self.proposals.fetch_add(1, Ordering::Relaxed);
        Pending(&self.proposals)
    }

    fn next_id(&self) -> RequestId {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed) & ((1 << SEQUENCE_BITS) - 1);
        RequestId(
            self.boot << (SEQUENCE_BITS + PORT_BITS) | self.number << SEQUENCE_BITS | sequence,
        )
    }

    /// Hands a request over and gives the place where its answer arrives. All requests of one scheduler pass leave
    /// together: the carrier task runs after the tasks that are ready now.
    pub(crate) fn ask(&self, ask: impl FnOnce(RequestId) -> Ask) -> oneshot::Receiver<Answer> {
        let (answer, receiver) = oneshot::channel();
        let id = self.next_id();
        let since = self.sweeps.load(Ordering::Relaxed);
        self.waiters.lock().insert(id, Waiter { answer, since });
        let mut outgoing = self.outgoing.lock();
        outgoing.push(ask(id));
        if outgoing.len() == 1 {
            drop(outgoing);
            self.carrier.notify_one();
        }
        receiver
    }

    pub(crate) fn take_outgoing(&self) -> Vec<Ask> {
        std::mem::take(&mut *self.outgoing.lock())
    }

    /// Called by the core thread.
    pub(crate) fn deliver(
        &self,
        answers: &mut Vec<(RequestId, Answer)>,
        batch: Option<&Arc<EventBatch>>,
    ) {
        let batch = batch.filter(|_| self.watchers.load(Ordering::SeqCst) > 0);
        if answers.is_empty() && batch.is_none() {
            return;
        }
        let mut incoming = self.incoming.lock();
        incoming.answers.append(answers);
        if let Some(batch) = batch {
            if incoming.events > EVENTS_MAX {
                incoming.batches.clear();
                incoming.events = 0;
            }
            incoming.events += batch.events.len();
            incoming.batches.push(batch.clone());
        }
        drop(incoming);
        self.carrier.notify_one();
    }

    /// Passes answers on to those who wait, and gives back the events.
    pub(crate) fn take_incoming(&self) -> Vec<Arc<EventBatch>> {
        let incoming = std::mem::take(&mut *self.incoming.lock());
        if !incoming.answers.is_empty() {
            let mut waiters = self.waiters.lock();
            for (id, answer) in incoming.answers {
                if let Some(waiter) = waiters.remove(&id) {
                    // Nobody is there any more if the client went away.
                    let _gone = waiter.answer.send(answer);
                }
            }
        }
        incoming.batches
    }

    /// Ends the wait of everyone who has waited for `sweeps_max` sweeps.
    pub(crate) fn sweep(&self, sweeps_max: u64) {
        let now = self.sweeps.fetch_add(1, Ordering::Relaxed) + 1;
        let mut waiters = self.waiters.lock();
        waiters.retain(|_, w| !w.answer.is_closed() && now - w.since <= sweeps_max);
    }

    /// Ends everybody's wait.
    pub(crate) fn close(&self) {
        for (_, waiter) in self.waiters.lock().drain() {
            let _gone = waiter.answer.send(Answer::Refused(Error::Stopped));
        }
    }
}
