//! When to ask the CA next.

use crate::Validity;

/// How long to wait after a failure. CAs count failures by the hour, so that the first wait is not a short one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// After the first failure; it doubles with each.
    pub first_s: i64,
    /// And no longer than this.
    pub longest_s: i64,
    /// A number that differs between members, so that they do not all ask at once.
    pub jitter: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            first_s: 300,
            longest_s: 6 * 3600,
            jitter: 0,
        }
    }
}

impl Pace {
    /// After a failure that `failures` others went before. What the CA asks for counts if it is later.
    pub(super) fn after(&self, now_unix: i64, failures: u32, retry_after_unix: Option<i64>) -> i64 {
        let doubled = self.first_s.saturating_mul(1 << failures.min(30));
        let wait = doubled.min(self.longest_s).max(1);
        let extra = i128::from(wait / 10) * i128::from(self.jitter) / i128::from(u32::MAX);
        let own = now_unix
            .saturating_add(wait)
            .saturating_add(i64::try_from(extra).unwrap_or_default());
        // A CA that asks for a year, or a clock that jumped, is not obeyed blindly.
        let most = now_unix.saturating_add(self.longest_s.max(7 * 24 * 3600));
        own.max(retry_after_unix.unwrap_or(own).min(most))
    }

    /// For a certificate that is there.
    pub(super) fn renewal(&self, validity: Validity, now_unix: i64) -> i64 {
        validity.renew_at_unix(self.jitter).max(now_unix)
    }

    /// The longest wait that makes sense.
    pub(super) fn longest_s(&self, not_after_unix: Option<i64>, now_unix: i64) -> i64 {
        let left = not_after_unix.map_or(0, |end| end.saturating_sub(now_unix));
        left.max(self.longest_s.max(7 * 24 * 3600))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_end_and_a_ca_that_asks_for_more_gets_it() {
        let pace = Pace::default();
        let waits: Vec<i64> = (0..12)
            .map(|failures| pace.after(1000, failures, None) - 1000)
            .collect();
        assert_eq!(waits[..4], [300, 600, 1200, 2400]);
        assert_eq!(waits[11], 6 * 3600);
        assert_eq!(pace.after(1000, u32::MAX, None), 1000 + 6 * 3600);
        assert_eq!(pace.after(1000, 0, Some(5000)), 5000);
        assert_eq!(
            pace.after(1000, 0, Some(1010)),
            1300,
            "not sooner than we would"
        );
        assert_eq!(pace.after(1000, 0, Some(i64::MAX)), 1000 + 7 * 24 * 3600);
        let late = Pace {
            jitter: u32::MAX,
            ..pace
        };
        assert_eq!(late.after(1000, 0, None), 1330);
    }

    #[test]
    fn a_certificate_is_renewed_at_two_thirds_or_at_once() {
        let validity = Validity {
            not_before_unix: 1000,
            not_after_unix: 1900,
        };
        assert_eq!(Pace::default().renewal(validity, 1001), 1600);
        assert_eq!(Pace::default().renewal(validity, 1800), 1800);
    }
}
