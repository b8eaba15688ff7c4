//! The rounds of a running member: every record and every frame of the log, a little at a time.
//!
//! Flushes, compactions and appends go on meanwhile. So each step looks at the store of its own moment, and at the
//! segment in use only as far as it is written; a segment that was let go is skipped.

use std::sync::Arc;

use kvorum_core::types::Revision;

use crate::disk::Disk;
use crate::error::StorageError;
use crate::log::{Listing, SegmentCheck};
use crate::store::StateStore;

/// What a round has looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrubTotals {
    /// Changes of keys.
    pub records: u64,
    /// Frames of the log.
    pub frames: u64,
    /// Bytes of both.
    pub bytes: u64,
}

/// What a step came to.
#[derive(Clone, Debug)]
pub enum ScrubStep {
    /// There is more to look at.
    More,
    /// Everything was looked at, and is whole.
    Done(ScrubTotals),
    /// Damage. The round ends here.
    Damaged(StorageError),
    /// The disk could not be read; that proves nothing about its content.
    Failed(StorageError),
}

#[derive(Debug)]
enum Place {
    Tables,
    Records(Option<Revision>),
    Log(Segments),
    End,
}

/// The segments that are still to look at.
#[derive(Debug, Default)]
struct Segments {
    /// Oldest last.
    ids: Vec<u64>,
    current: Option<SegmentCheck>,
    /// The last frame of the one before, if that was not let go: the next one's first frame follows it.
    last: Option<(u64, u32)>,
}

impl Segments {
    fn list(disk: &dyn Disk) -> Result<Self, StorageError> {
        let mut ids = Listing::read(disk)?.segments;
        ids.reverse();
        Ok(Self {
            ids,
            ..Self::default()
        })
    }

    /// Looks at about `bytes` bytes more; false at the end.
    fn step(
        &mut self,
        disk: &dyn Disk,
        bytes: u64,
        totals: &mut ScrubTotals,
    ) -> Result<bool, StorageError> {
        let Some(check) = &mut self.current else {
            let Some(id) = self.ids.pop() else {
                return Ok(false);
            };
            // The log appends to the newest, or to the one before it while the newest is ready and empty.
            let in_use = self.ids.len() <= 1;
            self.current = SegmentCheck::open(disk, id, in_use)?;
            match &mut self.current {
                Some(check) => check.last = self.last,
                None => self.last = None,
            }
            return Ok(true);
        };
        let before = (check.frames, check.bytes);
        let more = check.step(disk, bytes)?;
        totals.frames += check.frames - before.0;
        totals.bytes += check.bytes - before.1;
        if !more {
            self.last = check.last.filter(|_| !check.gone);
            self.current = None;
        }
        Ok(true)
    }
}

/// One round. Owned by one thread.
#[derive(Debug)]
pub struct Scrub {
    store: Arc<StateStore>,
    log: Arc<dyn Disk>,
    place: Place,
    totals: ScrubTotals,
}

impl Scrub {
    /// Begins a round over the state store and the log that lies in `log`.
    #[must_use]
    pub fn new(store: Arc<StateStore>, log: Arc<dyn Disk>) -> Self {
        Self {
            store,
            log,
            place: Place::Tables,
            totals: ScrubTotals::default(),
        }
    }

    /// What this round has looked at so far.
    #[must_use]
    pub fn totals(&self) -> ScrubTotals {
        self.totals
    }

    /// Looks at about `bytes` bytes more.
    pub fn step(&mut self, bytes: usize) -> ScrubStep {
        match self.look(bytes as u64) {
            Ok(true) => ScrubStep::More,
            Ok(false) => ScrubStep::Done(self.totals),
            Err(error) => {
                self.place = Place::End;
                if error.is_damage() {
                    ScrubStep::Damaged(error)
                } else {
                    ScrubStep::Failed(error)
                }
            }
        }
    }

    fn look(&mut self, bytes: u64) -> Result<bool, StorageError> {
        match &mut self.place {
            Place::Tables => {
                self.store.view()?.tables()?;
                self.place = Place::Records(None);
            }
            Place::Records(after) => {
                let seen = self.store.check_records(*after, bytes)?;
                self.totals.records += seen.records;
                self.totals.bytes += seen.bytes;
                self.place = match seen.last {
                    Some(last) => Place::Records(Some(last)),
                    None => Place::Log(Segments::list(&*self.log)?),
                };
            }
            Place::Log(segments) => {
                if !segments.step(&*self.log, bytes, &mut self.totals)? {
                    self.place = Place::End;
                    return Ok(false);
                }
            }
            Place::End => return Ok(false),
        }
        Ok(true)
    }
}
