//! Runs a command as one step: its output goes to a file, its progress and its end to the terminal.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// How often a long step shows that it lives.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(20);

/// Lines of a failed step that are shown.
const TAIL_LINES: usize = 80;

/// What a command printed and how it ended.
#[derive(Debug)]
pub(crate) struct Ran {
    /// How it ended.
    pub(crate) status: ExitStatus,
    /// Both of its outputs, as they came.
    pub(crate) output: String,
    /// Where the output is kept.
    pub(crate) log: PathBuf,
}

impl Ran {
    /// The end of the output.
    pub(crate) fn tail(&self) -> String {
        let lines: Vec<&str> = self.output.lines().collect();
        let from = lines.len().saturating_sub(TAIL_LINES);
        lines.get(from..).unwrap_or_default().join("\n")
    }
}

/// Runs a command to its end. Its output is kept in `logs/NAME.log`.
pub(crate) fn execute(logs: &Path, name: &str, mut command: Command) -> Result<Ran> {
    fs::create_dir_all(logs).with_context(|| format!("make {}", logs.display()))?;
    let log = logs.join(format!("{}.log", name.replace([' ', '/'], "-")));
    let mut file = File::create(&log).with_context(|| format!("make {}", log.display()))?;
    let (reader, writer) = std::io::pipe().context("make a pipe")?;
    let second = writer.try_clone().context("duplicate a pipe")?;
    command.stdin(Stdio::null()).stdout(writer).stderr(second);
    let mut child = command
        .spawn()
        .with_context(|| format!("start {command:?}"))?;
    // Our copies of the writing ends must close, or the output never ends.
    drop(command);
    let copy = thread::spawn(move || -> Result<String> {
        let mut output = String::new();
        let mut shown = Instant::now();
        let begun = shown;
        for line in BufReader::new(reader).split(b'\n') {
            let line = line.context("read the output")?;
            let line = String::from_utf8_lossy(&line);
            writeln!(file, "{line}").context("write the log")?;
            output.push_str(&line);
            output.push('\n');
            if shown.elapsed() >= PROGRESS_INTERVAL && !line.trim().is_empty() {
                shown = Instant::now();
                let cut: String = line.trim().chars().take(90).collect();
                eprintln!("        {:4} s  {cut}", begun.elapsed().as_secs());
            }
        }
        Ok(output)
    });
    let status = child.wait().context("wait for a step")?;
    let output = copy
        .join()
        .map_err(|_| anyhow::anyhow!("the output could not be read"))??;
    Ok(Ran {
        status,
        output,
        log,
    })
}
