//! `cargo xtask fuzz`: builds the targets of `tests/fuzz` with coverage and runs each in libFuzzer for a while.

mod engine;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::packages::{self, Needed};
use crate::product::Repo;
use engine::{Ended, Run};

/// Long enough to see that a target works; nothing is found in so little time that an earlier run would not have found.
const USUAL: Duration = Duration::from_secs(20);

const USAGE: &str = "use [--seconds N] [TARGET ...], or TARGET --replay FILE";

/// What tells libFuzzer which ways an input took. As cargo-fuzz sets it, but with the stable toolchain.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    time: Duration,
    targets: Vec<String>,
    replay: Option<PathBuf>,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = Self {
            time: USUAL,
            targets: Vec::new(),
            replay: None,
        };
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--seconds" => {
                    let text = words.next().context("--seconds needs a number")?;
                    let seconds = text.parse().ok().filter(|seconds| *seconds > 0);
                    let seconds = seconds.with_context(|| format!("--seconds {text:?}"))?;
                    options.time = Duration::from_secs(seconds);
                }
                "--replay" => {
                    let file = words.next().context("--replay needs a file")?;
                    options.replay = Some(file.into());
                }
                flag if flag.starts_with('-') => bail!("unknown argument {flag:?}: {USAGE}"),
                target => options.targets.push(target.to_owned()),
            }
        }
        if options.replay.is_some() && options.targets.len() != 1 {
            bail!("--replay goes with one target: {USAGE}");
        }
        Ok(options)
    }
}

/// Runs the targets named, or all; fails if one of them crashes.
pub(crate) fn run(repo: &Repo, arguments: &[String]) -> Result<ExitCode> {
    let options = Options::parse(arguments)?;
    let program = build(repo)?;
    let known = targets(&program)?;
    let unknown = |name: &&String| known.iter().all(|target| target.name != **name);
    if let Some(unknown) = options.targets.iter().find(unknown) {
        let names: Vec<&str> = known.iter().map(|target| target.name.as_str()).collect();
        bail!(
            "there is no target {unknown:?}: there are {}",
            names.join(", ")
        );
    }
    if let (Some(file), [target]) = (&options.replay, options.targets.as_slice()) {
        return replay(&program, target, file);
    }
    let chosen: Vec<&Target> = known
        .iter()
        .filter(|target| options.targets.is_empty() || options.targets.contains(&target.name))
        .collect();
    let mut crashed = 0;
    for target in &chosen {
        let run = Run {
            program: &program,
            target: &target.name,
            input_bytes_max: target.input_bytes_max,
            folder: folder(repo),
            time: options.time,
        };
        let ended = run.to_the_end()?;
        report(&target.name, &ended);
        crashed += usize::from(ended.crashed());
    }
    eprintln!("fuzz: {} targets, {crashed} crashed", chosen.len());
    Ok(if crashed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn folder(repo: &Repo) -> PathBuf {
    repo.target("fuzz")
}

/// The program with all targets, in a build folder of its own: its flags would make cargo compile everything anew.
fn build(repo: &Repo) -> Result<PathBuf> {
    packages::provide(&[Needed {
        program: "g++",
        package: "g++",
    }]);
    eprintln!("fuzz: building with coverage; the first time takes some minutes");
    let mut cargo = repo.cargo(&["build", "--profile", "fuzz", "-p", "kvorum-fuzz"]);
    cargo
        .args(["--features", "libfuzzer", "--bin", "kvorum-fuzz"])
        .args([
            "--message-format",
            "json-render-diagnostics",
            "--target-dir",
        ])
        .arg(folder(repo))
        // Also keeps away the flags that link the product statically: libFuzzer brings C++.
        .env("RUSTFLAGS", COVERAGE)
        .stderr(std::process::Stdio::inherit());
    let output = cargo.output().context("start cargo")?;
    if !output.status.success() {
        bail!("the fuzz targets do not build ({})", output.status);
    }
    let printed = String::from_utf8_lossy(&output.stdout);
    executable(&printed).context("cargo built the fuzz targets, but does not say where")
}

/// Where cargo put the program, from what it prints for machines.
fn executable(printed: &str) -> Option<PathBuf> {
    let mut paths = printed.lines().filter_map(|line| {
        let (_, rest) = line.split_once("\"executable\":\"")?;
        let (path, _) = rest.split_once('"')?;
        Some(PathBuf::from(path))
    });
    paths.next_back()
}

/// A target, as the program lists it.
#[derive(Debug)]
struct Target {
    name: String,
    input_bytes_max: u64,
}

/// All targets, from the program itself.
fn targets(program: &Path) -> Result<Vec<Target>> {
    let output = Command::new(program)
        .env("KVORUM_TEST_FUZZ_TARGET", "list")
        .output()
        .with_context(|| format!("start {}", program.display()))?;
    let printed = String::from_utf8_lossy(&output.stdout);
    let lines = printed
        .lines()
        .filter_map(|line| line.strip_prefix("target "));
    let targets: Option<Vec<Target>> = lines
        .map(|line| {
            let (name, bytes) = line.split_once(' ')?;
            Some(Target {
                name: name.to_owned(),
                input_bytes_max: bytes.parse().ok()?,
            })
        })
        .collect();
    targets
        .filter(|targets| !targets.is_empty())
        .with_context(|| format!("{} lists no targets", program.display()))
}

fn replay(program: &Path, target: &str, file: &Path) -> Result<ExitCode> {
    let status = Command::new(program)
        .env("KVORUM_TEST_FUZZ_TARGET", target)
        .env("RUST_BACKTRACE", "1")
        .arg(file)
        .status()
        .with_context(|| format!("start {}", program.display()))?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// One line per target on standard output; what went wrong, and how to see it again, below it.
#[expect(
    clippy::print_stdout,
    reason = "the figures are what this program is run for"
)]
fn report(target: &str, ended: &Ended) {
    let Ended {
        executions,
        coverage,
        corpus,
        peak_mib,
        first_mib,
        last_mib,
        seconds,
        ..
    } = ended;
    let verdict = if ended.crashed() { "CRASHED" } else { "ok" };
    println!(
        "{target}: {verdict}, {executions} executions in {seconds} s, coverage {coverage}, corpus {corpus}, \
         RSS {first_mib} MiB at the start, {last_mib} MiB at the end, {peak_mib} MiB at most"
    );
    if ended.crashed() {
        for file in &ended.inputs {
            println!(
                "  input: {}\n  again: cargo xtask fuzz {target} --replay {}",
                file.display(),
                file.display()
            );
        }
        println!("  all of it: {}", ended.log.display());
        let log = fs::read_to_string(&ended.log).unwrap_or_default();
        for line in log.lines().filter(|line| engine::tells_why(line)) {
            println!("  {line}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Options> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        Options::parse(&words)
    }

    #[test]
    fn targets_and_their_time_are_read() {
        let options = parse(&["--seconds", "5", "one", "two"]).expect("is fine");
        assert_eq!(options.time, Duration::from_secs(5));
        assert_eq!(options.targets, ["one", "two"]);
        assert_eq!(parse(&[]).expect("is fine").time, USUAL);
        let replay = parse(&["one", "--replay", "file"]).expect("is fine");
        assert_eq!(replay.replay, Some("file".into()));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (words, part) in [
            (vec!["--seconds"], "needs a number"),
            (vec!["--seconds", "0"], "\"0\""),
            (vec!["--second", "1"], "--second"),
            (vec!["--replay", "file"], "one target"),
        ] {
            let error = parse(&words).expect_err("is refused").to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn the_program_is_found_in_what_cargo_prints() {
        let printed = "{\"reason\":\"compiler-artifact\",\"executable\":null}\n\
                       {\"reason\":\"compiler-artifact\",\"executable\":\"/x/kvorum-fuzz\",\"fresh\":true}\n\
                       {\"reason\":\"build-finished\",\"success\":true}";
        assert_eq!(executable(printed), Some("/x/kvorum-fuzz".into()));
    }
}
