//! `kvorum recover`: what is left of a cluster that lost its majority, and going on with one member of it.

use std::path::Path;

use clap::{Arg, ArgAction, ArgMatches, Command};
use kvorum_member::offline::{
    ForceSingle, LogPosition, OfflineError, Recovered, force_single, inspect,
};

use super::{failed, path, path_of, print, text};
use crate::exit::Exit;
use crate::owner;

const INSPECT: &str = "inspect";
/// What nobody can have written since the survivor's last revision.
const BUMP_REVISION: &str = "1000000000";

/// How it is typed.
pub(super) fn command() -> Command {
    let data_dir = || {
        path(
            "data-dir",
            "DIR",
            "The files of a member that is not running",
        )
    };
    Command::new("recover")
        .about("Go on after a majority of the members was lost for good")
        .after_help(
            "First run `kvorum recover inspect` on every member whose disk can still be read. Then, on the one whose log \
             is furthest (the greatest term, then the greatest index), run `kvorum recover --force-single` with what the \
             others printed.",
        )
        .subcommand_negates_reqs(true)
        .args_conflicts_with_subcommands(true)
        .subcommand(
            Command::new(INSPECT)
                .about("Check the files of a member and show how far its log goes")
                .arg(data_dir().required(true)),
        )
        .arg(data_dir().required(true))
        .arg(
            Arg::new("force-single")
                .long("force-single")
                .required(true)
                .action(ArgAction::SetTrue)
                .help("Make this member the only one of a new cluster that holds all its data"),
        )
        .arg(
            text(
                "known-last",
                "INDEX.TERM",
                "How far another survivor is: INDEX.TERM, the line that inspect printed, or its data directory",
            )
            .action(ArgAction::Append)
            .num_args(1..),
        )
        .arg(
            Arg::new("sole-survivor")
                .long("sole-survivor")
                .action(ArgAction::SetTrue)
                .conflicts_with("known-last")
                .help("No other member's disk can be read"),
        )
        .arg(
            text(
                "bump-revision",
                "N",
                "Raise the revision by so many: more than clients can have seen beyond this member",
            )
            .value_parser(clap::value_parser!(i64).range(0..=i64::MAX))
            .default_value(BUMP_REVISION),
        )
}

/// Does it.
pub(super) fn run(matches: &ArgMatches) -> Exit {
    let done = match matches.subcommand() {
        Some((INSPECT, matches)) => inspect(&path_of(matches, "data-dir"))
            .map(|survivor| format!("{survivor}\n"))
            .map_err(|e| e.to_string()),
        _ => force(matches),
    };
    match done {
        Ok(text) => print(&text),
        Err(reason) => failed(&reason),
    }
}

fn force(matches: &ArgMatches) -> Result<String, String> {
    let known = matches.get_many::<String>("known-last");
    let known: Result<Vec<LogPosition>, String> = known
        .unwrap_or_default()
        .map(|text| position(text))
        .collect();
    let options = ForceSingle {
        data_dir: path_of(matches, "data-dir"),
        known_last: known?,
        sole_survivor: matches.get_flag("sole-survivor"),
        bump_revision: matches.get_one("bump-revision").copied().unwrap_or(0),
    };
    owner::check(&options.data_dir, "recover --force-single ...")?;
    let recovered = force_single(&options).map_err(|e: OfflineError| e.to_string())?;
    Ok(told(&recovered, &options.data_dir))
}

/// A position, as it is, in a line of `inspect`, or by the directory it is in.
fn position(text: &str) -> Result<LogPosition, String> {
    let path = Path::new(text);
    if path.is_dir() {
        return inspect(path)
            .map(|survivor| survivor.last)
            .map_err(|e| e.to_string());
    }
    let in_line = text
        .split_whitespace()
        .find_map(|word| word.strip_prefix("last="));
    in_line
        .unwrap_or(text)
        .parse()
        .map_err(|e| format!("--known-last: {e}"))
}

fn told(recovered: &Recovered, data_dir: &Path) -> String {
    let removed: Vec<String> = recovered
        .removed
        .iter()
        .map(|id| format!("{:x}", id.0))
        .collect();
    let dir = data_dir.display();
    format!(
        "member {:x} is the only one of the new cluster {:x} now (before: {:x})\n\
         kept: everything up to revision {}, {} entries of it not known to be committed before\n\
         next revision: {}; everything before is marked as compacted, so watches begin anew\n\
         removed for good: {}\n\
         next:\n\
         1. start this member: kvorum --data-dir {dir}\n\
         2. check its content with your clients, and save a snapshot\n\
         3. on every other machine, empty the data directory and join as a new member: \
         etcdctl member add NAME --peer-urls=URL, then kvorum --initial-cluster-state existing\n",
        recovered.member_id.0,
        recovered.cluster_id.0,
        recovered.old_cluster_id.0,
        recovered.revision,
        recovered.entries_kept,
        recovered.next_revision,
        removed.join(", "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_taken_bare_and_out_of_a_printed_line() {
        let expected = LogPosition {
            term: 7,
            index: 1042,
        };
        assert_eq!(position("1042.7"), Ok(expected));
        let line = "member=8e9e05c52164694d cluster=1 last=1042.7 commit=1040 applied=3 revision=9 voters=1,2 name=\"a\"";
        assert_eq!(position(line), Ok(expected));
        for bad in ["", "7", "7.", "a.b", "1.2.3", "last=x"] {
            assert!(position(bad).is_err(), "{bad:?}");
        }
    }
}
