//! Which certificates of the old root somebody may still show while the root changes.
//!
//! That another has taken the place of a certificate does not say that nobody shows the one before: the answer may never
//! have arrived, and copies lie on other machines. So listeners note which ones clients show, and a certificate is out of
//! use when it was not shown for a part of the grace period.

use std::collections::BTreeMap;

use bytes::Bytes;
use kvorum_proto::kvorumpb::{CertificateKind, TrustCertificate, TrustRotation, TrustSeen};

use super::kept::Row;
use super::{Trust, TrustRefused};
use crate::backend::SideChange;

/// One that was replaced, and was not shown for this part of the grace period, is out of use.
const QUIET_PARTS: i64 = 10;
/// Certificates in one note of what was seen.
pub const SEEN_MAX: usize = 256;

/// A certificate of the old root that a rotation waits for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OldCertificate {
    /// As it is on the list.
    pub certificate: TrustCertificate,
    /// Another has taken its place: it is waited for until then, or longer if it is shown again. 0 for one in whose
    /// place there is none.
    pub until_unix_s: i64,
}

impl Trust {
    /// A client may still show each of these; the list of whom a rotation waits for.
    pub(super) fn in_use(
        &self,
        rotation: &TrustRotation,
        since_unix_s: i64,
        now_unix_s: i64,
    ) -> Vec<OldCertificate> {
        let mut replaced: BTreeMap<&Bytes, i64> = BTreeMap::new();
        for next in self.certificates() {
            for serial in &next.replaces {
                let at = replaced.entry(serial).or_default();
                *at = next.issued_unix_s.max(*at);
            }
        }
        let until = |c: &TrustCertificate| {
            let replaced = *replaced.get(&c.serial)?;
            // Nobody noted anything before the root began to change.
            let last = replaced.max(c.seen_unix_s).max(since_unix_s);
            Some(last.saturating_add(rotation.grace_s / QUIET_PARTS))
        };
        let old = self.certificates().filter(|c| {
            let runs = c.not_after_unix_s > now_unix_s && !self.denies(c);
            c.root != rotation.new_root && c.kind() != CertificateKind::Node && runs
        });
        let old = old.map(|certificate| (certificate, until(certificate)));
        let old = old.filter(|(_, until)| until.is_none_or(|until| until > now_unix_s));
        old.map(|(certificate, until)| OldCertificate {
            certificate: certificate.clone(),
            until_unix_s: until.unwrap_or(0),
        })
        .collect()
    }

    fn denies(&self, certificate: &TrustCertificate) -> bool {
        self.denies_serial(&certificate.serial) || self.denies_user(&certificate.subject)
    }

    /// While the root changes, the certificate of the old one that has this serial.
    #[must_use]
    pub fn old_certificate(&self, serial: &[u8]) -> Option<&TrustCertificate> {
        let rotation = self.rotation()?;
        let found = self.certificates.get(serial);
        found.filter(|certificate| certificate.root != rotation.new_root)
    }

    /// Clients have shown these.
    pub(super) fn note_seen(
        &mut self,
        seen: &TrustSeen,
        now_unix_s: i64,
        notes: &mut Vec<SideChange>,
    ) -> Result<(), TrustRefused> {
        if self.rotation().is_none() {
            return Err(TrustRefused::NoRotation);
        }
        if seen.serials.len() > SEEN_MAX {
            return Err(TrustRefused::Malformed);
        }
        for serial in &seen.serials {
            if self.old_certificate(serial).is_none() {
                continue;
            }
            if let Some(row) = self.certificates.get_mut(serial)
                && row.seen_unix_s < now_unix_s
            {
                row.seen_unix_s = now_unix_s;
                notes.push(Row::Certificate(serial).put(row));
            }
        }
        Ok(())
    }
}
