//! The rounds in which a member reads back everything it stores: damage is found while other members still have what
//! was damaged, and not by the client or the start that needs it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kvorum_storage::{RealDisk, Scrub, ScrubStep, StorageError};

use crate::shared::Shared;

/// Between two steps, and how far one goes: 2.5 MB/s, which no disk notices.
const STEP_INTERVAL: Duration = Duration::from_millis(100);
const STEP_BYTES: usize = 256 << 10;

/// The round under way, or when the next one begins. Owned by the store thread.
#[derive(Debug)]
pub(crate) struct Scrubbing {
    /// Zero for never.
    interval: Duration,
    since: Instant,
    round: Option<Scrub>,
}

impl Scrubbing {
    /// A start has read everything, so the first round comes an interval later.
    pub(crate) fn new(interval: Duration) -> Self {
        Self {
            interval,
            since: Instant::now(),
            round: None,
        }
    }

    /// Looks at a little more, if it is time.
    ///
    /// # Errors
    /// Damage. A disk that cannot be read ends the round only: whoever needs what lies there finds out.
    pub(crate) fn turn(&mut self, shared: &Shared) -> Result<(), StorageError> {
        let wait = match self.round {
            Some(_) => STEP_INTERVAL.min(self.interval),
            None => self.interval,
        };
        if self.interval.is_zero() || self.since.elapsed() < wait {
            return Ok(());
        }
        self.since = Instant::now();
        let Some(round) = &mut self.round else {
            let log = RealDisk::new(shared.options.data_dir.join("log"));
            self.round = Some(Scrub::new(shared.state.clone(), Arc::new(log)));
            return Ok(());
        };
        match round.step(STEP_BYTES) {
            ScrubStep::More => return Ok(()),
            ScrubStep::Done(totals) => tracing::info!(
                records = totals.records,
                log_frames = totals.frames,
                bytes = totals.bytes,
                "everything that is stored was read back and is whole"
            ),
            ScrubStep::Damaged(damage) => return Err(damage),
            ScrubStep::Failed(error) => {
                tracing::warn!(%error, "what is stored could not be read back to its end");
            }
        }
        self.round = None;
        Ok(())
    }
}
