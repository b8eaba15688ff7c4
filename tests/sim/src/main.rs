//! `kvorum-sim`: many seeds on all processors, or one with its story.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use kvorum_sim::{Figures, Mutant, Order, Profile, run};

const USAGE: &str = "\
use [--seeds N] [--from SEED] [--seed SEED] [--ops N] [--profile NAME] [--mutant NAME] [--jobs N] [--story]";

#[derive(Debug)]
struct Options {
    from: u64,
    seeds: u64,
    ops: u64,
    profile: Profile,
    mutant: Option<Mutant>,
    jobs: usize,
    story: bool,
    keep_going: bool,
}

fn number(words: &mut impl Iterator<Item = String>, flag: &str) -> Result<u64> {
    let word = words
        .next()
        .with_context(|| format!("{flag} needs a number"))?;
    word.replace('_', "")
        .parse()
        .with_context(|| format!("{flag} needs a number, not {word:?}"))
}

impl Options {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self {
            from: 1,
            seeds: 200,
            ops: 10_000,
            profile: Profile::Swarm,
            mutant: None,
            jobs: thread::available_parallelism().map_or(1, usize::from),
            story: false,
            keep_going: false,
        };
        while let Some(word) = words.next() {
            match word.as_str() {
                "--seeds" => options.seeds = number(&mut words, "--seeds")?,
                "--from" => options.from = number(&mut words, "--from")?,
                "--seed" => {
                    options.from = number(&mut words, "--seed")?;
                    options.seeds = 1;
                }
                "--ops" => options.ops = number(&mut words, "--ops")?,
                "--jobs" => options.jobs = usize::try_from(number(&mut words, "--jobs")?)?.max(1),
                "--profile" => {
                    let name = words.next().unwrap_or_default();
                    options.profile = Profile::named(&name)
                        .with_context(|| format!("there is no profile {name:?}"))?;
                }
                "--mutant" => {
                    let name = words.next().unwrap_or_default();
                    let found = Mutant::ALL.iter().find(|m| m.name() == name);
                    options.mutant =
                        Some(*found.with_context(|| format!("there is no mutant {name:?}"))?);
                }
                "--story" => options.story = true,
                "--keep-going" => options.keep_going = true,
                _ => bail!("unknown argument {word:?}: {USAGE}"),
            }
        }
        Ok(options)
    }

    /// The command that plays one seed of these alone.
    fn again(&self, seed: u64) -> String {
        let mut words = format!("cargo xtask sim --seed {seed} --ops {}", self.ops);
        if self.profile != Profile::Swarm {
            words += &format!(" --profile {}", self.profile.name());
        }
        if let Some(mutant) = self.mutant {
            words += &format!(" --mutant {}", mutant.name());
        }
        words + " --story"
    }
}

/// All seeds; true if none failed.
#[expect(
    clippy::print_stdout,
    reason = "the figures are what this program is run for"
)]
fn run_all(options: &Options) -> bool {
    let begun = Instant::now();
    let next = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    let sum: Mutex<(Figures, Vec<u64>)> = Mutex::default();
    let work = || {
        while !stop.load(Ordering::Relaxed) {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= options.seeds {
                return;
            }
            let seed = options.from + at;
            let order = Order {
                seed,
                ops: options.ops,
                profile: options.profile,
                mutant: options.mutant,
            };
            let ended = run(order, options.story);
            let Ok(mut sum) = sum.lock() else { return };
            sum.0.add(&ended.figures);
            if let Some(violation) = &ended.violation {
                println!("seed {seed}: {violation}\n  again: {}", options.again(seed));
                sum.1.push(seed);
                if !options.keep_going {
                    stop.store(true, Ordering::Relaxed);
                }
            } else if options.seeds == 1 {
                println!("seed {seed}: trace {:016x}", ended.hash);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..options
            .jobs
            .min(usize::try_from(options.seeds).unwrap_or(1))
        {
            scope.spawn(work);
        }
    });
    let Ok((figures, failed)) = sum.into_inner() else {
        return false;
    };
    println!(
        "{figures}\n{} violations, {} s",
        failed.len(),
        begun.elapsed().as_secs()
    );
    failed.is_empty()
}

fn main() -> ExitCode {
    match Options::parse(std::env::args().skip(1)) {
        Ok(options) if run_all(&options) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("kvorum-sim: {error:#}");
            ExitCode::from(2)
        }
    }
}
