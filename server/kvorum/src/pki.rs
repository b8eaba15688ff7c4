//! The certificates of a member that makes its own: made at the first start, checked at each.

mod first_start;
mod names;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use kvorum_core::MemberId;
use kvorum_member::{Prospect, StartError, offline};
use kvorum_pki::{Bundle, TrustDomain, files};
use tracing::{error, info, warn};

use crate::config::{REMEMBERED, Settings};
use crate::exit::Exit;
use crate::listeners::Urls;
use crate::{owner, peers};
use first_start::Founder;

/// The directory of a member's keys and certificates, in its data directory.
pub(crate) const PKI: &str = "pki";

/// In the data directory of a member: who it is.
const MEMBER: &str = "member.json";

/// Among its keys, that of a machine that has begun to join and was not told yet that it is a member.
const JOINING: &str = "joining.key";

/// Among its keys, where the member serves clients: for the tools of this machine.
pub(crate) const ENDPOINTS: &str = "endpoints";

/// The time by this machine's clock.
fn unix_s() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

/// What the other members are told, as far as the settings alone tell it.
pub(crate) fn peer_urls(settings: &Settings) -> Vec<String> {
    let bound = || settings.listen.peers.iter();
    match settings.peers.advertise.is_empty() {
        true => bound()
            .filter(|url| url.address.port() != 0 && !url.address.ip().is_unspecified())
            .map(ToString::to_string)
            .collect(),
        false => settings.peers.advertise.clone(),
    }
}

/// Refuses a directory in which a member lives already.
///
/// # Errors
/// It has one; what to do stands in the text.
pub(crate) fn check_new(data_dir: &Path) -> Result<(), String> {
    let shown = data_dir.display();
    if data_dir.join(MEMBER).exists() {
        return Err(format!(
            "{shown} holds a member already: `kvorum rejoin` gets it another certificate; if it was removed from the cluster, \
             remove {shown} first; to join as a new member beside it give another --data-dir"
        ));
    }
    let pki = data_dir.join(PKI);
    if pki.join(files::DOMAIN).exists() && !pki.join(JOINING).exists() {
        return Err(format!(
            "{shown} holds the certificates of a member that has not started yet: start it, or remove {shown}/{PKI} to \
             join anew"
        ));
    }
    Ok(())
}

/// Refuses a directory without a member.
///
/// # Errors
/// It has none; what to do stands in the text.
pub(crate) fn check_member(data_dir: &Path) -> Result<(), String> {
    match data_dir.join(MEMBER).exists() || data_dir.join(PKI).join(files::DOMAIN).exists() {
        true => Ok(()),
        false => Err(format!(
            "{} has no member: `kvorum join` makes one",
            data_dir.display()
        )),
    }
}

/// Whose keys and certificates these are, and where.
#[derive(Debug)]
pub(crate) struct Own {
    /// The member.
    pub(crate) member_id: MemberId,
    /// The directory.
    pub(crate) dir: PathBuf,
}

/// Where the keys and certificates of this member are, made if it has none and checked if it has; nothing if all
/// certificates come from files of the operator.
pub(crate) fn open(settings: &Settings, urls: &Urls) -> Result<Option<Own>, Exit> {
    if !settings.trust.is_wanted() {
        return Ok(None);
    }
    let dir = settings.data_dir.join(PKI);
    let refused = |reason: &dyn std::fmt::Display| {
        error!(%reason, "the keys of this member cannot be used");
        Exit::BadDataDir
    };
    if dir.symlink_metadata().is_ok() {
        check(&dir).map_err(|reason| refused(&words_for(&settings.data_dir, reason.into())))?;
    }
    if dir.join(JOINING).exists() && !settings.data_dir.join(MEMBER).exists() {
        return Err(refused(&format!(
            "this machine has begun to join a cluster and was interrupted: repeat `kvorum join` with the same token, or \
             remove {} to begin anew",
            dir.display()
        )));
    }
    let prospect = prospect(settings, urls).map_err(|error| {
        let error = words_for(&settings.data_dir, error.into());
        let data_dir = settings.data_dir.display();
        error!(%data_dir, %error, "cannot open the data directory");
        Exit::BadDataDir
    })?;
    let own = Own {
        member_id: prospect.member_id,
        dir,
    };
    if own.dir.join(files::DOMAIN).exists() {
        tell_of_reach(settings, &prospect);
        tell_of_time(&own.dir);
        return Ok(Some(own));
    }
    if prospect.has_run {
        check_no_remains(&own.dir).map_err(|reason| refused(&reason))?;
    }
    if !prospect.is_alone {
        return Err(refused(
            &"it has other members, and no certificates of its cluster: if one of them makes certificates, get some by \
              `kvorum token create --role rejoin` there and `kvorum rejoin` here; if none does, `kvorum ca create` lets \
              this one begin; or give certificates (--cert-file, --peer-cert-file and what belongs to them); or go on \
              without TLS by name: --client-allow-plain and --peer-allow-plain with http:// in --listen-client-urls, \
              --advertise-client-urls, --listen-peer-urls and --initial-advertise-peer-urls, and --listen-console-url none",
        ));
    }
    if prospect.has_run {
        check_no_authority(settings).map_err(|reason| refused(&reason))?;
        warn!(
            "this member has run without certificates of its own and makes them now: https:// clients need ca.pem and \
             admin.crt, admin.key from its directory, or what `kvorum cert client NAME` makes; for https:// between \
             members tell the others by `etcdctl member update`; to go on in plain say --client-allow-plain with \
             http:// in --listen-client-urls, and --listen-console-url none"
        );
    }
    let domain = found(settings, urls, prospect.member_id, &own.dir);
    let domain = domain.map_err(|reason| refused(&reason))?;
    info!(trust_domain = %domain, directory = %own.dir.display(), "made a certificate authority for its cluster");
    Ok(Some(own))
}

/// A member that has certificates but no longer knows of which cluster must not begin anew: the one key that opens its
/// cluster's authority would be written over.
fn check_no_remains(dir: &Path) -> Result<(), String> {
    // Left by a first start that was cut short, as is all beside it then.
    if dir.join(first_start::FOUNDING).exists() {
        return Ok(());
    }
    if dir.join(JOINING).exists() {
        return Err(
            "`kvorum rejoin` has begun here and was interrupted: repeat it with the same token, or with another one".into(),
        );
    }
    let names = [files::SEAL_KEY, files::CA_PEM, files::NODE_PEM];
    let Some(name) = names.into_iter().find(|name| dir.join(name).exists()) else {
        return Ok(());
    };
    let shown = dir.display();
    Err(format!(
        "{shown}/{} is missing, and {name} is there: put it back from a backup, or copy it from another member (mode 600), \
         where it is the same; it holds the 32 digits that `openssl x509 -in {shown}/ca.pem -noout -subject` shows. Only \
         if these certificates are of no use any more: move {shown} away, and the next start says how to go on",
        files::DOMAIN
    ))
}

/// A cluster that has an authority must not get a second one: nobody would trust both.
fn check_no_authority(settings: &Settings) -> Result<(), String> {
    match offline::has_authority(&settings.data_dir) {
        Ok(false) => Ok(()),
        Ok(true) => Err(format!(
            "the cluster of this member has a certificate authority, and {}/{PKI} with its keys is missing: put it back \
             from a backup. A member of several gets certificates by `kvorum token create --role rejoin` on another one \
             and `kvorum rejoin` here. Without either the authority is lost: start this member with --client-allow-plain, \
             http:// in --listen-client-urls and --listen-console-url none, take a snapshot (`kvorum snapshot save`), and \
             `kvorum snapshot restore` makes a member with the same data, whose first start makes a new authority",
            settings.data_dir.display()
        )),
        Err(error) => Err(error.to_string()),
    }
}

/// Warns where a member has others beside it and listens to none of them: if they vote, it would wait for them forever,
/// without a word. It is no reason to stay away: they may be learners only, and what is written down here does not tell.
fn tell_of_reach(settings: &Settings, prospect: &Prospect) {
    if prospect.is_alone || !settings.listen.peers.is_empty() {
        return;
    }
    let reason = match prospect.peer_urls.first() {
        None => "the cluster has other members, and none of them reaches this one: start it with --advertise and the \
                 address or name of this machine"
            .to_owned(),
        Some(url) => format!(
            "the member list has {url} for this member and nothing listens there: start it with {}",
            flag_for(url)
        ),
    };
    warn!(reason, "the other members do not reach this one");
}

/// What lets a member be reached at that URL.
fn flag_for(url: &str) -> String {
    let host = url.strip_prefix("https://");
    match host.and_then(|host| host.strip_suffix(":2380")) {
        Some(host) => format!("--advertise {host}"),
        None => format!("--listen-peer-urls {url}"),
    }
}

fn prospect(settings: &Settings, urls: &Urls) -> Result<Prospect, StartError> {
    let peer_urls = advertised(settings, urls);
    kvorum_member::prospect(&settings.data_dir, &peer_urls, &settings.cluster.token)
}

fn found(
    settings: &Settings,
    urls: &Urls,
    member_id: MemberId,
    dir: &Path,
) -> Result<TrustDomain, String> {
    let founder = Founder {
        member_id: member_id.0,
        member_name: settings.name.clone(),
        names: names::of(settings, urls),
        lives: settings.trust.lives,
    };
    founder.found(dir)
}

/// Makes an authority for a cluster that has run without one. The member is not running; as soon as it does, with the
/// same settings, the authority is its cluster's.
///
/// # Errors
/// There is no member here, it has certificates already, or the settings give no use for them.
pub(crate) fn create(settings: &Settings) -> Result<TrustDomain, String> {
    let shown = settings.data_dir.display();
    let dir = settings.data_dir.join(PKI);
    if !settings.data_dir.join(MEMBER).exists() {
        return Err(format!(
            "{shown} holds no member: the first start of a cluster makes its authority by itself, and other machines get \
             their certificates by `kvorum join`"
        ));
    }
    if dir.join(files::DOMAIN).exists() {
        return Err(format!("{shown} has certificates of a cluster already"));
    }
    if !settings.trust.peers {
        return Err(
            "with these settings members get no certificates: say https:// in --listen-peer-urls (beside the http:// \
             address, as long as others use that), and leave --peer-cert-file out"
                .into(),
        );
    }
    check_no_remains(&dir)?;
    check_no_authority(settings)?;
    let urls = Urls::unbound(settings);
    let prospect = prospect(settings, &urls).map_err(|error| error.to_string())?;
    if dir.symlink_metadata().is_ok() {
        check(&dir)?;
    }
    found(settings, &urls, prospect.member_id, &dir)
}

/// Says so where this member's own certificate does not hold now. It is no reason to stay away: a member renews it by
/// itself if it may, and a clock may still be set.
fn tell_of_time(dir: &Path) {
    let read = files::read_secret(dir, files::NODE_PEM).ok().flatten();
    let bundle = read.and_then(|pem| Bundle::from_pem(&pem).ok());
    // What cannot be read is refused when it is used.
    let Some(validity) = bundle.and_then(|bundle| bundle.chain().validity().ok()) else {
        return;
    };
    let now = unix_s();
    if now < validity.not_before_unix {
        warn!(
            holds_from_unix_s = validity.not_before_unix,
            now_unix_s = now,
            "this member's certificate does not hold yet, and the others will not accept it: its clock is wrong, or was \
             when the certificate was made; set it with NTP"
        );
    } else if now > validity.not_after_unix {
        warn!(
            expired_unix_s = validity.not_after_unix,
            now_unix_s = now,
            "this member's certificate has expired: it renews it by itself within 30 days and while it is a member, else \
             `kvorum rejoin TOKEN` gets another one; if the date is wrong, set the clock"
        );
    }
}

/// What is said of a directory that cannot be used: where it is because of whose files these are, what mends them all.
fn words_for(data_dir: &Path, failed: Box<dyn std::error::Error>) -> String {
    let said = failed.to_string();
    let is_of_owner = ["ermission denied", "belongs to user"];
    match is_of_owner.iter().any(|part| said.contains(part)) {
        true => owner::advice(data_dir).unwrap_or(said),
        false => said,
    }
}

/// The directory and everything in it is this user's alone, and no link leads elsewhere. Root's files are fine where
/// this user can read them.
fn check(dir: &Path) -> Result<(), String> {
    files::check_dir(dir).map_err(|refused| refused.to_string())?;
    let entries = std::fs::read_dir(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    for entry in entries {
        let entry = entry.map_err(|e| format!("{}: {e}", dir.display()))?;
        let path = entry.path();
        files::check_file(&path).map_err(|refused| refused.to_string())?;
        rustix::fs::access(&path, rustix::fs::Access::READ_OK)
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

/// What the member's id is made of.
pub(crate) fn advertised(settings: &Settings, urls: &Urls) -> Vec<String> {
    match peers::advertised(settings, urls) {
        // The ids of a cluster of one are made of etcd's default.
        none if none.is_empty() => kvorum_member::MemberOptions::default().peer_urls,
        some => some,
    }
}

/// The names that certificates of this member carry.
pub(crate) fn names_of(settings: &Settings, urls: &Urls) -> Vec<String> {
    names::of(settings, urls)
}

/// Writes down at which address a member is started, for a start that says nothing of it.
pub(crate) fn remember(settings: &Settings) {
    let dir = &settings.data_dir.join(PKI);
    let host = match &settings.place {
        _ if !dir.is_dir() => return,
        Some(place) if place.is_remembered => return,
        Some(place) => Some(place.host.as_bytes()),
        None => None,
    };
    let written = match host {
        Some(host) if is_remembered(dir, host) => return,
        Some(host) => files::write_secret(dir, REMEMBERED, host),
        None => files::remove(dir, REMEMBERED),
    };
    if let Err(error) = written {
        warn!(%error, "the address of this member could not be written down: a start without --advertise will not know it");
    }
}

/// It stands there already.
fn is_remembered(dir: &Path, host: &[u8]) -> bool {
    let known = files::read_secret(dir, REMEMBERED).ok().flatten();
    known.is_some_and(|known| known.as_slice() == host)
}

/// Tells the tools of this machine where clients are served, where a member has or had certificates of its own: those
/// that went back to plain text must not be dialled as before.
pub(crate) fn tell_endpoints(settings: &Settings, urls: &Urls) {
    let dir = &settings.data_dir.join(PKI);
    if !dir.is_dir() {
        return;
    }
    let told = endpoints(settings, urls);
    let lines: String = told.iter().map(|url| format!("{url}\n")).collect();
    if let Err(error) = files::write_secret(dir, ENDPOINTS, lines.as_bytes()) {
        // The tools then need --endpoints.
        warn!(%error, "the endpoints of this member could not be written down");
    }
}

/// What a tool of this machine can dial, each once.
pub(crate) fn endpoints(settings: &Settings, urls: &Urls) -> Vec<String> {
    let has_tls = urls.clients.iter().any(|url| url.starts_with("https://"));
    // The administrator's certificate, which lies beside this file, can be shown there only.
    let clients = urls.clients.iter();
    let told = clients.filter(|url| !has_tls || url.starts_with("https://"));
    let mut all = Vec::new();
    for url in told {
        match everywhere(url) {
            // No certificate is for "all addresses". The cluster's own are for loopback, those of others may not be.
            Some((scheme, _)) if settings.tls_files.is_some() => {
                let advertised = settings.advertise_client_urls.iter();
                all.extend(
                    advertised
                        .filter(|url| url.split_once("://").is_some_and(|(own, _)| own == scheme))
                        .cloned(),
                );
            }
            Some((scheme, port)) => all.push(format!("{scheme}://127.0.0.1:{port}")),
            None => all.push(url.clone()),
        }
    }
    let mut known = HashSet::new();
    all.retain(|url| known.insert(url.clone()));
    all
}

/// Scheme and port of a URL that is bound on all addresses.
fn everywhere(url: &str) -> Option<(&str, u16)> {
    let (scheme, authority) = url.split_once("://")?;
    let address: SocketAddr = authority.parse().ok()?;
    let is_everywhere = address.ip().is_unspecified();
    is_everywhere.then(|| (scheme, address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_addresses_are_known_as_such() {
        for (url, expected) in [
            ("https://0.0.0.0:2379", Some(("https", 2379))),
            ("http://[::]:1", Some(("http", 1))),
            ("https://10.0.0.1:2379", None),
            ("https://node1.example:2379", None),
        ] {
            assert_eq!(everywhere(url), expected, "{url}");
        }
    }
}
