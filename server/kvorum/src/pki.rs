//! The certificates of a member that makes its own: made at the first start, checked at each.

mod first_start;
mod names;

use std::path::{Path, PathBuf};

use kvorum_core::MemberId;
use kvorum_pki::{Bundle, files};
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
            "{shown} holds a member already: `kvorum rejoin` gets it another certificate; to join as a new member give \
             another --data-dir, or remove this one"
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
    let prospect = kvorum_member::prospect(
        &settings.data_dir,
        &advertised(settings, urls),
        &settings.cluster.token,
    );
    let prospect = prospect.map_err(|error| {
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
    if !prospect.is_alone {
        return Err(refused(
            &"its cluster has other members, which would not trust an authority of this one's own: give certificates \
              (--cert-file, --peer-cert-file and what belongs to them), or go on without TLS by name: \
              --client-allow-plain=true and --peer-allow-plain=true with http:// in --listen-client-urls, \
              --advertise-client-urls, --listen-peer-urls and --initial-advertise-peer-urls, and --listen-console-url none",
        ));
    }
    let founder = Founder {
        member_id: prospect.member_id.0,
        member_name: settings.name.clone(),
        names: names::of(settings, urls),
        lives: settings.trust.lives,
    };
    let domain = founder.found(&own.dir).map_err(|reason| refused(&reason))?;
    info!(trust_domain = %domain, directory = %own.dir.display(), "made a certificate authority for a new cluster");
    Ok(Some(own))
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

/// Tells the tools of this machine where clients are served.
pub(crate) fn tell_endpoints(dir: &Path, urls: &Urls) {
    let lines: String = urls.clients.iter().map(|url| format!("{url}\n")).collect();
    if let Err(error) = files::write_secret(dir, ENDPOINTS, lines.as_bytes()) {
        // The tools then need --endpoints.
        warn!(%error, "the endpoints of this member could not be written down");
    }
}
