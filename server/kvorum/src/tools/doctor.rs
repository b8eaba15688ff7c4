//! `kvorum doctor`: whether the settings and files of a member keep what a security benchmark asks, and whether its
//! certificates last. Nothing is changed, and no member needs to run.

mod cis;
mod ends;
mod fits;
mod owner;
#[cfg(test)]
mod tests;

pub(crate) use owner::user;

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::{moment, path, path_of, print};
use crate::config::{self, CONFIG};
use crate::exit::Exit;
use crate::{cli, tools};
use cis::Subject;

const CERTIFICATES: &str = "certificates";
/// The first line: what a running member was started with is not looked at.
const JUDGED: &str = "judged by the settings given to this command (flags, KVORUM_ variables, --config): give it those of the \
                      member";
/// Where kubeadm puts the authority of the cluster.
const KUBERNETES_CA: &str = "/etc/kubernetes/pki/ca.crt";

/// How it is typed.
pub(super) fn command() -> Command {
    let command = Command::new("doctor")
        .about("Check the settings and files of a member against a security benchmark, and its certificates; nothing is changed")
        .after_help(
            "Give the settings that the member runs with (flags, variables, --config FILE). Prints one line per check; \
             ends with 0 if all pass, with 1 if one fails, with 2 if the settings cannot be used.",
        )
        .arg(
            Arg::new("cis")
                .long("cis")
                .required_unless_present(CERTIFICATES)
                .action(ArgAction::SetTrue)
                .help("The lines of the CIS Kubernetes benchmark that are about etcd: 1.1.7, 1.1.8, 1.1.11, 1.1.12, 2.1-2.7"),
        )
        .arg(
            Arg::new(CERTIFICATES)
                .long(CERTIFICATES)
                .action(ArgAction::SetTrue)
                .help("The certificates of the member: one with less than a sixth of its life left fails"),
        )
        .arg(
            path(
                "kubernetes-ca",
                "FILE",
                "PEM certificates of the authority that Kubernetes itself uses",
            )
            .default_value(KUBERNETES_CA),
        );
    cli::with_flags(command)
}

/// Does it.
pub(super) fn run(matches: &ArgMatches) -> Exit {
    let settings = match config::read(cli::flags(matches), std::env::vars_os()) {
        Ok(settings) => settings,
        Err(problems) => {
            problems.iter().for_each(|problem| {
                tools::failed(problem);
            });
            return Exit::BadSettings;
        }
    };
    let named = matches.get_one::<String>(CONFIG.name).map(PathBuf::from);
    let config = named.or_else(|| std::env::var_os(CONFIG.variable()).map(PathBuf::from));
    let subject = Subject {
        settings: &settings,
        config: config.filter(|path| !path.as_os_str().is_empty()),
        kubernetes_ca: path_of(matches, "kubernetes-ca"),
    };
    let mut lines = Vec::new();
    if matches.get_flag("cis") {
        let checked = cis::check(&subject);
        lines.extend(checked.iter().map(|l| (l.to_string(), l.verdict.is_err())));
    }
    if matches.get_flag(CERTIFICATES) {
        let checked = ends::check(&settings, moment::now());
        lines.extend(checked.iter().map(|l| (l.to_string(), l.verdict.is_err())));
    }
    let failed = lines.iter().filter(|(_, fails)| *fails).count();
    print(&report(&lines));
    match failed {
        0 => Exit::Stopped,
        _ => Exit::NotInOrder,
    }
}

/// Each line, and whether it fails.
fn report(lines: &[(String, bool)]) -> String {
    let failed = lines.iter().filter(|(_, fails)| *fails).count();
    let all: String = lines.iter().map(|(line, _)| format!("{line}\n")).collect();
    let sum = match failed {
        0 => format!("all {} lines pass", lines.len()),
        _ => format!("{failed} of {} lines fail", lines.len()),
    };
    format!("{JUDGED}\n{all}{sum}\n")
}
