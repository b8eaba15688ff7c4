//! Whom a tool asks and what it shows: what the flags say, or the files of a member on this machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgMatches, Command};
use kvorum_pki::files::{ADMIN_CRT, ADMIN_KEY, CA_PEM};
use prost::Message;

use super::client::{self, CallError, Endpoint};
use super::{path, text, text_of};
use crate::config::DATA_DIR_DEFAULT;
use crate::pki::{ENDPOINTS, PKI};

const DIAL_TIME: Duration = Duration::from_secs(5);
const DATA_DIR_VARIABLE: &str = "KVORUM_DATA_DIR";
const LOCAL: &str = "127.0.0.1:2379";

/// Adds the flags.
pub(super) fn with_access(command: Command) -> Command {
    command
        .arg(text(
            "endpoints",
            "URLS",
            "Client URLs of members that run; the first that can be reached is asked; those of the member in --data-dir \
             if not given",
        ))
        .arg(path(
            "data-dir",
            "DIR",
            "Of a member on this machine: its administrator's certificate is shown where none is given [default: \
             $KVORUM_DATA_DIR or /var/lib/kvorum]",
        ))
        .arg(path("cacert", "FILE", "PEM certificates that sign the members\'"))
        .arg(path("cert", "FILE", "PEM certificate chain to show to the member"))
        .arg(path("key", "FILE", "PEM private key that belongs to it"))
}

/// Where a member on this machine keeps its files.
pub(super) fn data_dir(matches: &ArgMatches) -> PathBuf {
    let variable = || std::env::var_os(DATA_DIR_VARIABLE).filter(|dir| !dir.is_empty());
    matches
        .get_one::<PathBuf>("data-dir")
        .cloned()
        .or_else(|| variable().map(PathBuf::from))
        .unwrap_or_else(|| PathBuf::from(DATA_DIR_DEFAULT))
}

/// Asks the first member that can be reached. A call that was heard is not repeated: it may have been carried out.
///
/// # Errors
/// Nobody was reached, or whoever was refuses.
pub(super) async fn call<A: Message + Default>(
    matches: &ArgMatches,
    path: &str,
    request: &impl Message,
) -> Result<A, String> {
    let mut unreachable = Vec::new();
    for endpoint in endpoints(matches)? {
        match client::call(&endpoint, path, request).await {
            Ok(answer) => return Ok(answer),
            Err(CallError::Unreachable(e)) => unreachable.push(e),
            Err(CallError::Failed(e)) => return Err(e),
        }
    }
    if unreachable.is_empty() {
        return Err("--endpoints: name a member that runs".into());
    }
    let unreachable = unreachable.join("; ");
    match text_of(matches, "endpoints").is_empty() {
        true => Err(format!("{unreachable}{}", nobody_here(&data_dir(matches)))),
        false => Err(unreachable),
    }
}

/// What helps where nobody was named.
fn nobody_here(data_dir: &Path) -> String {
    format!(
        "; is a member running here? Start it, or name one that runs with --endpoints; its files were looked for in {}: \
         --data-dir if it is elsewhere",
        data_dir.display()
    )
}

/// Whom that would be, for lines to paste.
///
/// # Errors
/// The files of the member on this machine cannot be read.
pub(super) fn addresses(matches: &ArgMatches) -> Result<Vec<String>, String> {
    let all = endpoints(matches)?;
    Ok(all.into_iter().map(|endpoint| endpoint.address).collect())
}

/// All of them, with what is shown there.
///
/// # Errors
/// The files of the member on this machine cannot be read.
pub(super) fn endpoints(matches: &ArgMatches) -> Result<Vec<Endpoint>, String> {
    let file = |name: &str| matches.get_one::<PathBuf>(name).cloned();
    let given = text_of(matches, "endpoints");
    let files = ["cacert", "cert", "key"].map(file);
    let local = match files.iter().any(Option::is_some) {
        true => None,
        // An address alone has always meant a member without TLS, unless files are named.
        false if !given.is_empty() && !given.contains("https://") && file("data-dir").is_none() => {
            None
        }
        false => {
            named_is_there(matches)?;
            Local::of(&data_dir(matches).join(PKI))?
        }
    };
    let addresses = match (&local, given.is_empty()) {
        (Some(local), true) => local.addresses.clone(),
        (None, true) => vec![LOCAL.to_owned()],
        (_, false) => listed(&given, ','),
    };
    let [trusted_ca, cert, key] = match local {
        Some(local) => [local.trusted_ca, local.cert, local.key].map(Some),
        None => files,
    };
    let endpoint = |address| Endpoint {
        address,
        trusted_ca: trusted_ca.clone(),
        cert: cert.clone(),
        key: key.clone(),
        dial_timeout: DIAL_TIME,
    };
    Ok(addresses.into_iter().map(endpoint).collect())
}

/// A directory that was named and is not there is a typing error, and not a member without certificates.
fn named_is_there(matches: &ArgMatches) -> Result<(), String> {
    let named = matches.get_one::<PathBuf>("data-dir");
    match named.filter(|dir| !dir.exists()) {
        Some(dir) => Err(format!(
            "--data-dir {}: there is no such directory: name that of a member on this machine, or give --endpoints, \
             --cacert, --cert and --key",
            dir.display()
        )),
        None => Ok(()),
    }
}

fn listed(text: &str, separator: char) -> Vec<String> {
    let parts = text.split(separator).map(str::trim);
    parts
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The files of a member on this machine.
struct Local {
    addresses: Vec<String>,
    trusted_ca: PathBuf,
    cert: PathBuf,
    key: PathBuf,
}

impl Local {
    /// None where no member has such files.
    fn of(dir: &Path) -> Result<Option<Self>, String> {
        let key = dir.join(ADMIN_KEY);
        match fs::File::open(&key) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(format!(
                    "{}: {error}: run this as the user of the member, or as root, or give --endpoints, --cacert, --cert \
                     and --key",
                    key.display()
                ));
            }
        }
        // Before the member has been ready once, its addresses are the usual ones.
        let told = fs::read_to_string(dir.join(ENDPOINTS)).unwrap_or_default();
        let mut addresses = listed(&told, '\n');
        if addresses.is_empty() {
            addresses.push(format!("https://{LOCAL}"));
        }
        Ok(Some(Self {
            addresses,
            trusted_ca: dir.join(CA_PEM),
            cert: dir.join(ADMIN_CRT),
            key,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(words: &[&str]) -> ArgMatches {
        let words = ["tool"].iter().chain(words);
        with_access(Command::new("tool"))
            .try_get_matches_from(words)
            .expect("well formed")
    }

    #[test]
    fn the_files_of_a_member_here_are_shown_unless_others_are_named() {
        let dir = std::env::temp_dir().join(format!("kvorum-access-{}", std::process::id()));
        let pki = dir.join(PKI);
        fs::create_dir_all(&pki).expect("makes a scratch directory");
        let data = dir.to_string_lossy().into_owned();
        let shown = |words: &[&str]| {
            let all = endpoints(&matches(words)).expect("readable");
            let shown = |e: &Endpoint| format!("{} {}", e.address, e.key.is_some());
            all.iter().map(shown).collect::<Vec<_>>()
        };
        assert_eq!(shown(&["--data-dir", &data]), ["127.0.0.1:2379 false"]);
        fs::write(pki.join(ADMIN_KEY), "").expect("writes");
        assert_eq!(
            shown(&["--data-dir", &data]),
            ["https://127.0.0.1:2379 true"]
        );
        fs::write(pki.join(ENDPOINTS), "https://a:1\nhttps://b:1\n").expect("writes");
        assert_eq!(
            shown(&["--data-dir", &data]),
            ["https://a:1 true", "https://b:1 true"]
        );
        let named = ["--data-dir", &data, "--endpoints", "c:1, d:1"];
        assert_eq!(shown(&named), ["c:1 true", "d:1 true"]);
        let files = ["--data-dir", &data, "--endpoints", "c:1", "--cacert", "x"];
        assert_eq!(shown(&files), ["c:1 false"]);
        assert_eq!(shown(&["--endpoints", "c:1"]), ["c:1 false"]);
        let _ = fs::remove_dir_all(&dir);
        let error = endpoints(&matches(&["--data-dir", &data])).expect_err("is gone");
        assert!(
            error.contains("no such directory") && error.contains("--endpoints"),
            "{error}"
        );
    }
}
