//! What a process has used, read from /proc: CPU time, bytes written, memory; and what a folder holds.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

use anyhow::{Context as _, Result};
use rustix::time::{ClockId, clock_gettime};

/// A process id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pid(pub(crate) u32);

/// A process's counters at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) cpu_us: f64,
    pub(crate) written_bytes: u64,
}

impl Usage {
    /// The sum over several processes; `None` of none.
    pub(crate) fn of_all(pids: &[Pid]) -> Result<Option<Self>> {
        let mut sum = None;
        for pid in pids {
            let one = Self::of(*pid)?;
            let before = sum.unwrap_or(Self::default());
            sum = Some(Self {
                cpu_us: before.cpu_us + one.cpu_us,
                written_bytes: before.written_bytes + one.written_bytes,
            });
        }
        Ok(sum)
    }
}

/// A process's memory at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    pub(crate) resident_mib: f64,
    /// Without mapped files.
    pub(crate) anonymous_mib: f64,
}

impl Usage {
    pub(crate) fn of(pid: Pid) -> Result<Self> {
        let stat = read(pid, "stat")?;
        let io = read(pid, "io")?;
        let ticks = cpu_ticks(&stat).context("CPU times in /proc/PID/stat")?;
        let written_bytes = field(&io, "write_bytes:").context("write_bytes in /proc/PID/io")?;
        let tick_us = 1e6 / rustix::param::clock_ticks_per_second() as f64;
        Ok(Self {
            cpu_us: ticks as f64 * tick_us,
            written_bytes,
        })
    }
}

impl Memory {
    /// The sum over several processes; `None` of none.
    pub(crate) fn of_all(pids: &[Pid]) -> Result<Option<Self>> {
        let mut sum = None;
        for pid in pids {
            let one = Self::of(*pid)?;
            let before = sum.unwrap_or(Self::default());
            sum = Some(Self {
                resident_mib: before.resident_mib + one.resident_mib,
                anonymous_mib: before.anonymous_mib + one.anonymous_mib,
            });
        }
        Ok(sum)
    }

    pub(crate) fn of(pid: Pid) -> Result<Self> {
        let status = read(pid, "status")?;
        let mib = |name| field(&status, name).map(|kib| kib as f64 / 1024.0);
        Ok(Self {
            resident_mib: mib("VmRSS:").context("VmRSS in /proc/PID/status")?,
            anonymous_mib: mib("RssAnon:").context("RssAnon in /proc/PID/status")?,
        })
    }
}

fn read(pid: Pid, file: &str) -> Result<String> {
    let path = format!("/proc/{}/{file}", pid.0);
    fs::read_to_string(&path).with_context(|| format!("read {path}"))
}

/// User and system time; the program's name before them may hold spaces and brackets.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn field(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

/// CPU time of this process in microseconds.
pub(crate) fn own_cpu_us() -> f64 {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    spent.tv_sec as f64 * 1e6 + spent.tv_nsec as f64 / 1e3
}

/// What a folder takes on disk, in MiB; holes do not count.
pub(crate) fn disk_mib(folder: &Path) -> Result<f64> {
    fn blocks(folder: &Path) -> std::io::Result<u64> {
        let mut sum = 0;
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            sum += match entry.file_type()?.is_dir() {
                true => blocks(&entry.path())?,
                false => entry.metadata()?.blocks(),
            };
        }
        Ok(sum)
    }
    let blocks = blocks(folder).with_context(|| format!("read {}", folder.display()))?;
    Ok(blocks as f64 * 512.0 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_any_program_name() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 100 0 0 0 17 25 0 0 20 0 9 0 100";
        assert_eq!(cpu_ticks(stat), Some(42));
        assert_eq!(cpu_ticks("42 (cut"), None);
    }

    #[test]
    fn fields_are_read_by_name() {
        let io = "rchar: 1\nwchar: 2\nwrite_bytes: 4096\ncancelled_write_bytes: 7\n";
        assert_eq!(field(io, "write_bytes:"), Some(4096));
        assert_eq!(field("VmRSS:\t  2048 kB\n", "VmRSS:"), Some(2048));
        assert_eq!(field(io, "missing:"), None);
    }

    #[test]
    fn this_process_can_be_read() {
        let pid = Pid(std::process::id());
        Usage::of(pid).expect("own counters");
        assert!(Memory::of(pid).expect("own memory").resident_mib > 0.0);
        assert!(own_cpu_us() > 0.0);
    }
}
