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

/// Tells systemd, where it listens.
pub(crate) fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "systemd could not be notified");
    }
}
