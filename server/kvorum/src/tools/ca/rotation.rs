//! Where a rotation stands, and for each thing that it waits for what helps.

use kvorum_pki::Serial;
use kvorum_proto::kvorumpb::{
    CertificateKind, OldCertificate, RotateCaResponse, RotateStage, TrustCertificate,
};

use super::super::cert::operand;
use super::super::legible::legible;
use super::super::moment;

/// For people, a line each.
pub(super) fn lines(told: &RotateCaResponse) -> String {
    let stage = match told.stage() {
        RotateStage::None => return "no rotation is under way\n".to_owned(),
        RotateStage::Bundle => "1 of 5: members learn to trust the new root",
        RotateStage::Issuer => "2 of 5: the authority begins to sign by the new root",
        RotateStage::Reissue => "3 of 5: members get certificates of the new root",
        RotateStage::Grace => "4 of 5: clients get certificates of the new root",
        RotateStage::Drop => "5 of 5: the old root goes",
    };
    let mut lines = format!("rotation, step {stage}\n");
    for member in &told.waiting_members {
        lines.push_str(&format!("  waits for member {member:x}\n"));
    }
    if !told.waiting_members.is_empty() {
        lines.push_str(
            "  a member that does not come back: `kvorum ca rotate --without-members` goes on without those that cannot be \
             reached\n",
        );
    }
    let ends = told.stage() == RotateStage::Drop;
    if ends {
        lines.push_str(
            "  the grace period is not waited for any more: clients that show a certificate of the old root are refused as \
             soon as that is gone\n",
        );
    }
    if told.grace_until_unix_s > 0 && !ends {
        let until = moment::shown(told.grace_until_unix_s);
        lines.push_str(&format!(
            "  the old root is trusted until {until}, or until nobody shows a certificate of it any more; `kvorum ca rotate \
             --end-grace` waits no longer\n"
        ));
    }
    for old in &told.old_certificates {
        if let Some(certificate) = &old.certificate {
            lines.push_str(&of_certificate(certificate, old, ends));
        }
    }
    lines
}

/// Before clients are told to renew there is no grace period, and one that was ended unseen would cut them off later.
///
/// # Errors
/// It is too early.
pub(super) fn may_end_grace(stage: RotateStage) -> Result<(), String> {
    let step = match stage {
        RotateStage::Bundle => 1,
        RotateStage::Issuer => 2,
        RotateStage::Reissue => 3,
        RotateStage::None | RotateStage::Grace | RotateStage::Drop => return Ok(()),
    };
    Err(format!(
        "--end-grace: the rotation is in step {step} of 5, and clients can renew their certificates in step 4 only: had \
         the grace period ended by then, all of them would be refused; nothing was changed. Repeat this once `kvorum ca \
         status` shows step 4; if members are waited for, `kvorum ca rotate --without-members` goes on without them"
    ))
}

fn of_certificate(certificate: &TrustCertificate, old: &OldCertificate, ends: bool) -> String {
    let (user, serial) = (
        &certificate.subject,
        Serial::from_bytes(&certificate.serial),
    );
    let kind = match certificate.kind() {
        CertificateKind::Admin => "admin",
        _ => "client",
    };
    let by = match certificate.issued_by.is_empty() {
        true => "somebody".to_owned(),
        false => legible(&certificate.issued_by),
    };
    let is_members = kind == "admin" && by.starts_with("member ");
    let again = match is_members {
        true => format!("copy pki/admin.* of {by} anew to where it is shown"),
        false => format!("`kvorum cert renew {}` where its files are", operand(user)),
    };
    let unused = format!("`kvorum cert revoke {serial}` if nobody uses it any more");
    let help = match (old.until_unix_s, is_members) {
        _ if ends => format!("is refused as soon as the old root is gone: {again}"),
        (0, true) => format!("{by} makes another by itself; if it is no member any more, {unused}"),
        (0, false) => format!("{again}, or {unused}"),
        (until, _) => {
            let until = moment::shown(until);
            let shown = match certificate.seen_unix_s {
                0 => "was not shown since".to_owned(),
                seen => format!("was shown at {}", moment::shown(seen)),
            };
            format!(
                "another has taken its place, and it {shown}: it is waited for until {until}, longer if it is shown again; \
                 if it is, {again}, or {unused}"
            )
        }
    };
    let user = legible(user);
    format!("  {user}, {kind}, {serial}, made by {by}: {help}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn old(kind: CertificateKind, by: &str, until_unix_s: i64) -> OldCertificate {
        let certificate = TrustCertificate {
            serial: vec![0xab; 16].into(),
            kind: kind.into(),
            subject: "app".into(),
            issued_by: by.into(),
            ..TrustCertificate::default()
        };
        OldCertificate {
            certificate: Some(certificate),
            until_unix_s,
        }
    }

    #[test]
    fn a_grace_period_that_has_not_begun_is_not_ended() {
        let early = may_end_grace(RotateStage::Reissue).expect_err("too early");
        assert!(early.contains("step 3 of 5"), "{early}");
        may_end_grace(RotateStage::Grace).expect("is what it is for");
    }

    #[test]
    fn a_rotation_tells_what_it_waits_for_and_a_command_that_works_for_each() {
        let none = lines(&RotateCaResponse::default());
        assert_eq!(none, "no rotation is under way\n");
        let serial = Serial::from_bytes(&[0xab; 16]);
        let told = |old| RotateCaResponse {
            stage: RotateStage::Grace.into(),
            waiting_members: vec![255],
            grace_until_unix_s: 60,
            old_certificates: vec![old],
            ..RotateCaResponse::default()
        };
        let has = |told: &RotateCaResponse, parts: &[&str]| {
            let lines = lines(told);
            for part in parts {
                assert!(lines.contains(part), "{part:?} is not in {lines}");
            }
        };
        let revoke = format!("`kvorum cert revoke {serial}`");
        let persons = told(old(CertificateKind::Client, "root", 0));
        has(
            &persons,
            &[
                "step 4 of 5",
                "member ff",
                "until 1970-01-01T00:01:00Z",
                "--without-members",
                "--end-grace",
                &format!("app, client, {serial}, made by root: `kvorum cert renew app` where"),
                &revoke,
            ],
        );
        let mut dashed = persons.clone();
        for old in &mut dashed.old_certificates {
            let certificate = old.certificate.as_mut().expect("is there");
            certificate.subject = "-a b".into();
        }
        has(&dashed, &["`kvorum cert renew -- '-a b'` where"]);
        dashed.stage = RotateStage::Drop.into();
        has(
            &dashed,
            &["not waited for any more", "is refused as soon as"],
        );
        assert!(!lines(&dashed).contains("1970"), "nothing is waited for");
        let members = told(old(CertificateKind::Admin, "member a1", 0));
        has(&members, &["member a1 makes another by itself", &revoke]);
        assert!(!lines(&members).contains("cert renew"), "a dead end");
        let copied = told(old(CertificateKind::Admin, "member a1", 120));
        has(
            &copied,
            &[
                "until 1970-01-01T00:02:00Z",
                "was not shown since",
                "copy pki/admin.* of member a1 anew",
                &revoke,
            ],
        );
    }
}
