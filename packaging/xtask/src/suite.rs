//! `cargo xtask test`: everything that must hold, in order, with one line per step and one summary line.

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Result, bail};

use crate::browser;
use crate::packages::{self, FOR_TESTS};
use crate::product::{self, Repo};
use crate::step::{self, Ran};
use crate::tally::{self, Tally};
use crate::ui;

/// Server crates and tests; the console is compiled for the browser and this program is running, so both stand apart.
/// Every step names the same set: another one would give shared dependencies other features, and compile them again.
const SERVER: [&str; 7] = [
    "--workspace",
    "--exclude",
    "kvorum-ui",
    "--exclude",
    "kvorum-sim",
    "--exclude",
    "xtask",
];

/// How a step ended.
pub(crate) enum Outcome {
    /// It ran; these are its counts.
    Counted(Tally),
    /// It ran and something is wrong: what to show.
    Failed(Tally, String),
    /// It could not run: why.
    Skipped(String),
}

struct Step {
    name: &'static str,
    run: fn(&Suite<'_>) -> Result<Outcome>,
}

const STEPS: &[Step] = &[
    Step {
        name: "format",
        run: format,
    },
    Step {
        name: "console",
        run: console,
    },
    Step {
        name: "clippy",
        run: clippy,
    },
    Step {
        name: "server",
        run: server,
    },
    Step {
        name: "static",
        run: statically_linked,
    },
    Step {
        name: "tidy",
        run: tidy_step,
    },
    Step {
        name: "unit",
        run: unit,
    },
    Step {
        name: "unit-xtask",
        run: unit_xtask,
    },
    Step {
        name: "unit-console",
        run: unit_console,
    },
    Step {
        name: "processes",
        run: processes,
    },
    Step {
        name: "differential",
        run: differential,
    },
    Step {
        name: "simulator",
        run: crate::sim::step,
    },
    Step {
        name: "browser",
        run: browser,
    },
    Step {
        name: "login",
        run: browser::login,
    },
    Step {
        name: "authority",
        run: browser::authority,
    },
];

/// What every step needs.
pub(crate) struct Suite<'a> {
    /// The working tree.
    pub(crate) repo: &'a Repo,
    logs: PathBuf,
}

impl<'a> Suite<'a> {
    fn new(repo: &'a Repo) -> Self {
        Self {
            repo,
            logs: repo.target("xtask-logs"),
        }
    }

    /// Runs a command to its end and keeps what it prints.
    pub(crate) fn execute(&self, name: &str, command: Command) -> Result<Ran> {
        step::execute(&self.logs, name, command)
    }

    /// A command that is one check.
    fn check(&self, name: &str, command: Command) -> Result<Outcome> {
        let ran = self.execute(name, command)?;
        if ran.status.success() {
            return Ok(Outcome::Counted(Tally::PASSED));
        }
        Ok(Outcome::Failed(Tally::FAILED, explain(&ran)))
    }

    /// A run of `cargo test` with counts of its own.
    /// `packages` and `targets` choose what is built and run, `harness` which of its tests.
    fn cargo_test(
        &self,
        name: &str,
        packages: &[&str],
        targets: &[&str],
        harness: &[&str],
    ) -> Result<Outcome> {
        let mut cargo = self.repo.cargo(&["test", "--release", "--no-fail-fast"]);
        cargo
            .args(packages)
            .args(targets)
            .args(["--", "--show-output"])
            .args(harness);
        let ran = self.execute(name, cargo)?;
        for line in tally::skip_lines(&ran.output) {
            eprintln!("        {line}");
        }
        let mut tally = Tally::of_cargo_test(&ran.output);
        if ran.status.success() && tally.failed == 0 {
            if tally == Tally::default() {
                return Ok(Outcome::Failed(Tally::FAILED, "no test ran".to_owned()));
            }
            return Ok(Outcome::Counted(tally));
        }
        // What does not compile, or dies, has no result line.
        tally.failed = tally.failed.max(1);
        Ok(Outcome::Failed(tally, explain(&ran)))
    }
}

/// Runs all steps, or those whose name contains a word.
pub(crate) fn run(repo: &Repo, arguments: &[String]) -> Result<ExitCode> {
    let only = match arguments {
        [] => "",
        [flag, word] if flag == "--only" => word.as_str(),
        _ => bail!("unknown arguments {arguments:?}: use --only WORD"),
    };
    let steps: Vec<&Step> = STEPS
        .iter()
        .filter(|step| step.name.contains(only))
        .collect();
    if steps.is_empty() {
        let names: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
        bail!("no step is called {only:?}: there are {}", names.join(", "));
    }
    packages::provide(FOR_TESTS);
    let suite = Suite::new(repo);
    let begun = Instant::now();
    let mut total = Tally::default();
    for (at, step) in steps.iter().enumerate() {
        eprintln!("[{:2}/{}] {} …", at + 1, steps.len(), step.name);
        total += perform(&suite, step);
    }
    eprintln!("{} s", begun.elapsed().as_secs());
    summary(total);
    Ok(if total.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The one line on standard output.
#[expect(
    clippy::print_stdout,
    reason = "the summary is what this program is run for"
)]
fn summary(total: Tally) {
    println!("{total}");
}

fn perform(suite: &Suite<'_>, step: &Step) -> Tally {
    let begun = Instant::now();
    let outcome = (step.run)(suite)
        .unwrap_or_else(|error| Outcome::Failed(Tally::FAILED, format!("{error:#}")));
    let seconds = begun.elapsed().as_secs();
    let name = step.name;
    match outcome {
        Outcome::Counted(tally) => {
            eprintln!("        {name}: ok, {tally} ({seconds} s)");
            tally
        }
        Outcome::Failed(tally, reason) => {
            eprintln!("{reason}\n        {name}: FAILED, {tally} ({seconds} s)");
            tally
        }
        Outcome::Skipped(reason) => {
            eprintln!("        SKIP {name}: {reason}");
            Tally::SKIPPED
        }
    }
}

/// What went wrong, as the command told it.
pub(crate) fn explain(ran: &Ran) -> String {
    format!(
        "{}\n        ended with {}; all of it: {}",
        ran.tail(),
        ran.status,
        ran.log.display()
    )
}

fn format(suite: &Suite<'_>) -> Result<Outcome> {
    suite.check("format", suite.repo.cargo(&["fmt", "--all", "--check"]))
}

fn console(suite: &Suite<'_>) -> Result<Outcome> {
    ui::build(suite.repo.path())?;
    Ok(Outcome::Counted(Tally::PASSED))
}

fn clippy(suite: &Suite<'_>) -> Result<Outcome> {
    let words = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ];
    suite.check("clippy", suite.repo.cargo(&words))
}

fn server(suite: &Suite<'_>) -> Result<Outcome> {
    let mut cargo = suite
        .repo
        .cargo(&["build", "--release", "--bins", "--tests"]);
    cargo.args(SERVER);
    suite.check("server", cargo)
}

fn statically_linked(suite: &Suite<'_>) -> Result<Outcome> {
    product::linkage(&suite.repo.program("kvorum")?)?;
    Ok(Outcome::Counted(Tally::PASSED))
}

/// The house rules alone, for `cargo xtask tidy`.
pub(crate) fn tidy(repo: &Repo) -> Result<ExitCode> {
    let tally = perform(
        &Suite::new(repo),
        &Step {
            name: "tidy",
            run: tidy_step,
        },
    );
    Ok(if tally.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn tidy_step(suite: &Suite<'_>) -> Result<Outcome> {
    suite.cargo_test("tidy", &SERVER, &["--lib"], &["tidy::"])
}

fn unit(suite: &Suite<'_>) -> Result<Outcome> {
    let targets = [
        "--lib", "--bins", "--test", "cli", "--test", "wire", "--test", "model",
    ];
    suite.cargo_test("unit", &SERVER, &targets, &["--skip", "tidy::"])
}

fn unit_xtask(suite: &Suite<'_>) -> Result<Outcome> {
    suite.cargo_test("unit-xtask", &["-p", "xtask"], &[], &[])
}

fn unit_console(suite: &Suite<'_>) -> Result<Outcome> {
    suite.cargo_test("unit-console", &["-p", "kvorum-ui"], &[], &[])
}

fn processes(suite: &Suite<'_>) -> Result<Outcome> {
    suite.cargo_test("processes", &SERVER, &["--test", "it"], &[])
}

fn differential(suite: &Suite<'_>) -> Result<Outcome> {
    suite.cargo_test("differential", &SERVER, &["--test", "differential"], &[])
}

fn browser(suite: &Suite<'_>) -> Result<Outcome> {
    browser::tour(suite)
}
