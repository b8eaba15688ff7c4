//! How the process ends, and what its end says to whoever started it.

use std::process::ExitCode;

/// Why the process ends. The numbers are part of the command line's contract (`kvorum --help`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It was asked to.
    Stopped = 0,
    /// The disk failed under it.
    DiskFailed = 1,
    /// A flag, a variable or the configuration file cannot be used.
    BadSettings = 2,
    /// The data directory cannot be opened.
    BadDataDir = 3,
    /// An address cannot be bound.
    AddressTaken = 4,
    /// The operating system refuses a thread, a runtime or a signal handler.
    SystemRefuses = 5,
    /// The cluster has removed this member.
    Removed = 6,
    /// A tool (snapshot, recover, verify, token, …) could not do its work, or found damage.
    ToolFailed = 7,
    /// `doctor` found something that is not as it should be.
    NotInOrder,
}

impl Exit {
    /// What the process ends with. Whoever runs checks knows 1 as "not in order".
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::NotInOrder => 1,
            other => other as u8,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
