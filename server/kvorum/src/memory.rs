//! How much memory this process may have, and how it is shared out.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{Resource, getrlimit};

const MIB: u64 = 1 << 20;

/// What no limit file names as a limit: version 1 of control groups says "none" with a number near this.
const ENDLESS_BYTES: u64 = 1 << 60;

/// What the parts of a member may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shares {
    /// Recent values and pages of the state store.
    pub(crate) value_cache_bytes: usize,
    /// Records that wait for the state store.
    pub(crate) unflushed_bytes_max: usize,
    /// Large requests and replies.
    pub(crate) large_request_bytes: usize,
}

impl Shares {
    /// An eighth for each, and never more than is of use. The rest is for the index of the keys, connections, watch
    /// streams and what an allocator cannot help wasting.
    pub(crate) fn of(limit_bytes: u64, large_request_bytes: Option<u64>) -> Self {
        let eighth = |low: u64, high: u64| {
            let share = (limit_bytes / 8).clamp(low, high);
            usize::try_from(share).unwrap_or(usize::MAX)
        };
        let large = large_request_bytes.and_then(|bytes| usize::try_from(bytes).ok());
        Self {
            value_cache_bytes: eighth(8 * MIB, 128 * MIB),
            unflushed_bytes_max: eighth(16 * MIB, 128 * MIB),
            large_request_bytes: large.unwrap_or_else(|| eighth(4 * MIB, 1024 * MIB)),
        }
    }
}

/// The least of what the control group, the resource limits and the machine allow.
pub(crate) fn limit_bytes() -> u64 {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = group_limit(Path::new("/sys/fs/cgroup"), &groups);
    let address_space = getrlimit(Resource::As).current;
    let data = getrlimit(Resource::Data).current;
    let limits = [group, address_space, data, Some(machine_bytes())];
    limits.into_iter().flatten().min().unwrap_or(u64::MAX)
}

fn machine_bytes() -> u64 {
    let system = rustix::system::sysinfo();
    // A C long of another width elsewhere.
    #[allow(clippy::useless_conversion)]
    let total = u64::try_from(system.totalram).unwrap_or(u64::MAX);
    total.saturating_mul(u64::from(system.mem_unit.max(1)))
}

/// The limit of the control group named in `groups` (as in /proc/self/cgroup) or of one above it, in either version.
fn group_limit(root: &Path, groups: &str) -> Option<u64> {
    let lines = groups.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        Some((controllers, path.trim_start_matches('/')))
    });
    let mut limit = None;
    for (controllers, path) in lines {
        let (root, files): (PathBuf, &[&str]) = match controllers {
            "" => (root.to_path_buf(), &["memory.max", "memory.high"]),
            some if some.split(',').any(|name| name == "memory") => {
                (root.join("memory"), &["memory.limit_in_bytes"])
            }
            _ => continue,
        };
        // Inside a container the path is the host's and the files lie at the root.
        for dir in root.join(path).ancestors() {
            if !dir.starts_with(&root) {
                break;
            }
            for file in files {
                let bytes = fs::read_to_string(dir.join(file)).unwrap_or_default();
                let bytes = bytes.trim().parse().ok().filter(|b| *b < ENDLESS_BYTES);
                limit = [limit, bytes].into_iter().flatten().min();
            }
        }
    }
    limit
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Root(PathBuf);

    impl Root {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let name = format!("kvorum-memory-{}-{name}", std::process::id());
            let root = std::env::temp_dir().join(name);
            for (file, content) in files {
                let file = root.join(file);
                fs::create_dir_all(file.parent().expect("has a parent")).expect("writable");
                fs::write(file, content).expect("writable");
            }
            Self(root)
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_least_limit_on_the_way_up_holds() {
        let files = [
            ("a/memory.max", "max\n"),
            ("a/memory.high", "800\n"),
            ("memory.max", "900\n"),
        ];
        let root = Root::new("second", &files);
        assert_eq!(group_limit(&root.0, "0::/a/b\n"), Some(800));
        assert_eq!(group_limit(&root.0, "0::/elsewhere\n"), Some(900));
    }

    #[test]
    fn the_first_version_is_read_too_and_its_endless_number_is_no_limit() {
        let files = [
            ("memory/pod/memory.limit_in_bytes", "700\n"),
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ];
        let root = Root::new("first", &files);
        let groups = "3:cpu,cpuacct:/\n4:memory:/pod\n0::/\n";
        assert_eq!(group_limit(&root.0, groups), Some(700));
        assert_eq!(group_limit(&root.0, "4:memory:/other\n"), None);
        assert_eq!(group_limit(&root.0, ""), None);
    }

    #[test]
    fn shares_follow_the_limit_within_reason() {
        let small = Shares::of(512 * MIB, None);
        assert_eq!(small.large_request_bytes, 64 << 20);
        assert_eq!(small.value_cache_bytes, 64 << 20);
        let large = Shares::of(1 << 40, None);
        assert_eq!(large.value_cache_bytes, 128 << 20);
        assert_eq!(large.large_request_bytes, 1 << 30);
        assert_eq!(Shares::of(1 << 40, Some(5)).large_request_bytes, 5);
    }
}
