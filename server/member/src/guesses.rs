//! How often passwords may be guessed: so many wrong ones a minute from one place, after which it waits; and so many for
//! one user from all places together, after which each attempt takes a second longer.
//!
//! Each member counts for itself and forgets with its end: a guesser gains one bucket more with each member. Nobody is
//! ever locked out by what others do: a place that is refused is one that guessed, and a user who is guessed at is only
//! served later.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// So many times as many for one user, from all places, as from one place.
const OF_USER: u64 = 5;
/// What each attempt for a user takes longer who is guessed at.
const SLOWED_BY: Duration = Duration::from_secs(1);
const MINUTE_MS: u64 = 60_000;
/// Places, and users, that are remembered; whoever is free again soonest makes way.
const REMEMBERED_MAX: usize = 4096;

/// From where an attempt is made: an IPv4 address, or what one customer of a provider has of IPv6; none within this
/// process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Source(Option<IpAddr>);

impl Source {
    fn of(address: Option<IpAddr>) -> Self {
        Self(address.map(|address| match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = address.to_bits() & !u128::from(u64::MAX);
                Ipv6Addr::from_bits(network).into()
            }
            v4 => v4,
        }))
    }
}

/// What is used up of a measure that runs empty by itself: the moment when it is empty.
#[derive(Debug)]
struct Buckets<K> {
    empty_ms: HashMap<K, u64>,
    size: u64,
}

impl<K: Clone + Eq + Hash> Buckets<K> {
    fn new(size: u64) -> Self {
        Self {
            empty_ms: HashMap::new(),
            size,
        }
    }

    /// What one attempt adds.
    const fn step_ms(&self) -> u64 {
        MINUTE_MS / self.size
    }

    /// True if so many more fit in now.
    fn has_room(&self, key: &K, more: u64, now_ms: u64) -> bool {
        let empty_ms = self.empty_ms.get(key).copied().unwrap_or(0);
        empty_ms.saturating_sub(now_ms) + more.saturating_mul(self.step_ms()) <= MINUTE_MS
    }

    fn add(&mut self, key: K, now_ms: u64) {
        if self.empty_ms.len() >= REMEMBERED_MAX && !self.empty_ms.contains_key(&key) {
            self.empty_ms.retain(|_, empty_ms| *empty_ms > now_ms);
            let first = self.empty_ms.iter().min_by_key(|(_, empty_ms)| **empty_ms);
            let first = first.map(|(key, _)| key.clone());
            if let Some(first) = first.filter(|_| self.empty_ms.len() >= REMEMBERED_MAX) {
                self.empty_ms.remove(&first);
            }
        }
        let step_ms = self.step_ms();
        let empty_ms = self.empty_ms.entry(key).or_default();
        *empty_ms = (*empty_ms).max(now_ms) + step_ms;
    }
}

#[derive(Debug)]
struct Counts {
    sources: Buckets<Source>,
    users: Buckets<String>,
    /// Attempts that are being made.
    pending: HashMap<Source, u64>,
}

/// The attempts of all.
#[derive(Debug)]
pub(crate) struct Guesses(Mutex<Counts>);

/// Whether an attempt may be made.
#[derive(Debug)]
pub(crate) enum Admission<'a> {
    Now(Attempt<'a>),
    /// It depends on what comes of others from there.
    Later,
    /// Too many were wrong.
    No,
}

/// One attempt. It was wrong if it is dropped and nobody has said otherwise: whoever hangs up has guessed, too.
#[derive(Debug)]
pub(crate) struct Attempt<'a> {
    guesses: &'a Guesses,
    source: Source,
    user: String,
    now_ms: u64,
    is_wrong: bool,
    /// To wait before the password is looked at.
    pub(crate) delay: Duration,
}

impl Guesses {
    /// So many wrong ones from one place without waiting; as many come back each minute.
    pub(crate) fn new(of_source: u64) -> Self {
        let of_source = of_source.clamp(1, MINUTE_MS);
        Self(Mutex::new(Counts {
            sources: Buckets::new(of_source),
            users: Buckets::new((of_source * OF_USER).min(MINUTE_MS)),
            pending: HashMap::new(),
        }))
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether `from` may try a password of `user` now. Many attempts at once are no more than one after the other.
    pub(crate) fn attempt(&self, from: Option<IpAddr>, user: &str, now_ms: u64) -> Admission<'_> {
        let source = Source::of(from);
        let mut counts = self.counts();
        if !counts.sources.has_room(&source, 1, now_ms) {
            return Admission::No;
        }
        let pending = counts.pending.get(&source).copied().unwrap_or(0);
        if !counts.sources.has_room(&source, pending + 1, now_ms) {
            return Admission::Later;
        }
        counts.pending.insert(source, pending + 1);
        let user = user.to_owned();
        let delay = match counts.users.has_room(&user, 1, now_ms) {
            true => Duration::ZERO,
            false => SLOWED_BY,
        };
        Admission::Now(Attempt {
            guesses: self,
            source,
            user,
            now_ms,
            is_wrong: true,
            delay,
        })
    }
}

impl Attempt<'_> {
    /// No password was guessed: it was right, or was not looked at.
    pub(crate) fn forgiven(mut self) {
        self.is_wrong = false;
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let mut counts = self.guesses.counts();
        if let Some(pending) = counts.pending.get_mut(&self.source) {
            *pending -= 1;
            if *pending == 0 {
                counts.pending.remove(&self.source);
            }
        }
        if self.is_wrong {
            counts.sources.add(self.source, self.now_ms);
            if self.delay.is_zero() {
                let user = std::mem::take(&mut self.user);
                counts.users.add(user, self.now_ms);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF_SOURCE: u64 = 20;

    fn at(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, last]))
    }

    fn in_network(network: u128) -> Option<IpAddr> {
        Some(Ipv6Addr::from_bits(0x2001_0db8 << 96 | network << 64 | 1).into())
    }

    fn admitted<'a>(
        guesses: &'a Guesses,
        from: Option<IpAddr>,
        user: &str,
        now_ms: u64,
    ) -> Attempt<'a> {
        match guesses.attempt(from, user, now_ms) {
            Admission::Now(attempt) => attempt,
            other => panic!("{from:?}: {other:?}"),
        }
    }

    fn is_refused(guesses: &Guesses, from: Option<IpAddr>, now_ms: u64) -> bool {
        matches!(guesses.attempt(from, "ann", now_ms), Admission::No)
    }

    #[test]
    fn one_place_waits_after_its_wrong_passwords_and_no_other_does() {
        let guesses = Guesses::new(OF_SOURCE);
        for _ in 0..OF_SOURCE {
            assert_eq!(admitted(&guesses, at(1), "ann", 7).delay, Duration::ZERO);
        }
        assert!(is_refused(&guesses, at(1), 7));
        assert_eq!(admitted(&guesses, at(2), "ann", 7).delay, Duration::ZERO);
        drop(admitted(&guesses, None, "ann", 7));
        // One comes back each three seconds.
        let later_ms = 7 + MINUTE_MS / OF_SOURCE;
        drop(admitted(&guesses, at(1), "ann", later_ms));
        assert!(is_refused(&guesses, at(1), later_ms));
    }

    #[test]
    fn right_passwords_count_for_nothing_and_many_at_once_wait_for_each_other() {
        let guesses = Guesses::new(OF_SOURCE);
        for _ in 0..1000 {
            admitted(&guesses, at(1), "ann", 7).forgiven();
        }
        let mut open: Vec<_> = (0..OF_SOURCE)
            .map(|_| admitted(&guesses, at(1), "ann", 7))
            .collect();
        assert!(matches!(guesses.attempt(at(1), "ann", 7), Admission::Later));
        open.pop().expect("one of them").forgiven();
        admitted(&guesses, at(1), "ann", 7).forgiven();
        open.clear();
        // All but the one that was right were wrong.
        drop(admitted(&guesses, at(1), "ann", 7));
        assert!(is_refused(&guesses, at(1), 7));
    }

    #[test]
    fn who_is_guessed_at_from_everywhere_is_served_later_and_never_refused() {
        let guesses = Guesses::new(OF_SOURCE);
        for last in 0..100 {
            drop(admitted(&guesses, at(last), "ann", 7));
        }
        for last in 100..200 {
            assert_eq!(admitted(&guesses, at(last), "ann", 7).delay, SLOWED_BY);
        }
        assert_eq!(admitted(&guesses, at(201), "bob", 7).delay, Duration::ZERO);
    }

    #[test]
    fn a_host_with_many_addresses_is_one_place_and_memory_is_bounded() {
        let guesses = Guesses::new(OF_SOURCE);
        for host in 0..OF_SOURCE {
            let address = Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(host) << 8);
            drop(admitted(&guesses, Some(address.into()), "ann", 7));
        }
        assert!(is_refused(&guesses, in_network(0), 7));
        for network in 1..=2 * REMEMBERED_MAX as u128 {
            let name = format!("user {network}");
            drop(admitted(&guesses, in_network(network), &name, 7));
        }
        let counts = guesses.counts();
        assert_eq!(counts.sources.empty_ms.len(), REMEMBERED_MAX);
        assert_eq!(counts.users.empty_ms.len(), REMEMBERED_MAX);
        assert!(counts.pending.is_empty());
        drop(counts);
        assert!(is_refused(&guesses, in_network(0), 7));
    }
}
