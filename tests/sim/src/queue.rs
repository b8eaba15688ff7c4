//! What happens next: events in the order of their virtual time, and of their making where that is equal.

use std::collections::BTreeMap;

/// Events to come.
#[derive(Debug)]
pub(crate) struct Queue<E> {
    events: BTreeMap<(u64, u64), E>,
    made: u64,
    now_us: u64,
}

impl<E> Queue<E> {
    pub(crate) fn new() -> Self {
        Self {
            events: BTreeMap::new(),
            made: 0,
            now_us: 0,
        }
    }

    /// Virtual time, µs.
    pub(crate) fn now_us(&self) -> u64 {
        self.now_us
    }

    pub(crate) fn after(&mut self, us: u64, event: E) {
        self.at(self.now_us + us, event);
    }

    pub(crate) fn at(&mut self, at_us: u64, event: E) {
        self.made += 1;
        self.events
            .insert((at_us.max(self.now_us), self.made), event);
    }

    /// The next event; time moves on to it.
    pub(crate) fn next(&mut self) -> Option<E> {
        let ((at, _), event) = self.events.pop_first()?;
        self.now_us = at;
        Some(event)
    }
}
