//! kvorum beside a real etcd: generated stories of requests, right and wrong, over real gRPC, and every answer of one
//! compared with the other's field by field.
//!
//! The reference is `$KVORUM_TEST_ETCD`, else the installed etcd (Debian 12 has 3.4). What may differ stands in
//! `differences.rs` and `stream_differences.rs`, each entry with its reason; what is not compared literally, in
//! `rules.rs`. Any other difference fails the run and is told as the shortest story that still shows it.
//!
//! `KVORUM_TEST_DIFF_REQUESTS` says how many requests each side gets, `KVORUM_TEST_DIFF_SEED` where to begin,
//! `KVORUM_TEST_DIFF_PAIRS` how many pairs of servers run at a time. With `KVORUM_TEST_DIFF_HASH=1` the hashes of both
//! stores are compared after every step, to find the step after which they differ.
#![allow(
    clippy::print_stdout,
    reason = "what was compared is told in the test's output"
)]

mod differences;
mod messages;
mod mutate;
mod odd;
mod odd_differences;
mod old_differences;
mod pair;
mod play;
mod play_streams;
mod renewals;
mod rules;
mod shrink;
mod step;
mod story;
mod stream_differences;
mod suite;
mod ties;
mod watching;
mod wire;
