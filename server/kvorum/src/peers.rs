//! Starts the transport between members, where there is to be one.

use std::io;

use kvorum_member::peer::{PeerListener, PeerOptions, PeerTls, Peers};

use crate::config::Settings;
use crate::listeners::Urls;

/// Where other members are told to dial this one; none if it opens no peer listener.
pub(crate) fn advertised(settings: &Settings, urls: &Urls) -> Vec<String> {
    match settings.peers.advertise.as_slice() {
        [] => urls.peers.clone(),
        given => given.to_vec(),
    }
}

/// The transport, listening; none without a peer listener. Files that were named come before certificates of the
/// cluster's own.
pub(crate) fn start(
    settings: &Settings,
    urls: &Urls,
    listeners: Vec<PeerListener>,
    own: Option<PeerTls>,
) -> io::Result<Option<Peers>> {
    if listeners.is_empty() {
        return Ok(None);
    }
    let peers = Peers::start(PeerOptions {
        listeners,
        tls: settings.peers.tls.clone().or(own),
        allow_plain: settings.peers.allow_plain,
        advertise_urls: advertised(settings, urls),
        election_timeout: settings.timing.election_timeout,
        ..PeerOptions::default()
    })?;
    Ok(Some(peers))
}
