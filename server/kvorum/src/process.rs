//! What the process owes the operating system: one line for a panic, enough file descriptors, news for systemd.

use std::os::unix::process::CommandExt as _;
use std::panic::PanicHookInfo;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use kvorum_member::{damage_under_work, heal};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};
use sd_notify::NotifyState;
use tracing::{error, warn};

use crate::exit::Exit;
use crate::log;

/// True once the data directory is open: from then on, damage means that the disk failed under a running member.
static OPENED: AtomicBool = AtomicBool::new(false);

/// Where that is, for those who begin anew.
static DATA_DIR: OnceLock<PathBuf> = OnceLock::new();

/// The data directory is open.
pub(crate) fn opened(data_dir: &Path) {
    // A process opens one.
    let _ = DATA_DIR.set(data_dir.to_path_buf());
    OPENED.store(true, Ordering::SeqCst);
}

/// A panic is a bug: it is told in one line, and then the process ends, because half a member is worse than none. The
/// exception is redb at work in a damaged file, which is no bug of anybody, and ends as any other damaged file does.
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
        let code = place.rsplit_once("/src/").map_or(&*place, |(_, code)| code);
        if let Some(damage) = damage_under_work(&format!("{message}, {code}")) {
            let code = i32::from(end_of_damage(&damage).code());
            log::flush();
            std::process::exit(code);
        }
        error!(place, thread, "panic, this is a bug: {message}");
        log::flush();
        std::process::abort();
    }));
}

/// Tells of a damaged state file in the words that any other damage gets.
fn end_of_damage(damage: &dyn std::fmt::Display) -> Exit {
    if OPENED.load(Ordering::SeqCst) && heal::can_heal() {
        rebuild(&damage.to_string())
    } else if OPENED.load(Ordering::SeqCst) {
        error!(
            reason = %damage,
            "the disk failed: nothing more is acknowledged, this member ends"
        );
        Exit::DiskFailed
    } else {
        error!(error = %damage, "cannot open the data directory");
        Exit::BadDataDir
    }
}

/// The memory of this process holds keys and passwords: no dump of it is written, and no other process of the same user
/// may look into it.
pub(crate) fn hide_memory() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    if let Err(error) = setrlimit(Resource::Core, none) {
        warn!(%error, "core dumps stay as they are");
    }
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        warn!(%error, "other processes of this user may read the memory of this one");
    }
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

/// Begins this process anew, marked to get its state from the other members; comes back only where it cannot.
pub(crate) fn rebuild(reason: &str) -> Exit {
    error!(
        reason,
        "the state of this member cannot be trusted: it is built anew from the others"
    );
    let data_dir = DATA_DIR
        .get()
        .map(PathBuf::as_path)
        .unwrap_or(Path::new(""));
    if let Err(error) = heal::mark(data_dir, reason) {
        error!(%error, "the data directory cannot be marked as damaged, this member ends");
        return Exit::DiskFailed;
    }
    begin_anew()
}

/// Begins this process anew; comes back only where it cannot.
pub(crate) fn begin_anew() -> Exit {
    // What waits to be written does not outlive this program.
    log::flush();
    let arguments = std::env::args_os().skip(1);
    let error = Command::new("/proc/self/exe").args(arguments).exec();
    error!(%error, "this process cannot begin anew, this member ends: the next start heals it");
    Exit::DiskFailed
}

/// Tells systemd, where it listens.
pub(crate) fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "systemd could not be notified");
    }
}
