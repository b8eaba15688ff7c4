//! When the state file is made smaller: once most of it is free, after a large compaction. Nobody has to ask for it.

use std::time::{Duration, Instant};

use kvorum_storage::{DataDir, Shrink, ShrinkStep, StorageError};

use crate::shared::Shared;

/// Between two looks at the length of the file.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// Less than this is not worth a copy, bytes.
const WORTH_BYTES: u64 = 64 << 20;
/// What a step copies, and the pause behind it: 25 MB/s at most, in pieces that the log's appends do not feel.
const STEP_BYTES: usize = 512 << 10;
const STEP_PAUSE: Duration = Duration::from_millis(20);
/// What must stay free on the disk beside the copy, bytes.
const RESERVE_BYTES: u64 = 64 << 20;
/// After a copy that failed.
const RETRY_INTERVAL: Duration = Duration::from_secs(600);

/// The copy under way, or when to look again. Owned by the store thread.
#[derive(Debug)]
pub(crate) struct Shrinking {
    copy: Option<(Shrink, Instant)>,
    look_at: Instant,
    /// Length of the file after the last copy: what it holds was underestimated if it seems worth another.
    settled_bytes: u64,
}

impl Shrinking {
    pub(crate) fn new() -> Self {
        Self {
            copy: None,
            look_at: Instant::now(),
            settled_bytes: 0,
        }
    }

    /// How long to wait for the next step, if there is one.
    pub(crate) fn pause(&self) -> Option<Duration> {
        self.copy.as_ref().map(|_| STEP_PAUSE)
    }

    /// Gives the copy up: its room is needed.
    pub(crate) fn give_up(&mut self) {
        self.copy = None;
        self.look_at = Instant::now() + RETRY_INTERVAL;
    }

    /// Copies a little more, or looks whether a copy is worth it.
    ///
    /// # Errors
    /// What is stored is damaged. A copy that cannot be made for other reasons is given up.
    pub(crate) fn turn(&mut self, shared: &Shared) -> Result<(), StorageError> {
        let stepped = match &mut self.copy {
            Some((copy, begun)) => copy.step(STEP_BYTES).map(|step| (step, begun.elapsed())),
            None => return self.look(shared),
        };
        match stepped {
            Ok((ShrinkStep::More, _)) => {}
            Ok((ShrinkStep::Overtaken, _)) => self.copy = None,
            Ok((ShrinkStep::Done { before, after }, took)) => {
                self.copy = None;
                self.settled_bytes = after;
                let meters = &shared.meters.disk;
                meters.defrag.observe(took.as_secs_f64());
                tracing::info!(
                    before_bytes = before,
                    after_bytes = after,
                    took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
                    "the state file was made smaller"
                );
            }
            Err(error) if error.is_damage() => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "the state file could not be made smaller; tried again later");
                self.give_up();
            }
        }
        Ok(())
    }

    fn look(&mut self, shared: &Shared) -> Result<(), StorageError> {
        if Instant::now() < self.look_at {
            return Ok(());
        }
        self.look_at = Instant::now() + LOOK_INTERVAL;
        let in_use = u64::try_from(shared.store.read().size().in_use()).unwrap_or(0);
        let needed = in_use + in_use / 4 + (8 << 20);
        let file = shared.state.file_bytes()?;
        let gain = file.saturating_sub(needed);
        let grown = file.saturating_sub(self.settled_bytes);
        if gain < WORTH_BYTES.max(file / 2) || grown < WORTH_BYTES {
            return Ok(());
        }
        let free = DataDir::free_bytes(&shared.options.data_dir);
        if free.is_some_and(|free| free < needed + RESERVE_BYTES) {
            return Ok(());
        }
        match Shrink::new(shared.state.clone()) {
            Ok(copy) => {
                tracing::info!(
                    file_bytes = file,
                    in_use_bytes = in_use,
                    "most of the state file is free: it is made smaller"
                );
                self.copy = Some((copy, Instant::now()));
            }
            Err(error) => {
                tracing::warn!(%error, "the state file could not be made smaller; tried again later");
                self.give_up();
            }
        }
        Ok(())
    }
}
