//! What the operating system says of this process, under the names that Go's client library gives it.

use std::{collections::HashMap, fs};

use prometheus::{
    core::{Collector, Desc},
    proto::{Counter, Gauge, Metric, MetricFamily, MetricType},
};
use rustix::{
    param::{clock_ticks_per_second, page_size},
    process::{Resource, getrlimit},
};

/// Name, help, and whether it only grows.
const FAMILIES: [(&str, &str, bool); 11] = [
    ("os_fd_limit", "Files this process may have open.", false),
    ("os_fd_used", "Files this process has open.", false),
    (
        "process_cpu_seconds_total",
        "Processor time this process has used, seconds.",
        true,
    ),
    (
        "process_max_fds",
        "Files this process may have open.",
        false,
    ),
    (
        "process_network_receive_bytes_total",
        "Bytes received in this network namespace.",
        true,
    ),
    (
        "process_network_transmit_bytes_total",
        "Bytes sent in this network namespace.",
        true,
    ),
    ("process_open_fds", "Files this process has open.", false),
    (
        "process_resident_memory_bytes",
        "Memory of this process that is in RAM.",
        false,
    ),
    (
        "process_start_time_seconds",
        "When this process started, seconds since 1970.",
        false,
    ),
    (
        "process_virtual_memory_bytes",
        "Addresses this process has in use, bytes.",
        false,
    ),
    (
        "process_virtual_memory_max_bytes",
        "Addresses this process may use, bytes.",
        false,
    ),
];

/// Files this process may have open.
pub(crate) fn file_limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Memory of this process that is in RAM, if the system tells.
pub(crate) fn resident_bytes() -> Option<u64> {
    let stat = stat()?;
    field(&stat, 24).map(|pages: u64| pages * page_size() as u64)
}

/// The line of the process table, from its third field on.
fn stat() -> Option<String> {
    let line = fs::read_to_string("/proc/self/stat").ok()?;
    // The name before stands in parentheses and may hold anything.
    line.rsplit_once(')').map(|(_, rest)| rest.to_owned())
}

/// A field of that line by its number in proc(5).
fn field<T: std::str::FromStr>(stat: &str, number: usize) -> Option<T> {
    stat.split_whitespace().nth(number - 3)?.parse().ok()
}

/// When the system started, seconds since 1970.
fn booted_s() -> Option<f64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("btime "))?;
    line.trim().parse().ok()
}

/// Bytes received and sent.
fn network_bytes() -> Option<(f64, f64)> {
    let text = fs::read_to_string("/proc/self/net/netstat").ok()?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("IpExt:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let values: HashMap<_, _> = names
        .split_whitespace()
        .zip(values.split_whitespace())
        .collect();
    let of = |name| values.get(name)?.parse().ok();
    Some((of("InOctets")?, of("OutOctets")?))
}

/// Values in the order of `FAMILIES`; what the system does not tell is left out.
fn values() -> [Option<f64>; FAMILIES.len()] {
    let stat = stat().unwrap_or_default();
    let ticks = clock_ticks_per_second() as f64;
    let seconds = |number| field::<f64>(&stat, number).map(|value| value / ticks);
    let open = fs::read_dir("/proc/self/fd").ok();
    // One of them is the directory that is being read.
    let open = open.map(|entries| entries.count().saturating_sub(1) as f64);
    let limit = Some(file_limit() as f64);
    let (received, sent) = network_bytes().unzip();
    let addresses_max = getrlimit(Resource::As).current.unwrap_or(u64::MAX);
    let started = || Some(booted_s()? + seconds(22)?);
    [
        limit,
        open,
        seconds(14)
            .zip(seconds(15))
            .map(|(user, system)| user + system),
        limit,
        received,
        sent,
        open,
        field::<f64>(&stat, 24).map(|pages| pages * page_size() as f64),
        started(),
        field(&stat, 23),
        Some(addresses_max as f64),
    ]
}

/// Looks when somebody scrapes.
pub(crate) struct ProcessCollector(Vec<Desc>);

impl ProcessCollector {
    pub(crate) fn new() -> Self {
        let described = FAMILIES.iter().map(|(name, help, _)| {
            Desc::new((*name).into(), (*help).into(), Vec::new(), HashMap::new())
                .expect("names in the table are valid")
        });
        Self(described.collect())
    }
}

impl Collector for ProcessCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.0.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let told = FAMILIES.iter().zip(values());
        told.filter_map(|((name, help, grows), value)| {
            let mut metric = Metric::default();
            let mut family = MetricFamily::default();
            if *grows {
                let mut counter = Counter::default();
                counter.set_value(value?);
                metric.set_counter(counter);
                family.set_field_type(MetricType::COUNTER);
            } else {
                let mut gauge = Gauge::default();
                gauge.set_value(value?);
                metric.set_gauge(gauge);
                family.set_field_type(MetricType::GAUGE);
            }
            family.set_name((*name).into());
            family.set_help((*help).into());
            family.set_metric(vec![metric]);
            Some(family)
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_tells_everything_of_this_process() {
        let families = ProcessCollector::new().collect();
        assert_eq!(families.len(), FAMILIES.len());
        let value = |name: &str| {
            let family = families.iter().find(|family| family.name() == name);
            let metric = &family.expect(name).get_metric()[0];
            metric.get_gauge().get_value() + metric.get_counter().get_value()
        };
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_max_fds") >= value("os_fd_used"));
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_virtual_memory_bytes") > value("process_resident_memory_bytes"));
        let now = std::time::SystemTime::now();
        let now = now.duration_since(std::time::UNIX_EPOCH).expect("later");
        let age_s = now.as_secs_f64() - value("process_start_time_seconds");
        assert!((-2.0..3600.0).contains(&age_s), "{age_s}");
    }

    #[test]
    fn a_name_with_parentheses_and_blanks_does_not_shift_the_fields() {
        let line = "7 (a) b) c) S 1 2 3 4 5 6 7 8 9 10 140 150 0 0 20 0 1 0 99 4096 3";
        let rest = line.rsplit_once(')').expect("a name").1;
        assert_eq!(field(rest, 14), Some(140));
        assert_eq!(field(rest, 22), Some(99));
        assert_eq!(field(rest, 24), Some(3));
    }
}
