//! The administrator's certificate that a member makes for itself is worth nothing once the member was removed.
//!
//! That is no change of its own: it follows from the list of certificates and from who was removed, which all members
//! have alike, and holds from the entry on that removes the member. The leader writes it down a little later, with the
//! time. Who is merely no member, as the makers of certificates from before a restore, was not removed.

use std::collections::BTreeSet;

use bytes::Bytes;
use kvorum_proto::kvorumpb::{
    CertificateKind, TrustCertificate, TrustDenial, trust_denial::Subject,
};

use super::Trust;
use crate::types::MemberId;

/// By whose word such a certificate is refused.
pub const EVICTED_BY: &str = "its member was removed";
/// What stands before the id of a member that made a certificate for itself.
const MEMBER: &str = "member ";

/// How the list names a member that made a certificate for itself.
#[must_use]
pub fn made_by_member(id: MemberId) -> String {
    format!("{MEMBER}{:x}", id.0)
}

/// The member that made this certificate for itself; none where somebody asked for it.
fn maker(certificate: &TrustCertificate) -> Option<MemberId> {
    let is_admin = certificate.kind() == CertificateKind::Admin;
    let id = certificate.issued_by.strip_prefix(MEMBER)?;
    let id = u64::from_str_radix(id, 16).ok().map(MemberId)?;
    // Only as it would be written: a user may be called almost anything.
    (is_admin && made_by_member(id) == certificate.issued_by).then_some(id)
}

impl Trust {
    /// Whom the table of members knows as removed; called with each change of that.
    pub fn note_removed(&mut self, removed: &BTreeSet<MemberId>) {
        self.removed.clone_from(removed);
        self.find_evicted();
    }

    /// Whom it was told of last.
    #[must_use]
    pub fn removed(&self) -> &BTreeSet<MemberId> {
        &self.removed
    }

    /// Called whenever the list of certificates has changed.
    pub(super) fn find_evicted(&mut self) {
        let denial = |certificate: &TrustCertificate| TrustDenial {
            subject: Some(Subject::Serial(certificate.serial.clone())),
            // Until the leader has written down when it was.
            since_unix_s: certificate.issued_unix_s,
            denied_by: EVICTED_BY.to_owned(),
            not_after_unix_s: certificate.not_after_unix_s,
        };
        let all = self.certificates.iter();
        let evicted = all.filter(|(_, certificate)| {
            maker(certificate).is_some_and(|member| self.removed.contains(&member))
        });
        self.evicted = evicted
            .map(|(serial, certificate)| (serial.clone(), denial(certificate)))
            .collect();
    }

    /// True for the certificate of a member that was removed, made by that member for itself.
    #[must_use]
    pub fn is_evicted(&self, serial: &[u8]) -> bool {
        self.evicted.contains_key(serial)
    }

    /// One that is refused since its member was removed, and of which nobody has written down when.
    #[must_use]
    pub fn next_evicted(&self) -> Option<&Bytes> {
        let mut serials = self.evicted.keys();
        serials.find(|serial| !self.denied_serials.contains_key(*serial))
    }
}

#[cfg(test)]
mod tests {
    use kvorum_proto::kvorumpb::{
        IssuerChange, RotationBegin, TrustAck, TrustInit, TrustIssuer, TrustOp, trust_op::Op,
    };

    use super::*;
    use crate::backend::SideChange;
    use crate::membership::Members;
    use crate::trust::{Stage, TrustRefused};

    const NOW: i64 = 1_800_000_000;
    const DAY: i64 = 24 * 3600;

    fn serial(of: u8) -> Bytes {
        vec![of; 16].into()
    }

    fn run(trust: &mut Trust, op: Op) -> Result<(), TrustRefused> {
        let mut notes = Vec::new();
        let change = TrustOp {
            now_unix_s: NOW,
            op: Some(op),
        };
        let done = trust.apply(&change, &Members::default(), &mut notes);
        for note in notes {
            if let SideChange::MetaPut(key, _) = &note {
                assert!(trust.rows().contains(&note), "{key}");
            }
        }
        done.map(drop)
    }

    fn issuer(root: u64) -> TrustIssuer {
        TrustIssuer {
            der: vec![3; 300].into(),
            sealed_key: vec![4; 80].into(),
            root,
            not_before_unix_s: NOW,
            not_after_unix_s: NOW + 90 * DAY,
            ..TrustIssuer::default()
        }
    }

    fn ready() -> Trust {
        let mut trust = Trust::default();
        let init = TrustInit {
            domain: vec![7; 16].into(),
            root_der: vec![1; 300].into(),
            sealed_root_key: vec![2; 80].into(),
            issuer: Some(issuer(0)),
        };
        run(&mut trust, Op::Init(init)).expect("the first");
        trust
    }

    fn list(trust: &mut Trust, of: u8, kind: CertificateKind, by: &str) {
        let certificate = TrustCertificate {
            serial: serial(of),
            kind: kind.into(),
            subject: "root".into(),
            not_after_unix_s: NOW + 90 * DAY,
            root: 1,
            issued_by: by.into(),
            ..TrustCertificate::default()
        };
        run(trust, Op::Issued(certificate)).expect("allowed");
    }

    fn removed(ids: &[u64]) -> BTreeSet<MemberId> {
        ids.iter().copied().map(MemberId).collect()
    }

    #[test]
    fn what_a_member_made_for_itself_ends_with_its_removal_and_nothing_else_does() {
        let mut trust = ready();
        list(&mut trust, 1, CertificateKind::Admin, "member a1");
        list(&mut trust, 2, CertificateKind::Admin, "member b2");
        // By people, on whatever machine, and whatever they are called.
        list(&mut trust, 3, CertificateKind::Admin, "root");
        list(&mut trust, 4, CertificateKind::Admin, "token 1234");
        list(&mut trust, 5, CertificateKind::Client, "member a1");
        list(&mut trust, 6, CertificateKind::Admin, "member 0a1");
        list(&mut trust, 7, CertificateKind::Admin, "member a1 ");
        assert_eq!(trust.next_evicted(), None);
        trust.note_removed(&removed(&[0xa1]));
        for of in 1..=7 {
            assert_eq!(trust.denies_serial(&serial(of)), of == 1, "{of}");
        }
        let denied: Vec<_> = trust.denied_serials().collect();
        assert_eq!(denied.len(), 1);
        assert_eq!(denied[0].denied_by, EVICTED_BY);
        assert_eq!(denied[0].subject, Some(Subject::Serial(serial(1))));
        assert_eq!(denied[0].not_after_unix_s, NOW + 90 * DAY);
        // One that comes to light later is refused as well.
        list(&mut trust, 8, CertificateKind::Admin, "member a1");
        assert!(trust.denies_serial(&serial(8)));
    }

    #[test]
    fn the_leader_writes_down_when_and_nobody_takes_it_back() {
        let mut trust = ready();
        list(&mut trust, 1, CertificateKind::Admin, "member a1");
        trust.note_removed(&removed(&[0xa1]));
        let denial = TrustDenial {
            subject: Some(Subject::Serial(serial(1))),
            denied_by: EVICTED_BY.into(),
            ..TrustDenial::default()
        };
        assert_eq!(trust.next_evicted(), Some(&serial(1)));
        run(&mut trust, Op::Deny(denial.clone())).expect("allowed");
        assert_eq!(trust.next_evicted(), None);
        assert_eq!(trust.denied_serials().count(), 1, "told once");
        let refused = run(&mut trust, Op::Allow(denial));
        assert_eq!(refused, Err(TrustRefused::MemberRemoved));
        assert!(trust.denies_serial(&serial(1)));
    }

    #[test]
    fn a_restored_cluster_refuses_who_was_removed_before_and_nobody_for_being_no_member() {
        let mut trust = ready();
        list(&mut trust, 1, CertificateKind::Admin, "member a1");
        list(&mut trust, 2, CertificateKind::Admin, "member b2");
        trust.note_removed(&removed(&[0xa1]));
        let mut next = Trust::default();
        for row in trust.carried_over().rows() {
            if let SideChange::MetaPut(key, value) = row {
                assert!(next.restore(&key, &value));
            }
        }
        next.note_removed(&BTreeSet::new());
        assert!(next.denies_serial(&serial(1)));
        assert!(!next.denies_serial(&serial(2)), "it is merely gone");
        // A member that has the id of one of before is another one.
        next.note_removed(&removed(&[0xb2]));
        assert!(next.denies_serial(&serial(2)));
    }

    #[test]
    fn a_rotation_does_not_wait_for_certificates_that_are_refused() {
        let mut trust = ready();
        list(&mut trust, 1, CertificateKind::Admin, "member a1");
        let begin = RotationBegin {
            after: trust.authority(),
            root_der: vec![11; 300].into(),
            sealed_root_key: vec![12; 80].into(),
            grace_s: 30 * DAY,
            begun_by: "root".into(),
        };
        run(&mut trust, Op::RotationBegin(begin)).expect("begun");
        let change = IssuerChange {
            after: trust.authority(),
            issuer: Some(issuer(2)),
        };
        run(&mut trust, Op::Issuer(change)).expect("no members to wait for");
        let nobody = Members::default();
        assert_eq!(trust.progress(&nobody, NOW).stage, Stage::Grace);
        trust.note_removed(&removed(&[0xa1]));
        assert_eq!(trust.progress(&nobody, NOW).stage, Stage::Drop);
        run(&mut trust, Op::Ack(TrustAck::default())).expect("nobody's");
    }
}
