//! `kvorum verify`: whether the files of a member that is not running are whole.

use clap::{ArgMatches, Command};
use kvorum_member::offline::verify;

use super::{path, path_of, print};
use crate::exit::Exit;

/// How it is typed.
pub(super) fn command() -> Command {
    Command::new("verify")
        .about("Check every file of a member that is not running; nothing is changed")
        .after_help(
            "Ends with 0 if everything is whole, with 7 if something is damaged (each finding is a line that begins with \
             DAMAGED), with 3 if the directory cannot be looked at.",
        )
        .arg(path("data-dir", "DIR", "The files of the member").required(true))
}

/// Does it.
pub(super) fn run(matches: &ArgMatches) -> Exit {
    match verify(&path_of(matches, "data-dir")) {
        Ok(report) => {
            print(&report.to_string());
            match report.is_clean() {
                true => Exit::Stopped,
                false => Exit::ToolFailed,
            }
        }
        Err(error) => {
            eprintln!("kvorum: {error}");
            Exit::BadDataDir
        }
    }
}
