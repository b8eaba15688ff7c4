//! What time has ended is forgotten: by the clock of who leads, which says so by an operation of its own, and a day late. A
//! member whose clock is ahead proposes many other changes, and ends nothing with them.

use kvorum_proto::kvorumpb::{JoinToken, TrustCertificate, TrustDenial};

use super::Trust;
use super::kept::Row;
use crate::backend::SideChange;

/// Certificates and denials are known for so long after their end.
const KEPT_S: i64 = 24 * 3600;
/// An expired token is known as such for so long.
const TOKEN_KEPT_S: i64 = 7 * 24 * 3600;
/// A certificate that nobody has listed runs no longer than this: the issuing certificate that has signed it runs a year.
const UNKNOWN_LIFE_S: i64 = 400 * 24 * 3600;

fn is_past(ends_unix_s: i64, kept_s: i64, now_unix_s: i64) -> bool {
    now_unix_s.saturating_sub(ends_unix_s) >= kept_s
}

fn is_old_token(token: &JoinToken, now_unix_s: i64) -> bool {
    is_past(token.expires_unix_s, TOKEN_KEPT_S, now_unix_s)
}

fn is_old_certificate(certificate: &TrustCertificate, now_unix_s: i64) -> bool {
    is_past(certificate.not_after_unix_s, KEPT_S, now_unix_s)
}

/// Only for denials by serial: a user is denied until somebody takes it back.
fn is_old_denial(denial: &TrustDenial, now_unix_s: i64) -> bool {
    let ends_unix_s = match denial.not_after_unix_s {
        // From before denials knew it.
        0 => denial.since_unix_s.saturating_add(UNKNOWN_LIFE_S),
        known => known,
    };
    is_past(ends_unix_s, KEPT_S, now_unix_s)
}

impl Trust {
    /// When the certificate of a serial ends, as far as anybody can tell.
    pub(super) fn not_after(&self, serial: &[u8], now_unix_s: i64) -> i64 {
        let listed = self.certificates.get(serial);
        let shown = self.acks.values().find(|ack| ack.serial == serial);
        let known = listed.map(|certificate| certificate.not_after_unix_s);
        let known = known.or(shown.map(|ack| ack.not_after_unix_s));
        known.unwrap_or_else(|| now_unix_s.saturating_add(UNKNOWN_LIFE_S))
    }

    /// True if there is something to forget.
    #[must_use]
    pub fn has_old_rows(&self, now_unix_s: i64) -> bool {
        let mut tokens = self.tokens.values();
        let mut certificates = self.certificates.values();
        let mut denials = self.denied_serials.values();
        tokens.any(|token| is_old_token(token, now_unix_s))
            || certificates.any(|certificate| is_old_certificate(certificate, now_unix_s))
            || denials.any(|denial| is_old_denial(denial, now_unix_s))
    }

    /// Forgets what has ended long ago.
    pub(super) fn forget(&mut self, now_unix_s: i64, notes: &mut Vec<SideChange>) {
        let mut drop_if = |is_old: bool, row: Row<'_>| {
            if is_old {
                notes.push(row.delete());
            }
            !is_old
        };
        self.tokens
            .retain(|id, token| drop_if(is_old_token(token, now_unix_s), Row::Token(id)));
        self.certificates.retain(|serial, certificate| {
            let is_old = is_old_certificate(certificate, now_unix_s);
            drop_if(is_old, Row::Certificate(serial))
        });
        self.denied_serials.retain(|serial, denial| {
            let is_old = is_old_denial(denial, now_unix_s);
            drop_if(is_old, Row::Serial(serial))
        });
        self.find_evicted();
    }

    /// Gives the place of a token away that is of no use: of the one that expired first, else of one that was used.
    pub(super) fn drop_useless_token(&mut self, now_unix_s: i64, notes: &mut Vec<SideChange>) {
        let is_useless =
            |token: &&JoinToken| now_unix_s >= token.expires_unix_s || !token.csr_sha256.is_empty();
        let useless = self.tokens.values().filter(is_useless);
        let first = useless.min_by_key(|token| {
            let runs = now_unix_s < token.expires_unix_s;
            (runs, token.expires_unix_s, &token.id)
        });
        if let Some(id) = first.map(|token| token.id.clone()) {
            self.tokens.remove(&id);
            notes.push(Row::Token(&id).delete());
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kvorum_proto::kvorumpb::{
        CertificateKind, TokenBurn, TokenRole, TrustForget, TrustInit, TrustIssuer, TrustOp,
        trust_denial::Subject, trust_op::Op,
    };

    use super::*;
    use crate::membership::Members;
    use crate::trust::TrustRefused;

    const NOW: i64 = 1_800_000_000;
    const DAY: i64 = 24 * 3600;

    fn run(trust: &mut Trust, now_unix_s: i64, op: Op) -> Result<(), TrustRefused> {
        let mut notes = Vec::new();
        let change = TrustOp {
            now_unix_s,
            op: Some(op),
        };
        let done = trust.apply(&change, &Members::default(), &mut notes);
        let mut again = trust.clone();
        for note in notes {
            if let SideChange::MetaDelete(key) = &note {
                assert!(
                    !trust
                        .rows()
                        .iter()
                        .any(|row| matches!(row, SideChange::MetaPut(kept, _) if kept == key)),
                    "{key}"
                );
            }
            if let SideChange::MetaPut(key, value) = note {
                assert!(again.restore(&key, &value));
            }
        }
        assert_eq!(&again, trust, "what is kept is what is known");
        done.map(drop)
    }

    fn founded() -> Trust {
        let mut trust = Trust::default();
        let issuer = TrustIssuer {
            der: Bytes::from_static(b"issuer"),
            sealed_key: Bytes::from_static(b"key"),
            not_before_unix_s: NOW,
            not_after_unix_s: NOW + 365 * DAY,
            ..TrustIssuer::default()
        };
        let init = TrustInit {
            domain: vec![7; 16].into(),
            root_der: Bytes::from_static(b"root"),
            sealed_root_key: Bytes::from_static(b"key"),
            issuer: Some(issuer),
        };
        run(&mut trust, NOW, Op::Init(init)).expect("the first");
        trust
    }

    fn serial(of: u8) -> Bytes {
        vec![of; 16].into()
    }

    fn listed(of: u8, not_after_unix_s: i64) -> Op {
        Op::Issued(TrustCertificate {
            serial: serial(of),
            kind: CertificateKind::Client.into(),
            subject: "ann".into(),
            not_after_unix_s,
            root: 1,
            ..TrustCertificate::default()
        })
    }

    fn denied(subject: Subject) -> Op {
        Op::Deny(TrustDenial {
            subject: Some(subject),
            ..TrustDenial::default()
        })
    }

    fn token(number: u64, now_unix_s: i64) -> JoinToken {
        let mut id = vec![1, 1];
        id.extend(number.to_be_bytes());
        JoinToken {
            id: id.into(),
            secret_sha256: vec![9; 32].into(),
            expires_unix_s: now_unix_s + 1800,
            role: TokenRole::Voter.into(),
            ..JoinToken::default()
        }
    }

    fn forget() -> Op {
        Op::Forget(TrustForget {})
    }

    #[test]
    fn no_clock_but_the_leaders_ends_a_row() {
        let mut trust = founded();
        run(&mut trust, NOW, listed(1, NOW + 90 * DAY)).expect("listed");
        run(&mut trust, NOW, denied(Subject::Serial(serial(1)))).expect("denied");
        let ahead = NOW + 1000 * DAY;
        run(&mut trust, ahead, denied(Subject::User("bob".into()))).expect("denied");
        run(&mut trust, ahead, Op::TokenCreate(token(1, ahead))).expect("a token");
        assert_eq!(trust.certificates().count(), 1);
        assert!(trust.denies_serial(&serial(1)));
        assert!(!trust.has_old_rows(NOW + 90 * DAY));
        run(&mut trust, NOW + 90 * DAY, forget()).expect("nothing is old");
        assert_eq!(trust.certificates().count(), 1);
        assert!(trust.has_old_rows(NOW + 91 * DAY));
        run(&mut trust, NOW + 91 * DAY, forget()).expect("a day later");
        assert_eq!(trust.certificates().count(), 0);
    }

    #[test]
    fn a_denial_ends_with_its_certificate_and_one_of_a_user_never() {
        let mut trust = founded();
        run(&mut trust, NOW, listed(1, NOW + 90 * DAY)).expect("listed");
        for subject in [
            Subject::Serial(serial(1)),
            Subject::Serial(serial(2)),
            Subject::User("bob".into()),
        ] {
            run(&mut trust, NOW, denied(subject)).expect("denied");
        }
        let mut old = trust.clone();
        for denial in old.denied_serials.values_mut() {
            denial.not_after_unix_s = 0;
        }
        for (days, known, unknown) in [
            (90, true, true),
            (91, false, true),
            (400, false, true),
            (401, false, false),
        ] {
            run(&mut trust, NOW + days * DAY, forget()).expect("it leads");
            assert_eq!(trust.denies_serial(&serial(1)), known, "{days}");
            assert_eq!(trust.denies_serial(&serial(2)), unknown, "{days}");
            run(&mut old, NOW + days * DAY, forget()).expect("it leads");
            assert_eq!(old.denies_serial(&serial(1)), unknown, "{days}");
        }
        assert!(trust.denies_user("bob"));
    }

    #[test]
    fn tokens_that_are_of_no_use_make_room_and_good_ones_do_not() {
        let mut trust = founded();
        let create = |trust: &mut Trust, number, now| {
            let op = Op::TokenCreate(token(number, now));
            run(trust, now, op)
        };
        for number in 0..1024 {
            create(&mut trust, number, NOW + (number == 7) as i64 * -60).expect("room");
        }
        assert_eq!(
            create(&mut trust, 2000, NOW),
            Err(TrustRefused::TooMany),
            "all are good"
        );
        let burn = TokenBurn {
            id: token(9, NOW).id,
            csr_sha256: vec![1; 32].into(),
            role: TokenRole::Voter.into(),
        };
        run(&mut trust, NOW, Op::TokenBurn(burn)).expect("used");
        // The seventh has expired, and the ninth was used.
        let later = NOW + 1750;
        for (new, gone) in [(2001, 7), (2002, 9)] {
            create(&mut trust, new, later).expect("room");
            assert!(trust.token(&token(gone, NOW).id).is_none(), "{gone}");
        }
        assert_eq!(
            create(&mut trust, 2003, later),
            Err(TrustRefused::TooMany),
            "all are good"
        );
        assert_eq!(trust.tokens().count(), 1024);
    }
}
