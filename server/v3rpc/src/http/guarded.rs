//! Who sees what tells more than probes need: the command line of the member stands in `/debug/vars`.

use kvorum_member::Handle;

use crate::{connection::Entry, options::Scope, peer::Peer};

/// What everybody else hears.
pub(super) const REFUSED: &str = "kvorum: only administrators see this: show pki/admin.crt and pki/admin.key of a \
                                  member, or ask its metrics listener (--listen-metrics-urls) on loopback";

/// True for an administrator's certificate, and for whoever has the machine; for everybody where nobody could show what
/// he may: without authentication, and without an authority of the cluster's own.
pub(super) fn may_look(handle: &Handle, entry: &Entry) -> bool {
    let asks = handle.is_auth_enabled() || handle.trust().is_ready();
    !asks || shows_it(entry)
}

fn shows_it(entry: &Entry) -> bool {
    let has_machine = entry.scope == Scope::Metrics && entry.is_loopback;
    let is_administrator =
        matches!(&entry.peer, Peer::Certified(certificate) if certificate.is_administrator());
    has_machine || is_administrator
}
