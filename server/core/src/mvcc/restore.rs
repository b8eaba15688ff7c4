//! Building the index from the records of the state store.
//!
//! Records come in revision order, which is no order at all for keys: a million inserts at random places of a tree cost
//! three times what sorting them once and building the tree from the bottom does.

use std::sync::Arc;

use super::encoding::Numbers;
use super::key_index::{KeyIndex, Latest};
use super::store::Store;
use crate::backend::Records;
use crate::types::{Index, Revision, Term};

/// Records on their way into an index.
#[derive(Debug, Default)]
pub struct Restore {
    changes: Vec<(Box<[u8]>, Latest)>,
    kv_bytes: usize,
    newest: i64,
}

impl Restore {
    /// Takes a record. Records come in revision order.
    pub fn record(
        &mut self,
        revision: Revision,
        tombstone: bool,
        numbers: &Numbers<'_>,
        len: usize,
    ) {
        let version = if tombstone { 0 } else { numbers.version };
        let latest = Latest {
            revision,
            created: numbers.create_revision,
            version,
            lease: numbers.lease,
        };
        self.changes.push((numbers.key.into(), latest));
        self.kv_bytes += len;
        self.newest = self.newest.max(revision.main);
    }

    /// The store that held them. `compact` is the compact revision that was decided last, `applied` the last entry
    /// whose effects are in the records.
    #[must_use]
    pub fn finish(
        self,
        records: Arc<dyn Records>,
        recent_bytes: usize,
        compact: Option<i64>,
        applied: (Index, Term),
    ) -> Store {
        let mut changes = self.changes;
        let count = changes.len();
        // Stable: the changes of one key stay in revision order.
        changes.sort_by(|a, b| a.0.cmp(&b.0));
        let mut store = Store::new(records, recent_bytes);
        store.size.restored(count, self.kv_bytes);
        store.index = Keys {
            changes: changes.into_iter().peekable(),
        }
        .collect();
        let live = store
            .index
            .values()
            .filter(|k| k.latest().is_some())
            .count();
        let current = self.newest.max(compact.unwrap_or(0)).max(1);
        store.restored(current, compact, live as u64, applied);
        store
    }
}

/// Joins the sorted changes of each key.
struct Keys<I: Iterator<Item = (Box<[u8]>, Latest)>> {
    changes: std::iter::Peekable<I>,
}

impl<I: Iterator<Item = (Box<[u8]>, Latest)>> Iterator for Keys<I> {
    type Item = (Box<[u8]>, KeyIndex);

    fn next(&mut self) -> Option<Self::Item> {
        let (key, first) = self.changes.next()?;
        let mut index = KeyIndex::default();
        index.restore(first);
        while let Some((_, next)) = self.changes.next_if(|(k, _)| *k == key) {
            index.restore(next);
        }
        Some((key, index))
    }
}
