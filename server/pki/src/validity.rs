//! From when to when a certificate holds, and when to renew it.

use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::PkiError;

const DAY_S: i64 = 24 * 60 * 60;
/// Clocks of members may differ by this much.
const SKEW_S: i64 = 60 * 60;
/// How long a node's certificate lives.
pub const NODE_LIFE_S: i64 = 30 * DAY_S;
/// How long a client's certificate lives if nobody says otherwise.
pub const CLIENT_LIFE_S: i64 = 90 * DAY_S;
/// How long the console's certificate lives; browsers take no more than 397 days.
pub const CONSOLE_LIFE_S: i64 = 30 * DAY_S;
/// How long the issuing CA's certificate lives.
pub const ISSUING_LIFE_S: i64 = 90 * DAY_S;
/// The age at which the root renews it: what it signs until then lives 30 days and never outlives it.
pub const ISSUING_RENEW_S: i64 = 60 * DAY_S;
/// How long a root lives.
pub const ROOT_LIFE_S: i64 = 3653 * DAY_S;
/// A member that was off for longer than its certificate lives may still renew it for this long.
pub const EXPIRED_GRACE_S: i64 = 30 * DAY_S;

/// A period, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Its first second.
    pub not_before_unix: i64,
    /// Its last second.
    pub not_after_unix: i64,
}

impl Validity {
    /// From now, with an hour's allowance for members whose clocks are behind.
    #[must_use]
    pub fn from_now(now_unix: i64, life_s: i64) -> Self {
        Self {
            not_before_unix: now_unix.saturating_sub(SKEW_S),
            not_after_unix: now_unix.saturating_add(life_s),
        }
    }

    /// The certificate's.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, PkiError> {
        let (_, certificate) = X509Certificate::from_der(certificate)
            .map_err(|error| PkiError::Certificate(error.to_string()))?;
        let validity = certificate.validity();
        Ok(Self {
            not_before_unix: validity.not_before.timestamp(),
            not_after_unix: validity.not_after.timestamp(),
        })
    }

    /// The part that both have.
    pub(crate) fn within(self, other: Self) -> Self {
        Self {
            not_before_unix: self.not_before_unix.max(other.not_before_unix),
            not_after_unix: self.not_after_unix.min(other.not_after_unix),
        }
    }

    /// How long it is from its making to its end. The allowance for slow clocks is not life.
    #[must_use]
    pub fn life_s(&self) -> i64 {
        let whole = self.not_after_unix.saturating_sub(self.not_before_unix);
        if whole > SKEW_S {
            whole - SKEW_S
        } else {
            whole.max(0)
        }
    }

    /// When to renew it: at two thirds of its life, and up to a twentieth earlier, so that members that were made
    /// together do not all renew together. `jitter` is any number that differs between members.
    #[must_use]
    pub fn renew_at_unix(&self, jitter: u32) -> i64 {
        let life = self.life_s();
        let earlier = i128::from(life / 20) * i128::from(jitter) / i128::from(u32::MAX);
        let earlier = i64::try_from(earlier).unwrap_or_default();
        self.not_after_unix
            .saturating_sub(life / 3)
            .saturating_sub(earlier)
    }

    /// Whether it is time to renew it.
    #[must_use]
    pub fn is_due(&self, now_unix: i64, jitter: u32) -> bool {
        now_unix >= self.renew_at_unix(jitter)
    }

    /// Whether so little is left, a sixth, that somebody must be told: renewal has failed for long.
    #[must_use]
    pub fn is_nearly_over(&self, now_unix: i64) -> bool {
        now_unix >= self.not_after_unix.saturating_sub(self.life_s() / 6)
    }

    /// Whether the moment is within it.
    #[must_use]
    pub fn holds(&self, now_unix: i64) -> bool {
        (self.not_before_unix..=self.not_after_unix).contains(&now_unix)
    }

    pub(crate) fn dates(&self) -> Result<(OffsetDateTime, OffsetDateTime), PkiError> {
        let (from, to) = (self.not_before_unix, self.not_after_unix);
        if from >= to {
            return Err(PkiError::Period(format!(
                "from {} to {}",
                date(from),
                date(to)
            )));
        }
        Ok((moment(from)?, moment(to)?))
    }
}

pub(crate) fn moment(unix: i64) -> Result<OffsetDateTime, PkiError> {
    // Before 1950 or after 9999, a certificate has no words for it.
    OffsetDateTime::from_unix_timestamp(unix)
        .ok()
        .filter(|date| (1950..=9999).contains(&date.year()))
        .ok_or_else(|| PkiError::Period(format!("{unix} seconds since 1970")))
}

/// For people.
pub(crate) fn date(unix: i64) -> String {
    match OffsetDateTime::from_unix_timestamp(unix) {
        Ok(at) => format!(
            "{:04}-{:02}-{:02} {:02}:{:02}:{:02} UTC",
            at.year(),
            u8::from(at.month()),
            at.day(),
            at.hour(),
            at.minute(),
            at.second()
        ),
        Err(_) => format!("{unix} seconds since 1970"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    #[test]
    fn renewal_comes_at_two_thirds_and_a_little_before_but_never_after() {
        for life in [90, 3600, NODE_LIFE_S, ROOT_LIFE_S] {
            let validity = Validity::from_now(NOW, life);
            let measured = validity.life_s();
            assert_eq!(measured, life);
            let latest = validity.renew_at_unix(0);
            let earliest = validity.renew_at_unix(u32::MAX);
            assert_eq!(latest, validity.not_after_unix - measured / 3);
            assert_eq!(latest - earliest, measured / 20);
            assert!(!validity.is_due(earliest - 1, u32::MAX));
            assert!(validity.is_due(latest, 0));
            assert!(!validity.is_nearly_over(latest));
            assert!(validity.is_nearly_over(validity.not_after_unix));
        }
    }

    #[test]
    fn clocks_may_be_an_hour_behind() {
        let validity = Validity::from_now(NOW, NODE_LIFE_S);
        assert!(validity.holds(NOW - 59 * 60));
        assert!(!validity.holds(NOW - 61 * 60));
        assert!(validity.holds(NOW + NODE_LIFE_S));
        assert!(!validity.holds(NOW + NODE_LIFE_S + 1));
    }

    #[test]
    fn absurd_times_are_refused_and_do_not_overflow() {
        for now in [i64::MIN, i64::MAX, -3_000_000_000_000, 300_000_000_000] {
            let validity = Validity::from_now(now, i64::MAX);
            let _ = (
                validity.life_s(),
                validity.renew_at_unix(7),
                validity.is_nearly_over(0),
            );
            assert!(validity.dates().is_err(), "{now}");
            let _ = date(now);
        }
        assert!(Validity::from_now(NOW, -SKEW_S).dates().is_err());
        assert_eq!(date(NOW), "2027-01-15 08:00:00 UTC");
    }
}
