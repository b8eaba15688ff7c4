//! Memory that many requests share: what is large takes its size from a budget first, waits its turn if there is no
//! room, and is refused if that takes too long.
//!
//! A request whose size shows only as it goes grows its hold piece by piece. So that requests which all wait for more
//! cannot stop each other for ever, the first of them in line may take what it needs beyond the budget. There is one
//! such place: the budget is exceeded by one request at most, and one that is larger than the whole budget is still
//! served, alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use kvorum_core::Error;
use tokio::sync::{Mutex, OwnedMutexGuard, Semaphore};
use tokio::time::{Instant, timeout_at};

/// What a reply may have without asking: most never come to the budget.
pub const REPLY_FREE_BYTES: usize = 64 * 1024;
/// What a request may have without asking while only a part of it has come.
pub(crate) const RECEIVE_FREE_BYTES: usize = 4 * 1024;
/// The grain of the budget.
const UNIT_BYTES: usize = 1024;
/// So many may wait; each costs a little memory itself.
const WAITERS_MAX: usize = 4096;

/// Memory for large requests or replies.
#[derive(Debug)]
pub struct Budget {
    total_bytes: usize,
    /// What each hold may have without asking.
    free_bytes: usize,
    patience: Duration,
    room: Semaphore,
    beyond: Arc<Mutex<()>>,
    waiting: AtomicUsize,
    refused: AtomicU64,
    waited: AtomicU64,
}

/// How a budget stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BudgetUse {
    /// The budget, bytes.
    pub total_bytes: usize,
    /// What is taken of it now, bytes.
    pub held_bytes: usize,
    /// Requests that wait for room now.
    pub waiting: usize,
    /// Requests that had to wait, since the start.
    pub waited: u64,
    /// Requests that were refused because the wait was too long, since the start.
    pub refused: u64,
}

impl Budget {
    /// A budget whose requests have `free_bytes` each without asking, and wait for at most `patience`, each in all.
    #[must_use]
    pub fn new(total_bytes: usize, free_bytes: usize, patience: Duration) -> Arc<Self> {
        let units = (total_bytes / UNIT_BYTES).clamp(1, Semaphore::MAX_PERMITS);
        Arc::new(Self {
            total_bytes: units * UNIT_BYTES,
            free_bytes,
            patience,
            room: Semaphore::new(units),
            beyond: Arc::default(),
            waiting: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
            waited: AtomicU64::new(0),
        })
    }

    /// An empty hold.
    #[must_use]
    pub fn hold(self: &Arc<Self>) -> Hold {
        Hold {
            budget: self.clone(),
            bytes: 0,
            units: 0,
            beyond: None,
            waited: Duration::ZERO,
        }
    }

    /// What each hold may have without asking, bytes.
    #[must_use]
    pub const fn free_bytes(&self) -> usize {
        self.free_bytes
    }

    /// True if somebody waits for room.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// How it stands.
    #[must_use]
    pub fn usage(&self) -> BudgetUse {
        let free = self.room.available_permits() * UNIT_BYTES;
        BudgetUse {
            total_bytes: self.total_bytes,
            held_bytes: self.total_bytes.saturating_sub(free),
            waiting: self.waiting.load(Ordering::Relaxed),
            waited: self.waited.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }

    fn units(&self, bytes: usize) -> usize {
        if bytes <= self.free_bytes {
            0
        } else {
            bytes.div_ceil(UNIT_BYTES)
        }
    }

    fn take(&self, units: usize) -> bool {
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        match self.room.try_acquire_many(units) {
            Ok(permit) => {
                permit.forget();
                true
            }
            Err(_) => false,
        }
    }
}

/// Counts one who waits for as long as it lives.
struct Waiter<'a>(&'a Budget);

impl<'a> Waiter<'a> {
    fn new(budget: &'a Budget) -> Result<Self, Error> {
        let before = budget.waiting.fetch_add(1, Ordering::Relaxed);
        let waiter = Self(budget);
        if before >= WAITERS_MAX {
            return Err(waiter.refuse());
        }
        budget.waited.fetch_add(1, Ordering::Relaxed);
        Ok(waiter)
    }

    fn refuse(&self) -> Error {
        self.0.refused.fetch_add(1, Ordering::Relaxed);
        Error::NoMemory
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What one request has taken of a budget; given back when it is dropped.
#[derive(Debug)]
pub struct Hold {
    budget: Arc<Budget>,
    bytes: usize,
    units: usize,
    /// The place beyond the budget. As long as it is here, what `units` do not cover is covered by it.
    beyond: Option<OwnedMutexGuard<()>>,
    waited: Duration,
}

impl Hold {
    /// What it was grown to, bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// True if it has taken something that others may wait for.
    #[must_use]
    pub fn is_large(&self) -> bool {
        self.units > 0 || self.beyond.is_some()
    }

    /// True if others wait while it has taken something.
    #[must_use]
    pub fn is_in_the_way(&self) -> bool {
        self.is_large() && self.budget.is_short()
    }

    /// Grows if that needs no wait.
    #[must_use]
    pub fn grow_now(&mut self, bytes: usize) -> bool {
        let wanted = self.budget.units(self.bytes + bytes);
        if self.beyond.is_none() && wanted > self.units {
            if !self.budget.take(wanted - self.units) {
                return false;
            }
            self.units = wanted;
        }
        self.bytes += bytes;
        true
    }

    /// Grows, in its turn.
    ///
    /// # Errors
    /// `NoMemory` if there is no room within the budget's patience.
    pub async fn grow(&mut self, bytes: usize) -> Result<(), Error> {
        if self.grow_now(bytes) {
            return Ok(());
        }
        let budget = self.budget.clone();
        let waiter = Waiter::new(&budget)?;
        let wanted = self.budget.units(self.bytes + bytes);
        let missing = u32::try_from(wanted - self.units).unwrap_or(u32::MAX);
        let begun = Instant::now();
        let deadline = begun + budget.patience.saturating_sub(self.waited);
        let room = async {
            tokio::select! {
                biased;
                permit = budget.room.acquire_many(missing) => {
                    // The semaphore is never closed.
                    permit.map(tokio::sync::SemaphorePermit::forget).ok();
                    None
                }
                place = budget.beyond.clone().lock_owned() => Some(place),
            }
        };
        let room = timeout_at(deadline, room).await;
        self.waited += begun.elapsed();
        match room {
            Ok(None) => self.units = wanted,
            Ok(place) => self.beyond = place,
            Err(_) => return Err(waiter.refuse()),
        }
        self.bytes += bytes;
        Ok(())
    }

    /// Gives some of it back.
    pub fn shrink(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
        let needed = self.budget.units(self.bytes);
        if needed > self.units {
            return;
        }
        self.beyond = None;
        self.budget.room.add_permits(self.units - needed);
        self.units = needed;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.budget.room.add_permits(self.units);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[tokio::test]
    async fn small_holds_take_nothing() {
        let budget = Budget::new(MIB, REPLY_FREE_BYTES, Duration::ZERO);
        let mut holds: Vec<Hold> = (0..100).map(|_| budget.hold()).collect();
        assert!(holds.iter_mut().all(|hold| hold.grow_now(REPLY_FREE_BYTES)));
        assert_eq!(budget.usage().held_bytes, 0);
    }

    #[tokio::test]
    async fn what_is_given_back_is_there_for_others() {
        let budget = Budget::new(MIB, REPLY_FREE_BYTES, Duration::ZERO);
        let mut first = budget.hold();
        assert!(first.grow_now(MIB));
        let mut second = budget.hold();
        assert!(!second.grow_now(MIB / 2));
        first.shrink(MIB / 2);
        assert!(second.grow_now(MIB / 2));
        drop((first, second));
        assert_eq!(budget.usage().held_bytes, 0);
    }

    #[tokio::test]
    async fn one_may_exceed_the_budget_and_the_next_is_refused_in_the_end() {
        let budget = Budget::new(MIB, REPLY_FREE_BYTES, Duration::from_millis(50));
        let mut first = budget.hold();
        first.grow(10 * MIB).await.expect("alone");
        let mut second = budget.hold();
        second.grow(MIB).await.expect("the budget itself is free");
        let mut third = budget.hold();
        assert_eq!(third.grow(MIB).await, Err(Error::NoMemory));
        assert_eq!(budget.usage().refused, 1);
        first.shrink(9 * MIB + MIB / 2);
        drop(second);
        third.grow(MIB).await.expect("room again");
    }

    /// Everybody has a part of the budget and wants more: somebody must always come to the end.
    #[tokio::test]
    async fn growing_together_never_stops_everybody() {
        let budget = Budget::new(MIB, REPLY_FREE_BYTES, Duration::from_secs(60));
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..64 {
            let mut hold = budget.hold();
            tasks.spawn(async move {
                for _ in 0..50 {
                    hold.grow(MIB / 16).await.expect("its turn comes");
                    tokio::task::yield_now().await;
                }
            });
        }
        while let Some(ended) = tasks.join_next().await {
            ended.expect("no panic");
        }
        let usage = budget.usage();
        assert_eq!((usage.held_bytes, usage.waiting), (0, 0));
        assert!(usage.waited > 0);
    }
}
