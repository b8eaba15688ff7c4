//! Times as people read and write them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::config::days;
use crate::log::timestamp;

/// Seconds since 1970.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

/// A time in UTC, to the second.
pub(super) fn shown(unix_s: i64) -> String {
    let since = Duration::from_secs(u64::try_from(unix_s).unwrap_or_default());
    let text = timestamp(UNIX_EPOCH + since);
    match text.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => text,
    }
}

/// A length of time in seconds, from a text with a unit.
pub(super) fn life(text: &str) -> Result<i64, String> {
    let life = days(text)?;
    if life.as_secs() == 0 {
        return Err(
            "no time at all: give a second or more, or leave it out for the default".to_owned(),
        );
    }
    i64::try_from(life.as_secs()).map_err(|_| "longer than can be counted".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_written_with_their_unit() {
        assert_eq!(shown(0), "1970-01-01T00:00:00Z");
        assert_eq!(life("90d"), Ok(7_776_000));
        assert_eq!(life("30m"), Ok(1800));
        assert!(life("30").is_err());
        assert!(life("0s").expect_err("no time").contains("leave it out"));
    }
}
