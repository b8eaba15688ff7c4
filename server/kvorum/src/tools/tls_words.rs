//! Why a tool and a member did not come to terms over TLS, said from the tool's side.

use std::io;
use std::path::Path;

use kvorum_pki::tls::explain;
use rustls::{AlertDescription, CertificateError, Error};

/// In words; `ca` is the file by which the member was judged.
pub(super) fn of_io(error: &io::Error, ca: Option<&Path>) -> String {
    let inner = error.get_ref();
    let shown = error.to_string();
    let hung_up = [
        io::ErrorKind::BrokenPipe,
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::UnexpectedEof,
    ];
    match inner.and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(error) => of(error, ca),
        None => match alert(&shown) {
            Some(alert) => of(&Error::AlertReceived(alert), ca),
            // Its alert was on the way when we wrote.
            None if hung_up.contains(&error.kind()) => {
                "the member hung up: it does not accept the certificate that was shown, or it is stopping".into()
            }
            None => shown,
        },
    }
}

/// The HTTP/2 library keeps only the text of an error.
fn alert(shown: &str) -> Option<AlertDescription> {
    let all = [
        AlertDescription::BadCertificate,
        AlertDescription::CertificateExpired,
        AlertDescription::CertificateRequired,
        AlertDescription::CertificateRevoked,
        AlertDescription::CertificateUnknown,
        AlertDescription::UnknownCA,
    ];
    all.into_iter()
        .find(|alert| shown.contains(&Error::AlertReceived(*alert).to_string()))
}

fn of(error: &Error, ca: Option<&Path>) -> String {
    let file = || ca.map_or_else(|| "--cacert".into(), |ca| ca.display().to_string());
    match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => format!(
            "no authority in {} has signed what is shown there: is it another cluster's address, or another cluster's \
             file?",
            file()
        ),
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => {
            format!(
                "{error}: use a name or address that it has, or start the member with --advertise and this one"
            )
        }
        Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => format!(
            "{error}: the member renews it by itself unless it was off for longer than 30 days after that; if the date \
             is wrong, set the clock"
        ),
        Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => format!("{error}: one of the two clocks is wrong, set it with NTP"),
        Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "the member demands a certificate: give --cert and --key (`kvorum cert client USER` makes them)".into()
        }
        Error::AlertReceived(AlertDescription::CertificateUnknown | AlertDescription::UnknownCA) => {
            "the member does not accept the certificate that was shown: is it another cluster's, or was it revoked?".into()
        }
        other => explain(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_says_what_to_do() {
        let bad = |error| {
            of(
                &Error::InvalidCertificate(error),
                Some(Path::new("/x/ca.pem")),
            )
        };
        let alert = |alert| {
            let text = Error::AlertReceived(alert).to_string();
            of_io(&io::Error::other(text), None)
        };
        for (said, part) in [
            (bad(CertificateError::UnknownIssuer), "/x/ca.pem"),
            (bad(CertificateError::NotValidForName), "--advertise"),
            (bad(CertificateError::Expired), "renews it by itself"),
            (bad(CertificateError::NotValidYet), "set it with NTP"),
            (
                alert(AlertDescription::CertificateRequired),
                "--cert and --key",
            ),
            (
                alert(AlertDescription::CertificateExpired),
                "a clock is wrong",
            ),
            (alert(AlertDescription::CertificateRevoked), "revoked"),
            (
                alert(AlertDescription::CertificateUnknown),
                "another cluster's",
            ),
        ] {
            assert!(said.contains(part), "{part:?} is not in {said}");
        }
    }
}
