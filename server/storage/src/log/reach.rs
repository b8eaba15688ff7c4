//! Where a log must begin and end: what the state store and the log's own hard state promise, and how a log begins
//! anew when the state came from elsewhere.
//!
//! A state that was installed from a peer's snapshot, or given to a new cluster, is on disk before the log knows of it.
//! Until the log has begun anew behind it, the state store keeps that place as its base. A crash in between leaves a
//! log that ends before the base, or holds an entry of another term there: nothing in it is needed, except the term
//! and the vote, which are kept.

use kvorum_core::log::{Append, HardState};

use super::frame::{OVERHEAD, Tail};
use super::recover::{Reader, Replay};
use super::{AppendStats, Extra, Log, LogOptions, RecoveredLog, segment};
use crate::disk::Disk;
use crate::error::StorageError;

/// Index and term.
type Place = (u64, u64);

impl Log {
    /// Starts the log anew after `index`, as a snapshot from a peer demands: all entries before are void, and also
    /// those after, which were never committed. The state of that entry must be durable in the state store.
    ///
    /// # Errors
    /// `Order` if the hard state commits what the log will not hold. As `append` otherwise.
    pub fn reset(
        &mut self,
        index: u64,
        term: u64,
        hard_state: HardState,
    ) -> Result<AppendStats, StorageError> {
        self.check_usable()?;
        if hard_state.commit > index {
            let what = format!(
                "commit {} lies behind {index}, where the log begins anew",
                hard_state.commit
            );
            return Err(StorageError::Order(what));
        }
        let mut stats = AppendStats::default();
        let group = Append {
            hard_state: Some(hard_state),
            ..Append::default()
        };
        let extra = Extra::Reset(Tail { index, term });
        let groups = std::slice::from_ref(&group);
        self.write_frame(groups, extra, 2 * OVERHEAD, &mut stats)?;
        self.settled = false;
        self.active.highest = index;
        // Only now, when the frame that voids them is durable.
        while let Some((file_id, _)) = self.older.pop_front() {
            self.recycler.retire(file_id);
        }
        Ok(stats)
    }
}

impl RecoveredLog {
    /// The log holds nothing but where it begins.
    pub(crate) fn begin_anew(&mut self, base: Place, hard_state: HardState) {
        self.entries.clear();
        self.base = base;
        self.hard_state = hard_state;
        self.begun_anew = true;
    }
}

/// Where the log has to begin anew, and with which hard state.
type Anew = Option<(Place, HardState)>;

impl Replay {
    /// Reads the segments, oldest first, and checks that they reach as far as they must. Returns the ones that hold
    /// nothing. After an error, what was read up to then is here.
    pub(crate) fn open(
        &mut self,
        disk: &dyn Disk,
        segments: &[u64],
        options: &LogOptions,
    ) -> Result<(Vec<Reader>, Anew), StorageError> {
        let mut readers = Vec::new();
        let mut refused = None;
        for id in segments {
            match Reader::open(disk, *id) {
                Ok(reader) => readers.push(reader),
                Err(error) => {
                    refused = Some(error);
                    break;
                }
            }
        }
        let empty = self.run(readers);
        // What lies before a file that cannot be read may be damaged too; then that comes first.
        if let Some(error) = refused {
            return Err(empty.err().unwrap_or(error));
        }
        let empty = empty?;
        Ok((empty, self.check_reaches(disk, options)?))
    }

    /// Checks what other files and the log's own hard state promise to be here. Tells where the log has to begin anew,
    /// and with which hard state.
    pub(crate) fn check_reaches(
        &self,
        disk: &dyn Disk,
        options: &LogOptions,
    ) -> Result<Anew, StorageError> {
        self.check_promise(disk, self.hard_state.commit, "the hard state has committed")?;
        let applied = options.must_reach.unwrap_or(0);
        if let Some(base) = options.base.filter(|base| self.is_void(*base)) {
            if self.hard_state.commit >= base.0 {
                let what = format!(
                    "the log has committed another entry {} than the state store holds",
                    base.0
                );
                return Err(StorageError::damaged(disk.path(""), what));
            }
            // What was flushed later had been in a log that began behind the base.
            if applied <= base.0 {
                return Ok(Some((base, self.kept_state(base))));
            }
        }
        self.check_promise(disk, applied, "the state store has applied")?;
        if options.must_reach.is_some() && applied < self.base.index {
            let first = self.base.index + 1;
            let what = format!(
                "the log starts at entry {first}, but the state store has applied only entry {applied}"
            );
            let damage = StorageError::corrupt(disk.path(""), 0, what);
            return Err(damage.missing_from(applied + 1));
        }
        Ok(None)
    }

    fn check_promise(&self, disk: &dyn Disk, index: u64, who: &str) -> Result<(), StorageError> {
        if self.tail.index >= index {
            return Ok(());
        }
        let (file, offset) = match self.highest.last() {
            Some((file_id, _)) => (disk.path(&segment::name(*file_id)), self.end),
            None => (disk.path(""), 0),
        };
        let what = format!(
            "the log ends at entry {}, but {who} entry {index}",
            self.tail.index
        );
        Err(StorageError::corrupt(&file, offset, what))
    }

    /// True if the log ends before `base`, or another entry stands there. A term that is not known proves nothing.
    fn is_void(&self, (index, term): Place) -> bool {
        if self.tail.index < index {
            return true;
        }
        let Some(behind) = index.checked_sub(self.base.index) else {
            return false;
        };
        let found = match behind
            .checked_sub(1)
            .and_then(|at| usize::try_from(at).ok())
        {
            None => self.base.term,
            Some(at) => self.entries.get(at).map_or(0, |entry| entry.term),
        };
        found != 0 && found != term
    }

    /// A vote counts only in its own term.
    fn kept_state(&self, (index, term): Place) -> HardState {
        let known = self.hard_state;
        HardState {
            term: known.term.max(term),
            vote: if known.term >= term { known.vote } else { 0 },
            commit: index,
        }
    }
}
