//! Writing the log: by the log thread, one write and one sync for all groups that wait; or, where nobody could be kept
//! waiting by it, by the core thread itself, which saves two thread switches.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use kvorum_core::log::Append;
use kvorum_storage::{Log, StorageError};

use crate::shared::{CoreInput, LogInput, Shared, StoreInput};

/// The log looks this often whether it is idle; if so it proves that its last frame was whole.
const IDLE_CHECK: Duration = Duration::from_millis(100);
/// A full disk is tried again after this long.
const FULL_DISK_PAUSE: Duration = Duration::from_millis(250);

/// The log and what is known of its use.
#[derive(Debug)]
pub(crate) struct LogWriter {
    log: Log,
    writes: u64,
    writes_at_check: u64,
}

impl LogWriter {
    pub(crate) fn new(log: Log) -> Self {
        Self {
            log,
            writes: 0,
            writes_at_check: 0,
        }
    }

    fn append(&mut self, shared: &Shared, groups: &[Append]) -> Result<(), StorageError> {
        let begin = Instant::now();
        // A write that hangs never comes back to say so: who looks on compares this with the clock.
        let since_ms = &shared.published.log_write_since_ms;
        since_ms.store(shared.clock.now_ms().max(1), Ordering::Relaxed);
        let stats = self.log.append(groups);
        since_ms.store(0, Ordering::Relaxed);
        let stats = stats?;
        self.writes += 1;
        shared.meters.wal_synced(begin.elapsed(), &stats);
        Ok(())
    }

    /// Nothing was written since the last look: the last frame is marked as whole.
    fn check_idle(&mut self) -> Result<(), StorageError> {
        if self.writes == self.writes_at_check {
            return self.log.settle();
        }
        self.writes_at_check = self.writes;
        Ok(())
    }
}

/// Writes a group on the caller's thread if the log thread has nothing to do. False if it has: the group is its.
///
/// # Errors
/// The disk failed.
pub(crate) fn write_now(shared: &Shared, group: &Append) -> Result<bool, StorageError> {
    if !shared.log.is_empty() {
        return Ok(false);
    }
    let Some(mut writer) = shared.log_writer.try_lock() else {
        return Ok(false);
    };
    match writer.append(shared, std::slice::from_ref(group)) {
        // Nothing was written; the log thread waits for room, this one must not.
        Err(e) if e.is_out_of_space() => Ok(false),
        result => result.map(|()| true),
    }
}

/// True if the next segment should be made ahead of need.
pub(crate) fn needs_next(shared: &Shared) -> bool {
    shared.log_writer.lock().log.needs_next()
}

/// Runs until it is told to stop or the disk fails.
pub(crate) fn run(shared: &Arc<Shared>) {
    let mut inputs = Vec::new();
    loop {
        inputs.clear();
        shared.log.wait(&mut inputs, IDLE_CHECK);
        match turn(shared, &mut inputs) {
            Ok(false) => {}
            Ok(true) => return,
            Err(e) => return shared.fail(e.to_string()),
        }
    }
}

/// One pass; true if it was the last.
fn turn(shared: &Shared, inputs: &mut Vec<LogInput>) -> Result<bool, StorageError> {
    if inputs.is_empty() {
        shared.log_writer.lock().check_idle()?;
        return Ok(false);
    }
    let mut groups = Vec::new();
    for input in inputs.drain(..) {
        match input {
            LogInput::Append(group) => groups.push(group),
            LogInput::Release(index) => shared.log_writer.lock().log.release(index.0),
            LogInput::Reset(index, term, hard_state) => {
                // Groups before it belong to the log that ends here, and were never given out.
                write_all(shared, &mut groups)?;
                let mut writer = shared.log_writer.lock();
                writer.log.reset(index.0, term.0, hard_state)?;
                shared.store_thread.push(StoreInput::LogBegins(index));
            }
            LogInput::Stop => {
                write_all(shared, &mut groups)?;
                shared.log_writer.lock().log.settle()?;
                return Ok(true);
            }
        }
    }
    write_all(shared, &mut groups)?;
    Ok(false)
}

fn write_all(shared: &Shared, groups: &mut Vec<Append>) -> Result<(), StorageError> {
    if let Some(last) = groups.last().map(|g| g.number) {
        write(shared, groups)?;
        groups.clear();
        shared.core.push(CoreInput::Persisted(last));
    }
    Ok(())
}

/// Writes the groups. On a full disk nothing was written: they wait for room, unacknowledged, while reads go on.
fn write(shared: &Shared, groups: &[Append]) -> Result<(), StorageError> {
    let mut told = false;
    loop {
        let result = shared.log_writer.lock().append(shared, groups);
        match result {
            Ok(()) => {
                if told {
                    tracing::info!("the disk has room again; writes go on");
                }
                return Ok(());
            }
            Err(e) if e.is_out_of_space() && !shared.is_stopping() => {
                if !told {
                    tracing::error!(error = %e, "the disk is full; writes wait until there is room");
                    told = true;
                }
                std::thread::sleep(FULL_DISK_PAUSE);
            }
            Err(e) => return Err(e),
        }
    }
}
