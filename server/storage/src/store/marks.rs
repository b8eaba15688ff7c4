//! What the store knows about itself: its format, the entry whose effects it holds, and where the log begins.
//!
//! A state that came from elsewhere (a peer's snapshot, or the first state of a new cluster) is durable before the log
//! begins behind it. The base mark is there from then until `settle_base`: only in between may the log end before it.

use kvorum_core::backend::{FlushMark, Record};
use kvorum_core::types::{Index, Term};
use redb::{Durability, ReadTransaction, ReadableTable, TableHandle as _, WriteTransaction};

use super::inside::Inside;
use super::{
    FORMAT, FlushStats, MARK_APPLIED, MARK_BASE, MARK_BASE_TERM, MARK_FORMAT, MARK_TERM, MARKS,
    StateStore, codec,
};
use crate::error::StorageError;

impl StateStore {
    /// As `flush`, for a state that the log knows nothing of: the first of a new cluster. Its applied index becomes
    /// the base.
    ///
    /// # Errors
    /// As `flush`.
    pub fn flush_base(
        &self,
        records: impl Iterator<Item = Record>,
        mark: &FlushMark,
    ) -> Result<FlushStats, StorageError> {
        self.flush_with(records, mark, true)
    }

    /// Index and term of a state that came from elsewhere, unless the log is known to begin behind it: for
    /// `LogOptions::base`.
    ///
    /// # Errors
    /// The disk failed, or a checksum does not match.
    pub fn base(&self) -> Result<Option<(Index, Term)>, StorageError> {
        let _inside = Inside::enter();
        let txn = self.begin_read()?;
        let marks = txn
            .open_table(MARKS)
            .map_err(|e| self.failed("open", e.into()))?;
        let Some(index) = self.mark(&marks, MARK_BASE)? else {
            return Ok(None);
        };
        let term = self.mark(&marks, MARK_BASE_TERM)?.unwrap_or(0);
        Ok(Some((Index(index), Term(term))))
    }

    /// The log begins behind `begins` now, durably: if the base is there, it must hold from here on what the state
    /// store has applied. The base of a state that was installed since waits for its own begin of the log.
    ///
    /// # Errors
    /// The disk's.
    pub fn settle_base(&self, begins: Index) -> Result<(), StorageError> {
        if self.base()?.is_none_or(|(base, _)| base > begins) {
            return Ok(());
        }
        let _inside = Inside::enter();
        let txn = self.begin_write(Durability::Immediate)?;
        let mut marks = txn
            .open_table(MARKS)
            .map_err(|e| self.failed("open", e.into()))?;
        for name in [MARK_BASE, MARK_BASE_TERM] {
            marks.remove(name).map_err(|e| self.storage("write", e))?;
        }
        drop(marks);
        txn.commit().map_err(|e| self.failed("commit", e.into()))
    }

    pub(super) fn set_base(
        &self,
        txn: &WriteTransaction,
        mark: &FlushMark,
    ) -> Result<(), StorageError> {
        let mut marks = txn
            .open_table(MARKS)
            .map_err(|e| self.failed("open", e.into()))?;
        for (name, value) in [(MARK_BASE, mark.applied.0), (MARK_BASE_TERM, mark.term.0)] {
            marks
                .insert(name, codec::seal_mark(name, value).as_slice())
                .map_err(|e| self.storage("write", e))?;
        }
        Ok(())
    }

    pub(super) fn move_marks(
        &self,
        txn: &WriteTransaction,
        mark: &FlushMark,
    ) -> Result<(), StorageError> {
        let write = |e| self.storage("write", e);
        let mut marks = txn
            .open_table(MARKS)
            .map_err(|e| self.failed("open", e.into()))?;
        let before = self.mark(&marks, MARK_APPLIED)?.unwrap_or(0);
        if before > mark.applied.0 {
            let what = format!("applied index {} after {before}", mark.applied);
            return Err(StorageError::Order(what));
        }
        for (name, value) in [(MARK_APPLIED, mark.applied.0), (MARK_TERM, mark.term.0)] {
            marks
                .insert(name, codec::seal_mark(name, value).as_slice())
                .map_err(write)?;
        }
        Ok(())
    }

    pub(super) fn mark(
        &self,
        marks: &impl ReadableTable<&'static str, &'static [u8]>,
        name: &str,
    ) -> Result<Option<u64>, StorageError> {
        let value = marks.get(name).map_err(|e| self.storage("read", e))?;
        let Some(value) = value else { return Ok(None) };
        let mark = codec::open_mark(name, value.value());
        mark.map(Some)
            .ok_or_else(|| self.bad_checksum(&format!("mark {name:?}")))
    }

    pub(super) fn check_format(&self, txn: &ReadTransaction) -> Result<(), StorageError> {
        let mut tables = txn.list_tables().map_err(|e| self.storage("read", e))?;
        let foreign = || StorageError::Corrupt {
            file: self.path.clone(),
            offset: None,
            first_missing: None,
            what: "this is a redb file, but not a kvorum state store".into(),
            action: "move it away, or use another --data-dir",
        };
        if !tables.any(|t| t.name() == MARKS.name()) {
            return Err(foreign());
        }
        let marks = txn.open_table(MARKS).map_err(|_| foreign())?;
        let format = self
            .mark(&marks, MARK_FORMAT)?
            .and_then(|f| u32::try_from(f).ok());
        match format {
            Some(FORMAT) => Ok(()),
            Some(found) if found > FORMAT => Err(StorageError::Newer {
                file: self.path.clone(),
                found,
                known: FORMAT,
            }),
            _ => Err(foreign()),
        }
    }
}
