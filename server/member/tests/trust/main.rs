//! Members whose cluster has a certificate authority of its own, in this process, over real sockets: who joins, how
//! certificates are renewed, how the root is changed, and who is sent away.
#![allow(clippy::print_stdout, reason = "figures are told in the test's output")]

mod evicted;
mod host;
mod joining;
mod renewing;
mod restored;
mod rotating;
