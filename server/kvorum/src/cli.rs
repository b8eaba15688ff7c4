//! The command line: which subcommand, and which flags, all as typed.

use std::io::{self, Write as _};

use clap::{Arg, ArgMatches, Command};
use clap_complete::{Shell, generate};

use kvorum_v3rpc::SERVER_VERSION;

use crate::config::{CONFIG, KEYS};
use crate::exit::Exit;
use crate::tools::{self, Tool};

/// What was asked for.
#[derive(Debug)]
pub(crate) enum Request {
    /// Run a member with these flags.
    Serve(Vec<(&'static str, String)>),
    /// Print the version.
    Version,
    /// Print the completions of a shell.
    Completions(Shell),
    /// Do something else than running a member.
    Tool(Tool, ArgMatches),
}

const EXIT_CODES: &str = "\
Every setting is also a variable (KVORUM_DATA_DIR) and a key of the file (data-dir); two of them that \
disagree are an error.

Exit codes:
  0  stopped when asked to
  1  stopped because the disk failed; of doctor: something is not as it should be
  2  a flag, a variable or the configuration file cannot be used
  3  the data directory cannot be opened
  4  an address cannot be bound
  5  the operating system refuses a thread or a signal handler
  6  the cluster has removed this member
  7  another command failed or found damage
A panic, which is a bug, ends the process with SIGABRT.";

/// Reads the command line; prints help or the error and ends the process where clap says so.
pub(crate) fn parse() -> Request {
    let matches = command().get_matches();
    match matches.subcommand() {
        Some(("version", _)) => Request::Version,
        Some(("completions", matches)) => {
            Request::Completions(matches.get_one("shell").copied().unwrap_or(Shell::Bash))
        }
        Some((name, matches)) => match tools::all().into_iter().find(|t| t.0.get_name() == name) {
            Some((_, tool)) => Request::Tool(tool, matches.clone()),
            None => Request::Serve(flags(matches)),
        },
        None => Request::Serve(flags(&matches)),
    }
}

/// Writes what this is to standard output.
pub(crate) fn print_version() -> Exit {
    print(&format!(
        "kvorum {} (API of etcd {SERVER_VERSION})\n",
        env!("CARGO_PKG_VERSION")
    ))
}

/// Writes the completions of a shell to standard output.
pub(crate) fn print_completions(shell: Shell) -> Exit {
    let mut script = Vec::new();
    generate(shell, &mut command(), "kvorum", &mut script);
    print(&String::from_utf8_lossy(&script))
}

/// A reader that hangs up early has seen enough; that is no failure.
fn print(text: &str) -> Exit {
    let _ = io::stdout().write_all(text.as_bytes());
    Exit::Stopped
}

fn command() -> Command {
    let serve = Command::new("serve")
        .about("Run a member (the default)")
        .after_help(EXIT_CODES);
    let shell = Arg::new("shell")
        .required(true)
        .value_parser(clap::value_parser!(Shell));
    with_flags(Command::new("kvorum"))
        .about("A key-value store with etcd's v3 API in one static binary")
        .version(env!("CARGO_PKG_VERSION"))
        .args_conflicts_with_subcommands(true)
        .subcommand(with_flags(serve))
        .subcommand(Command::new("version").about("Print the version"))
        .subcommand(
            Command::new("completions")
                .about("Print shell completions")
                .arg(shell),
        )
        .subcommands(tools::all().into_iter().map(|tool| tool.0))
        .after_help(EXIT_CODES)
}

/// Adds every setting.
pub(crate) fn with_flags(command: Command) -> Command {
    let args = [&CONFIG].into_iter().chain(KEYS).map(|key| {
        let help = match key.default {
            Some(default) => format!("{} [default: {default}]", key.help),
            None => key.help.to_owned(),
        };
        Arg::new(key.name)
            .long(key.name)
            .value_name(key.value)
            .help(help)
            .allow_hyphen_values(true)
    });
    command.args(args)
}

/// The settings that were typed.
pub(crate) fn flags(matches: &ArgMatches) -> Vec<(&'static str, String)> {
    [&CONFIG]
        .into_iter()
        .chain(KEYS)
        .filter_map(|key| Some((key.name, matches.get_one::<String>(key.name)?.clone())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        command().debug_assert();
    }

    #[test]
    fn serve_is_the_default_and_takes_the_same_flags() {
        for words in [
            vec!["kvorum", "--name", "a"],
            vec!["kvorum", "serve", "--name=a"],
        ] {
            let matches = command().try_get_matches_from(words).expect("parses");
            let matches = matches.subcommand().map_or(&matches, |(_, inner)| inner);
            assert_eq!(flags(matches), [("name", "a".to_owned())]);
        }
    }

    #[test]
    fn an_unknown_flag_is_refused_with_the_nearest_one() {
        let error = command()
            .try_get_matches_from(["kvorum", "--data-dri", "x"])
            .expect_err("unknown");
        assert!(error.to_string().contains("--data-dir"), "{error}");
    }
}
