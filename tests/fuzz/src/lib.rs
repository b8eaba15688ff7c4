//! Fuzz targets: every place where bytes from outside become something else, with inputs to begin from.
//!
//! A target takes any bytes and must not panic, must not take memory that the bytes do not justify, and must keep the
//! promises it asserts. `cargo xtask fuzz` runs them in libFuzzer; the tests here run each on its seeds and on a fixed
//! number of mutations of them, so that a target that stops working shows in every run.
//!
//! The state store has no target: redb panics on pages that rotted, by design of its own, and libFuzzer finds that in
//! seconds. What the server does about a rotten state store is in its crate's tests.

// The core with a log and a state store around it, as the model's tests drive it.
#[path = "../../model/answer.rs"]
#[allow(
    dead_code,
    reason = "the comparison with the model is for its own tests"
)]
mod answer;
#[path = "../../model/disk.rs"]
mod disk;
#[path = "../../model/subject.rs"]
#[allow(dead_code, reason = "what only the model's tests ask for")]
mod subject;

mod disk_image;
mod gateway;
mod grpc_framing;
mod grpc_request;
mod input;
mod keys;
mod log_file;
#[cfg(test)]
mod mutate;
mod peer_frames;
mod pki;
mod snapshot_reader;
mod snapshot_sink;
#[cfg(test)]
mod tests;
mod watchers;

/// One thing to feed.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it feeds.
    pub about: &'static str,
    /// Takes one input.
    pub run: fn(&[u8]),
    /// Inputs that mean something, made when asked for.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Longest input worth trying, bytes.
    pub input_bytes_max: usize,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target {
        name: "grpc_request",
        about: "requests of every RPC: decoded, checked, applied, watched, read back after a restart",
        run: grpc_request::run,
        seeds: grpc_request::seeds,
        input_bytes_max: 4 << 10,
    },
    Target {
        name: "grpc_framing",
        about: "length prefixes, metadata, and the authority in a connection's first header block",
        run: grpc_framing::run,
        seeds: grpc_framing::seeds,
        input_bytes_max: 2 << 10,
    },
    Target {
        name: "log_file",
        about: "log segments that were cut, spliced and overwritten: refused, or a prefix",
        run: log_file::run,
        seeds: log_file::seeds,
        input_bytes_max: 1 << 10,
    },
    Target {
        name: "snapshot_reader",
        about: "snapshots of etcd that were damaged or forged: refused, or read to their end",
        run: snapshot_reader::run,
        seeds: snapshot_reader::seeds,
        input_bytes_max: 1 << 10,
    },
    Target {
        name: "snapshot_sink",
        about: "snapshots between members that were damaged or forged: refused, or installed and read",
        run: snapshot_sink::run,
        seeds: snapshot_sink::seeds,
        input_bytes_max: 1 << 10,
    },
    Target {
        name: "gateway",
        about: "bodies of the JSON gateway: read as messages, written again",
        run: gateway::run,
        seeds: gateway::seeds,
        input_bytes_max: 4 << 10,
    },
    Target {
        name: "peer_frames",
        about: "what a peer sends: frames however they are cut, and every message in them",
        run: peer_frames::run,
        seeds: peer_frames::seeds,
        input_bytes_max: 2 << 10,
    },
    Target {
        name: "keys",
        about: "base64 of addresses and bodies",
        run: keys::run,
        seeds: keys::seeds,
        input_bytes_max: 512,
    },
    Target {
        name: "pki",
        about: "tokens, requests, chains, keys and sealed secrets that were damaged or forged: refused",
        run: pki::run,
        seeds: pki::seeds,
        input_bytes_max: 4 << 10,
    },
];

/// The target of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
