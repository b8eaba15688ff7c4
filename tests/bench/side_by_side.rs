//! The alternation: every row on one server, then on the other, round after round.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};

use crate::{
    args::Args,
    measure::{self, Cell, Target},
    server::{Brand, Installed, Server, wait_until_idle},
    workload::{Row, Workload},
};

/// How long background work of an earlier cell is waited for.
const REST_MAX: Duration = Duration::from_secs(3);

/// All cells of one row: per server, per round.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) row: Row,
    pub(crate) cells: Vec<Vec<Cell>>,
}

/// The folder of one run, removed with it.
pub(crate) struct WorkDir {
    pub(crate) path: PathBuf,
    keep: bool,
}

impl WorkDir {
    pub(crate) fn new(args: &Args) -> Result<Self> {
        let path = args.work_dir.join(format!("run-{}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
        Ok(Self {
            path,
            keep: args.keep,
        })
    }

    /// Gives back the room of a round that is over.
    pub(crate) fn clear(&self) -> Result<()> {
        if self.keep {
            return Ok(());
        }
        fs::remove_dir_all(&self.path).context("remove the servers' data")
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        if self.keep {
            eprintln!("kept: {}", self.path.display());
        } else if self.path.exists()
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            eprintln!("cannot remove {}: {error}", self.path.display());
        }
    }
}

/// The programs to measure.
pub(crate) fn installed(args: &Args) -> Result<Vec<Installed>> {
    let mut all = Vec::new();
    if args.alone.as_deref() != Some("kvorum") {
        all.push(Installed::find(Brand::Etcd, args.etcd.clone())?);
    }
    if args.alone.as_deref() != Some("etcd") {
        all.push(Installed::find(Brand::Kvorum, args.kvorum_program()?)?);
    }
    Ok(all)
}

/// Runs every row on every program, alternating.
pub(crate) fn run(args: &Args, programs: &[Installed]) -> Result<Vec<Series>> {
    let mut table: Vec<_> = args
        .rows()
        .into_iter()
        .map(|row| Series {
            row,
            cells: vec![Vec::new(); programs.len()],
        })
        .collect();
    let work_dir = WorkDir::new(args)?;
    for round in 1..=args.rounds {
        let mut servers = Vec::new();
        for installed in programs {
            let folder = work_dir.path.join(format!("{round}-{}", installed.brand));
            let server = Server::start(installed.clone(), &folder, args.members, args.tls)?;
            let rate = measure::fill(&server.leader()?, args.plan(Workload::Put))?;
            let (brand, keys) = (installed.brand, args.key_count());
            eprintln!(
                "round {round} of {}: {brand} loaded {keys} keys at {rate:.0}/s",
                args.rounds
            );
            servers.push(server);
        }
        let pids: Vec<_> = servers.iter().flat_map(Server::pids).collect();
        for series in &mut table {
            for (at, server) in servers.iter_mut().enumerate() {
                wait_until_idle(&pids, REST_MAX)?;
                let cell = measured(args, server, series.row, round)?;
                series.cells[at].push(cell);
            }
        }
        drop(servers);
        work_dir.clear()?;
    }
    Ok(table)
}

fn measured(args: &Args, server: &mut Server, row: Row, round: u32) -> Result<Cell> {
    // Leadership may have moved since the last row.
    let cell = server
        .target(row.through)
        .and_then(|target| one(args, &target, row));
    server.expect_alive()?;
    let brand = server.installed.brand;
    Ok(told(
        &format!("round {round} of {}: {brand}", args.rounds),
        row,
        cell,
    ))
}

fn one(args: &Args, target: &Target, row: Row) -> Result<Cell> {
    measure::measure(
        target,
        row,
        args.plan(row.workload),
        args.putters,
        args.spans(),
    )
}

/// Prints progress; a cell that could not be measured becomes one with only an error.
fn told(place: &str, row: Row, cell: Result<Cell>) -> Cell {
    let cell = cell.unwrap_or_else(|error| Cell {
        errors: 1,
        error_texts: vec![format!("{error:#}")],
        ..Cell::default()
    });
    let Row {
        workload, clients, ..
    } = row;
    let unit = workload.unit();
    eprintln!(
        "{place}: {workload} {clients}: {:.0} {unit}/s, p99 {:.2} ms, server CPU {:.1} µs, client \
         CPU {:.2} µs ({:.0} % of a core)",
        cell.per_second,
        cell.p99_us / 1000.0,
        cell.server.unwrap_or_default().cpu_us,
        cell.client_cpu_us,
        cell.client_cores * 100.0
    );
    for text in &cell.error_texts {
        eprintln!(
            "{place}: {workload} {clients}: {} errors: {text}",
            cell.errors
        );
    }
    cell
}

/// Runs every row on a server that is already there.
pub(crate) fn run_endpoint(args: &Args, target: Target) -> Result<Vec<Series>> {
    let dial = target.dials.first().context("an address")?;
    let rate = measure::fill(dial, args.plan(Workload::Put))?;
    eprintln!("loaded {} keys at {rate:.0}/s", args.key_count());
    let mut table = Vec::new();
    for row in args.rows() {
        let mut cells = Vec::new();
        for round in 1..=args.rounds {
            wait_until_idle(&target.pids, REST_MAX)?;
            let place = format!("round {round} of {}", args.rounds);
            cells.push(told(&place, row, one(args, &target, row)));
        }
        table.push(Series {
            row,
            cells: vec![cells],
        });
    }
    Ok(table)
}
