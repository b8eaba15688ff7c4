//! `kvorum admin`: the way into the console for whoever owns this machine.

use clap::{ArgMatches, Command};
use kvorum_admin::local::{self, LocalError, LoginLink};

use super::access::data_dir;
use super::{failed, moment, path, print, text};
use crate::exit::Exit;

/// How it is typed.
pub(super) fn command() -> Command {
    let dir = || {
        path(
            "data-dir",
            "DIR",
            "Of the member that runs on this machine [default: $KVORUM_DATA_DIR or /var/lib/kvorum]",
        )
    };
    Command::new("admin")
        .about("Get into the console from the machine of a member, as its user or as root")
        .subcommand_required(true)
        .subcommand(
            Command::new("login-link")
                .about("Print a link that opens the console once, within 15 minutes")
                .arg(text(
                    "account",
                    "NAME",
                    "Set another password for this account; a new one if not given",
                ))
                .arg(dir()),
        )
        .subcommand(
            Command::new("reset")
                .about("Forget all accounts and sessions of the console, and print a link to begin anew")
                .arg(dir()),
        )
}

/// Does it.
pub(super) fn run(matches: &ArgMatches) -> Exit {
    let link = match matches.subcommand() {
        Some(("login-link", matches)) => {
            let account = matches.get_one::<String>("account").map(String::as_str);
            local::login_link(&data_dir(matches), account)
        }
        Some((_, matches)) => local::reset(&data_dir(matches)),
        None => return failed(&"say login-link or reset"),
    };
    told(link)
}

fn told(link: Result<LoginLink, LocalError>) -> Exit {
    match link {
        Ok(link) => print(&format!(
            "{}\nworks once, until {}\n",
            link.url,
            moment::shown(link.expires_unix_ms / 1000)
        )),
        Err(error) => failed(&error),
    }
}
