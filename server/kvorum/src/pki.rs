//! The certificates of a member that makes its own: made at the first start, checked at each.

mod first_start;
mod names;

use std::path::{Path, PathBuf};

use kvorum_core::MemberId;
use kvorum_member::{Prospect, StartError};
use kvorum_pki::{Bundle, TrustDomain, files};
use tracing::{error, info, warn};

use crate::config::Settings;
use crate::exit::Exit;
use crate::listeners::Urls;
use crate::peers;
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
        check(&dir).map_err(|reason| refused(&reason))?;
    }
    if dir.join(JOINING).exists() && !settings.data_dir.join(MEMBER).exists() {
        return Err(refused(&format!(
            "this machine has begun to join a cluster and was interrupted: repeat `kvorum join` with the same token, or \
             remove {} to begin anew",
            dir.display()
        )));
    }
    let prospect = prospect(settings, urls).map_err(|error| {
        let data_dir = settings.data_dir.display();
        error!(%data_dir, %error, "cannot open the data directory");
        Exit::BadDataDir
    })?;
    let own = Own {
        member_id: prospect.member_id,
        dir,
    };
    if own.dir.join(files::DOMAIN).exists() {
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
         if these certificates are of no use any more: move {shown} away to begin anew",
        files::DOMAIN
    ))
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

/// The directory and everything in it is this user's alone, and no link leads elsewhere.
fn check(dir: &Path) -> Result<(), String> {
    files::check_dir(dir).map_err(|refused| refused.to_string())?;
    let entries = std::fs::read_dir(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    for entry in entries {
        let entry = entry.map_err(|e| format!("{}: {e}", dir.display()))?;
        files::check_file(&entry.path()).map_err(|refused| refused.to_string())?;
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

/// Tells the tools of this machine where clients are served, where a member has or had certificates of its own: those
/// that went back to plain text must not be dialled as before.
pub(crate) fn tell_endpoints(data_dir: &Path, urls: &Urls) {
    let dir = &data_dir.join(PKI);
    if !dir.is_dir() {
        return;
    }
    let has_tls = urls.clients.iter().any(|url| url.starts_with("https://"));
    // The administrator's certificate, which lies beside this file, can be shown there only.
    let clients = urls.clients.iter();
    let told = clients.filter(|url| !has_tls || url.starts_with("https://"));
    let lines: String = told.map(|url| format!("{url}\n")).collect();
    if let Err(error) = files::write_secret(dir, ENDPOINTS, lines.as_bytes()) {
        // The tools then need --endpoints.
        warn!(%error, "the endpoints of this member could not be written down");
    }
}
