//! A member's disk under our control: `strace` attached to its process, or around it from the start.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, ChildStderr, Command, Stdio},
};

use kvorum_tests::process::find_program;

/// The calls that make bytes durable, in kvorum (whose log is opened for synchronous writes) and in etcd.
pub(super) const SYNCS: &str = "fdatasync,fsync,pwrite64,pwritev2,msync";

/// The words of an injection, as in `error=EIO:when=3`.
fn words(fault: &str) -> [String; 4] {
    [
        "-e".to_owned(),
        format!("trace={SYNCS}"),
        "-e".to_owned(),
        format!("inject={SYNCS}:{fault}"),
    ]
}

/// What to start a member under, so that the fault counts from its first call on; nothing without `strace`.
pub(super) fn wrapper(fault: &str) -> Option<Vec<String>> {
    let program = find_program("strace")?;
    let mut all = vec![program.display().to_string()];
    all.extend(["-f", "-qq", "-o", "/dev/null"].map(str::to_owned));
    all.extend(words(fault));
    Some(all)
}

/// An `strace` that is attached to a process until it is dropped.
#[derive(Debug)]
pub(super) struct Attached {
    child: Child,
    /// Kept open: a tracer that cannot print ends.
    _stderr: BufReader<ChildStderr>,
}

impl Attached {
    /// Attaches, and returns when it has; nothing if there is no `strace`, or it may not.
    pub(super) fn attach(pid: u32, fault: &str) -> Option<Self> {
        let mut command = Command::new(find_program("strace")?);
        command.args(["-f", "-o", "/dev/null", "-p", &pid.to_string()]);
        command.args(words(fault)).stderr(Stdio::piped());
        let mut child = command.spawn().expect("strace starts");
        let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
        let mut line = String::new();
        loop {
            line.clear();
            match stderr.read_line(&mut line) {
                Ok(1..) if line.contains(" attached") => {
                    return Some(Self {
                        child,
                        _stderr: stderr,
                    });
                }
                Ok(1..) => {}
                Ok(0) | Err(_) => {
                    let _ = child.wait();
                    return None;
                }
            }
        }
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        // On this signal it lets go of the process and leaves it running.
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args(["-s", "INT", &pid]).status();
        let _ = self.child.wait();
    }
}
