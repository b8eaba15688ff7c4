//! How members reach each other, and how they know that it is they.

use kvorum_member::peer::{PeerTls, PeerTlsOptions};

use super::advertise::Advertised;
use super::cluster::ClusterSettings;
use super::keys;
use super::problem::Problem;
use super::reader::{Reader, split};
use super::tls;
use super::url::{ListenUrl, Scheme};

/// What the transport between members needs.
#[derive(Clone, Debug)]
pub(crate) struct PeerSettings {
    /// Where other members are told to dial this one; empty for the bound addresses.
    pub(crate) advertise: Vec<String>,
    /// For every `https://` URL.
    pub(crate) tls: Option<PeerTls>,
    /// The files it was made of, where they were named.
    pub(crate) tls_files: Option<tls::Named>,
    /// `http://` URLs may be used.
    pub(crate) allow_plain: bool,
}

/// Reads the keys; `listen` is what `listen-peer-urls` says.
pub(super) fn read(
    reader: &mut Reader,
    listen: &[ListenUrl],
    cluster: Option<&ClusterSettings>,
    advertised: Option<&Advertised>,
) -> Option<PeerSettings> {
    let advertise = match advertised {
        Some(advertised) if !reader.is_given(keys::INITIAL_ADVERTISE_PEER_URLS) => {
            Some(vec![advertised.peer_url()])
        }
        _ => reader.advertise_urls(keys::INITIAL_ADVERTISE_PEER_URLS),
    };
    let allow_plain = reader.flag(keys::PEER_ALLOW_PLAIN)?;
    if reader.flag(keys::PEER_CLIENT_CERT_AUTH)? {
        // Nothing else is known here.
    } else {
        reader.refuse(
            keys::PEER_CLIENT_CERT_AUTH,
            "members always show each other certificates: leave it out, or say true",
        );
    }
    let (tls, tls_files) = tls_config(reader).unzip();
    let advertise = advertise?;
    let others = cluster.map_or(0, |cluster| cluster.initial.len()) > 1;
    if others && listen.is_empty() {
        reader.refuse(
            keys::LISTEN_PEER_URLS,
            "initial-cluster names other members, which must reach this one: give the address to listen on",
        );
    }
    check_plain(reader, listen, &advertise, allow_plain);
    if advertised.is_none() {
        check_advertised(reader, listen);
    }
    Some(PeerSettings {
        advertise,
        tls,
        tls_files,
        allow_plain,
    })
}

/// Whoever reaches a plain peer address is a member: it can read and change everything.
fn check_plain(reader: &mut Reader, listen: &[ListenUrl], advertise: &[String], allowed: bool) {
    if allowed {
        return;
    }
    let reason = "whoever reaches a plain peer address can read and change everything: use https:// with \
                  --peer-cert-file, --peer-key-file and --peer-trusted-ca-file, or say \
                  --peer-allow-plain=true where nobody else reaches the network";
    if listen.iter().any(|url| url.scheme == Scheme::Http) {
        reader.refuse(keys::LISTEN_PEER_URLS, reason);
    } else if !listen.is_empty() && advertise.iter().any(|url| url.starts_with("http://")) {
        reader.refuse(keys::INITIAL_ADVERTISE_PEER_URLS, reason);
    }
}

/// Other members must be told an address, and "all addresses" is none.
fn check_advertised(reader: &mut Reader, listen: &[ListenUrl]) {
    let everywhere = listen.iter().any(|url| url.address.ip().is_unspecified());
    if everywhere && !reader.is_given(keys::INITIAL_ADVERTISE_PEER_URLS) {
        reader.refuse(
            keys::LISTEN_PEER_URLS,
            "other members must be told an address they can dial: add \
             --initial-advertise-peer-urls",
        );
    }
}

fn tls_config(reader: &mut Reader) -> Option<(PeerTls, tls::Named)> {
    let cert = reader.optional_path(keys::PEER_CERT_FILE);
    let key = reader.optional_path(keys::PEER_KEY_FILE);
    let trusted_ca = reader.optional_path(keys::PEER_TRUSTED_CA_FILE);
    let names = |reader: &mut Reader, key| match reader.is_given(key) {
        true => reader.read(key, |text| {
            let names: Vec<_> = split(text).map(str::to_owned).collect();
            match names.is_empty() {
                true => Err("must not be empty: leave it out to allow all".to_owned()),
                false => Ok(names),
            }
        }),
        false => Some(Vec::new()),
    };
    let allowed_cns = names(reader, keys::PEER_CERT_ALLOWED_CN)?;
    let allowed_hostnames = names(reader, keys::PEER_CERT_ALLOWED_HOSTNAME)?;
    let (cert, key, trusted_ca) = match (cert, key, trusted_ca) {
        (Some(cert), Some(key), Some(trusted_ca)) => (cert, key, trusted_ca),
        (None, None, None) => return None,
        given => {
            let missing: Vec<_> = [
                (given.0.is_none(), keys::PEER_CERT_FILE),
                (given.1.is_none(), keys::PEER_KEY_FILE),
                (given.2.is_none(), keys::PEER_TRUSTED_CA_FILE),
            ]
            .into_iter()
            .filter_map(|(missing, name)| missing.then_some(name))
            .collect();
            let missing = missing.join(", ");
            reader.problems.push(Problem::new(format!(
                "{missing}: missing: members show each other certificates and check them, which \
                 takes all three files"
            )));
            return None;
        }
    };
    let loaded = tls::load_peers(&cert, &key, &trusted_ca, |options| PeerTlsOptions {
        allowed_cns,
        allowed_hostnames,
        ..options
    });
    let named = tls::Named {
        cert,
        key,
        trusted_ca: Some(trusted_ca),
    };
    loaded
        .map_err(|refused| reader.refuse(refused.key, &refused.reason))
        .map(|tls| (tls, named))
        .ok()
}
