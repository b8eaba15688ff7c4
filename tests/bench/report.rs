//! The table: on the terminal, and as markdown for the README.

use std::fmt::Write as _;

use crate::{
    floors,
    side_by_side::Series,
    summary::{Better, LOST, Ratio, Summary},
    workload::{Row, Through},
};

/// A client that uses this much of its core may be what limits the rate.
const CLIENT_BOUND_CORES: f64 = 0.9;

/// What a report says about the run itself.
#[derive(Clone, Debug)]
pub(crate) struct About {
    /// One name with version per server; two of them are compared.
    pub(crate) servers: Vec<String>,
    pub(crate) command: String,
    pub(crate) machine: String,
    /// Of each cluster.
    pub(crate) members: usize,
    /// Clients spoke TLS.
    pub(crate) is_secure: bool,
    pub(crate) rounds: u32,
    /// Measured in each round; `None` when no rate was.
    pub(crate) seconds: Option<f64>,
    pub(crate) keys: u64,
    pub(crate) value_bytes: usize,
}

/// A table of text, first line its heads.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) lines: Vec<Vec<String>>,
}

impl Table {
    /// For the terminal: columns padded, the first one left, others right.
    pub(crate) fn plain(&self) -> String {
        let columns = self.lines.first().map_or(0, Vec::len);
        let width = |at: usize| {
            self.lines
                .iter()
                .filter_map(|line| line.get(at))
                .map(|cell| cell.chars().count())
                .max()
        };
        let widths: Vec<_> = (0..columns).map(|at| width(at).unwrap_or(0)).collect();
        let mut out = String::new();
        for line in &self.lines {
            for (at, (cell, width)) in line.iter().zip(&widths).enumerate() {
                let gap = if at == 0 { "" } else { "  " };
                let _ = match at {
                    0 => write!(out, "{cell:<width$}"),
                    _ => write!(out, "{gap}{cell:>width$}"),
                };
            }
            out.push('\n');
        }
        out
    }

    pub(crate) fn markdown(&self) -> String {
        let mut out = String::new();
        for (at, line) in self.lines.iter().enumerate() {
            let cells: Vec<_> = line.iter().map(|cell| emphasized(cell)).collect();
            let _ = writeln!(out, "| {} |", cells.join(" | "));
            if at == 0 {
                let rule = std::iter::once("---").chain(line.iter().skip(1).map(|_| "--:"));
                let _ = writeln!(out, "|{}|", rule.collect::<Vec<_>>().join("|"));
            }
        }
        out
    }
}

fn emphasized(cell: &str) -> String {
    if cell.ends_with(LOST) {
        format!("**{cell}**")
    } else {
        cell.to_owned()
    }
}

/// A table of one or two servers.
pub(crate) fn table(series: &[Series]) -> Table {
    let two = series.first().is_some_and(|series| series.cells.len() == 2);
    let heads: &[&str] = if two {
        &[
            "load, clients x connections",
            "etcd/s",
            "kvorum/s",
            "rate",
            "p50 ms",
            "p99 ms",
            "p99.9 ms",
            "CPU µs",
            "written B",
            "RSS MiB",
            "remarks",
        ]
    } else {
        &[
            "load, clients x connections",
            "rate/s",
            "p50 ms",
            "p99 ms",
            "p99.9 ms",
            "CPU µs",
            "written B",
            "RSS MiB",
            "client CPU µs",
            "remarks",
        ]
    };
    let mut lines = vec![heads.iter().map(|head| (*head).to_owned()).collect()];
    for series in series {
        let summaries: Vec<_> = series
            .cells
            .iter()
            .map(|cells| Summary::of(cells))
            .collect();
        lines.push(match &summaries[..] {
            [etcd, kvorum] => compared(series.row, etcd, kvorum),
            [only] => alone(series.row, only),
            _ => vec![name(series.row)],
        });
    }
    Table { lines }
}

fn name(row: Row) -> String {
    let whom = match row.through {
        Through::Alone => "",
        Through::Leader => ", leader",
        Through::All => ", all members",
    };
    format!(
        "{} {} x {}{whom}",
        row.workload, row.clients, row.connections
    )
}

fn compared(row: Row, etcd: &Summary, kvorum: &Summary) -> Vec<String> {
    let rate = Ratio::new(etcd.per_second, kvorum.per_second, Better::Higher);
    let pair = |etcd: f64, kvorum: f64| {
        let ratio = Ratio::new(etcd, kvorum, Better::Lower);
        format!("{} : {} = {ratio}", figure(etcd), figure(kvorum))
    };
    let costs = etcd.server.zip(kvorum.server);
    let cost = |read: fn(&crate::measure::ServerCost) -> f64| match &costs {
        Some((etcd, kvorum)) => pair(read(etcd), read(kvorum)),
        None => "-".to_owned(),
    };
    vec![
        name(row),
        figure(etcd.per_second),
        figure(kvorum.per_second),
        rate.to_string(),
        pair(etcd.p50_us / 1e3, kvorum.p50_us / 1e3),
        pair(etcd.p99_us / 1e3, kvorum.p99_us / 1e3),
        pair(etcd.p999_us / 1e3, kvorum.p999_us / 1e3),
        cost(|cost| cost.cpu_us),
        cost(|cost| cost.written_bytes),
        cost(|cost| cost.resident_mib),
        remarks(row, etcd, kvorum).join("; "),
    ]
}

fn alone(row: Row, only: &Summary) -> Vec<String> {
    let cost = |read: fn(&crate::measure::ServerCost) -> f64| match &only.server {
        Some(server) => figure(read(server)),
        None => "-".to_owned(),
    };
    let mut remarks = Vec::new();
    remarks.extend((only.errors > 0).then(|| format!("{} ERRORS", only.errors)));
    remarks.extend((only.client_cores > CLIENT_BOUND_CORES).then(|| "client-bound".to_owned()));
    vec![
        name(row),
        figure(only.per_second),
        figure(only.p50_us / 1e3),
        figure(only.p99_us / 1e3),
        figure(only.p999_us / 1e3),
        cost(|cost| cost.cpu_us),
        cost(|cost| cost.written_bytes),
        cost(|cost| cost.resident_mib),
        figure(only.client_cpu_us),
        remarks.join("; "),
    ]
}

/// What a row falls short of, and what to know when reading it.
fn remarks(row: Row, etcd: &Summary, kvorum: &Summary) -> Vec<String> {
    let mut remarks = Vec::new();
    for (side, summary) in [("etcd", etcd), ("kvorum", kvorum)] {
        remarks.extend((summary.errors > 0).then(|| format!("{side}: {} ERRORS", summary.errors)));
    }
    if kvorum.client_cores > CLIENT_BOUND_CORES {
        remarks.push("client-bound, kvorum could be faster".to_owned());
    }
    let rate = Ratio::new(etcd.per_second, kvorum.per_second, Better::Higher).value;
    if let (Some(rate), Some(floor)) = (rate, floors::rate(row))
        && rate < floor
    {
        remarks.push(format!(
            "rate {:.0} % below floor {floor}x",
            (1.0 - rate / floor) * 100.0
        ));
    }
    let p99 = Ratio::new(etcd.p99_us, kvorum.p99_us, Better::Lower).value;
    if let Some(p99) = p99
        && p99 > floors::p99(row)
    {
        remarks.push(format!("p99 above {}x", floors::p99(row)));
    }
    if let (Some((etcd, kvorum)), Some(limit)) = (etcd.server.zip(kvorum.server), floors::cpu(row))
    {
        let cpu = Ratio::new(etcd.cpu_us, kvorum.cpu_us, Better::Lower).value;
        remarks.extend(
            cpu.filter(|cpu| *cpu > limit)
                .map(|_| "CPU above a third".to_owned()),
        );
    }
    remarks
}

/// Three digits or so, thousands as k.
pub(crate) fn figure(value: f64) -> String {
    match value {
        value if value >= 99_950.0 => format!("{:.0}k", value / 1000.0),
        value if value >= 9_995.0 => format!("{:.1}k", value / 1000.0),
        value if value >= 99.95 => format!("{value:.0}"),
        value if value >= 9.995 => format!("{value:.1}"),
        0.0 => "0".to_owned(),
        value => format!("{value:.2}"),
    }
}

/// How to read the table, and what produced it.
pub(crate) fn preamble(about: &About) -> Vec<String> {
    let mut lines = vec![
        format!("Command: `{}`", about.command),
        format!("Machine: {}", about.machine),
        format!(
            "Servers: {}; {}{}all durable, same disk, one under load at a time",
            about.servers.join(", "),
            match about.members {
                1 => String::new(),
                members => format!("clusters of {members} members on loopback, plain TCP; "),
            },
            match about.is_secure {
                true => "clients by TLS 1.3, with certificates on both sides; ",
                false => "",
            }
        ),
        format!(
            "{} keys of 36 B loaded, values of {} B",
            about.keys, about.value_bytes
        ),
        match about.seconds {
            Some(seconds) => format!("Medians of {} rounds of {seconds} s each", about.rounds),
            None => format!("Medians of {} rounds", about.rounds),
        },
    ];
    if about
        .servers
        .iter()
        .any(|server| server.starts_with("etcd 3.4"))
    {
        lines.push(
            "etcd 3.4 reads several times slower than 3.5 and 3.6 after a burst of writes: no claim \
             should rest on it alone"
                .to_owned(),
        );
    }
    if about.servers.len() == 2 {
        lines.push("LOST: kvorum is behind etcd in this figure".to_owned());
    }
    if about.servers.len() == 2 && about.seconds.is_some() {
        lines.push(
            "Rows alternate between the servers. Pairs are etcd : kvorum = kvorum/etcd; higher is \
             better for the rate, lower for all else. CPU and bytes written are the server's per \
             operation, for watch per event delivered. RSS is taken at the end of each row, when \
             the faster server holds more revisions"
                .to_owned(),
        );
    }
    lines
}

/// Every cell, for a spreadsheet.
pub(crate) fn csv(series: &[Series], servers: &[String]) -> String {
    let mut out = String::from(
        "workload,through,clients,connections,server,round,per_second,p50_us,p99_us,p999_us,cpu_us,\
         written_bytes,resident_mib,client_cpu_us,client_cores,errors\n",
    );
    for series in series {
        let row = series.row;
        for (server, cells) in servers.iter().zip(&series.cells) {
            for (round, cell) in (1..).zip(cells) {
                let cost = cell.server.unwrap_or_default();
                let _ = writeln!(
                    out,
                    "{},{:?},{},{},{server},{round},{:.1},{:.1},{:.1},{:.1},{:.3},{:.1},{:.1},{:.3},{:.3},{}",
                    row.workload,
                    row.through,
                    row.clients,
                    row.connections,
                    cell.per_second,
                    cell.p50_us,
                    cell.p99_us,
                    cell.p999_us,
                    cost.cpu_us,
                    cost.written_bytes,
                    cost.resident_mib,
                    cell.client_cpu_us,
                    cell.client_cores,
                    cell.errors
                );
            }
        }
    }
    out
}

#[cfg(test)]
mod tests;
