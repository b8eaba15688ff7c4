//! Reads durations and sizes, which carry their unit in the text.

use std::time::Duration;

/// A duration such as `100ms`, `5s`, `10m` or `1h`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text)?;
    let scale_ms = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "" => return Err(format!("a unit is missing: write {number}ms or {number}s")),
        other => return Err(format!("unknown unit {other:?}: use ms, s, m or h")),
    };
    number
        .checked_mul(scale_ms)
        .map(Duration::from_millis)
        .ok_or_else(|| "longer than can be counted".to_owned())
}

/// A duration that may be long: in days, too, as in `90d`.
pub(crate) fn days(text: &str) -> Result<Duration, String> {
    match split(text)? {
        (number, "d") => number
            .checked_mul(24 * 3600)
            .map(Duration::from_secs)
            .ok_or_else(|| "longer than can be counted".to_owned()),
        (number, "") => Err(format!("a unit is missing: write {number}d or {number}h")),
        (_, "ms" | "s" | "m" | "h") => duration(text),
        (_, other) => Err(format!("unknown unit {other:?}: use ms, s, m, h or d")),
    }
}

/// Durations one after the other, as in `1h30m`: what Go prints and etcd's flags take.
pub(crate) fn duration_sum(text: &str) -> Result<Duration, String> {
    let mut sum = Duration::ZERO;
    let mut rest = text;
    loop {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let unit = rest.bytes().skip(digits);
        let unit = unit.take_while(|byte| !byte.is_ascii_digit()).count();
        let (first, later) = rest.split_at(digits + unit);
        sum = sum
            .checked_add(duration(first)?)
            .ok_or("longer than can be counted")?;
        if later.is_empty() {
            return Ok(sum);
        }
        rest = later;
    }
}

/// A number of bytes, plain or with `KiB`, `MiB`, `GiB` or `TiB`.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text)?;
    let shift = match unit {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        other => {
            return Err(format!(
                "unknown unit {other:?}: use KiB, MiB, GiB or TiB, or plain bytes"
            ));
        }
    };
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| "larger than can be counted".to_owned())
}

/// A duration as it would be written.
pub(crate) fn show_duration(value: Duration) -> String {
    let ms = value.as_millis();
    for (scale_ms, unit) in [(3_600_000, "h"), (60_000, "m"), (1000, "s")] {
        if ms >= scale_ms && ms.is_multiple_of(scale_ms) {
            return format!("{}{unit}", ms / scale_ms);
        }
    }
    format!("{ms}ms")
}

/// A size as it would be written.
pub(crate) fn show_bytes(value: u64) -> String {
    for (shift, unit) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if value >> shift > 0 && value.trailing_zeros() >= shift {
            return format!("{}{unit}", value >> shift);
        }
    }
    value.to_string()
}

fn split(text: &str) -> Result<(u64, &str), String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if text.starts_with('-') {
        return Err("must not be negative".to_owned());
    }
    if number.is_empty() || unit.starts_with('.') {
        return Err("not a whole number".to_owned());
    }
    let number = number
        .parse()
        .map_err(|_| "larger than can be counted".to_owned())?;
    Ok((number, unit))
}
