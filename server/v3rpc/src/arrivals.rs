//! The messages of one client of which a part has come: together they take no more than its share, so that somebody who
//! sends many large ones slowly leaves room for others.

use std::{future::Future, pin::Pin, sync::Arc};

use kvorum_core::Error;
use kvorum_member::{Budget, Hold};
use tokio::sync::{AcquireError, Mutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};

/// The grain.
const UNIT_BYTES: usize = 1024;

/// Room for what is on its way from one client.
#[derive(Debug)]
pub(crate) struct Arrivals {
    units: usize,
    room: Arc<Semaphore>,
    /// The first in line may go beyond: those who wait have taken a part of their connection's window, which those whom
    /// they wait for may need to get on.
    beyond: Arc<Mutex<()>>,
}

/// A part of what a client may have, or its one place beyond.
#[derive(Debug)]
enum Own {
    Room { _permit: OwnedSemaphorePermit },
    Beyond { _place: OwnedMutexGuard<()> },
}

/// Room for one message: of what its client may have, and of what all may.
#[derive(Debug)]
pub(crate) struct Arriving {
    hold: Hold,
    _own: Option<Own>,
}

impl Arriving {
    /// It has come: what it takes of what all may have.
    pub(crate) fn into_hold(self) -> Hold {
        self.hold
    }
}

/// Gives room in the end, or a refusal.
pub(crate) type Wait = Pin<Box<dyn Future<Output = Result<Arriving, Error>>>>;

/// What there is for a message now.
pub(crate) enum Room {
    /// All it needs.
    Now(Arriving),
    /// Nothing yet: other messages of the same client have it.
    BehindOwn(Wait),
    /// Nothing yet: other clients have it.
    BehindOthers(Wait),
}

impl Arrivals {
    pub(crate) fn new(bytes: usize) -> Self {
        // As many as one permit can count.
        let most = Semaphore::MAX_PERMITS.min(u32::MAX as usize);
        let units = (bytes / UNIT_BYTES).clamp(1, most);
        Self {
            units,
            room: Arc::new(Semaphore::new(units)),
            beyond: Arc::default(),
        }
    }

    /// What all messages of the client may take together, bytes.
    pub(crate) const fn bytes(&self) -> usize {
        self.units * UNIT_BYTES
    }

    /// Room for a message of this size. First of the client's own, so that it waits for others at most as long as it
    /// would with nothing else on its way.
    pub(crate) fn room(&self, budget: &Arc<Budget>, message_bytes: usize) -> Room {
        let mut hold = budget.hold();
        let own = match self.units(budget, message_bytes) {
            None => None,
            Some(units) => match Arc::clone(&self.room).try_acquire_many_owned(units) {
                Ok(permit) => Some(Own::Room { _permit: permit }),
                Err(_) => {
                    let own = self.wait(units);
                    return Room::BehindOwn(Box::pin(async move {
                        let own = Some(own.await?);
                        hold.grow(message_bytes).await?;
                        Ok(Arriving { hold, _own: own })
                    }));
                }
            },
        };
        if hold.grow_now(message_bytes) {
            return Room::Now(Arriving { hold, _own: own });
        }
        Room::BehindOthers(Box::pin(async move {
            hold.grow(message_bytes).await?;
            Ok(Arriving { hold, _own: own })
        }))
    }

    /// Room in turn, or the place beyond.
    fn wait(&self, units: u32) -> impl Future<Output = Result<Own, Error>> + use<> {
        let room = Arc::clone(&self.room).acquire_many_owned(units);
        let beyond = Arc::clone(&self.beyond).lock_owned();
        async move {
            tokio::select! {
                permit = room => {
                    // Nobody closes it.
                    let permit = permit.map_err(|AcquireError { .. }| Error::Stopped)?;
                    Ok(Own::Room { _permit: permit })
                }
                place = beyond => Ok(Own::Beyond { _place: place }),
            }
        }
    }

    /// None for what is free on the budget, too.
    fn units(&self, budget: &Budget, message_bytes: usize) -> Option<u32> {
        let units = message_bytes.div_ceil(UNIT_BYTES).min(self.units);
        let is_free = message_bytes <= budget.free_bytes();
        (!is_free).then(|| u32::try_from(units).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt as _;

    use super::*;

    const KIB: usize = 1024;

    fn budget(bytes: usize) -> Arc<Budget> {
        Budget::new(bytes, 4 * KIB, Duration::from_secs(60))
    }

    #[tokio::test]
    async fn a_client_waits_for_its_own_messages_and_leaves_room_for_others() {
        let budget = budget(500 * KIB);
        let (flooder, other) = (Arrivals::new(200 * KIB), Arrivals::new(200 * KIB));
        let Room::Now(first) = flooder.room(&budget, 150 * KIB) else {
            panic!("there is room");
        };
        let Room::BehindOwn(second) = flooder.room(&budget, 50 * KIB + 1) else {
            panic!("its own message is in the way");
        };
        let second = second.await.expect("the first in line goes beyond");
        let Room::BehindOwn(mut third) = flooder.room(&budget, 100 * KIB) else {
            panic!("its own messages are in the way");
        };
        assert!((&mut third).now_or_never().is_none());
        assert!(matches!(other.room(&budget, 200 * KIB), Room::Now(_)));
        assert!(matches!(flooder.room(&budget, 4 * KIB), Room::Now(_)));
        drop(first);
        let third = third.await.expect("its turn");
        assert_eq!(third.into_hold().bytes(), 100 * KIB);
        drop(second);
        assert_eq!(budget.usage().held_bytes, 0);
    }

    #[tokio::test]
    async fn one_message_larger_than_the_share_comes_alone() {
        let budget = budget(400 * KIB);
        let arrivals = Arrivals::new(100 * KIB);
        let Room::Now(large) = arrivals.room(&budget, 300 * KIB) else {
            panic!("nothing is in the way");
        };
        assert!(matches!(
            arrivals.room(&budget, 5 * KIB),
            Room::BehindOwn(_)
        ));
        let others = Arrivals::new(200 * KIB);
        let Room::BehindOthers(waits) = others.room(&budget, 150 * KIB) else {
            panic!("the budget is used up");
        };
        waits.await.expect("the first in line goes beyond it");
        drop(large);
    }
}
