//! Synced watchers, grouped by what they ask for, and found by key.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::hub::WatcherKey;
use crate::mvcc::Interval;

/// What two watchers must have in common to share their encoded events.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wanted {
    pub(super) key: Bytes,
    pub(super) range_end: Bytes,
    pub(super) prev_kv: bool,
    pub(super) no_put: bool,
    pub(super) no_delete: bool,
}

impl Wanted {
    pub(super) fn interval(&self) -> Interval<'_> {
        Interval::new(&self.key, &self.range_end)
    }

    pub(super) fn accepts(&self, tombstone: bool) -> bool {
        if tombstone {
            !self.no_delete
        } else {
            !self.no_put
        }
    }
}

/// All groups. Exact keys are looked up; intervals, of which a member has few distinct ones, are walked up to the
/// first that starts behind the key.
#[derive(Debug, Default)]
pub(super) struct Groups {
    members: BTreeMap<Wanted, BTreeSet<WatcherKey>>,
    exact: BTreeMap<Bytes, BTreeSet<Wanted>>,
    spans: BTreeSet<Wanted>,
}

impl Groups {
    pub(super) fn join(&mut self, wanted: &Wanted, watcher: WatcherKey) {
        let members = self.members.entry(wanted.clone()).or_default();
        if members.is_empty() {
            if wanted.range_end.is_empty() {
                self.exact
                    .entry(wanted.key.clone())
                    .or_default()
                    .insert(wanted.clone());
            } else {
                self.spans.insert(wanted.clone());
            }
        }
        members.insert(watcher);
    }

    pub(super) fn leave(&mut self, wanted: &Wanted, watcher: WatcherKey) {
        let Some(members) = self.members.get_mut(wanted) else {
            return;
        };
        members.remove(&watcher);
        if !members.is_empty() {
            return;
        }
        self.members.remove(wanted);
        self.spans.remove(wanted);
        if let Some(group) = self.exact.get_mut(&wanted.key) {
            group.remove(wanted);
            if group.is_empty() {
                self.exact.remove(&wanted.key);
            }
        }
    }

    /// The groups that want an event of this key.
    pub(super) fn matching<'a>(
        &'a self,
        key: &'a [u8],
        tombstone: bool,
    ) -> impl Iterator<Item = &'a Wanted> {
        let exact = self.exact.get(key).into_iter().flatten();
        let spans = self.spans.iter().take_while(move |w| w.key.as_ref() <= key);
        let spans = spans.filter(move |w| w.interval().contains(key));
        exact.chain(spans).filter(move |w| w.accepts(tombstone))
    }

    pub(super) fn members(&self, wanted: &Wanted) -> impl Iterator<Item = WatcherKey> {
        self.members.get(wanted).into_iter().flatten().copied()
    }
}
