//! The log thread: one write and one sync for all groups that wait, then word to the core thread.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kvorum_core::Index;
use kvorum_core::log::Append;
use kvorum_storage::{Log, StorageError};

use crate::shared::{CoreInput, LogInput, Shared};

/// Idle for this long, the log proves that its last frame was whole.
const IDLE: Duration = Duration::from_millis(50);
/// A full disk is tried again after this long.
const FULL_DISK_PAUSE: Duration = Duration::from_millis(250);

/// Runs until it is told to stop or the disk fails.
pub(crate) fn run(shared: &Arc<Shared>, mut log: Log) {
    let mut inputs = Vec::new();
    let mut timeout = IDLE;
    loop {
        inputs.clear();
        shared.log.wait(&mut inputs, timeout);
        if inputs.is_empty() {
            if let Err(e) = log.settle() {
                return shared.fail(e.to_string());
            }
            timeout = Duration::from_secs(3600);
            continue;
        }
        timeout = IDLE;
        let (groups, release, stop) = sort(&mut inputs);
        if let Some(last) = groups.last().map(|g| g.number) {
            if let Err(e) = write(shared, &mut log, &groups) {
                return shared.fail(e.to_string());
            }
            shared.core.push(CoreInput::Persisted(last));
        }
        if let Some(index) = release {
            log.release(index.0);
        }
        if stop {
            if let Err(e) = log.settle() {
                shared.fail(e.to_string());
            }
            return;
        }
    }
}

fn sort(inputs: &mut Vec<LogInput>) -> (Vec<Append>, Option<Index>, bool) {
    let (mut groups, mut release, mut stop) = (Vec::new(), None, false);
    for input in inputs.drain(..) {
        match input {
            LogInput::Append(group) => groups.push(group),
            LogInput::Release(index) => release = Some(index),
            LogInput::Stop => stop = true,
        }
    }
    (groups, release, stop)
}

/// Writes the groups. On a full disk nothing was written: they wait for room, unacknowledged, while reads go on.
fn write(shared: &Shared, log: &mut Log, groups: &[Append]) -> Result<(), StorageError> {
    let mut told = false;
    loop {
        let begin = Instant::now();
        match log.append(groups) {
            Ok(stats) => {
                shared.meters.wal_synced(begin.elapsed(), stats.bytes);
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
