//! Memory, disk and recovery with many keys: load them, look, kill -9, start again, look again.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::{
    args::Args,
    measure,
    report::{Table, figure},
    server::{Installed, Server, wait_until_idle},
    side_by_side::WorkDir,
    summary::{Better, Ratio, median},
    usage::{Memory, disk_mib},
    workload::Workload,
};

/// How long background work after loading or recovery is waited for.
const REST_MAX: Duration = Duration::from_secs(60);

/// One figure of one server in one round.
type Figures = [f64; NAMES.len()];

const NAMES: [&str; 8] = [
    "load, keys/s",
    "RSS after load, MiB",
    "of it anonymous, MiB",
    "disk after load, MiB",
    "kill -9 to first read, s",
    "RSS at first read, MiB",
    "RSS after restart, at rest, MiB",
    "of it anonymous, MiB",
];
/// Only the load rate is better when higher.
const FIRST_LOWER_BETTER: usize = 1;

/// All rounds on all programs, as a table of medians.
pub(crate) fn run(args: &Args, programs: &[Installed]) -> Result<Table> {
    let mut figures: Vec<Vec<Figures>> = vec![Vec::new(); programs.len()];
    let work_dir = WorkDir::new(args)?;
    for round in 1..=args.rounds {
        for (installed, figures) in programs.iter().zip(&mut figures) {
            let folder = work_dir.path.join(format!("{round}-{}", installed.brand));
            let found = one(
                args,
                Server::start(installed.clone(), &folder, 1, args.tls)?,
            )?;
            let brand = installed.brand;
            for (name, value) in NAMES.iter().zip(found) {
                eprintln!(
                    "round {round} of {}: {brand}: {name}: {}",
                    args.rounds,
                    figure(value)
                );
            }
            figures.push(found);
        }
        work_dir.clear()?;
    }
    Ok(table(programs, &figures))
}

fn one(args: &Args, mut server: Server) -> Result<Figures> {
    let dial = server.dial();
    let rate = measure::fill(&dial, args.plan(Workload::Put))?;
    rest(&server)?;
    let loaded = Memory::of(server.first_pid())?;
    let disk = disk_mib(&server.data_dir())?;
    let recovery = server.kill_and_restart()?;
    let first = Memory::of(server.first_pid())?;
    let keys = measure::count(&dial)?;
    ensure!(
        keys == args.key_count(),
        "{keys} keys after restart instead of {}",
        args.key_count()
    );
    rest(&server)?;
    let rested = Memory::of(server.first_pid())?;
    Ok([
        rate,
        loaded.resident_mib,
        loaded.anonymous_mib,
        disk,
        recovery.as_secs_f64(),
        first.resident_mib,
        rested.resident_mib,
        rested.anonymous_mib,
    ])
}

fn rest(server: &Server) -> Result<()> {
    if !wait_until_idle(&[server.first_pid()], REST_MAX)? {
        eprintln!(
            "{} is still busy after {} s",
            server.installed.brand,
            REST_MAX.as_secs()
        );
    }
    Ok(())
}

fn table(programs: &[Installed], figures: &[Vec<Figures>]) -> Table {
    let mut head = vec!["figure".to_owned()];
    head.extend(programs.iter().map(|installed| installed.brand.to_string()));
    if programs.len() == 2 {
        head.push("ratio".to_owned());
    }
    let mut lines = vec![head];
    for (at, name) in NAMES.iter().enumerate() {
        let medians: Vec<_> = figures
            .iter()
            .map(|rounds| median(rounds.iter().map(|figures| figures[at])))
            .collect();
        let mut line = vec![(*name).to_owned()];
        line.extend(medians.iter().map(|value| figure(*value)));
        if let [etcd, kvorum] = medians[..] {
            let better = if at < FIRST_LOWER_BETTER {
                Better::Higher
            } else {
                Better::Lower
            };
            line.push(Ratio::new(etcd, kvorum, better).to_string());
        }
        lines.push(line);
    }
    Table { lines }
}
