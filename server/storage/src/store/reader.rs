//! Read transactions, counted while they are open: the pages they look at cannot be reused meanwhile.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use redb::ReadTransaction;

use super::StateStore;
use super::opened::Opened;

/// An open read transaction. It holds the file that it looks at, also when another took its name.
#[derive(Debug)]
pub(super) struct Reader {
    txn: ReadTransaction,
    open: Arc<AtomicUsize>,
    /// Dropped behind the transaction.
    _opened: Arc<Opened>,
}

impl Reader {
    pub(super) fn new(txn: ReadTransaction, opened: Arc<Opened>, open: Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self {
            txn,
            open,
            _opened: opened,
        }
    }
}

impl Deref for Reader {
    type Target = ReadTransaction;

    fn deref(&self) -> &ReadTransaction {
        &self.txn
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl StateStore {
    /// Read transactions that are open now.
    #[must_use]
    pub fn open_reads(&self) -> usize {
        self.readers.load(Ordering::Relaxed)
    }
}
