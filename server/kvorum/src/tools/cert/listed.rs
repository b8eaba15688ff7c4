//! Whether there is what is to be revoked: a typing error must not look like success.

use kvorum_pki::Serial;
use kvorum_proto::kvorumpb::revoke_certificate_request::Subject;
use kvorum_proto::kvorumpb::{CertificateKind, TrustCertificate};

/// Looks for it on the cluster's list.
///
/// # Errors
/// It is not there.
pub(super) fn check(subject: &Subject, listed: &[TrustCertificate]) -> Result<(), String> {
    let names = |certificate: &TrustCertificate| match subject {
        Subject::Serial(serial) => certificate.serial == *serial,
        Subject::User(user) => {
            certificate.kind() != CertificateKind::Node && certificate.subject == *user
        }
    };
    if listed.iter().any(names) {
        return Ok(());
    }
    let (what, all_the_same) = match subject {
        Subject::Serial(serial) => (
            format!(
                "no certificate with the serial number {}",
                Serial::from_bytes(serial)
            ),
            "--unlisted revokes it all the same",
        ),
        Subject::User(user) => (
            format!("no certificate of a user {user:?}"),
            "--unlisted revokes the user all the same, who may have a password only",
        ),
    };
    Err(format!(
        "{what} is listed, so nothing was revoked: `kvorum cert list` shows all that are, and {all_the_same}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(serial: u8, kind: CertificateKind, subject: &str) -> TrustCertificate {
        TrustCertificate {
            serial: vec![serial; 16].into(),
            kind: kind.into(),
            subject: subject.to_owned(),
            ..TrustCertificate::default()
        }
    }

    #[test]
    fn only_what_is_listed_is_revoked_without_a_word() {
        let all = [
            listed(1, CertificateKind::Node, "ff"),
            listed(2, CertificateKind::Client, "app"),
            listed(3, CertificateKind::Admin, "boss"),
        ];
        let serial = |of: u8| Subject::Serial(vec![of; 16].into());
        let user = |name: &str| Subject::User(name.to_owned());
        for known in [serial(1), serial(2), serial(3), user("app"), user("boss")] {
            check(&known, &all).expect("is listed");
        }
        // A member is no user, whatever its id looks like.
        for unknown in [serial(4), user("ap"), user("ff"), user("")] {
            let text = check(&unknown, &all).expect_err("is not");
            assert!(text.contains("nothing was revoked"), "{text}");
            assert!(
                text.contains("`kvorum cert list`") && text.contains("--unlisted"),
                "{text}"
            );
        }
    }
}
