//! The command line: which subcommand, and which flags, all as typed.

use std::ffi::OsString;
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
    let matches = command().get_matches_from(with_equals(std::env::args_os()));
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

/// `--switch true` in the one word that it is read as; any other word behind a switch is its own.
fn with_equals(words: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let is_switch = |word: &OsString| {
        let name = word.to_str().and_then(|word| word.strip_prefix("--"));
        KEYS.iter()
            .any(|key| key.is_switch() && Some(key.name) == name)
    };
    let mut all: Vec<OsString> = Vec::new();
    for word in words {
        match all.last_mut() {
            Some(switch) if (word == "true" || word == "false") && is_switch(switch) => {
                switch.push("=");
                switch.push(word);
            }
            _ => all.push(word),
        }
    }
    all
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
        let arg = Arg::new(key.name)
            .long(key.name)
            .value_name(key.value)
            .help(help);
        match key.is_switch() {
            // Alone it says true, as etcd's flags do, whatever word follows.
            true => arg
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true"),
            false => arg.allow_hyphen_values(true),
        }
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
    fn a_switch_alone_says_true_and_takes_nothing_of_what_follows() {
        for (words, said) in [
            (vec!["kvorum", "--peer-allow-plain", "--name", "a"], "true"),
            (vec!["kvorum", "--name", "a", "--peer-allow-plain"], "true"),
            (
                vec!["kvorum", "--peer-allow-plain=false", "--name", "a"],
                "false",
            ),
            (
                vec!["kvorum", "--peer-allow-plain", "false", "--name", "a"],
                "false",
            ),
        ] {
            let read = with_equals(words.iter().map(OsString::from));
            let matches = command().try_get_matches_from(read).expect("parses");
            let expected = [
                ("name", "a".to_owned()),
                ("peer-allow-plain", said.to_owned()),
            ];
            assert_eq!(flags(&matches), expected, "{words:?}");
        }
    }

    #[test]
    fn a_switch_leaves_a_token_and_a_subcommand_alone() {
        let words = ["kvorum", "join", "--auto-promote", "kv1.x"];
        let read = with_equals(words.iter().map(OsString::from));
        let matches = command().try_get_matches_from(read).expect("parses");
        let (_, join) = matches.subcommand().expect("join");
        assert_eq!(
            join.get_one::<String>("token").map(String::as_str),
            Some("kv1.x")
        );
        assert_eq!(flags(join), [("auto-promote", "true".to_owned())]);
    }

    #[test]
    fn an_unknown_flag_is_refused_with_the_nearest_one() {
        let error = command()
            .try_get_matches_from(["kvorum", "--data-dri", "x"])
            .expect_err("unknown");
        assert!(error.to_string().contains("--data-dir"), "{error}");
    }
}
