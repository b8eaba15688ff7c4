//! How much history is kept, in etcd's forms.

use kvorum_member::compactor::Retention;

use super::keys;
use super::reader::Reader;
use super::units;

/// The shortest period: ten looks of ten milliseconds.
const PERIOD_MS_MIN: u64 = 100;
/// The longest: etcd counts nanoseconds in 63 bits.
const PERIOD_MS_MAX: u64 = 9_223_372_036_854;

/// Reads both keys; `None` inside if history is kept until somebody compacts it.
pub(super) fn read(reader: &mut Reader) -> Option<Option<Retention>> {
    let by_period = reader.read(keys::AUTO_COMPACTION_MODE, |text| match text {
        "periodic" => Ok(true),
        "revision" => Ok(false),
        _ => Err("use periodic or revision".to_owned()),
    })?;
    reader.read(keys::AUTO_COMPACTION_RETENTION, |text| {
        if by_period { period(text) } else { count(text) }
    })
}

fn count(text: &str) -> Result<Option<Retention>, String> {
    let kept: Option<i64> = text.parse().ok().filter(|kept| *kept >= 0);
    let kept = kept.ok_or("must be a whole number of revisions, or 0 to keep all")?;
    Ok((kept > 0).then_some(Retention::Revisions(kept)))
}

/// A bare number counts hours, as in etcd.
fn period(text: &str) -> Result<Option<Retention>, String> {
    let bare = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let period_ms = if bare {
        let hours: Option<u64> = text.parse().ok();
        hours.and_then(|hours| hours.checked_mul(3_600_000))
    } else {
        let period = units::duration_sum(text)?;
        u64::try_from(period.as_millis()).ok()
    };
    match period_ms {
        Some(0) => Ok(None),
        Some(PERIOD_MS_MIN..=PERIOD_MS_MAX) => Ok(period_ms.map(Retention::Period)),
        Some(..PERIOD_MS_MIN) => Err(format!("must be 0 or at least {PERIOD_MS_MIN}ms")),
        _ => Err("longer than can be counted".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_are_read_in_etcds_forms() {
        let hours = |n: u64| Ok(Some(Retention::Period(n * 3_600_000)));
        assert_eq!(period("0"), Ok(None));
        assert_eq!(period("0s"), Ok(None));
        assert_eq!(period("10"), hours(10));
        assert_eq!(period("1h"), hours(1));
        assert_eq!(period("0h60m0s"), hours(1));
        assert_eq!(period("5m"), Ok(Some(Retention::Period(300_000))));
        assert_eq!(period("1m30s"), Ok(Some(Retention::Period(90_000))));
        for bad in [
            "",
            "-1",
            "1.5h",
            "h",
            "10ms",
            "1h30",
            "5 m",
            "99999999999999999999",
        ] {
            assert!(period(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn counts_are_read_without_a_unit() {
        assert_eq!(count("0"), Ok(None));
        assert_eq!(count("1000"), Ok(Some(Retention::Revisions(1000))));
        for bad in ["", "-1", "1h", "1e3"] {
            assert!(count(bad).is_err(), "{bad:?}");
        }
    }
}
