//! The places for connections: no address has all of them.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::shares::block;

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
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
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
