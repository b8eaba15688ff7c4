//! `kvorum join` and `kvorum rejoin`: a machine gets its place in a cluster, and its certificate, for one token.

use std::borrow::Cow;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, UdpSocket};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use clap::{Arg, ArgMatches, Command};
use kvorum_member::trust::{self, JoinError, JoinOptions};
use kvorum_pki::{JoinToken, shell_word as word};
use zeroize::Zeroizing;

use super::cert::by_token;
use super::{failed, path, path_of, print, text_of};
use crate::cli;
use crate::config::{self, Settings};
use crate::exit::Exit;
use crate::{owner, pki};

/// Stands for a token that comes on standard input.
const STDIN: &str = "-";
/// Longer than any token.
const TOKEN_BYTES_MAX: u64 = 4096;
/// The cluster may be electing a leader, or changing its members just now.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
const NAME: &str = "name";
const OUT_DIR: &str = "out-dir";

/// How `join` is typed.
pub(super) fn command() -> Command {
    let command = Command::new("join")
        .about("Make this machine a member of a cluster, by a token that `kvorum token create` made there")
        .after_help(
            "Give the settings that the member will run with: --advertise with the address at which the others reach this \
             machine, if it is not the one by which it reaches them, and a --name, if it is not the machine's. The token works once; the same command may be repeated if its answer was \
             lost. Afterwards start the member with the same settings.\n\nWith a token for a client, give --out-dir and \
             nothing else: the machine gets a key and a certificate, and is no member.",
        )
        .arg(path(
            OUT_DIR,
            "DIR",
            "For a client's token: where USER.key, USER.crt and ca.crt go",
        ));
    cli::with_flags(command.arg(token()))
}

/// How `rejoin` is typed.
pub(super) fn rejoin_command() -> Command {
    let command = Command::new("rejoin")
        .about("Get a certificate for a member of this machine that was off for longer than its own lives, or never had one")
        .after_help(
            "The token comes from `kvorum token create --role rejoin --member ID`. All files of the member stay. A member \
             that has run without certificates gets its first one like this, once another member has made an authority \
             (`kvorum ca create`).",
        );
    cli::with_flags(command.arg(token()))
}

fn token() -> Arg {
    Arg::new("token")
        .value_name("TOKEN")
        .required(true)
        .help("The line that begins with kv1., or - to read it from standard input")
}

/// Joins.
pub(super) fn run(matches: &ArgMatches) -> Exit {
    match matches.get_one::<PathBuf>(OUT_DIR) {
        Some(out_dir) => enrolled(matches, out_dir, "", &[]),
        None => told(matches, join),
    }
}

/// The same for `cert client NAME --token TOKEN`.
pub(super) fn run_for_client(matches: &ArgMatches) -> Exit {
    let endpoints = text_of(matches, "endpoints");
    let endpoints = endpoints.split(',').map(str::trim);
    let endpoints: Vec<String> = endpoints
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect();
    let (out_dir, user) = (path_of(matches, OUT_DIR), text_of(matches, NAME));
    enrolled(matches, &out_dir, &user, &endpoints)
}

fn enrolled(matches: &ArgMatches, out_dir: &Path, user: &str, endpoints: &[String]) -> Exit {
    let given = text_of(matches, "token");
    if given != STDIN {
        // Comes back only if it cannot be done.
        return failed(&hide_token(&given));
    }
    let done = read_token().and_then(|token| by_token(&token, out_dir, user, endpoints));
    match done {
        Ok(told) => print(&told),
        Err(e) => failed(&e),
    }
}

/// Joins again.
pub(super) fn run_again(matches: &ArgMatches) -> Exit {
    told(matches, rejoin)
}

type Work = fn(&ArgMatches, &Settings, &JoinToken) -> Result<String, String>;

fn told(matches: &ArgMatches, work: Work) -> Exit {
    let given = text_of(matches, "token");
    if given != STDIN {
        // Comes back only if it cannot be done.
        return failed(&hide_token(&given));
    }
    let settings = match config::read(cli::flags(matches), std::env::vars_os()) {
        Ok(settings) => settings,
        Err(problems) => {
            problems.iter().for_each(|problem| {
                failed(problem);
            });
            return Exit::BadSettings;
        }
    };
    match read_token().and_then(|token| work(matches, &settings, &token)) {
        Ok(told) => print(&told),
        Err(e) => failed(&e),
    }
}

/// Everybody on a machine sees the words of a command line: this process begins anew with the token on standard input.
fn hide_token(token: &str) -> String {
    let again = || -> std::io::Result<std::io::Error> {
        let (reader, mut writer) = std::io::pipe()?;
        writer.write_all(token.as_bytes())?;
        drop(writer);
        let words = std::env::args_os().skip(1);
        let words = words.map(|word| match word.to_string_lossy().strip_suffix(token) {
            Some("") => STDIN.into(),
            Some(flag @ "--token=") => format!("{flag}{STDIN}").into(),
            _ => word,
        });
        let mut command = std::process::Command::new("/proc/self/exe");
        Ok(command.args(words).stdin(Stdio::from(reader)).exec())
    };
    let error = again().unwrap_or_else(|error| error);
    format!(
        "this command cannot begin anew without its token ({error}): give - and the token on standard input"
    )
}

fn read_token() -> Result<JoinToken, String> {
    let mut text = Zeroizing::new(String::new());
    let read = std::io::stdin()
        .take(TOKEN_BYTES_MAX)
        .read_to_string(&mut text);
    read.map_err(|e| format!("standard input: {e}"))?;
    JoinToken::parse(text.trim()).map_err(|typo| typo.to_string())
}

fn join(matches: &ArgMatches, settings: &Settings, token: &JoinToken) -> Result<String, String> {
    let (mut flags, mut settings) = (cli::flags(matches), Cow::Borrowed(settings));
    if pki::peer_urls(&settings).is_empty() {
        flags.push((config::ADVERTISE, own_address(token)?.to_string()));
        let read = config::read(flags.clone(), std::env::vars_os());
        let told = |problems: Vec<config::Problem>| {
            let lines = problems.iter().map(ToString::to_string);
            lines.collect::<Vec<_>>().join("\n")
        };
        settings = Cow::Owned(read.map_err(told)?);
    }
    let peer_urls = pki::peer_urls(&settings);
    owner::check(&settings.data_dir, &words_of("join", flags.clone()))?;
    pki::check_new(&settings.data_dir)?;
    let options = JoinOptions {
        data_dir: settings.data_dir.clone(),
        name: name(&settings),
        peer_urls,
        patience: PATIENCE,
    };
    let joined = trust::join(token, &options).map_err(|error| words(&error))?;
    pki::remember(&settings);
    Ok(format!(
        "this machine is member {:x} of cluster {:x}, with the name {}; once it runs it learns, and votes when it has \
         caught up\n\nstart it:\n  {}\n",
        joined.member_id.0,
        joined.cluster_id.0,
        joined.name,
        start_line(flags, &joined.name),
    ))
}

/// The address by which this machine reaches the members of the token.
fn own_address(token: &JoinToken) -> Result<IpAddr, String> {
    let from = |bind: &str, towards: &str| {
        // Nothing is sent: the system only says which of its addresses it would send from.
        let socket = UdpSocket::bind(bind).ok()?;
        socket.connect(towards).ok()?;
        socket.local_addr().ok().map(|own| own.ip())
    };
    let towards = |address: &String| from("0.0.0.0:0", address).or_else(|| from("[::]:0", address));
    let mut found: Vec<IpAddr> = token.addresses().iter().filter_map(towards).collect();
    found.retain(|ip| !ip.is_loopback() && !ip.is_unspecified());
    found.first().copied().ok_or_else(|| {
        "the other members must be told where this one is: add --advertise with the address or name of this machine; or, \
         where it is to be a client only, --out-dir"
            .into()
    })
}

fn rejoin(matches: &ArgMatches, settings: &Settings, token: &JoinToken) -> Result<String, String> {
    owner::check(&settings.data_dir, &words_of("rejoin", cli::flags(matches)))?;
    pki::check_member(&settings.data_dir)?;
    let options = JoinOptions {
        data_dir: settings.data_dir.clone(),
        name: settings.name.clone(),
        peer_urls: pki::peer_urls(settings),
        patience: PATIENCE,
    };
    let joined = trust::rejoin(token, &options).map_err(|error| words(&error))?;
    Ok(format!(
        "member {:x} has its certificate: start it\n",
        joined.member_id.0
    ))
}

/// What the cluster says, and what can be done.
fn words(error: &JoinError) -> String {
    error.to_string()
}

/// As given, or what the machine is called.
fn name(settings: &Settings) -> String {
    if settings.is_named {
        return settings.name.clone();
    }
    let machine = rustix::system::uname();
    machine.nodename().to_string_lossy().into_owned()
}

/// This command anew, without its token.
fn words_of(command: &str, flags: Vec<(&'static str, String)>) -> String {
    let flags = flags.iter();
    let flags = flags.map(|(key, value)| format!(" --{key} {}", word(value)));
    format!("{command}{} TOKEN", flags.collect::<String>())
}

/// The command that starts the member: the same settings.
fn start_line(mut flags: Vec<(&'static str, String)>, name: &str) -> String {
    flags.retain(|(key, _)| *key != NAME);
    flags.push((NAME, name.to_owned()));
    let words = flags
        .iter()
        .map(|(key, value)| format!(" --{key} {}", word(value)));
    format!("kvorum{}", words.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_command_has_the_same_settings_and_no_token() {
        let words = ["join", "kv1.x", "--data-dir", "/var/lib/my kvorum"];
        let matches = command().try_get_matches_from(words).expect("well formed");
        assert_eq!(
            start_line(cli::flags(&matches), "b"),
            "kvorum --data-dir '/var/lib/my kvorum' --name b"
        );
    }
}
