//! Why a certificate is not accepted, in words that say what to do.

use rustls::CertificateError;
use rustls_pki_types::UnixTime;
use std::sync::Arc;
use std::time::Duration;

use crate::validity::date;
use crate::{Serial, TrustDomain};

/// Why a certificate is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is none.
    #[error(
        "no certificate was shown: give the client its own with --cert and --key (`kvorum cert client USER` makes one)"
    )]
    NoCertificate,
    /// It is damaged.
    #[error("the certificate cannot be read: {0}")]
    Unreadable(String),
    /// It is another cluster's.
    #[error(
        "the certificate belongs to another cluster (trust domain {theirs}, here it is {ours}): use files that this \
             cluster made"
    )]
    OtherDomain {
        /// Where it belongs.
        theirs: TrustDomain,
        /// Where it was shown.
        ours: TrustDomain,
    },
    /// No root that is trusted here has signed it.
    #[error(
        "the certificate was signed by an authority that this cluster does not trust, or no longer: have a new one \
             made with `kvorum cert client USER`, or for a member with `kvorum rejoin TOKEN`"
    )]
    UnknownAuthority,
    /// It is over.
    #[error("the certificate expired at {} (now it is {}): renew it with `kvorum cert client USER`, or for a member \
             with `kvorum rejoin TOKEN`; if the date is wrong, set the clock", date(*not_after_unix), date(*now_unix))]
    Expired {
        /// Its end.
        not_after_unix: i64,
        /// When it was looked at.
        now_unix: i64,
    },
    /// It has not begun.
    #[error("the certificate holds only from {} (now it is {}): one of the two clocks is wrong, set it with NTP",
            date(*not_before_unix), date(*now_unix))]
    NotYetValid {
        /// Its beginning.
        not_before_unix: i64,
        /// When it was looked at.
        now_unix: i64,
    },
    /// The issuing or root CA above it is over.
    #[error("an authority above the certificate expired at {}: have a new certificate made with `kvorum cert client \
             USER`, or for a member with `kvorum rejoin TOKEN`", date(*not_after_unix))]
    AuthorityExpired {
        /// Its end.
        not_after_unix: i64,
    },
    /// Somebody revoked it.
    #[error(
        "the certificate {serial} was revoked: if that was a mistake, `kvorum cert unrevoke {serial}`, else have a \
             new one made"
    )]
    Revoked {
        /// Which, or the authority above it.
        serial: Serial,
    },
    /// A member made it for itself, and was removed.
    #[error(
        "the certificate {serial} was made by a member for itself, and that member was removed from the cluster: \
             show pki/admin.* of one that is left, or a certificate made by `kvorum cert client`"
    )]
    Evicted {
        /// Which.
        serial: Serial,
    },
    /// Everything of this user was revoked.
    #[error(
        "the certificates of user {user:?} were revoked: `kvorum cert unrevoke --user NAME` takes that back"
    )]
    UserDenied {
        /// Who.
        user: String,
    },
    /// It is of this cluster but not a member's.
    #[error(
        "not a member's certificate but {what}: members dial each other with the certificate in pki/node.pem"
    )]
    NotAPeer {
        /// Whose it is.
        what: String,
    },
    /// It may not be used so.
    #[error("the certificate is not meant for {used_as}: {what}")]
    WrongUse {
        /// What it was shown for.
        used_as: &'static str,
        /// What it is.
        what: String,
    },
    /// A certificate of our own that says nobody.
    #[error(
        "the certificate names nobody: {0}; have a new one made with `kvorum cert client USER`"
    )]
    NoIdentity(&'static str),
    /// The chain does not hold together.
    #[error("the certificate's chain is broken: {0}")]
    BrokenChain(String),
    /// A joining machine met somebody else than the token says.
    #[error("the root certificate that it shows is not the one that the token pins")]
    NotPinned,
}

impl Refused {
    /// For the handshake: with an alert that tells the other side as much as it may know.
    pub(crate) fn into_tls(self) -> rustls::Error {
        let error = match self {
            Self::NoCertificate => return rustls::Error::NoCertificatesPresented,
            Self::Expired {
                not_after_unix,
                now_unix,
            } => CertificateError::ExpiredContext {
                time: unix_time(now_unix),
                not_after: unix_time(not_after_unix),
            },
            Self::NotYetValid {
                not_before_unix,
                now_unix,
            } => CertificateError::NotValidYetContext {
                time: unix_time(now_unix),
                not_before: unix_time(not_before_unix),
            },
            Self::UnknownAuthority => CertificateError::UnknownIssuer,
            Self::Revoked { .. } | Self::Evicted { .. } => CertificateError::Revoked,
            other => CertificateError::Other(rustls::OtherError(Arc::new(other))),
        };
        rustls::Error::InvalidCertificate(error)
    }

    /// Back from the handshake's error, as far as it was about a certificate.
    pub(crate) fn words(error: &rustls::Error) -> Option<String> {
        let seconds = |time: &UnixTime| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        let rustls::Error::InvalidCertificate(error) = error else {
            return match error {
                rustls::Error::NoCertificatesPresented => Some(Self::NoCertificate.to_string()),
                _ => None,
            };
        };
        Some(match error {
            CertificateError::ExpiredContext { time, not_after } => {
                let (not_after_unix, now_unix) = (seconds(not_after), seconds(time));
                Self::Expired { not_after_unix, now_unix }.to_string()
            }
            CertificateError::NotValidYetContext { time, not_before } => {
                let (not_before_unix, now_unix) = (seconds(not_before), seconds(time));
                Self::NotYetValid { not_before_unix, now_unix }.to_string()
            }
            CertificateError::UnknownIssuer => Self::UnknownAuthority.to_string(),
            CertificateError::Revoked => {
                "the certificate was revoked: `kvorum cert list` shows why, `kvorum cert unrevoke` takes that back where \
                 its member was not removed"
                    .to_owned()
            }
            CertificateError::Other(other) => other.0.to_string(),
            other => other.to_string(),
        })
    }
}

fn unix_time(unix: i64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(unix).unwrap_or_default()))
}
