//! `kvorum snapshot`: save one from a running member, look at one, make a data directory of one.

use std::fs::{self, File};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Arg, ArgAction, ArgMatches, Command};
use kvorum_member::offline::{
    RestoreOptions, check_snapshot, parse_initial_cluster, restore, snapshot_status,
};
use kvorum_pki::shell_word as word;

use super::access::{endpoints, with_access};
use super::client::{self, Endpoint};
use super::figures::{Format, show};
use super::{failed, path, path_of, print, text, text_of};
use crate::exit::Exit;
use crate::owner;

const SAVE: &str = "save";
const STATUS: &str = "status";
const RESTORE: &str = "restore";
/// Of a cluster of one.
const PEER_URL: &str = "http://localhost:2380";

/// How it is typed.
pub(super) fn command() -> Command {
    Command::new("snapshot")
        .about("Save, inspect and restore snapshots, in etcd's own file format")
        .subcommand_required(true)
        .subcommand(save_command())
        .subcommand(
            Command::new(STATUS)
                .about("Check a snapshot file and show its figures")
                .arg(file())
                .arg(
                    Arg::new("write-out")
                        .short('w')
                        .long("write-out")
                        .value_parser(clap::value_parser!(Format))
                        .default_value("simple")
                        .help("simple: hash, revision, total keys, total size, version"),
                ),
        )
        .subcommand(restore_command())
}

fn file() -> Arg {
    Arg::new("file")
        .value_name("FILE")
        .required(true)
        .value_parser(clap::value_parser!(PathBuf))
}

fn save_command() -> Command {
    let command = Command::new(SAVE)
        .about("Save a snapshot of a running member, kvorum or etcd")
        .after_help("A snapshot is that of one member: name one, or it is the one in --data-dir.")
        .arg(file());
    with_access(command).arg(
        text("dial-timeout", "SECONDS", "Time for the connection")
            .value_parser(clap::value_parser!(u64).range(1..=3600))
            .default_value("5"),
    )
}

fn restore_command() -> Command {
    Command::new(RESTORE)
        .about("Make the data directory of a member of a new cluster out of a snapshot")
        .after_help(
            "Run it once per member, with the same file, --initial-cluster and --initial-cluster-token, then start each as \
             the command says. The new cluster has ids of its own: members of the old one \
             cannot join it.",
        )
        .arg(file())
        .arg(path("data-dir", "DIR", "Where the member's files go: empty or new").required(true))
        .arg(text("name", "NAME", "Name of this member").default_value("default"))
        .arg(text(
            "initial-cluster",
            "NAME=URL,…",
            "Names and peer URLs of all members [default: this one alone]",
        ))
        .arg(
            text(
                "initial-advertise-peer-urls",
                "URLS",
                "Where peers reach this member",
            )
            .default_value(PEER_URL),
        )
        .arg(
            text("initial-cluster-token", "TOKEN", "Goes into the new ids")
                .default_value("etcd-cluster"),
        )
        .arg(
            text(
                "bump-revision",
                "N",
                "Raise the revision by so many, so that clients never see one twice",
            )
            .value_parser(clap::value_parser!(i64).range(0..=i64::MAX))
            .requires("mark-compacted"),
        )
        .arg(
            Arg::new("mark-compacted")
                .long("mark-compacted")
                .action(ArgAction::SetTrue)
                .requires("bump-revision")
                .help("Mark all history before the raised revision as compacted, so that watches begin anew"),
        )
        .arg(path(
            "pki-dir",
            "DIR",
            "The directory pki of any member of the old cluster: the new one keeps its certificate authority, so that \
             certificates of clients stay good and revoked ones stay revoked",
        ))
        .arg(
            Arg::new("skip-hash-check")
                .long("skip-hash-check")
                .action(ArgAction::SetTrue)
                .help("Take a file without its SHA-256, such as the db of an etcd's data directory"),
        )
}

/// Does it.
pub(super) fn run(matches: &ArgMatches) -> Exit {
    let done = match matches.subcommand() {
        Some((SAVE, matches)) => save(matches),
        Some((STATUS, matches)) => status(matches),
        Some((_, matches)) => make(matches),
        None => Err("say save, status or restore".into()),
    };
    match done {
        Ok(text) => print(&text),
        Err(reason) => failed(&reason),
    }
}

fn save(matches: &ArgMatches) -> Result<String, String> {
    let given = text_of(matches, "endpoints");
    if given.contains(',') {
        return Err("--endpoints: a snapshot is that of one member: name one".into());
    }
    let mut all = endpoints(matches)?.into_iter();
    let endpoint = all.next().ok_or("--endpoints: name a member that runs")?;
    let endpoint = Endpoint {
        dial_timeout: Duration::from_secs(matches.get_one("dial-timeout").copied().unwrap_or(5)),
        ..endpoint
    };
    let file = path_of(matches, "file");
    let begin = Instant::now();
    let mut part = file.clone().into_os_string();
    part.push(".part");
    let part = PathBuf::from(part);
    let version = receive(&endpoint, &part);
    let version = version.and_then(|version| put_in_place(&part, &file).map(|()| version));
    if version.is_err() {
        // What was received is of no use, and may not be there at all.
        let _ = fs::remove_file(&part);
    }
    let (version, took) = (version?, begin.elapsed().as_secs_f64());
    let mut text = format!("Snapshot saved at {} ({took:.1} s)\n", file.display());
    if !version.is_empty() {
        text.push_str(&format!("Server version {version}\n"));
    }
    Ok(text)
}

fn receive(endpoint: &Endpoint, part: &Path) -> Result<String, String> {
    let shown = part.display();
    let failed = |what: &str, e: std::io::Error| format!("{what} {shown}: {e}");
    // It holds everything that the cluster does: for its owner alone, as etcd's client makes it.
    let mut out = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(part)
        .map_err(|e| failed("create", e))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| format!("the system refuses a runtime: {e}"))?;
    let version = runtime.block_on(client::snapshot(endpoint, &mut out))?;
    out.sync_all().map_err(|e| failed("sync", e))?;
    check_snapshot(part).map_err(|e| e.to_string())?;
    Ok(version)
}

fn put_in_place(part: &Path, file: &Path) -> Result<(), String> {
    let failed =
        |e: std::io::Error| format!("rename {} to {}: {e}", part.display(), file.display());
    fs::rename(part, file).map_err(failed)?;
    let parent = file.parent().filter(|p| !p.as_os_str().is_empty());
    let parent = File::open(parent.unwrap_or(Path::new(".")));
    parent.and_then(|dir| dir.sync_all()).map_err(failed)
}

fn status(matches: &ArgMatches) -> Result<String, String> {
    let status = snapshot_status(&path_of(matches, "file")).map_err(|e| e.to_string())?;
    let format = matches.get_one("write-out").copied();
    Ok(show(&status, format.unwrap_or(Format::Simple)))
}

fn make(matches: &ArgMatches) -> Result<String, String> {
    let name = text_of(matches, "name");
    let peer_urls = text_of(matches, "initial-advertise-peer-urls");
    let peer_urls: Vec<String> = peer_urls
        .split(',')
        .map(|url| url.trim().to_owned())
        .collect();
    let initial_cluster = match matches.get_one::<String>("initial-cluster") {
        Some(text) => parse_initial_cluster(text).map_err(|e| e.to_string())?,
        None => [(name.clone(), peer_urls.clone())].into(),
    };
    if let Some(dir) = matches
        .get_one::<PathBuf>("pki-dir")
        .filter(|dir| !dir.is_dir())
    {
        return Err(format!(
            "--pki-dir {}: there is no such directory: name the directory pki of a member of the cluster that the snapshot \
             was made of, or leave it out, and the new cluster makes an authority of its own",
            dir.display()
        ));
    }
    let options = RestoreOptions {
        file: path_of(matches, "file"),
        data_dir: path_of(matches, "data-dir"),
        name,
        initial_cluster,
        peer_urls,
        token: text_of(matches, "initial-cluster-token"),
        skip_hash_check: matches.get_flag("skip-hash-check"),
        bump_revision: matches.get_one("bump-revision").copied().unwrap_or(0),
        pki_dir: matches.get_one("pki-dir").cloned(),
    };
    owner::check(&options.data_dir, "snapshot restore ...")?;
    let restored = restore(&options).map_err(|e| e.to_string())?;
    let notes: String = restored
        .notes
        .iter()
        .map(|note| format!("note: {note}\n"))
        .collect();
    Ok(format!(
        "Restored {} into {}: revision {}, {} changes, {} leases\n{notes}\
         member {:x} of the new cluster {:x}; start it with: kvorum --data-dir {} --name {}{}\n",
        options.file.display(),
        options.data_dir.display(),
        restored.revision,
        restored.records,
        restored.leases,
        restored.member_id.0,
        restored.cluster_id.0,
        options.data_dir.display(),
        options.name,
        peer_flags(&options.peer_urls),
    ))
}

/// What lets the others reach a member at these URLs, where they are not those of a cluster of one.
fn peer_flags(peer_urls: &[String]) -> String {
    if peer_urls == [PEER_URL] {
        return String::new();
    }
    let bound = |url: &String| match url.rsplit_once(':') {
        Some((scheme_and_host, port)) if !is_address(scheme_and_host) => {
            let (scheme, host) = scheme_and_host.split_once("://").unwrap_or_default();
            // A name cannot be bound. Plain text is not spoken on more addresses than it was meant for.
            match (scheme, host) {
                (_, "localhost") => format!("{scheme}://127.0.0.1:{port}"),
                ("https", _) => format!("https://0.0.0.0:{port}"),
                _ => format!("{scheme}://ADDRESS:{port}"),
            }
        }
        _ => url.clone(),
    };
    let bound: Vec<String> = peer_urls.iter().map(bound).collect();
    let told = match bound == peer_urls {
        true => String::new(),
        false => format!(
            " --initial-advertise-peer-urls {}",
            word(&peer_urls.join(","))
        ),
    };
    let plain = match peer_urls.iter().any(|url| url.starts_with("http://")) {
        true => " --peer-allow-plain",
        false => "",
    };
    format!(
        " --listen-peer-urls {}{told}{plain}",
        word(&bound.join(","))
    )
}

/// What stands before the port of a URL ends in an IP address, which can be bound.
fn is_address(scheme_and_host: &str) -> bool {
    let host = scheme_and_host
        .split_once("://")
        .map_or("", |(_, host)| host);
    host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restored_member_is_started_where_the_others_look_for_it() {
        for (urls, flags) in [
            (vec![PEER_URL], ""),
            (
                vec!["https://10.0.0.1:2380"],
                " --listen-peer-urls https://10.0.0.1:2380",
            ),
            (
                vec!["http://[::1]:2380"],
                " --listen-peer-urls 'http://[::1]:2380' --peer-allow-plain",
            ),
            (
                vec!["http://localhost:12380"],
                " --listen-peer-urls http://127.0.0.1:12380 --initial-advertise-peer-urls http://localhost:12380 \
                 --peer-allow-plain",
            ),
            (
                vec!["http://a.example:2380"],
                " --listen-peer-urls http://ADDRESS:2380 --initial-advertise-peer-urls http://a.example:2380 \
                 --peer-allow-plain",
            ),
            (
                vec!["https://a.example:2380"],
                " --listen-peer-urls https://0.0.0.0:2380 --initial-advertise-peer-urls https://a.example:2380",
            ),
        ] {
            let urls: Vec<String> = urls.into_iter().map(str::to_owned).collect();
            assert_eq!(peer_flags(&urls), flags, "{urls:?}");
        }
    }
}
