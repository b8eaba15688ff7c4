//! What a certificate on the list is worth: nobody looks for the cause of a refusal at one that is called valid.

use std::collections::BTreeSet;

use bytes::Bytes;
use kvorum_core::trust::EVICTED_BY;
use kvorum_proto::kvorumpb::{
    CertificateKind, CertificateListResponse, RotateStage, TrustCertificate, TrustDenial,
    trust_denial,
};

/// What is known of all of them.
pub(super) struct States<'a> {
    denied: &'a [TrustDenial],
    replaced: BTreeSet<&'a Bytes>,
    /// Roots before this one are trusted no more.
    oldest_root: u64,
    now_unix_s: i64,
}

impl<'a> States<'a> {
    /// Of the cluster's list, while the change of the root stands there.
    pub(super) fn of(told: &'a CertificateListResponse, stage: RotateStage, now: i64) -> Self {
        let all = || told.certificates.iter();
        let newest = all().map(|certificate| certificate.root).max();
        // Roots are numbered one after the other. The one before the newest is trusted only while clients and members
        // change over; before that, nothing is signed by the newest.
        let oldest_root = match stage {
            RotateStage::None | RotateStage::Bundle | RotateStage::Issuer => newest,
            RotateStage::Reissue | RotateStage::Grace | RotateStage::Drop => {
                newest.map(|newest| newest.saturating_sub(1))
            }
        };
        Self {
            denied: &told.denied,
            replaced: all().flat_map(|c| &c.replaces).collect(),
            oldest_root: oldest_root.unwrap_or_default(),
            now_unix_s: now,
        }
    }

    /// Of one, in words.
    pub(super) fn shown(&self, certificate: &TrustCertificate) -> &'static str {
        let names = |denial: &&TrustDenial| names(denial, certificate);
        match self.denied.iter().find(names) {
            Some(denial) if denial.denied_by == EVICTED_BY => {
                return "revoked since its member was removed";
            }
            Some(_) => return "revoked",
            None => {}
        }
        // A member that has shown none yet has no root.
        let is_gone = (1..self.oldest_root).contains(&certificate.root);
        match certificate.not_after_unix_s <= self.now_unix_s {
            true => "expired",
            false if is_gone => "of a root that is gone, not accepted",
            false if self.replaced.contains(&certificate.serial) => "replaced",
            false => "valid",
        }
    }
}

fn names(denial: &TrustDenial, certificate: &TrustCertificate) -> bool {
    match &denial.subject {
        Some(trust_denial::Subject::Serial(serial)) => serial[..] == certificate.serial[..],
        Some(trust_denial::Subject::User(user)) => {
            *user == certificate.subject && certificate.kind() != CertificateKind::Node
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_root(serial: u8, root: u64) -> TrustCertificate {
        TrustCertificate {
            serial: vec![serial; 16].into(),
            kind: CertificateKind::Client.into(),
            subject: "app".into(),
            not_after_unix_s: 100,
            root,
            ..TrustCertificate::default()
        }
    }

    #[test]
    fn only_what_is_accepted_is_called_valid() {
        let mut next = of_root(3, 3);
        next.replaces.push(vec![2; 16].into());
        let told = CertificateListResponse {
            certificates: vec![of_root(0, 0), of_root(1, 1), of_root(2, 2), next],
            ..CertificateListResponse::default()
        };
        let shown = |stage, now| {
            let states = States::of(&told, stage, now);
            let all = told.certificates.iter();
            all.map(|c| states.shown(c)).collect::<Vec<_>>()
        };
        let gone = "of a root that is gone, not accepted";
        assert_eq!(
            shown(RotateStage::None, 1),
            ["valid", gone, gone, "valid"],
            "after the change"
        );
        assert_eq!(
            shown(RotateStage::Grace, 1),
            ["valid", gone, "replaced", "valid"]
        );
        assert_eq!(shown(RotateStage::Bundle, 100), ["expired"; 4]);
    }
}
