//! `kvorum-sim`: many seeds on all processors, or one with its story.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use kvorum_sim::{Ended, Figures, Mutant, Order, Profile, run};

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

    /// The seed at this place of all.
    fn order(&self, at: u64) -> Option<Order> {
        (at < self.seeds).then(|| Order {
            seed: self.from + at,
            ops: self.ops,
            profile: self.profile,
            mutant: self.mutant,
        })
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

/// What the thread of some seeds tells.
enum News {
    Ended(u64, Box<Ended>),
    /// It stays in this seed for ever.
    Lost(u64, String),
    /// No seed is left for it.
    Done,
}

/// Takes seeds until there is none.
struct Worker {
    options: Arc<Options>,
    next: Arc<AtomicU64>,
    news: mpsc::Sender<News>,
}

impl Worker {
    fn work(&self) {
        loop {
            let at = self.next.fetch_add(1, Ordering::Relaxed);
            let news = match self.options.order(at) {
                Some(order) => News::Ended(order.seed, Box::new(run(order, self.options.story))),
                None => News::Done,
            };
            let is_done = matches!(news, News::Done);
            if self.news.send(news).is_err() || is_done {
                return;
            }
        }
    }
}

/// What came of all seeds.
#[derive(Default)]
struct Sum {
    figures: Figures,
    failed: u64,
    lost: u64,
}

/// All seeds; true if none failed.
#[expect(
    clippy::print_stdout,
    reason = "the figures are what this program is run for"
)]
fn run_all(options: Options) -> bool {
    let begun = Instant::now();
    let options = Arc::new(options);
    let (news, told) = mpsc::channel();
    let lost = news.clone();
    kvorum_sim::on_lost(move |seed, place| {
        // Nobody listens any more: then nobody misses it.
        let _ = lost.send(News::Lost(seed, place.to_owned()));
    });
    let next = Arc::new(AtomicU64::new(0));
    let begin = || {
        let worker = Worker {
            options: options.clone(),
            next: next.clone(),
            news: news.clone(),
        };
        thread::spawn(move || worker.work());
    };
    let seeds = usize::try_from(options.seeds).unwrap_or(usize::MAX);
    let mut working = options.jobs.min(seeds);
    (0..working).for_each(|_| begin());
    let mut sum = Sum::default();
    while working > 0 {
        match told.recv() {
            Ok(News::Ended(seed, ended)) => {
                sum.take(&options, seed, &ended);
                if sum.failed > 0 && !options.keep_going {
                    next.store(u64::MAX / 2, Ordering::Relaxed);
                }
            }
            Ok(News::Lost(seed, place)) => {
                println!(
                    "seed {seed}: without a judgement: redb panics in a file with flipped bits ({place}), and again as \
                     that unwinds\n  again: {}",
                    options.again(seed)
                );
                sum.lost += 1;
                begin();
            }
            Ok(News::Done) => working -= 1,
            Err(_) => return false,
        }
    }
    println!("{}", sum.figures);
    if sum.lost > 0 {
        println!("{} seeds more ended without a judgement", sum.lost);
    }
    println!("{} violations, {} s", sum.failed, begun.elapsed().as_secs());
    sum.failed == 0
}

impl Sum {
    #[expect(
        clippy::print_stdout,
        reason = "a failure is told as soon as it is known"
    )]
    fn take(&mut self, options: &Options, seed: u64, ended: &Ended) {
        self.figures.add(&ended.figures);
        if let Some(violation) = &ended.violation {
            println!("seed {seed}: {violation}\n  again: {}", options.again(seed));
            self.failed += 1;
        } else if options.seeds == 1 {
            println!("seed {seed}: trace {:016x}", ended.hash);
        }
    }
}

fn main() -> ExitCode {
    match Options::parse(std::env::args().skip(1)) {
        Ok(options) => match run_all(options) {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        },
        Err(error) => {
            eprintln!("kvorum-sim: {error:#}");
            ExitCode::from(2)
        }
    }
}
