//! The log as it lies there: every frame of every segment, their order, and what the state store promises of it.

use std::fmt;

use kvorum_core::log::{Entry, EntryKind, HardState};
use kvorum_proto::kvorumpb::EntryBatch;
use prost::Message as _;

use crate::disk::Disk;
use crate::error::StorageError;
use crate::log::{Listing, LogOptions, Reader, Replay, TornTail};

/// What a log holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSummary {
    /// Segments with entries or ready for them.
    pub segments: usize,
    /// Index of the first entry, and of the last: equal to the one before the first if there is none.
    pub entries: (u64, u64),
    /// Term of the last entry.
    pub term: u64,
    /// The newest hard state.
    pub hard_state: HardState,
    /// A write that a crash interrupted, which the next start cuts: nobody was told that it had happened.
    pub torn: Option<TornTail>,
}

impl fmt::Display for LogSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = self.entries;
        write!(f, "log: {} segments, ", self.segments)?;
        if last < first {
            write!(f, "no entries behind {last}")?;
        } else {
            write!(f, "entries {first} to {last} (term {})", self.term)?;
        }
        let HardState { term, vote, commit } = self.hard_state;
        write!(f, ", in term {term} voted {vote:x}, committed {commit}")?;
        if let Some(torn) = &self.torn {
            let place = torn.file.display();
            write!(
                f,
                ", an interrupted write at byte {} of {place}",
                torn.offset
            )?;
        }
        Ok(())
    }
}

/// What the state store says that the log reaches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Promised {
    pub(super) applied: u64,
    pub(super) base: Option<(u64, u64)>,
}

/// Reads the log to its end and adds what is wrong. Behind the first damage each segment is read by itself.
pub(super) fn read(
    disk: &dyn Disk,
    promised: Option<Promised>,
    findings: &mut Vec<StorageError>,
) -> Option<LogSummary> {
    let listing = match Listing::read(disk) {
        Ok(listing) => listing,
        Err(error) => {
            findings.push(error);
            return None;
        }
    };
    let options = LogOptions {
        must_reach: promised.map(|p| p.applied),
        base: promised.and_then(|p| p.base),
        ..LogOptions::default()
    };
    let mut replay = Replay::default();
    if let Err(error) = replay.open(disk, &listing.segments, &options) {
        let first = error.missing_from(replay.tail.index + 1);
        let place = place_of(&first);
        findings.push(first);
        let more = listing.segments.iter().filter_map(|id| alone(disk, *id));
        findings.extend(more.filter(|error| place_of(error) != place));
        return None;
    }
    let where_it_lies = disk.path("");
    findings.extend(
        replay
            .entries
            .iter()
            .filter_map(|entry| unreadable(entry, &where_it_lies)),
    );
    Some(LogSummary {
        segments: listing.segments.len(),
        entries: (replay.base.index + 1, replay.tail.index),
        term: replay.tail.term,
        hard_state: replay.hard_state,
        torn: replay.torn,
    })
}

fn place_of(error: &StorageError) -> Option<(std::path::PathBuf, Option<u64>)> {
    match error {
        StorageError::Corrupt { file, offset, .. } => Some((file.clone(), *offset)),
        _ => None,
    }
}

/// What is wrong inside one segment, whatever stands in others.
fn alone(disk: &dyn Disk, id: u64) -> Option<StorageError> {
    let reader = match Reader::open(disk, id) {
        Ok(reader) => reader,
        Err(error) => return Some(error),
    };
    Replay::default().run(vec![reader]).err()
}

/// What is wrong with an entry whose bytes are those that were written.
fn unreadable(entry: &Entry, file: &std::path::Path) -> Option<StorageError> {
    if entry.kind != EntryKind::Normal {
        return None;
    }
    let error = EntryBatch::decode(entry.data.clone()).err()?;
    let what = format!("entry {} cannot be read: {error}", entry.index);
    Some(StorageError::damaged(file, what))
}
