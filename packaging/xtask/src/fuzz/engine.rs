//! One run of one target in libFuzzer, and what it tells at its end.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Resident memory from which a run ends as a crash.
const MEMORY_MIB_MAX: u64 = 512;
/// An input that takes this long ends the run as a crash; far above what one takes on a loaded machine.
const INPUT_SECONDS_MAX: u64 = 25;
/// The first look at memory: the seeds are read by then.
const WARM_UP: Duration = Duration::from_secs(5);
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// What to run.
#[derive(Debug)]
pub(super) struct Run<'a> {
    pub(super) program: &'a Path,
    pub(super) target: &'a str,
    pub(super) input_bytes_max: u64,
    /// Seeds, corpora, crashes and logs go below it.
    pub(super) folder: PathBuf,
    pub(super) time: Duration,
}

/// How it ended.
#[derive(Debug)]
pub(super) struct Ended {
    status: ExitStatus,
    pub(super) executions: u64,
    /// Places in the code that were reached, and inputs kept because they reach new ones.
    pub(super) coverage: u64,
    pub(super) corpus: String,
    pub(super) peak_mib: u64,
    pub(super) first_mib: u64,
    pub(super) last_mib: u64,
    pub(super) seconds: u64,
    /// Inputs that crash, as files.
    pub(super) inputs: Vec<PathBuf>,
    pub(super) log: PathBuf,
}

impl Ended {
    pub(super) fn crashed(&self) -> bool {
        !self.status.success()
    }
}

impl Run<'_> {
    /// Runs the target until its time is up or it crashes.
    pub(super) fn to_the_end(&self) -> Result<Ended> {
        let fresh = |kind: &str| -> Result<PathBuf> {
            let path = self.folder.join(kind).join(self.target);
            if path.exists() {
                fs::remove_dir_all(&path).with_context(|| format!("clear {}", path.display()))?;
            }
            fs::create_dir_all(&path).with_context(|| format!("make {}", path.display()))?;
            Ok(path)
        };
        let (seeds, crashes) = (fresh("seeds")?, fresh("crashes")?);
        // What earlier runs have found stays, and is where this one begins.
        let corpus = self.folder.join("corpus").join(self.target);
        fs::create_dir_all(&corpus).with_context(|| format!("make {}", corpus.display()))?;
        let log = crashes.join("log");
        let output = File::create(&log).with_context(|| format!("make {}", log.display()))?;
        let copy = output.try_clone().context("duplicate a file")?;
        eprintln!("fuzz: {} for {} s", self.target, self.time.as_secs());
        let begun = Instant::now();
        let mut child = Command::new(self.program)
            .env("KVORUM_TEST_FUZZ_TARGET", self.target)
            .env("KVORUM_TEST_FUZZ_SEEDS", &seeds)
            .env("RUST_BACKTRACE", "1")
            .arg(format!("-max_total_time={}", self.time.as_secs()))
            .arg(format!("-max_len={}", self.input_bytes_max))
            .arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"))
            .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
            .arg(format!("-artifact_prefix={}/", crashes.display()))
            .args(["-print_final_stats=1", "-use_value_profile=0"])
            .arg(&corpus)
            .arg(&seeds)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(copy)
            .spawn()
            .with_context(|| format!("start {}", self.program.display()))?;
        let (status, first_mib, last_mib) = watch(&mut child, begun)?;
        let told = fs::read_to_string(&log).unwrap_or_default();
        let status_line = told.lines().rfind(|line| line.contains(" cov: "));
        let status_line = status_line.unwrap_or_default();
        Ok(Ended {
            status,
            executions: stat(&told, "number_of_executed_units")
                .or_else(|| number(status_line.trim_start_matches('#')))
                .unwrap_or(0),
            coverage: after(status_line, "cov:").and_then(number).unwrap_or(0),
            corpus: after(status_line, "corp:").unwrap_or("0").to_owned(),
            peak_mib: stat(&told, "peak_rss_mb").unwrap_or(last_mib),
            first_mib,
            last_mib,
            seconds: begun.elapsed().as_secs(),
            inputs: crashing(&crashes)?,
            log,
        })
    }
}

/// Waits for the end; resident memory once the seeds are read, and the last that was seen, MiB.
fn watch(child: &mut Child, begun: Instant) -> Result<(ExitStatus, u64, u64)> {
    let (mut first, mut last) = (0, 0);
    loop {
        if let Some(status) = child.try_wait().context("wait for the fuzzer")? {
            return Ok((status, if first == 0 { last } else { first }, last));
        }
        if let Some(now) = resident_mib(child.id()) {
            last = now;
            if first == 0 && begun.elapsed() >= WARM_UP {
                first = now;
            }
        }
        thread::sleep(LOOK_INTERVAL);
    }
}

fn resident_mib(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    number(line.trim()).map(|kib| kib >> 10)
}

/// Inputs that libFuzzer left in its folder; beside the log and those that were slow, which is no crash.
fn crashing(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let listed = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    for entry in listed {
        let entry = entry.with_context(|| format!("list {}", folder.display()))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name != "log" && !name.starts_with("slow-unit-") {
            files.push(entry.path());
        }
    }
    Ok(files)
}

/// A figure of libFuzzer's last words.
fn stat(told: &str, name: &str) -> Option<u64> {
    let wanted = format!("stat::{name}:");
    let line = told.lines().find_map(|line| line.strip_prefix(&wanted))?;
    number(line.trim())
}

/// The word behind a label.
fn after<'a>(line: &'a str, label: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(label)?;
    rest.split_whitespace().next()
}

/// The number that a text begins with.
fn number(text: &str) -> Option<u64> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text.get(..end)?.parse().ok()
}

/// Lines of a crash that say what it is.
pub(super) fn tells_why(line: &str) -> bool {
    [
        "panicked at",
        "ERROR: libFuzzer",
        "memory allocation of",
        "assertion",
    ]
    .iter()
    .any(|sign| line.contains(sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_from_what_libfuzzer_prints() {
        let line = "#4096\tpulse  cov: 812 ft: 3021 corp: 214/9Kb lim: 64 exec/s: 1024 rss: 61Mb";
        assert_eq!(after(line, "cov:").and_then(number), Some(812));
        assert_eq!(after(line, "corp:"), Some("214/9Kb"));
        assert_eq!(number(line.trim_start_matches('#')), Some(4096));
        let told = "Done\nstat::number_of_executed_units: 77\nstat::peak_rss_mb:              61\n";
        assert_eq!(stat(told, "number_of_executed_units"), Some(77));
        assert_eq!(stat(told, "peak_rss_mb"), Some(61));
        assert_eq!(stat(told, "other"), None);
    }
}
