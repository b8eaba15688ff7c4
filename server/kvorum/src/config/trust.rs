//! Certificates that the cluster makes for itself, and how long they and the tokens of users live.

use std::time::Duration;

use super::keys;
use super::reader::Reader;
use super::settings::Listen;
use super::units;
use super::url::{ListenUrl, Scheme};
use super::{cluster::ClusterSettings, tls};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// What the cluster's own authority is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TrustSettings {
    /// Clients are served with a certificate that this member made.
    pub(crate) clients: bool,
    /// So are members.
    pub(crate) peers: bool,
    /// So is the console.
    pub(crate) console: bool,
    /// Clients must show a certificate; otherwise they may.
    pub(crate) client_cert_auth: bool,
    /// How long each kind lives.
    pub(crate) lives: Lives,
}

impl TrustSettings {
    /// Something is served with a certificate of the cluster's own.
    pub(crate) fn is_wanted(&self) -> bool {
        self.clients || self.peers || self.console
    }
}

/// How long certificates live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lives {
    /// Of members.
    pub(crate) node: Duration,
    /// Of clients and administrators.
    pub(crate) client: Duration,
    /// Of the console.
    pub(crate) console: Duration,
}

/// Reads the keys; the files that were named decide what is left to the cluster's own authority.
pub(super) fn read(
    reader: &mut Reader,
    listen: Option<&Listen>,
    cluster: Option<&ClusterSettings>,
    client_files: Option<&tls::Named>,
    peer_files: Option<&tls::Named>,
) -> Option<TrustSettings> {
    let client_cert_auth = client_cert_auth(reader, client_files)?;
    let lives = Lives {
        node: life(reader, keys::NODE_CERT_LIFE, 90 * DAY)?,
        client: life(reader, keys::CLIENT_CERT_LIFE, 3650 * DAY)?,
        // Browsers take no longer ones.
        console: life(reader, keys::CONSOLE_CERT_LIFE, 397 * DAY)?,
    };
    let listen = listen?;
    let secure = |url: &ListenUrl| url.scheme == Scheme::Https;
    let settings = TrustSettings {
        clients: client_files.is_none()
            && (listen.clients.iter().any(|client| client.tls)
                || listen.metrics.iter().any(secure)),
        peers: peer_files.is_none() && listen.peers.iter().any(secure),
        console: client_files.is_none() && listen.console.as_ref().is_some_and(secure),
        client_cert_auth,
        lives,
    };
    let founders = cluster.map_or(0, |cluster| cluster.initial.len());
    let founds = cluster.is_some_and(ClusterSettings::founds);
    let console_alone = !settings.clients && !settings.peers;
    if founds && founders > 1 && settings.console && console_alone {
        reader.refuse(
            keys::LISTEN_CONSOLE_URL,
            "its certificate comes from an authority of the cluster's own, and members that begin together would each \
             make one: give certificates (--cert-file, --key-file), or say none, or http:// on loopback with \
             --console-allow-plain",
        );
    } else if founds && founders > 1 && settings.is_wanted() {
        reader.refuse(
            keys::INITIAL_CLUSTER,
            "each of these members would make an authority of its own: start the first one alone and add the others \
             with `kvorum join`, or give certificates (--cert-file and --peer-cert-file with what belongs to them). A \
             cluster that ran without TLS goes on so with http:// in all URLs, --client-allow-plain=true and \
             --peer-allow-plain=true",
        );
    }
    Some(settings)
}

/// With files, the file of the clients' authority says it; the two must not contradict each other.
fn client_cert_auth(reader: &mut Reader, files: Option<&tls::Named>) -> Option<bool> {
    let key = keys::CLIENT_CERT_AUTH;
    let Some(files) = files else {
        return match reader.is_given(key) {
            true => reader.flag(key),
            false => Some(true),
        };
    };
    let shown = files.trusted_ca.is_some();
    if reader.is_given(key) && reader.flag(key)? != shown {
        let reason = match shown {
            true => {
                "trusted-ca-file means that clients show a certificate: leave one of the two out"
            }
            false => "needs trusted-ca-file, the authority that signs the clients' certificates",
        };
        reader.refuse(key, reason);
        return None;
    }
    Some(shown)
}

fn life(reader: &mut Reader, key: &'static str, max: Duration) -> Option<Duration> {
    let min = Duration::from_secs(30);
    reader.read(key, |text| {
        let value = units::days(text)?;
        match (min..=max).contains(&value) {
            true => Ok(value),
            false => Err(format!(
                "must be from {} to {}d",
                units::show_duration(min),
                max.as_secs() / DAY.as_secs()
            )),
        }
    })
}
