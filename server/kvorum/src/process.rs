//! What the process owes the operating system: one line for a panic, enough file descriptors, news for systemd.

use std::panic::PanicHookInfo;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sd_notify::NotifyState;
use tracing::{error, warn};

/// A panic is a bug: it is told in one line, and then the process ends, because half a member is worse than none.
pub(crate) fn abort_on_panic() {
    std::panic::set_hook(Box::new(|panic: &PanicHookInfo<'_>| {
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed");
        let message = panic
            .payload_as_str()
            .unwrap_or("no message")
            .replace('\n', " ");
        error!(place, thread, "panic, this is a bug: {message}");
        std::process::abort();
    }));
}

/// A connection is a file descriptor, and the usual soft limit of 1024 is for programs that use `select`.
pub(crate) fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        warn!(current = ?limit.current, %error, "the limit of open files stays low");
    }
}

/// Descriptors that clients never get: for the log, the state store, the console and what the libraries open. (etcd
/// keeps as many back.)
const OWN_FILES: u64 = 150;

/// Connections that clients may have open at once.
///
/// # Errors
/// The limit of open files leaves none.
pub(crate) fn connections_max() -> Result<usize, String> {
    let Some(files) = getrlimit(Resource::Nofile).current else {
        return Ok(usize::MAX);
    };
    match files.checked_sub(OWN_FILES) {
        Some(left) if left > 0 => Ok(usize::try_from(left).unwrap_or(usize::MAX)),
        _ => Err(format!(
            "the limit of open files is {files}: raise it (ulimit -n, LimitNOFILE) well above {OWN_FILES}"
        )),
    }
}

/// Tells systemd, where it listens.
pub(crate) fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "systemd could not be notified");
    }
}
