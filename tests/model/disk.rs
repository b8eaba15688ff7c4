//! A state store in memory: what the core flushes, and what it finds again after a crash.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use kvorum_core::backend::{BackendError, FlushMark, Record, Records, Restored, SideChange};
use kvorum_core::{LeaseId, Revision};

#[derive(Debug, Default)]
struct Tables {
    records: BTreeMap<Revision, Record>,
    leases: BTreeMap<LeaseId, Bytes>,
    meta: BTreeMap<String, Bytes>,
    mark: FlushMark,
}

/// The store.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    tables: Mutex<Tables>,
}

impl Disk {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one flush, whole.
    pub(crate) fn flush(&self, records: Vec<Record>, mark: FlushMark) {
        let mut tables = self.tables();
        for record in records {
            let before = tables.records.insert(record.revision, record);
            assert!(before.is_none(), "flushed twice: {before:?}");
        }
        for change in &mark.side {
            match change.clone() {
                SideChange::LeasePut(id, lease) => drop(tables.leases.insert(id, lease)),
                SideChange::LeaseDelete(id) => drop(tables.leases.remove(&id)),
                SideChange::MetaPut(key, value) => drop(tables.meta.insert(key, value)),
                SideChange::MetaDelete(key) => drop(tables.meta.remove(&key)),
            }
        }
        tables.mark = mark;
    }

    /// Removes what a compaction has dropped; tells the length of each pair that was there.
    pub(crate) fn remove(&self, revisions: &[Revision]) -> Vec<usize> {
        let mut tables = self.tables();
        let removed = revisions
            .iter()
            .filter_map(|revision| tables.records.remove(revision));
        removed.map(|record| record.kv.len()).collect()
    }

    /// What a start finds.
    pub(crate) fn restored(&self) -> Restored {
        let tables = self.tables();
        Restored {
            applied: tables.mark.applied,
            term: tables.mark.term,
            leases: tables
                .leases
                .iter()
                .map(|(id, lease)| (*id, lease.clone()))
                .collect(),
            meta: tables
                .meta
                .iter()
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
        }
    }

    /// Every record, in order.
    pub(crate) fn everything(&self) -> Vec<Record> {
        self.tables().records.values().cloned().collect()
    }
}

impl Records for Disk {
    fn get(&self, revision: Revision) -> Result<Option<Record>, BackendError> {
        Ok(self.tables().records.get(&revision).cloned())
    }

    fn scan(
        &self,
        from: Revision,
        to: Revision,
        limit: usize,
    ) -> Result<Vec<Record>, BackendError> {
        if from > to {
            return Ok(Vec::new());
        }
        Ok(self
            .tables()
            .records
            .range(from..=to)
            .take(limit)
            .map(|(_, record)| record.clone())
            .collect())
    }
}
