//! `cargo xtask bench`: builds server and load generator, then hands over to the load generator.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::packages::{self, FOR_TESTS};
use crate::product::Repo;

/// Never returns but with an error, or the generator's exit code where it could not be replaced.
pub(crate) fn run(repo: &Repo, arguments: &[String]) -> Result<ExitCode> {
    let etcd: Vec<_> = FOR_TESTS
        .iter()
        .copied()
        .filter(|needed| needed.program == "etcd")
        .collect();
    packages::provide(&etcd);
    eprintln!("bench: building server and load generator");
    let build = [
        "build",
        "--release",
        "-p",
        "kvorum",
        "-p",
        "kvorum-tests",
        "--bins",
    ];
    let status = repo.cargo(&build).status().context("start cargo")?;
    if !status.success() {
        bail!("the load generator does not build ({status})");
    }
    let error = Command::new(repo.program("kvorum-bench")?)
        .args(arguments)
        .exec();
    Err(error).context("start kvorum-bench")
}
