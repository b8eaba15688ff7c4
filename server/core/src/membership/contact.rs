//! Since when a member has been in touch with each of the others.

use std::collections::{BTreeMap, BTreeSet};

use crate::types::MemberId;

#[derive(Clone, Copy, Debug)]
struct Contact {
    /// Since when there is a connection.
    connected_ms: Option<u64>,
    /// First and last message of a run without a long silence.
    heard_ms: Option<(u64, u64)>,
}

/// Since when a member has been in touch with each of the others.
#[derive(Clone, Debug)]
pub struct Contacts {
    silence_ms: u64,
    contacts: BTreeMap<MemberId, Contact>,
}

const NONE: Contact = Contact {
    connected_ms: None,
    heard_ms: None,
};

impl Contacts {
    /// Nobody is in touch yet. Who says nothing for `silence_ms` and has no connection is not in touch any more.
    #[must_use]
    pub fn new(silence_ms: u64) -> Self {
        Self {
            silence_ms,
            contacts: BTreeMap::new(),
        }
    }

    /// A message came.
    pub fn heard(&mut self, from: MemberId, now_ms: u64) {
        let silence_ms = self.silence_ms;
        let contact = self.contacts.entry(from).or_insert(NONE);
        let run = contact.heard_ms;
        let first = run.filter(|(_, last)| now_ms.saturating_sub(*last) <= silence_ms);
        contact.heard_ms = Some((first.map_or(now_ms, |(first, _)| first), now_ms));
    }

    /// There is a connection to a member.
    pub fn connected(&mut self, to: MemberId, now_ms: u64) {
        let contact = self.contacts.entry(to).or_insert(NONE);
        contact.connected_ms.get_or_insert(now_ms);
    }

    /// There is none any more.
    pub fn disconnected(&mut self, from: MemberId) {
        self.contacts.remove(&from);
    }

    fn since(&self, contact: &Contact, now_ms: u64) -> Option<u64> {
        let heard = contact.heard_ms;
        let recent = heard.filter(|(_, last)| now_ms.saturating_sub(*last) <= self.silence_ms);
        let heard = recent.map(|(first, _)| first);
        contact.connected_ms.into_iter().chain(heard).min()
    }

    /// Members that have been in touch for at least `at_least_ms` without a break.
    #[must_use]
    pub fn in_touch(&self, now_ms: u64, at_least_ms: u64) -> BTreeSet<MemberId> {
        let long_enough = |(id, contact): (&MemberId, &Contact)| {
            let since = self.since(contact, now_ms)?;
            (now_ms.saturating_sub(since) >= at_least_ms).then_some(*id)
        };
        self.contacts.iter().filter_map(long_enough).collect()
    }
}
