//! An executable model of etcd: the whole history in one map, and the rules of the API over it.
//!
//! Every change that was ever made stays in `history`; compaction only moves a mark, and each reader asks what the
//! mark leaves visible. Requests and replies are etcd's own messages. Headers carry the revision and nothing else.

mod alarm;
mod check;
mod hash;
mod interval;
mod lease;
mod range;
#[cfg(test)]
mod tests;
mod txn;
mod watch;
mod write;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kvorum_proto::etcdserverpb::ResponseHeader;
use kvorum_proto::mvccpb::KeyValue;

pub use alarm::Alarm;
pub use interval::Interval;
pub use kvorum_core::Error as ModelError;
pub use lease::Lease;
pub use watch::{Recorded, Selection, WatchStream, Watcher};

/// What a request comes to.
pub type Outcome<T> = Result<T, ModelError>;

/// One change of one key.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The write transaction it belongs to.
    pub main: i64,
    /// Its place inside that transaction.
    pub sub: u32,
    /// The key's new state; `None` if it was deleted.
    pub kv: Option<KeyValue>,
}

/// The limits that etcd takes from its command line.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `--max-txn-ops`.
    pub max_txn_ops: usize,
    /// Leases get at least this many seconds.
    pub min_lease_ttl_s: i64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_txn_ops: 128,
            min_lease_ttl_s: 2,
        }
    }
}

/// A store that answers as etcd does.
#[derive(Clone, Debug)]
pub struct Model {
    limits: Limits,
    /// Every change of every key, oldest first. Compaction does not shorten it.
    history: BTreeMap<Bytes, Vec<Record>>,
    revision: i64,
    compact_revision: i64,
    /// Changes made so far by the transaction that is running; 0 between transactions.
    pending: u32,
    leases: BTreeMap<i64, Lease>,
    alarms: BTreeSet<Alarm>,
    now_ms: i64,
}

impl Default for Model {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

impl Model {
    /// An empty store: revision 1, never compacted.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            history: BTreeMap::new(),
            revision: 1,
            compact_revision: -1,
            pending: 0,
            leases: BTreeMap::new(),
            alarms: BTreeSet::new(),
            now_ms: 0,
        }
    }

    /// The revision of the last write transaction that changed something.
    #[must_use]
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// The revision of the last compaction, −1 before the first.
    #[must_use]
    pub fn compact_revision(&self) -> i64 {
        self.compact_revision
    }

    /// The revision that a read sees: inside a transaction, its own changes included.
    fn visible_revision(&self) -> i64 {
        if self.pending > 0 {
            self.revision + 1
        } else {
            self.revision
        }
    }

    /// The state of `key` at `revision`, if it exists there.
    fn at(&self, key: &[u8], revision: i64) -> Option<&KeyValue> {
        let records = self.history.get(key)?;
        records
            .iter()
            .rev()
            .find(|record| record.main <= revision)?
            .kv
            .as_ref()
    }

    /// The pairs of `interval` at `revision`, in key order.
    fn pairs(&self, interval: &Interval, revision: i64) -> Vec<&KeyValue> {
        let keys = self.history.keys().filter(|key| interval.contains(key));
        keys.filter_map(|key| self.at(key, revision)).collect()
    }

    /// The keys that exist now, with their values.
    #[must_use]
    pub fn current(&self) -> Vec<KeyValue> {
        self.pairs(&Interval::all(), self.revision)
            .into_iter()
            .cloned()
            .collect()
    }

    /// True if compaction has left `record` in place: it belongs to the compact revision or a younger one, or it is
    /// what a read at the compact revision finds. (etcd drops a change of the compact revision that the same
    /// transaction superseded, so that a watch from there misses it; we do not.)
    fn survives(&self, key: &[u8], record: &Record) -> bool {
        record.main >= self.compact_revision
            || (record.kv.is_some() && self.at(key, self.compact_revision) == record.kv.as_ref())
    }

    /// Appends one change to the running transaction.
    fn record(&mut self, key: Bytes, kv: Option<KeyValue>) {
        let record = Record {
            main: self.revision + 1,
            sub: self.pending,
            kv,
        };
        self.history.entry(key).or_default().push(record);
        self.pending += 1;
    }

    /// Ends the running transaction; the revision moves if it changed anything.
    fn commit(&mut self) {
        self.revision = self.visible_revision();
        self.pending = 0;
    }

    /// Puts a wrong record in the place of a right one, to test those who look for that.
    #[cfg(test)]
    pub(crate) fn forge(&mut self, kv: KeyValue) {
        let records = self.history.entry(kv.key.clone()).or_default();
        for record in records
            .iter_mut()
            .filter(|record| record.main == kv.mod_revision)
        {
            record.kv = Some(kv.clone());
        }
    }
}

/// A header as the core makes it: revision only.
fn header(revision: i64) -> Option<ResponseHeader> {
    Some(ResponseHeader {
        revision,
        ..ResponseHeader::default()
    })
}
