//! Real processes on loopback: the shipped server with real clients, beside a real etcd.
#![allow(
    clippy::print_stdout,
    reason = "figures and skipped suites are told in the test's output"
)]

mod auth;
mod bad_input;
mod both;
mod clients;
mod cluster;
mod compaction;
mod console;
mod damaged_state;
mod etcdctl;
mod full_disk;
mod gateway;
mod hash;
mod kill_nine;
mod limits;
mod log;
mod metrics;
mod offline;
mod quota;
mod rpc;
mod seed;
mod smaller_file;
mod snapshot;
mod start;
mod sync_trace;
mod trust;
mod watch_fanout;

/// A number from the environment, for runs longer or shorter than usual.
fn number_from_env(name: &str, usual: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name}={text} is not a number")),
        Err(_) => usual,
    }
}
