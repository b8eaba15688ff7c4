//! What the binary does beside running a member: members, snapshots, recovery, checks.

mod access;
mod admin;
mod ca;
mod cert;
mod client;
mod doctor;
mod figures;
mod join;
mod legible;
mod member;
mod moment;
mod recover;
mod snapshot;
mod tls_words;
mod token;
mod verify;

pub(crate) use doctor::user;

use std::fmt::Display;
use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command};

use crate::exit::Exit;

/// One of them.
pub(crate) type Tool = fn(&ArgMatches) -> Exit;

/// Their subcommands, and what carries them out.
pub(crate) fn all() -> Vec<(Command, Tool)> {
    vec![
        (snapshot::command(), snapshot::run as Tool),
        (recover::command(), recover::run),
        (verify::command(), verify::run),
        (member::command(), member::run),
        (token::command(), token::run),
        (join::command(), join::run),
        (join::rejoin_command(), join::run_again),
        (cert::command(), cert::run),
        (ca::command(), ca::run),
        (admin::command(), admin::run),
        (doctor::command(), doctor::run),
    ]
}

/// Writes to standard output. A reader that hangs up early has seen enough; that is no failure.
fn print(text: &str) -> Exit {
    let _ = io::stdout().write_all(text.as_bytes());
    Exit::Stopped
}

/// Runs what asks others until it is done.
///
/// # Errors
/// It failed, or the system gives no runtime.
fn wait_for<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.map_err(|e| e.to_string())?.block_on(work)
}

/// Says why something was not done.
fn failed(error: &dyn Display) -> Exit {
    eprintln!("kvorum: {error}");
    Exit::ToolFailed
}

fn path(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .value_name(value)
        .help(help)
        .value_parser(clap::value_parser!(PathBuf))
}

fn text(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).help(help)
}

fn path_of(matches: &ArgMatches, name: &str) -> PathBuf {
    matches.get_one(name).cloned().unwrap_or_default()
}

fn text_of(matches: &ArgMatches, name: &str) -> String {
    matches.get_one(name).cloned().unwrap_or_default()
}
