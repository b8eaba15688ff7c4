//! Where TLS may be left out: only where that was asked for by name.

use super::keys;
use super::reader::Reader;
use super::url::{ListenUrl, Scheme};

/// Refuses `http://` URLs that nobody allowed. Metrics and probes on loopback need no leave: they hold no keys.
pub(super) fn check(
    reader: &mut Reader,
    clients: &[ListenUrl],
    metrics: &[ListenUrl],
    console: &[ListenUrl],
) {
    let clients_may = reader.flag(keys::CLIENT_ALLOW_PLAIN);
    let console_may = reader.flag(keys::CONSOLE_ALLOW_PLAIN);
    let (Some(clients_may), Some(console_may)) = (clients_may, console_may) else {
        return;
    };
    if !clients_may && clients.iter().any(|url| url.scheme == Scheme::Http) {
        reader.refuse(
            keys::LISTEN_CLIENT_URLS,
            "without TLS whoever sees the network reads every key and every password: use https://, or say \
             --client-allow-plain=true where nobody else reaches the network",
        );
    }
    let bare = |url: &ListenUrl| url.scheme == Scheme::Http && !url.address.ip().is_loopback();
    if !clients_may && metrics.iter().any(bare) {
        reader.refuse(
            keys::LISTEN_METRICS_URLS,
            "http:// is for loopback: use https:// to be reached from other machines, or say \
             --client-allow-plain=true where nobody else reaches the network",
        );
    }
    if !console_may && console.iter().any(|url| url.scheme == Scheme::Http) {
        reader.refuse(
            keys::LISTEN_CONSOLE_URL,
            "without TLS passwords and sessions can be read on the way: use https://, or say \
             --console-allow-plain=true",
        );
    }
}
