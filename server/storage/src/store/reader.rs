//! Read transactions, counted while they are open: the pages they look at cannot be reused meanwhile.

use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};

use redb::ReadTransaction;

use super::StateStore;

/// An open read transaction.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    txn: ReadTransaction,
    open: &'a AtomicUsize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(txn: ReadTransaction, open: &'a AtomicUsize) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self { txn, open }
    }
}

impl Deref for Reader<'_> {
    type Target = ReadTransaction;

    fn deref(&self) -> &ReadTransaction {
        &self.txn
    }
}

impl Drop for Reader<'_> {
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
