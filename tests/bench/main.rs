//! `kvorum-bench`: load on any etcd v3 endpoint, or on etcd and kvorum side by side.
#![allow(
    clippy::print_stdout,
    reason = "the table on the terminal is what this program is for"
)]

mod args;
mod certified;
mod check;
mod floors;
mod footprint;
mod http2;
mod keyspace;
mod lease;
mod measure;
mod reply;
mod report;
mod server;
mod side_by_side;
mod summary;
mod tally;
mod template;
mod unary;
mod usage;
mod watch;
mod workload;

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};

use crate::{
    args::Args,
    http2::Dial,
    measure::Target,
    report::{About, Table},
    server::Installed,
    side_by_side::Series,
};

fn main() -> Result<()> {
    let args = Args::read()?;
    if let Some(address) = args.endpoint {
        let target = Target {
            dials: vec![Dial::plain(address)],
            pids: args.server_pid().into_iter().collect(),
        };
        let series = side_by_side::run_endpoint(&args, target)?;
        return finish(&args, vec![format!("the server at {address}")], &series);
    }
    let programs = side_by_side::installed(&args)?;
    let servers = programs.iter().map(name).collect();
    if args.footprint {
        let table = footprint::run(&args, &programs)?;
        return show(&args, &about(&args, servers), &table);
    }
    let series = side_by_side::run(&args, &programs)?;
    finish(&args, servers, &series)
}

fn name(installed: &Installed) -> String {
    format!("{} {}", installed.brand, installed.version)
}

/// Prints and writes everything, and fails when any call failed.
fn finish(args: &Args, servers: Vec<String>, series: &[Series]) -> Result<()> {
    if let Some(path) = &args.csv {
        write(path, &report::csv(series, &servers))?;
    }
    show(args, &about(args, servers), &report::table(series))?;
    let cells = series
        .iter()
        .flat_map(|series| series.cells.iter().flatten());
    let errors: u64 = cells.map(|cell| cell.errors).sum();
    if errors > 0 {
        bail!("{errors} errors; they are told above and do not count as operations");
    }
    Ok(())
}

fn show(args: &Args, about: &About, table: &Table) -> Result<()> {
    let preamble = report::preamble(about);
    println!("{}\n\n{}", preamble.join("\n"), table.plain());
    if let Some(path) = &args.markdown {
        write(
            path,
            &format!("{}\n\n{}", preamble.join("\\\n"), table.markdown()),
        )?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

fn about(args: &Args, servers: Vec<String>) -> About {
    About {
        servers,
        members: args.members,
        is_secure: args.tls,
        command: command_line(),
        machine: machine(),
        rounds: args.rounds,
        seconds: (!args.footprint).then_some(args.seconds),
        keys: args.key_count(),
        value_bytes: args.value_bytes,
    }
}

/// The command as the repository's own task runner takes it.
fn command_line() -> String {
    let mut words = vec!["cargo xtask bench".to_owned()];
    words.extend(std::env::args().skip(1));
    words.join(" ")
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model
        .and_then(|rest| rest.split_once(": "))
        .map_or("unknown CPU", |found| found.1);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{cores} cores of {model}, Linux {}", kernel.trim())
}
