//! `cargo xtask`: build, run, test and measure kvorum with one command each.

mod bench;
mod browser;
mod fuzz;
mod packages;
mod product;
mod run;
mod sim;
mod step;
mod suite;
mod tally;
mod ui;

use std::process::ExitCode;

use anyhow::{Result, bail};

use product::Repo;

const USAGE: &str = "\
usage: cargo xtask TASK [ARGUMENTS]

  run     build everything and start a member with data under target/run
            --port N      client port (2379); metrics and console take N+2 and N+3
            --fresh       forget the data of earlier runs
  test    everything that must hold, with one line per step and a summary
            --only WORD   the steps whose name contains WORD
  build   the console and the server, optimised
  ui      the console alone
  tidy    the house rules alone
  fuzz    every fuzz target for a while; names the input that crashes one, and how to see it again
            TARGET ...    these alone
            --seconds N   for each target (20)
            --replay FILE one input of one target
  sim     whole clusters under every fault, in virtual time; a failing seed prints the command that replays it
            --seeds N     so many (200)
            --from SEED   from this one on (1)
            --seed SEED   this one alone; with --story it tells what happened
            --ops N       client calls of each (10,000)
            --profile P   swarm, calm, disks, partitions, pauses, members, duplicates (swarm)
            --mutant M    with this bug built in
            --keep-going  go on after a failing seed
  bench   the load generator; arguments are passed on (--help shows them)";

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let task = words.next().unwrap_or_default();
    match perform(&task, words.collect()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(task: &str, arguments: Vec<String>) -> Result<ExitCode> {
    let repo = Repo::find()?;
    if !matches!(task, "run" | "test" | "bench" | "fuzz" | "sim") && !arguments.is_empty() {
        bail!("{task} takes no arguments, but got {arguments:?}\n\n{USAGE}");
    }
    match task {
        "run" => run::run(&repo, run::Options::parse(&arguments)?),
        "test" => suite::run(&repo, &arguments),
        "bench" => bench::run(&repo, &arguments),
        "sim" => sim::run(&repo, &arguments),
        "fuzz" => fuzz::run(&repo, &arguments),
        "build" => product::build(&repo).map(|()| ExitCode::SUCCESS),
        "ui" => ui::build(repo.path()).map(|()| ExitCode::SUCCESS),
        "tidy" => suite::tidy(&repo),
        "" | "help" | "--help" | "-h" => {
            eprintln!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        other => bail!("unknown task {other:?}\n\n{USAGE}"),
    }
}
