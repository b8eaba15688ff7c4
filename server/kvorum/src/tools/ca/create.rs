//! `kvorum ca create`: an authority for a cluster that has run without one.

use clap::{ArgMatches, Command};

use super::super::failed;
use crate::cli;
use crate::config::{self, Settings};
use crate::exit::Exit;
use crate::{owner, pki};

pub(super) const CREATE: &str = "create";

/// How it is typed.
pub(super) fn command() -> Command {
    let command = Command::new(CREATE)
        .about("Make an authority for a cluster that has run without certificates, on one of its members, while that is stopped")
        .after_help(
            "New clusters have an authority from their first start on, and need no such command. Run it on one member \
             only, with the settings that it will run with: https:// beside http:// in --listen-peer-urls, as long as the \
             others speak plain text. README, \"From plain text to TLS\", has all the steps.",
        );
    cli::with_flags(command)
}

/// Does it.
pub(super) fn run(matches: &ArgMatches) -> Result<String, Exit> {
    let settings = match config::read(cli::flags(matches), std::env::vars_os()) {
        Ok(settings) => settings,
        Err(problems) => {
            problems.iter().for_each(|problem| {
                failed(problem);
            });
            return Err(Exit::BadSettings);
        }
    };
    made(&settings).map_err(|reason| failed(&reason))
}

fn made(settings: &Settings) -> Result<String, String> {
    owner::check(&settings.data_dir, "ca create ...")?;
    let domain = pki::create(settings)?;
    let pki = settings.data_dir.join(pki::PKI);
    Ok(format!(
        "made the authority of trust domain {domain} and this member's certificates in {}\n\nstart this member with the \
         same settings; then, for each other member, here: kvorum token create --role rejoin --member ID\n",
        pki.display()
    ))
}
