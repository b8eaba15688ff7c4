//! `cargo xtask sim`: builds the simulator with its assertions and the bugs that it has to find, and runs seeds.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::product::Repo;
use crate::suite::{Outcome, Suite, explain};
use crate::tally::Tally;

/// What every change is tried with.
const USUAL: [&str; 4] = ["--seeds", "200", "--ops", "10000"];

/// Never returns but with an error, or the simulator's exit code where it could not be replaced.
pub(crate) fn run(repo: &Repo, arguments: &[String]) -> Result<ExitCode> {
    eprintln!("sim: building the simulator; the first time takes some minutes");
    let status = build(repo).status().context("start cargo")?;
    if !status.success() {
        bail!("the simulator does not build ({status})");
    }
    let error = Command::new(program()?).args(arguments).exec();
    Err(error).context("start kvorum-sim")
}

/// A profile of its own: panics that a run survives, and bugs that no other build has.
fn build(repo: &Repo) -> Command {
    repo.cargo(&[
        "build",
        "--profile",
        "sim",
        "-p",
        "kvorum-sim",
        "--bin",
        "kvorum-sim",
    ])
}

/// Where cargo puts it: beside the directory of this program.
fn program() -> Result<PathBuf> {
    let own = std::env::current_exe().context("the path of this program")?;
    let target = own.parent().and_then(|dir| dir.parent());
    let path = target
        .context("a program lies in a directory")?
        .join("sim/kvorum-sim");
    if !path.exists() {
        bail!("{} was built, but is not there", path.display());
    }
    Ok(path)
}

/// Equal runs of equal seeds, the built-in bugs, the regressions by name; then the usual seeds.
pub(crate) fn step(suite: &Suite<'_>) -> Result<Outcome> {
    let mut tests = suite
        .repo
        .cargo(&["test", "--profile", "sim", "-p", "kvorum-sim"]);
    tests.args(["--no-fail-fast", "--", "--show-output"]);
    let ran = suite.execute("simulator", tests)?;
    let mut tally = Tally::of_cargo_test(&ran.output);
    if !ran.status.success() || tally.failed > 0 || tally == Tally::default() {
        tally.failed = tally.failed.max(1);
        return Ok(Outcome::Failed(tally, explain(&ran)));
    }
    let built = suite.execute("simulator-build", build(suite.repo))?;
    if !built.status.success() {
        return Ok(Outcome::Failed(Tally::FAILED, explain(&built)));
    }
    let mut seeds = Command::new(program()?);
    seeds.args(USUAL);
    let ran = suite.execute("simulator-seeds", seeds)?;
    if !ran.status.success() {
        tally += Tally::FAILED;
        return Ok(Outcome::Failed(tally, explain(&ran)));
    }
    eprintln!("{}", ran.tail());
    tally += Tally::PASSED;
    Ok(Outcome::Counted(tally))
}
