//! What a process takes, as the kernel counts it.

use std::fs;

/// One line of /proc/PID/status in bytes, such as `VmHWM` (the most that was resident) or `VmPeak` (addresses).
pub(crate) fn status_bytes(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find(|line| line.starts_with(name));
    let line = line.unwrap_or_else(|| panic!("{name} is not in {status}"));
    let kib = line.split_whitespace().nth(1).expect("a number");
    kib.parse::<u64>().expect("a number") * 1024
}
