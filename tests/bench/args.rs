//! The command line.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;

use crate::{
    measure::Spans,
    unary::Plan,
    usage::Pid,
    workload::{self, Row, Through, Workload},
};

/// Puts load on an etcd v3 server, or on etcd and kvorum side by side, and prints what it cost.
///
/// Without --endpoint the bench starts both servers itself, each with fresh data on the same disk, and
/// alternates between them: every row runs on etcd, then on kvorum, in each round; figures are medians.
#[derive(Debug, Parser)]
#[command(name = "kvorum-bench", version)]
pub(crate) struct Args {
    /// Measure this running server only: HOST:PORT, plain text, numeric address
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) endpoint: Option<SocketAddr>,
    /// With --endpoint: the server's process id, to read its CPU, memory and bytes written
    #[arg(long, requires = "endpoint")]
    pub(crate) pid: Option<u32>,
    /// The etcd to compare with
    #[arg(long, default_value = "etcd", value_name = "PATH")]
    pub(crate) etcd: PathBuf,
    /// The kvorum to measure [default: the one built beside this program]
    #[arg(long, value_name = "PATH")]
    pub(crate) kvorum: Option<PathBuf>,
    /// Measure only one of the two: etcd or kvorum
    #[arg(long, value_name = "NAME", conflicts_with = "endpoint")]
    pub(crate) alone: Option<String>,
    /// How often each row runs on each server
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: u32,
    /// Measured seconds per cell
    #[arg(long, default_value_t = 2.5)]
    pub(crate) seconds: f64,
    /// Seconds of load before the measured ones
    #[arg(long, default_value_t = 0.5)]
    pub(crate) warmup: f64,
    /// Keys loaded before measuring; with --footprint 1000000 unless given
    #[arg(long)]
    pub(crate) keys: Option<u64>,
    /// Size of a value
    #[arg(long, default_value_t = 256)]
    pub(crate) value_bytes: usize,
    /// Seed of keys and values
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Rows to run: put, get, sget, range100, range1000 (any number), txn, mix, watch, lease
    #[arg(long, value_delimiter = ',')]
    pub(crate) only: Vec<Workload>,
    /// Members of each cluster; with several, rows go to the leader, unless --via says otherwise
    #[arg(long, default_value_t = 1, conflicts_with_all = ["endpoint", "footprint"])]
    pub(crate) members: usize,
    /// Clients speak TLS 1.3 and show certificates, to both servers; members of a cluster go on in plain
    #[arg(long, conflicts_with = "endpoint")]
    pub(crate) tls: bool,
    /// With several members: whom clients talk to, leader or all; each row runs once for each that is named
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "WHOM",
        default_value = "leader"
    )]
    pub(crate) via: Vec<String>,
    /// Concurrent calls per row; for watch the number of watchers [default: 1,16,256,1000]
    #[arg(long, value_delimiter = ',')]
    pub(crate) clients: Vec<u32>,
    /// Connections per row [default: 1 to 16 clients, 16 for 256, 100 for 1000]
    #[arg(long)]
    pub(crate) connections: Option<u32>,
    /// Puts in flight in the watch rows
    #[arg(long, default_value_t = 16)]
    pub(crate) putters: u32,
    /// A short table: put, get, txn, watch at 16 and 256 clients, one round
    #[arg(long)]
    pub(crate) quick: bool,
    /// Memory, disk and recovery with many keys instead of the table
    #[arg(long, conflicts_with = "endpoint")]
    pub(crate) footprint: bool,
    /// Decode every reply a second time in full and compare; costs rate
    #[arg(long)]
    pub(crate) check: bool,
    /// Also write the table as markdown
    #[arg(long, value_name = "FILE")]
    pub(crate) markdown: Option<PathBuf>,
    /// Also write every single cell as comma-separated values
    #[arg(long, value_name = "FILE")]
    pub(crate) csv: Option<PathBuf>,
    /// Where the servers' data goes while they run
    #[arg(long, default_value = "target/bench", value_name = "FOLDER")]
    pub(crate) work_dir: PathBuf,
    /// Keep the servers' data and logs
    #[arg(long)]
    pub(crate) keep: bool,
}

impl Args {
    /// The command line, with the short table's settings in place.
    pub(crate) fn read() -> Result<Self> {
        let mut args = Self::parse();
        if args.quick {
            args.rounds = 1;
            args.seconds = args.seconds.min(2.0);
            if args.only.is_empty() {
                args.only = vec![Workload::Put, Workload::Get, Workload::Txn, Workload::Watch];
            }
            if args.clients.is_empty() {
                args.clients = vec![16, 256];
            }
        }
        args.check_values()?;
        Ok(args)
    }

    fn check_values(&self) -> Result<()> {
        ensure!(self.rounds > 0, "--rounds 0: at least 1");
        ensure!(
            self.seconds > 0.0 && self.seconds <= 3600.0,
            "--seconds: above 0, at most 3600"
        );
        ensure!((0.0..=3600.0).contains(&self.warmup), "--warmup: 0 to 3600");
        ensure!(
            (16..=15_000).contains(&self.value_bytes),
            "--value-bytes: 16 to 15000"
        );
        ensure!((1..=1000).contains(&self.putters), "--putters: 1 to 1000");
        ensure!(
            self.clients.iter().all(|clients| *clients > 0),
            "--clients 0: at least 1"
        );
        for row in self.rows() {
            ensure!(
                (1..=row.clients).contains(&row.connections),
                "--connections {}: 1 to the {} clients of a row",
                row.connections,
                row.clients
            );
            if let Workload::Range(keys) = row.workload {
                ensure!(
                    keys < self.key_count(),
                    "{} needs more than {keys} --keys",
                    row.workload
                );
            }
        }
        let known = self
            .alone
            .as_deref()
            .is_none_or(|name| ["etcd", "kvorum"].contains(&name));
        ensure!(known, "--alone: etcd or kvorum");
        ensure!(
            [1, 3, 5, 7].contains(&self.members),
            "--members: 1, 3, 5 or 7"
        );
        let known = self
            .via
            .iter()
            .all(|whom| ["leader", "all"].contains(&&**whom));
        ensure!(known && !self.via.is_empty(), "--via: leader, all, or both");
        Ok(())
    }

    pub(crate) fn key_count(&self) -> u64 {
        self.keys
            .unwrap_or(if self.footprint { 1_000_000 } else { 100_000 })
    }

    /// The kvorum binary that was built together with this one.
    pub(crate) fn kvorum_program(&self) -> Result<PathBuf> {
        if let Some(path) = &self.kvorum {
            return Ok(path.clone());
        }
        let own = std::env::current_exe().context("find this program's own path")?;
        Ok(own.with_file_name("kvorum"))
    }

    pub(crate) fn rows(&self) -> Vec<Row> {
        let workloads = if self.only.is_empty() {
            &Workload::ALL[..]
        } else {
            &self.only
        };
        let mut rows = Vec::new();
        let through = self.through();
        for (workload, through) in workloads
            .iter()
            .flat_map(|workload| through.iter().map(move |through| (workload, *through)))
        {
            let clients = match &self.clients[..] {
                // A row that was asked for by name gets every client count.
                [] if self.only.is_empty() => workload.standard_clients(),
                [] => &[1, 16, 256, 1000],
                clients => clients,
            };
            rows.extend(clients.iter().map(|clients| {
                Row {
                    through,
                    workload: *workload,
                    clients: *clients,
                    connections: self
                        .connections
                        .unwrap_or_else(|| self.connections_of(through, *clients)),
                }
            }));
        }
        rows
    }

    fn through(&self) -> Vec<Through> {
        if self.members == 1 {
            return vec![Through::Alone];
        }
        let whom = self.via.iter().map(|whom| match whom.as_str() {
            "all" => Through::All,
            _ => Through::Leader,
        });
        whom.collect()
    }

    /// Who talks to all members has a connection to each, if there are clients enough.
    fn connections_of(&self, through: Through, clients: u32) -> u32 {
        let usual = workload::connections(clients);
        match through {
            Through::Alone | Through::Leader => usual,
            Through::All => usual
                .max(u32::try_from(self.members).unwrap_or(1))
                .min(clients),
        }
    }

    pub(crate) fn spans(&self) -> Spans {
        Spans {
            warm_up: Duration::from_secs_f64(self.warmup),
            measured: Duration::from_secs_f64(self.seconds),
        }
    }

    pub(crate) fn plan(&self, workload: Workload) -> Plan {
        Plan {
            workload,
            keys: self.key_count(),
            value_bytes: self.value_bytes,
            seed: self.seed,
            check: self.check,
            fill: false,
        }
    }

    pub(crate) fn server_pid(&self) -> Option<Pid> {
        self.pid.map(Pid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(line: &[&str]) -> Vec<Row> {
        let args = Args::try_parse_from([&["kvorum-bench"], line].concat()).expect("valid line");
        args.check_values().expect("valid values");
        args.rows()
    }

    #[test]
    fn filters_pick_rows_and_client_counts() {
        let names = |rows: Vec<Row>| {
            rows.iter()
                .map(|row| format!("{} {}", row.workload, row.clients))
                .collect::<Vec<_>>()
        };
        let picked = rows(&["--only", "put,get", "--clients", "1,16"]);
        assert_eq!(names(picked), ["put 1", "put 16", "get 1", "get 16"]);
        let by_name = rows(&["--only", "range1000"]);
        assert_eq!(by_name.len(), 4, "asked for by name: every client count");
        assert_eq!(rows(&[]).len(), 32);
        let three = [
            "--members",
            "3",
            "--via",
            "leader,all",
            "--only",
            "get",
            "--clients",
            "16",
        ];
        let shape: Vec<_> = rows(&three)
            .iter()
            .map(|row| (row.through, row.connections))
            .collect();
        assert_eq!(shape, [(Through::Leader, 1), (Through::All, 3)]);
        assert_eq!(
            rows(&["--connections", "1", "--clients", "256"])[0].connections,
            1
        );
    }

    #[test]
    fn values_outside_their_range_are_refused_with_the_flag() {
        for (line, flag) in [
            (["--rounds", "0"], "--rounds"),
            (["--clients", "0"], "--clients"),
            (["--value-bytes", "20000"], "--value-bytes"),
            (["--connections", "2"], "--connections"),
            (["--keys", "100"], "range100"),
            (["--members", "2"], "--members"),
            (["--via", "anyone"], "--via"),
        ] {
            let args =
                Args::try_parse_from([&["kvorum-bench"][..], &line].concat()).expect("parses");
            let error = args.check_values().expect_err("out of range").to_string();
            assert!(error.contains(flag), "{error}");
        }
    }
}
